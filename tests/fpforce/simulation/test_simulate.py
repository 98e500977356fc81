"""simulate: the right distribution, resumable to the bit, honest about failed replicas, careful with its files.

Longer than other files, since all its tests share their force fields and their frames.
"""

import errno
import json
from dataclasses import replace

import mdtraj
import numpy as np
import pytest

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.foundation.locking import Lock
from fpforce.simulation.replicas import BondLimits
from fpforce.simulation.simulate import SimulationSettings, read_simulation, simulate
from fpforce.trajectories import trajectory_writer as trajectory_output

SHORT = SimulationSettings(steps=1000, replicas=3, report_interval_ps=0.1, friction_per_ps=2.0, seed=7)


def require_same_path(first, second, field):
    """Equal up to rounding: torch's first calls in a context differ from later ones in the last bit of float32."""
    np.testing.assert_allclose(
        read_simulation(first, field.beads).positions_nm, read_simulation(second, field.beads).positions_nm, atol=1e-5
    )


@pytest.fixture(scope="module")
def field(chiral_chain):
    return fpforce.load(chiral_chain)


def test_bond_fluctuates_with_the_variance_kt_over_k(dimer, tmp_path):
    """U = 1/2 k (d - d0)^2 in three dimensions: p(d) ~ d^2 exp(-U / kT), here by quadrature."""
    field = fpforce.load(dimer)
    simulate(
        field,
        tmp_path / "out.xtc",
        SimulationSettings(
            steps=11_000, replicas=256, friction_per_ps=10.0, timestep_fs=2.0, report_interval_ps=0.2, seed=1
        ),
    )
    frames = read_simulation(tmp_path / "out.xtc", field.beads).positions_nm[10:]
    lengths = np.linalg.norm(frames[:, :, 1] - frames[:, :, 0], axis=-1).astype(float)
    d = np.linspace(0.01, 0.4, 20_001)
    weight = d**2 * np.exp(-0.5 * 5000.0 * (d - 0.15) ** 2 / field.kt_kj_per_mol)
    mean = np.sum(weight * d) / weight.sum()
    variance = np.sum(weight * (d - mean) ** 2) / weight.sum()
    # The harmonic limit, kT / k, differs by the Jacobian d^2 only.
    assert variance == pytest.approx(field.kt_kj_per_mol / 5000.0, rel=0.06)
    for expected, samples in ((mean, lengths), (variance, (lengths - mean) ** 2)):
        per_replica = samples.mean(axis=0)
        standard_error = per_replica.std(ddof=1) / np.sqrt(len(per_replica))
        assert standard_error < 0.02 * (expected if samples is not lengths else np.sqrt(variance) * 2)
        assert abs(per_replica.mean() - expected) < 4 * standard_error


@pytest.mark.parametrize("extension", ["xtc", "dcd", "h5"])
def test_trajectory_holds_every_replica_at_every_saved_time(field, tmp_path, extension):
    output = tmp_path / "new" / "folder" / f"out.{extension}"
    result = simulate(field, output, SHORT)
    assert (result.steps, result.saved_times, result.frames) == (1000, 20, 60) and result.failed == {}
    frames = read_simulation(output, field.beads)
    assert frames.positions_nm.shape == (20, 3, 5, 3) and frames.valid.all()
    np.testing.assert_allclose(frames.positions_nm.mean(axis=2), 0.0, atol=1e-6)
    # Replicas share the start and differ by their velocities and noise.
    assert np.abs(frames.positions_nm[:, 0] - frames.positions_nm[:, 1]).max() > 1e-3
    loaded = mdtraj.load(str(output), **({} if extension == "h5" else {"top": str(result.topology)}))
    assert len(loaded) == 60 and [atom.name for atom in loaded.topology.atoms] == ["C", "N", "CA", "C", "N"]
    assert loaded.unitcell_vectors is None
    if extension != "dcd":
        np.testing.assert_allclose(loaded.time, np.repeat(0.1 * np.arange(1, 21), 3), rtol=1e-5)
    metadata = json.loads((output.parent / (output.name + ".json")).read_text())
    assert metadata["frame_interval_ps"] == pytest.approx(0.1) and metadata["backend"] == "torchforce"
    assert metadata["platform"] == "Reference" and metadata["model_sha256"] == field.sha256
    assert metadata["ns_per_day"] == pytest.approx(metadata["steps_per_second"] * 3 * 2e-6 * 86400)


def test_per_replica_files_hold_the_same_frames(field, tmp_path):
    simulate(field, tmp_path / "all.xtc", SHORT)
    result = simulate(field, tmp_path / "each.xtc", replace(SHORT, per_replica=True))
    assert [path.name for path in result.trajectories] == [f"each.replica{r}.xtc" for r in range(3)]
    require_same_path(tmp_path / "each.xtc", tmp_path / "all.xtc", field)


