"""The scripts of examples/openmm do what their first lines say, each in a short form."""

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import fpforce
from fpforce.system import backends

pytestmark = pytest.mark.usefixtures("backend_is_here")

SCRIPTS = Path(__file__).parents[2] / "examples" / "openmm"


@pytest.fixture
def script(monkeypatch):
    """script(name) -> the module examples/openmm/<name>.py."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name):
        spec = importlib.util.spec_from_file_location(f"openmm_example_{name}", SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    sys.modules.pop("two_peptides", None)  # which alchemical_transfer.py imports


@pytest.fixture(scope="module")
def field(small_model):
    return fpforce.load(small_model)


def test_metadynamics_along_a_dihedral_fills_what_it_visits(script, small_model):
    profile, angles = script("metadynamics").run(small_model, steps=10_000)
    assert np.ptp(profile) > 1.0 and np.isfinite(profile).all()  # kT
    assert np.ptp(angles[50:]) > np.ptp(angles[:10])


def test_tica_force_is_the_component_and_metadynamics_moves_along_it(script, small_model, field, alanine_frames):
    import openmm

    tica = script("metadynamics_tica")
    frames_nm = alanine_frames.positions_nm[:500].astype(float)
    component, values = tica.slowest_mode(frames_nm)
    system = openmm.System()
    for mass in field.masses_da:
        system.addParticle(mass)
    system.addForce(component)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    for frame in (0, 7):
        context.setPositions(frames_nm[frame])
        assert context.getState(energy=True).getPotentialEnergy()._value == pytest.approx(values[frame], abs=1e-9)
    profile, values, visited = tica.run(small_model, frames_nm, steps=2_000)
    assert np.ptp(profile) > 0.5 and np.isfinite(profile).all()
    assert np.ptp(visited) > values.std() and np.isfinite(visited).all()


@pytest.mark.skipif(version("openmm") < "8.6", reason="ReplicaExchangeSampler came with OpenMM 8.6")
def test_openmms_replica_exchange_swaps_scales(script, small_model):
    states, energies = script("replica_exchange").run(small_model, iterations=40, steps_each=50)
    assert np.array_equal(np.sort(states, axis=1), np.tile([0, 1, 2], (40, 1)))
    assert (np.diff(states, axis=0) != 0).any(axis=0).all() and np.isfinite(energies).all()


def test_openmmtools_swaps_temperatures(script, small_model):
    pytest.importorskip("openmmtools", reason="openmmtools is not installed")
    accepted, energies = script("openmmtools_replica_exchange").run(small_model, iterations=10, steps_each=50)
    assert (accepted > 0.0).all() and len(energies) == 10 and np.isfinite(energies).all()


def test_spring_draws_the_ends_along(script, small_model):
    work, places, distances = script("restraints_and_pulling").run(small_model, steps=4_000)
    # kT / stiffness = (0.022 nm)^2, and the molecule resists.
    assert np.abs(distances - places).max() < 0.1
    assert distances[-5:].mean() - distances[:5].mean() > 0.05 and np.isfinite(work)


def test_custom_integrator_has_the_mean_energy_of_openmms_own(script, small_model, field):
    ours, theirs = script("custom_integrator").run(small_model, steps=64_000)
    assert ours == pytest.approx(theirs, abs=0.5 * field.kt_kj_per_mol)  # 12 degrees of freedom, 6 kT


def test_reporters_write_what_can_be_read(script, small_model, field, tmp_path):
    simulation = script("reporters").run(small_model, tmp_path, steps=1_000)
    topology = mdtraj.Topology.from_openmm(field.topology)
    for name in ("frames.dcd", "frames.xtc"):
        assert mdtraj.load(str(tmp_path / name), top=topology).xyz.shape == (10, 5, 3)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 11
    end = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
    from openmm import app

    written = app.PDBxFile(str(tmp_path / "end.cif"))
    assert [atom.name for atom in written.topology.atoms()] == list(field.beads.names)
    np.testing.assert_allclose(written.getPositions(asNumpy=True)._value, end, atol=1e-4)
    simulation.context.setPositions(field.positions_nm)
    simulation.loadCheckpoint(str(tmp_path / "checkpoint.chk"))
    np.testing.assert_array_equal(simulation.context.getState(positions=True).getPositions(asNumpy=True)._value, end)


def test_two_peptides_are_two_force_fields_and_the_force_between(script, small_model, field):
    import openmm

    example = script("two_peptides")
    system, positions_nm = example.joined(field, field)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions_nm)
    alone = openmm.Context(
        fpforce.make_system(field), openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    alone.setPositions(field.positions_nm)
    inside = 2.0 * alone.getState(energy=True).getPotentialEnergy()._value
    between = sum(
        4.0 * 0.5 * (sixth**2 - sixth)
        for a in positions_nm[:5]
        for b in positions_nm[5:]
        for sixth in [(0.4 / np.linalg.norm(a - b)) ** 6]
    )
    assert context.getState(energy=True).getPotentialEnergy()._value == pytest.approx(inside + between, abs=1e-4)
    distances = example.run(small_model, steps=2_000)
    assert (distances > 0.1).all() and (distances < 3.2).all()  # the wall is at 1.5 nm


@pytest.mark.parametrize("backend", backends.names())
def test_barostat_without_a_box_is_refused(script, small_model, backend):
    assert "barostat cannot be used with a non-periodic system" in script("barostat").run(small_model, backend)


def test_ramp_is_reweighted_to_the_files_temperature(script, small_model, field):
    reweighted, count, plain = script("temperature_ramp").run(small_model, steps=8_000, factors=(1.2, 1.1), replicas=3)
    assert count > 300
    assert reweighted == pytest.approx(plain, abs=0.5 * field.kt_kj_per_mol)


@pytest.mark.parametrize("backend", backends.names())
def test_path_integrals_have_the_force_fields_energy_for_every_copy(script, small_model, field, backend):
    import openmm

    energies, positions_nm = script("path_integrals").run(small_model, copies=3, steps=10, backend=backend)
    context = openmm.Context(
        fpforce.make_system(field, backend=backend),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatform("Reference"),
    )
    for energy, copy in zip(energies, positions_nm, strict=True):
        context.setPositions(copy)
        assert context.getState(energy=True).getPotentialEnergy()._value == pytest.approx(energy, abs=1e-3)
    assert len(set(energies)) == 3


def test_alchemical_transfer_switches_off_the_force_between_alone(script, small_model, field):
    import openmm

    before, after, difference = script("alchemical_transfer").run(small_model)
    alone = openmm.Context(
        fpforce.make_system(field), openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    alone.setPositions(field.positions_nm)
    inside = 2.0 * alone.getState(energy=True).getPotentialEnergy()._value
    assert after == pytest.approx(inside, abs=1e-3)  # 5 nm apart
    assert after - before == pytest.approx(difference, abs=1e-6) and difference > 0.1


def test_every_script_is_tested_and_named_in_the_documentation():
    page = (SCRIPTS.parents[1] / "docs" / "how-to" / "openmm-ecosystem.md").read_text()
    here = Path(__file__).read_text()
    for path in SCRIPTS.glob("*.py"):
        assert f'script("{path.stem}")' in here, path.name
        assert f"openmm/{path.name}" in page, path.name
