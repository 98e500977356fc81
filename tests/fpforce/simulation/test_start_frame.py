"""The start frame: where every replica begins; frames that cannot be one are refused with their reason."""

from dataclasses import replace
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.simulation.simulate import SimulationSettings, read_simulation, simulate
from fpforce.simulation.start_frame import read_start_frame

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"
TOPOLOGY = EXAMPLE / "alanine_dipeptide.pdb"


@pytest.fixture(scope="module")
def write_field(tmp_path_factory, model_writer, modules):
    """write_field(**metadata changes) -> a force field of the backbone of alanine dipeptide."""
    frames = fpforce.read_bead_frames(TOPOLOGY, beads="backbone5")

    def write(**changes):
        path = tmp_path_factory.mktemp("start") / "model.pt"
        start_nm = frames.positions_nm[0].astype(float)
        return fpforce.load(model_writer(path, modules(5, 20000.0, 0.15), frames.beads, start_nm, **changes))

    return write


@pytest.fixture(scope="module")
def field(write_field):
    return write_field()


@pytest.fixture(scope="module")
def chain(chiral_chain):
    return fpforce.load(chiral_chain)


@pytest.fixture
def mirrored(tmp_path):
    """The source molecule, with CB, as its mirror image."""
    molecule = mdtraj.load(str(TOPOLOGY))
    molecule.xyz[..., 0] *= -1.0
    molecule.save(str(tmp_path / "mirrored.pdb"))
    return tmp_path / "mirrored.pdb"


def test_start_frame_is_where_every_replica_begins(chain, tmp_path):
    frames = chain.positions_nm + np.array([0.0, 0.005, 0.01])[:, None, None] * np.eye(5)[:, :3]
    chain.beads.write_pdb(tmp_path / "start.pdb", frames)
    settings = SimulationSettings(steps=1, replicas=2, report_interval_ps=0.002, timestep_fs=2.0)
    for start, index in ((f"{tmp_path}/start.pdb", 0), (f"{tmp_path}/start.pdb:2", 2), (f"{tmp_path}/start.pdb:-2", 1)):
        simulate(chain, tmp_path / "out.xtc", replace(settings, start=start, overwrite=True))
        read = read_simulation(tmp_path / "out.xtc", chain.beads)
        np.testing.assert_allclose(
            read.metadata["start"]["positions_nm"], frames[index] - frames[index].mean(axis=0), atol=2e-4
        )
        # Within 2 fs a bead of 12 Da at 300 K moves some 1e-3 nm.
        assert np.abs(read.positions_nm[0] - np.array(read.metadata["start"]["positions_nm"])).max() < 0.01


def test_start_frame_can_come_from_any_frame_of_a_gro_file(field, tmp_path):
    """GRO has three decimals of a nm."""
    source = mdtraj.load(str(TOPOLOGY))
    frames = mdtraj.join([source, source])
    frames.xyz[1] *= 1.01
    frames.save(str(tmp_path / "start.gro"))
    beads_nm = [field.beads.positions(one.xyz, source.topology)[0] for one in frames]
    for index, expected in ((0, 0), (1, 1), (-1, 1)):
        positions_nm, _ = read_start_frame(field, f"{tmp_path}/start.gro:{index}")
        np.testing.assert_allclose(positions_nm, beads_nm[expected] - beads_nm[expected].mean(axis=0), atol=1.1e-3)
    with pytest.raises(InputError, match="has no frame 2"):
        read_start_frame(field, f"{tmp_path}/start.gro:2")


