"""Chains that no bond joins: taken where they stay together, whole whatever the box did to them, refused where not."""

import importlib.util
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.mapping import map_beads
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.several_chains import whole_beads

spec = importlib.util.spec_from_file_location("dimers", Path(__file__).with_name("dimers.py"))
dimers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dimers)
BEADS = dimers.BEADS


@pytest.fixture(scope="module")
def xyz():
    return dimers.simulated_dimer()


@pytest.fixture
def given(tmp_path, xyz):
    mdtraj.Trajectory(xyz[:1], dimers.dimer_topology()).save(str(tmp_path / "dimer.pdb"))
    return tmp_path / "dimer.pdb"


def distances(xyz):
    i, j = np.triu_indices(2 * BEADS, 1)
    return np.linalg.norm(xyz[:, i] - xyz[:, j], axis=-1)


@pytest.mark.parametrize("shift", [[0.0, 0.0, 0.0], [1.4, 0.2, 0.3], [0.1, 2.9, -0.3]])
def test_dimer_wrapped_bead_by_bead_is_whole_again(xyz, given, tmp_path, shift):
    dimers.wrapped(xyz, 4.2, shift).save(str(tmp_path / "frames.xtc"))
    frames = read_bead_frames(tmp_path / "frames.xtc", given, beads="ca", several_chains=True)
    np.testing.assert_allclose(distances(frames.positions_nm), distances(xyz), atol=4e-3)
    within = {(i, i + 1) for i in range(2 * BEADS - 1)} - {(BEADS - 1, BEADS)}
    assert set(frames.beads.bonds) == within


def test_frames_of_each_file_have_their_images_by_the_same_pair(xyz, given, tmp_path):
    paths = []
    for number, shift in enumerate(([0.0, 0.0, 0.0], [2.0, 2.1, 2.2])):
        paths.append(tmp_path / f"frames{number}.xtc")
        dimers.wrapped(xyz[number::2], 4.2, shift).save(str(paths[-1]))
    frames = read_bead_frames(paths, given, beads="ca", several_chains=True)
    np.testing.assert_allclose(
        distances(frames.positions_nm), distances(np.concatenate([xyz[::2], xyz[1::2]])), atol=4e-3
    )


def test_two_chains_are_refused_unless_they_are_asked_for(xyz, given, tmp_path):
    mdtraj.Trajectory(xyz, dimers.dimer_topology()).save(str(tmp_path / "frames.xtc"))
    with pytest.raises(InputError, match=r"chain [AB].*chain [AB].*not connected.*data.several_chains = true"):
        read_bead_frames(tmp_path / "frames.xtc", given, beads="ca")


def test_chains_that_part_are_refused_with_figures(xyz, given, tmp_path):
    parted = xyz.copy()
    parted[40:43, BEADS:] += [0.0, 0.0, 2.5]
    mdtraj.Trajectory(parted, dimers.dimer_topology()).save(str(tmp_path / "frames.xtc"))
    with pytest.raises(
        InputError,
        match=r"chain A is apart from the others in 3 of 300 frames: its nearest bead is \d\.?\d* nm away in frame 40",
    ):
        read_bead_frames(tmp_path / "frames.xtc", given, beads="ca", several_chains=True)


def test_gap_within_a_chain_is_no_second_chain(xyz, tmp_path):
    """One chain name for both, as in a GRO: the step between them is no bond, and no end of a chain either."""
    topology = mdtraj.Topology()
    chain = topology.add_chain("A")
    for number in range(2 * BEADS):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain, resSeq=number + 1))
    one_name = mdtraj.Trajectory(xyz, topology)
    one_name.save(str(tmp_path / "frames.xtc"))
    one_name[0].save(str(tmp_path / "given.gro"))
    with pytest.raises(InputError, match="residues are missing between them, or they are of two chains"):
        read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.gro", beads="ca", several_chains=True)