def test_backends_follow_the_same_path(field, tmp_path):
    paths = {}
    for backend in ("torchforce", "python"):
        simulate(field, tmp_path / f"{backend}.xtc", replace(SHORT, backend=backend, steps=100))
        paths[backend] = read_simulation(tmp_path / f"{backend}.xtc", field.beads).positions_nm
    np.testing.assert_allclose(paths["torchforce"], paths["python"], atol=1e-5)


@pytest.mark.parametrize("extension", ["xtc", "dcd", "h5"])
def test_extended_run_equals_an_uninterrupted_one(field, tmp_path, extension):
    simulate(field, tmp_path / f"whole.{extension}", SHORT)
    # 430 steps end between two saved frames.
    simulate(field, tmp_path / f"parts.{extension}", replace(SHORT, steps=430))
    result = simulate(field, tmp_path / f"parts.{extension}", replace(SHORT, resume=True))
    assert result.steps == 1000
    require_same_path(tmp_path / f"parts.{extension}", tmp_path / f"whole.{extension}", field)


def test_resumed_finished_run_is_left_as_it_is(field, tmp_path):
    simulate(field, tmp_path / "out.xtc", SHORT)
    before = (tmp_path / "out.xtc").read_bytes()
    assert simulate(field, tmp_path / "out.xtc", replace(SHORT, resume=True)).steps == 1000
    assert (tmp_path / "out.xtc").read_bytes() == before


def test_output_that_another_process_writes_is_refused_and_left_alone(field, tmp_path):
    output = simulate(field, tmp_path / "out.xtc", replace(SHORT, steps=500)).output
    before, lock = output.read_bytes(), Lock(tmp_path / "out.xtc.lock", output)
    for settings in (replace(SHORT, resume=True), replace(SHORT, overwrite=True)):
        with pytest.raises(InputError, match="out.xtc is being written by another process"):
            simulate(field, output, settings)
    assert output.read_bytes() == before
    lock.close()
    assert simulate(field, output, replace(SHORT, resume=True)).steps == 1000
    assert not (tmp_path / "out.xtc.lock").exists()


def test_resume_without_openmm_checkpoint_goes_on_from_positions_and_velocities(field, tmp_path, caplog):
    simulate(field, tmp_path / "out.xtc", replace(SHORT, steps=500))
    result = simulate(field, tmp_path / "out.xtc", replace(SHORT, resume=True, platform="CPU"))
    assert result.platform == "CPU" and result.saved_times == 20
    frames = read_simulation(tmp_path / "out.xtc", field.beads).positions_nm
    # Continuous across the change of platform: no replica jumps further between saved times than elsewhere.
    jumps = np.sqrt(np.square(np.diff(frames, axis=0)).sum(axis=(2, 3)).max(axis=1))
    assert jumps[9] < 2 * np.median(jumps)


def test_long_run_is_recentred_without_a_trace(field, tmp_path, monkeypatch):
    simulate(field, tmp_path / "free.xtc", SHORT)
    monkeypatch.setattr("fpforce.simulation.langevin._LARGEST_DRIFT_NM", 0.02)
    simulate(field, tmp_path / "often.xtc", SHORT)
    free, often = (read_simulation(tmp_path / name, field.beads).positions_nm for name in ("free.xtc", "often.xtc"))
    np.testing.assert_allclose(often, free, atol=1e-4)
    with np.load(tmp_path / "often.xtc.checkpoint") as stored:
        assert np.abs(stored["positions_nm"].mean(axis=-2)).max() <= 0.02


class FailedReplicas:
    settings = SimulationSettings(steps=1500, replicas=12, report_interval_ps=0.1, friction_per_ps=5.0, seed=3)


@pytest.fixture(scope="module")
def with_failures(fragile_dimer, tmp_path_factory):
    output = tmp_path_factory.mktemp("failures") / "out.xtc"
    field = fpforce.load(fragile_dimer)
    result = simulate(field, output, FailedReplicas.settings)
    assert 0 < len(result.failed) < 12
    return field, output, result