def test_start_frame_can_come_from_the_source_molecule_or_a_bare_trajectory(chain, tmp_path):
    """Source atoms 0..4 are the beads here, followed by an atom that is none."""
    topology = chain.beads.to_mdtraj()
    topology.add_atom("H", mdtraj.element.hydrogen, topology.residue(4))
    xyz = np.concatenate([chain.positions_nm, [[1.0, 0, 0]]]).astype(np.float32)[None]
    source = mdtraj.Trajectory(xyz, topology)
    source.save(str(tmp_path / "source.pdb"))
    source.save(str(tmp_path / "source.xtc"))
    settings = SimulationSettings(steps=1, report_interval_ps=0.002, overwrite=True)
    for options in (
        {"start": tmp_path / "source.pdb"},
        {"start": tmp_path / "source.xtc:0", "start_topology": tmp_path / "source.pdb"},
    ):
        simulate(chain, tmp_path / "out.xtc", replace(settings, **options))
    simulate(chain, tmp_path / "again.xtc", replace(settings, start=tmp_path / "out.xtc"))
    with pytest.raises(InputError, match="give its topology too"):
        simulate(chain, tmp_path / "out.xtc", replace(settings, start=tmp_path / "source.xtc"))


def test_start_frame_of_another_molecule_is_refused(chain, dimer, tmp_path):
    settings = SimulationSettings(steps=1, report_interval_ps=0.002)
    other = fpforce.load(dimer)
    other.beads.write_pdb(tmp_path / "other.pdb", other.positions_nm)
    with pytest.raises(InputError, match="other.pdb: atom 0 of the topology is ALA CA"):
        simulate(chain, tmp_path / "out.xtc", replace(settings, start=tmp_path / "other.pdb"))


def test_a_mirrored_source_molecule_is_refused(field, mirrored):
    with pytest.raises(InputError, match="mirrored.pdb: ALA2 is a D amino acid"):
        read_start_frame(field, mirrored)


def test_a_model_trained_on_d_residues_starts_from_them(write_field, mirrored):
    field = write_field(training={"recipe": {"data": {"allow_d_residues": True}}})
    positions_nm, _ = read_start_frame(field, mirrored)
    assert positions_nm.shape == (5, 3) and np.isfinite(positions_nm).all()


@pytest.mark.parametrize("index", [500_000, -500_000])
def test_a_frame_beyond_the_end_is_told_the_number_of_frames(field, index):
    with pytest.raises(InputError, match=f"reference.xtc has no frame {index}: it has 21417 frames, 0 to 21416"):
        read_start_frame(field, f"{EXAMPLE / 'reference.xtc'}:{index}", TOPOLOGY)


def test_an_unknown_format_is_refused_in_one_short_line(field, tmp_path):
    (tmp_path / "start.foo").write_text("1")
    with pytest.raises(InputError, match="has extension '.foo'") as refused:
        read_start_frame(field, tmp_path / "start.foo")
    assert len(str(refused.value)) < 300


def test_minimise_removes_the_strain_of_the_start_frame(field, tmp_path):
    # Bonds of the field are harmonic at 0.15 nm; the start frame has every bond stretched to about 0.2 nm.
    strained = 1.35 * field.positions_nm
    settings = SimulationSettings(steps=1, report_interval_ps=0.0001, timestep_fs=0.1, start=strained, minimise=True)
    simulate(field, tmp_path / "out.xtc", settings)
    positions = read_simulation(tmp_path / "out.xtc", field.beads).positions_nm[0, 0]
    lengths = [np.linalg.norm(positions[i] - positions[j]) for i, j in field.beads.bonds]
    np.testing.assert_allclose(lengths, 0.15, atol=2e-3)


def test_overwrite_removes_every_trajectory_of_the_earlier_simulation(field, tmp_path):
    settings = SimulationSettings(steps=1, report_interval_ps=0.001, timestep_fs=1.0, replicas=3, per_replica=True)
    simulate(field, tmp_path / "out.xtc", settings)
    assert (tmp_path / "out.replica2.xtc").exists()
    simulate(field, tmp_path / "out.xtc", replace(settings, replicas=2, overwrite=True))
    assert sorted(path.name for path in tmp_path.glob("*.xtc")) == ["out.replica0.xtc", "out.replica1.xtc"]


def test_the_same_trajectory_twice_is_refused_as_evidence(field, tmp_path):
    with pytest.raises(InputError, match="given twice"):
        fpforce.evaluate(
            field, "reference.xtc", ["a.xtc", tmp_path / ".." / tmp_path.name / "a.xtc", "a.xtc"], output=tmp_path
        )