def test_report_has_the_distance_of_the_chains(xyz, given, tmp_path):
    mdtraj.Trajectory(xyz, dimers.dimer_topology()).save(str(tmp_path / "frames.xtc"))
    report = read_bead_frames(tmp_path / "frames.xtc", given, beads="ca", several_chains=True).report
    (interface,) = report.interfaces
    between = np.linalg.norm(xyz[:, :BEADS, None] - xyz[:, None, BEADS:], axis=-1).min(axis=(1, 2))
    assert interface.chains == ("A", "B")
    assert interface.shortest_nm == pytest.approx(between.min(), abs=2e-3)
    assert interface.typical_nm == pytest.approx(np.median(between), abs=2e-3)
    assert "chains A and B: nearest beads" in str(report)


def test_table_of_a_model_reads_wrapped_frames_of_its_chains(xyz, given, tmp_path):
    dimers.wrapped(xyz, 4.2, [1.0, 2.0, 3.0]).save(str(tmp_path / "frames.xtc"))
    table = read_bead_frames(tmp_path / "frames.xtc", given, beads="ca", several_chains=True).beads
    again = read_bead_frames(tmp_path / "frames.xtc", given, table=BeadTable.from_dict(table.to_dict()))
    np.testing.assert_allclose(distances(again.positions_nm), distances(xyz), atol=4e-3)


def test_all_atom_dimer_in_a_box_is_whole(tmp_path):
    """Two peptides of all atoms side by side, split by the box, `backbone`."""
    from openmm import app

    from fpforce.reference.peptide import build_peptide

    topology, positions = build_peptide("AGA", app.ForceField("amber99sbildn.xml"), 1)
    one = mdtraj.Topology.from_openmm(topology)
    both = one.join(one)
    rng = np.random.default_rng(0)
    aside = positions + [0.0, 0.0, 1.0 + np.ptp(positions[:, 2])]
    xyz = np.concatenate([positions, aside])[None] + 0.003 * rng.normal(size=(10, both.n_atoms, 3))
    edge = float(np.ptp(xyz[0], axis=0).max()) + 1.3
    box = dict(unitcell_lengths=np.full((10, 3), edge), unitcell_angles=np.full((10, 3), 90.0))
    mdtraj.Trajectory((xyz + [0.3, edge - 0.4, edge - 1.0]) % edge, both, **box).save(str(tmp_path / "frames.xtc"))
    mdtraj.Trajectory(xyz[:1], both).save(str(tmp_path / "given.pdb"))
    frames = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads="backbone", several_chains=True)
    atoms = both.select("name N CA C and resname ALA GLY")
    np.testing.assert_allclose(
        np.linalg.norm(frames.positions_nm[:, 0] - frames.positions_nm[:, -1], axis=-1),
        np.linalg.norm(xyz[:, atoms[0]] - xyz[:, atoms[-1]], axis=-1),
        atol=4e-3,
    )


def test_start_frame_that_the_box_splits_is_whole(xyz, given, tmp_path):
    dimers.wrapped(xyz[:2], 4.2, [1.0, 2.0, 3.0]).save(str(tmp_path / "frames.xtc"))
    table = read_bead_frames(tmp_path / "frames.xtc", given, beads="ca", several_chains=True).beads
    split = dimers.wrapped(xyz[:1], 4.2, [4.0, 3.9, 4.0])
    whole = whole_beads(split.xyz[0], split.unitcell_vectors, table)
    np.testing.assert_allclose(distances(whole[None]), distances(xyz[:1]), atol=1e-5)
    np.testing.assert_array_equal(whole_beads(split.xyz[0], None, table), split.xyz[0])
    tiny = np.eye(3)[None] * 0.1
    np.testing.assert_array_equal(whole_beads(split.xyz[0], tiny, table), split.xyz[0])