def test_failed_replica_is_frozen_at_its_last_good_frame_and_masked(with_failures):
    field, output, result = with_failures
    frames = read_simulation(output, field.beads)
    assert frames.failed == result.failed and np.isfinite(frames.positions_nm).all()
    for replica, info in result.failed.items():
        assert (info["rung"], info["temperature_k"]) == (0, 300.0)
        assert info["step"] == 50 * (info["frame"] + 1) and ("bond" in info["reason"] or "finite" in info["reason"])
        assert frames.valid[: info["frame"], replica].all() and not frames.valid[info["frame"] :, replica].any()
        frozen = frames.positions_nm[max(info["frame"] - 1, 0) :, replica]
        np.testing.assert_allclose(frozen, np.broadcast_to(frozen[0], frozen.shape), atol=1e-6)
    whole = [replica for replica in range(12) if replica not in result.failed]
    assert frames.valid[:, whole].all() and BondLimits.of(field).broken(frames.positions_nm[-1]) == {}


def test_other_replicas_keep_moving_after_a_failure(with_failures):
    field, output, result = with_failures
    frames = read_simulation(output, field.beads)
    whole = [replica for replica in range(12) if replica not in result.failed]
    first = min(info["frame"] for info in result.failed.values())
    assert np.abs(np.diff(frames.positions_nm[first:, whole], axis=0)).max(axis=(2, 3)).min() > 0


def test_other_replicas_move_as_if_nothing_had_failed(fragile_dimer, tmp_path, monkeypatch):
    """Without friction a replica's path depends on its own velocities only: freezing others must not change it."""
    field = fpforce.load(fragile_dimer)
    settings = replace(FailedReplicas.settings, friction_per_ps=0.0, temperature_k=600.0, override_temperature=True)
    result = simulate(field, tmp_path / "frozen.xtc", settings)
    assert 0 < len(result.failed) < 12
    monkeypatch.setattr(BondLimits, "broken", lambda self, positions_nm: {})
    simulate(field, tmp_path / "free.xtc", settings)
    frozen, free = (read_simulation(tmp_path / name, field.beads) for name in ("frozen.xtc", "free.xtc"))
    np.testing.assert_allclose(frozen.positions_nm[frozen.valid], free.positions_nm[frozen.valid], atol=1e-5)


def test_failed_replicas_stay_failed_after_resume(with_failures, tmp_path):
    field, output, result = with_failures
    part = tmp_path / "part.xtc"
    middle = sorted(info["step"] for info in result.failed.values())[0] + 25
    simulate(field, part, replace(FailedReplicas.settings, steps=middle))
    resumed = simulate(field, part, replace(FailedReplicas.settings, resume=True))
    assert resumed.failed == result.failed
    require_same_path(part, output, field)


def test_run_ends_when_every_replica_has_failed(fragile_dimer, tmp_path):
    settings = SimulationSettings(
        steps=100_000,
        replicas=2,
        report_interval_ps=0.1,
        temperature_k=2000.0,
        override_temperature=True,
        friction_per_ps=10.0,
    )
    result = simulate(fragile_dimer, tmp_path / "out.xtc", settings)
    assert len(result.failed) == 2 and result.steps < 100_000


