"""The demo at full length, and the test of its test: about 20 minutes on two cores."""

import json
import subprocess
import sys

import numpy as np
import pytest

TILT_KT = 1.5


@pytest.fixture(scope="module")
def demo(alanine, tmp_path_factory):
    """Folder of a finished demo."""
    output = tmp_path_factory.mktemp("runs") / "demo"
    subprocess.run([sys.executable, str(alanine / "demo.py"), "--output", str(output)], check=True)
    return output


@pytest.mark.long
def test_demo_reproduces_the_held_out_reference(demo):
    for name in ("model.ckpt", "model.pt", "report.html"):
        assert (demo / name).stat().st_size > 0
    assert json.loads((demo / "fit.json").read_text())["seconds"] <= 60 * 13.5
    report = json.loads((demo / "report.json").read_text())
    simulation = report["simulation"]
    assert report["verdict"]["status"] == "pass" and report["diagnosis"] == []
    assert simulation["converged"]
    assert simulation["excess_js"] <= 0.010
    assert simulation["excess_pmf_error"] <= 0.10
    assert simulation["bond_w1_nm"]["max"] < 2e-4
    assert simulation["non_finite_frames"] == 0
    # The bound of the report's own verdict: 0.5 kT beyond the standard error of the reference.
    free, reference = simulation["free_energy_kt"], report["reference"]["free_energy_kt"]
    assert abs(free["value"] - reference["value"]) <= 0.5 + reference["standard_error"]


@pytest.mark.long
def test_a_tilt_of_one_and_a_half_kt_in_phi_fails_the_evaluation(demo, alanine):
    """The demo's force field plus 0.75 kT cos(phi), which swings by 1.5 kT, simulated and judged like the demo's."""
    import openmm

    import fpforce
    from fpforce.analysis import ReplicaFrames, assess
    from fpforce.trajectories.bead_frames import read_bead_frames

    force_field = fpforce.load(demo / "model.pt")
    paths = json.loads((demo / "report.json").read_text())["provenance"]["simulations"]
    starts = [fpforce.read_simulation(path, force_field.beads).positions_nm[-1] for path in paths]
    positions = np.concatenate(starts)
    replicas, beads = positions.shape[:2]
    system = fpforce.make_system(force_field, replicas=replicas)
    tilt = openmm.CustomTorsionForce(f"{0.5 * TILT_KT * force_field.kt_kj_per_mol} * cos(theta)")
    phi = force_field.beads.phi_psi[0]["phi"]
    for replica in range(replicas):
        tilt.addTorsion(*(replica * beads + bead for bead in phi), [])
    system.addForce(tilt)
    integrator = openmm.LangevinMiddleIntegrator(force_field.temperature_k, 1.0, 0.004)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions.reshape(-1, 3))
    context.setVelocitiesToTemperature(force_field.temperature_k, 1)
    frames = []
    for _ in range(200):
        integrator.step(125)
        frames.append(context.getState(positions=True).getPositions(asNumpy=True)._value.reshape(positions.shape))
    frames, half = np.array(frames), len(starts[0])
    reference, training = (
        [read_bead_frames(alanine / name, alanine / "alanine_dipeptide.pdb", table=force_field.beads).positions_nm]
        for name in ("reference.xtc", "train.xtc")
    )
    assessment = assess(
        force_field.beads,
        reference,
        [ReplicaFrames(frames[:, :half], name="a"), ReplicaFrames(frames[:, half:], name="b")],
        training=training,
    )
    failed = {check.name for check in assessment.checks if check.passed is False}
    assert failed & {"excess_js", "excess_pmf_error"}