def test_box_that_is_smaller_than_a_chain_puts_no_chain_upon_another(xyz, given, tmp_path):
    """A box of 1 nm, of a file that has no true one: longer chains that lie beside each other stay so."""
    line = np.array([[0.36 * i, 0.12 * (i % 2), 0.0] for i in range(BEADS)])
    far = np.concatenate([line, line + [0.0, 0.0, 0.9]]) + 0.005 * np.random.default_rng(0).normal(size=xyz[:50].shape)
    box = dict(unitcell_lengths=np.full((50, 3), 1.0), unitcell_angles=np.full((50, 3), 90.0))
    mdtraj.Trajectory(far, dimers.dimer_topology(), **box).save(str(tmp_path / "frames.xtc"))
    read = read_bead_frames(tmp_path / "frames.xtc", given, beads="ca", several_chains=True)
    np.testing.assert_allclose(distances(read.positions_nm), distances(far), atol=4e-3)
    assert any("nm of one of its molecules; it is ignored" in text for text in read.report.warnings)


def molecules_of_one_chain(places, names=("HST", "GST", "LIP"), frames=4):
    """Chains of five carbons, a residue each, all in one chain of the file and without bonds."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    zigzag = np.array([[0.125 * i, 0.045 * (-1) ** i, 0.0] for i in range(5)])
    for number, name in enumerate(names[: len(places)], start=1):
        residue = topology.add_residue(name, chain, resSeq=number)
        for atom in range(5):
            topology.add_atom(f"C{atom}", mdtraj.element.carbon, residue)
    xyz = np.concatenate([zigzag + place for place in places])
    noise = np.random.default_rng(0).normal(size=(frames, *xyz.shape))
    return mdtraj.Trajectory(xyz + 0.002 * noise, topology)


@pytest.mark.parametrize("choice", ["name C2", {"host": "resname HST", "guest": "resname GST"}])
def test_no_bond_is_assumed_between_molecules_of_one_bead_each(tmp_path, choice):
    both = molecules_of_one_chain([[0.0, 0.0, 0.0], [0.1, 0.0, 0.45]])
    both.save(str(tmp_path / "frames.xtc"))
    both[0].save(str(tmp_path / "given.pdb"))
    with pytest.raises(InputError, match="not connected by bonds.*data.several_chains = true"):
        read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads=choice)
    frames = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads=choice, several_chains=True)
    assert frames.beads.bonds == () and [bead.chain for bead in frames.beads.beads] == ["A", "B"]


def test_gap_between_nucleotides_of_one_bead_each_is_no_bond(tmp_path):
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for number in (1, 2):
        residue = topology.add_residue("DA", chain, resSeq=number)
        for name in ("P", "O5'", "C5'", "C4'", "C3'", "O3'"):
            topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
    with pytest.raises(InputError, match="not connected by bonds"):
        map_beads(topology, "name P")


def test_chains_on_top_of_each_other_are_a_warning(xyz, given, tmp_path):
    on_top = xyz.copy()
    on_top[40:43, BEADS:] = on_top[40:43, :BEADS] + 0.005
    mdtraj.Trajectory(on_top, dimers.dimer_topology()).save(str(tmp_path / "frames.xtc"))
    frames = read_bead_frames(tmp_path / "frames.xtc", given, beads="ca", several_chains=True)
    assert any("they lie on top of each other" in text for text in frames.report.warnings)
    mdtraj.Trajectory(xyz, dimers.dimer_topology()).save(str(tmp_path / "apart.xtc"))
    assert not read_bead_frames(tmp_path / "apart.xtc", given, beads="ca", several_chains=True).report.warnings


def test_guest_within_its_host_is_no_overlap(tmp_path):
    both = molecules_of_one_chain([[0.0, 0.0, 0.0], [0.0, 0.0, 0.07]])
    both.save(str(tmp_path / "frames.xtc"))
    both[0].save(str(tmp_path / "given.pdb"))
    groups = {"host": "resname HST", "guest": "resname GST"}
    frames = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads=groups, several_chains=True)
    assert not frames.report.warnings