@pytest.mark.parametrize("extension", ["xtc", "dcd"])
def test_full_disk_leaves_a_readable_trajectory_and_a_checkpoint_to_resume_from(
    field, tmp_path, monkeypatch, extension
):
    output = tmp_path / f"out.{extension}"
    write_all = trajectory_output._BlockTrajectory._write_all

    def write_until_full(self, data):
        if self.extent + len(data) > 4000:
            self._file.seek(self.extent)
            self._file.write(data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(self, data)

    monkeypatch.setattr(trajectory_output._BlockTrajectory, "_write_all", write_until_full)
    monkeypatch.setattr("fpforce.simulation.files._FLUSH_SECONDS", 0.0)
    with pytest.raises(InputError, match="no space left.*--resume"):
        simulate(field, output, replace(SHORT, checkpoint_minutes=1e-4))
    frames = read_simulation(output, field.beads)
    assert 0 < len(frames.positions_nm) < 20
    loaded = mdtraj.load(str(output), top=f"{output}.pdb")
    assert len(loaded) >= frames.positions_nm.shape[0] * 3 and np.isfinite(loaded.xyz).all()
    monkeypatch.setattr(trajectory_output._BlockTrajectory, "_write_all", write_all)
    assert simulate(field, output, replace(SHORT, resume=True)).saved_times == 20
    simulate(field, tmp_path / f"whole.{extension}", SHORT)
    require_same_path(output, tmp_path / f"whole.{extension}", field)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"steps": 0}, "steps is 0"),
        ({"replicas": 0}, "replicas is 0"),
        ({"steps": 100.5}, "steps is 100.5; give a whole number"),
        ({"replicas": True}, "replicas is True"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"timestep_fs": float("inf")}, "timestep_fs is inf"),
        ({"friction_per_ps": float("inf")}, "friction_per_ps is inf"),
        ({"timestep_fs": -1.0}, "timestep_fs is -1"),
        ({"friction_per_ps": -1.0}, "friction_per_ps"),
        ({"temperature_k": 0.0}, "above 0 K"),
        ({"temperature_k": -5.0}, "above 0 K"),
        ({"temperature_k": 310.0}, "310 K differs from the 300 K.*--override-temperature"),
        ({"steps": 49}, "saved only every 50 steps"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
        ({"resume": True}, "nothing to resume"),
        ({"platform": "Abacus"}, "'Abacus' is not available.*Reference"),
        ({"start": "absent.pdb"}, "absent.pdb does not exist"),
        ({"start": "x.pdb:two"}, "'two' after the colon"),
        ({"start": np.full((5, 3), np.nan)}, "coordinates are not finite"),
        ({"start": np.zeros((4, 3))}, r"shape \(4, 3\) do not fit the 5 beads"),
        ({"start": 10 * np.eye(5)[:, :3]}, "bond ALA1-C to ALA2-N is .* unit is nm"),
    ],
)
def test_bad_settings_are_named_and_nothing_is_written(field, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        simulate(field, tmp_path / "out.xtc", replace(SHORT, **settings))
    assert list(tmp_path.iterdir()) == []


def test_unknown_extension_lists_the_known_ones(field, tmp_path):
    with pytest.raises(InputError, match=r"'.trr'; choose one of .xtc, .dcd, .h5"):
        simulate(field, tmp_path / "out.trr", SHORT)


def test_existing_output_is_refused_unless_overwritten(field, tmp_path):
    settings = replace(SHORT, steps=100)
    simulate(field, tmp_path / "out.xtc", settings)
    before = (tmp_path / "out.xtc").read_bytes()
    with pytest.raises(InputError, match="out.xtc already exists.*--overwrite"):
        simulate(field, tmp_path / "out.xtc", settings)
    assert (tmp_path / "out.xtc").read_bytes() == before
    simulate(field, tmp_path / "out.xtc", replace(settings, overwrite=True, seed=8))
    assert (tmp_path / "out.xtc").read_bytes() != before


def test_a_pdb_of_the_user_beside_the_output_is_left_alone(field, tmp_path):
    (tmp_path / "molecule.pdb").write_text("mine")
    result = simulate(field, tmp_path / "molecule.xtc", replace(SHORT, steps=100))
    assert (tmp_path / "molecule.pdb").read_text() == "mine"
    assert result.topology == tmp_path / "molecule.xtc.pdb" and result.topology.exists()
    sidecar = json.loads((tmp_path / "molecule.xtc.json").read_text())
    assert sidecar["topology"] == "molecule.xtc.pdb"


def test_a_topology_in_the_way_is_refused_and_none_is_needed_to_read(field, tmp_path):
    (tmp_path / "out.xtc.pdb").write_text("mine")
    with pytest.raises(InputError, match="out.xtc.pdb already exists"):
        simulate(field, tmp_path / "out.xtc", replace(SHORT, steps=100))
    simulate(field, tmp_path / "out.xtc", replace(SHORT, steps=100, overwrite=True))
    (tmp_path / "out.xtc.pdb").unlink()
    assert len(read_simulation(tmp_path / "out.xtc", field.beads).positions_nm) == 2


def test_output_folder_that_cannot_be_made_is_named(field, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/below cannot be made"):
        simulate(field, tmp_path / "file" / "below" / "out.xtc", SHORT)


@pytest.mark.parametrize("changed, value", [("replicas", 4), ("timestep_fs", 1.0), ("friction_per_ps", 1.0)])
def test_resume_with_other_settings_is_refused(field, tmp_path, changed, value):
    simulate(field, tmp_path / "out.xtc", replace(SHORT, steps=100))
    with pytest.raises(InputError, match=f"{changed} is {value}.*the run to continue has {getattr(SHORT, changed)}"):
        simulate(field, tmp_path / "out.xtc", replace(SHORT, resume=True, **{changed: value}))


def test_simulation_without_its_sidecar_is_refused(field, tmp_path):
    simulate(field, tmp_path / "out.xtc", replace(SHORT, steps=100))
    (tmp_path / "out.xtc.json").unlink()
    with pytest.raises(InputError, match="out.xtc.json does not exist"):
        read_simulation(tmp_path / "out.xtc", field.beads)


def test_a_file_system_without_locks_does_not_stop_a_simulation(field, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fpforce.foundation.locking.fcntl.flock", no_locks)
    assert simulate(field, tmp_path / "out.xtc", SHORT).steps == 1000 and not (tmp_path / "out.xtc.lock").exists()
