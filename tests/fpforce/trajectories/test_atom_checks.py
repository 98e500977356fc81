"""Bonded atoms are as near as such atoms are, in every file and frame, be they under a bead or within one."""

import mdtraj
import numpy as np
import pytest
from openmm import app

from fpforce.foundation.errors import InputError
from fpforce.reference.peptide import build_peptide
from fpforce.trajectories.atom_checks import ChemicalBonds, check_atom_bonds
from fpforce.trajectories.bead_frames import read_bead_frames

FRAMES = 20
GROUPS = {f"R{number}": f"resid {number}" for number in range(8)}


@pytest.fixture(scope="module")
def peptide():
    """ACE-L-K-S-A-M-F-NME with hydrogens, in frames that differ by 0.003 nm in every coordinate."""
    topology, positions = build_peptide("LKSAMF", app.ForceField("amber99sbildn.xml"), 1)
    noise = np.random.default_rng(1).normal(size=(FRAMES, *positions.shape))
    return mdtraj.Trajectory(positions + 0.003 * noise, mdtraj.Topology.from_openmm(topology))


def files(folder, trajectory, number=1):
    path = folder / f"frames{number}.xtc"
    trajectory.save(str(path))
    return path


def given(folder, trajectory):
    trajectory[0].save(str(folder / "given.pdb"))
    return folder / "given.pdb"


def atom(trajectory, text):
    return next(a.index for a in trajectory.topology.atoms if str(a) == text)


@pytest.mark.parametrize("beads", ["ca", GROUPS], ids=["ca", "groups"])
def test_molecule_that_an_unrecorded_box_tears_in_a_few_frames_is_refused(peptide, tmp_path, beads):
    xyz = peptide.xyz.copy()
    edge = float(np.ptp(xyz[0], axis=0).max()) + 0.5
    xyz -= xyz.min(axis=(0, 1)) - 0.2
    side = atom(peptide, "LEU2-CG")
    for frame in (7, 8):  # the side chain of leucine comes to lie on the other side
        xyz[frame] = (xyz[frame] - xyz[frame, side] + [0.01, 0.5, 0.5]) % edge
    path = files(tmp_path, mdtraj.Trajectory(xyz, peptide.topology))
    with pytest.raises(InputError, match=r"frames1.xtc: in frame 7 \(counted from 0\) the bond .* is .* nm long"):
        read_bead_frames(path, given(tmp_path, peptide), beads=beads, allow_d_residues=True)


@pytest.mark.parametrize("shift_nm", [0.15, 0.5])
@pytest.mark.parametrize("beads", ["ca", "heavy", GROUPS], ids=["ca", "heavy", "groups"])
def test_one_damaged_atom_in_one_frame_of_one_file_is_named(peptide, tmp_path, beads, shift_nm):
    xyz = peptide.xyz.copy()
    xyz[11, atom(peptide, "LYS3-CE")] += shift_nm
    paths = [files(tmp_path, peptide, 1), files(tmp_path, mdtraj.Trajectory(xyz, peptide.topology), 2)]
    with pytest.raises(InputError, match=r"frames2.xtc: in frame 11 .*the bond LYS3-\w+ - LYS3-\w+ is 0\.\d+ nm long"):
        read_bead_frames(paths, given(tmp_path, peptide), beads=beads)


@pytest.mark.parametrize("pair", [("LYS3-CG", "LYS3-CE"), ("MET6-SD", "MET6-CE"), ("LEU2-CB", "LEU2-CG")])
@pytest.mark.parametrize("beads", ["heavy", "ca", GROUPS], ids=["heavy", "ca", "groups"])
def test_atoms_exchanged_between_topology_and_trajectory_are_found(peptide, tmp_path, beads, pair):
    first, second = (atom(peptide, name) for name in pair)
    xyz = peptide.xyz.copy()
    xyz[:, [first, second]] = xyz[:, [second, first]]
    heavy = peptide.topology.select("element != H")
    exchanged = mdtraj.Trajectory(xyz, peptide.topology).atom_slice(heavy)
    topology = given(tmp_path, peptide.atom_slice(heavy))
    with pytest.raises(
        InputError, match=r"the bond .* is typically 0\.\d+ nm long.*in another order than the trajectory"
    ):
        read_bead_frames(files(tmp_path, exchanged), topology, beads=beads)


def test_heavy_atoms_in_order_are_taken(peptide, tmp_path):
    heavy = peptide.atom_slice(peptide.topology.select("element != H"))
    assert len(read_bead_frames(files(tmp_path, heavy), given(tmp_path, heavy), beads="heavy")) == FRAMES


def test_bond_of_the_topology_that_the_trajectory_has_not_is_named(peptide, tmp_path):
    topology = given(tmp_path, peptide)
    first, second = atom(peptide, "SER4-OG") + 1, atom(peptide, "MET6-CE") + 1
    text = topology.read_text().replace("END\n", f"CONECT{first:5d}{second:5d}\nEND\n")
    topology.write_text(text)
    with pytest.raises(InputError, match=r"the bond SER4-OG - MET6-CE is typically .* or has a bond too many"):
        read_bead_frames(files(tmp_path, peptide), topology, beads="ca")


def test_beads_that_a_topology_lists_as_atoms_have_the_bonds_of_beads(tmp_path):
    topology = mdtraj.Topology()
    chain, rng = topology.add_chain("A"), np.random.default_rng(0)
    places, pairs = [], []
    for number in range(6):
        residue = topology.add_residue("LEU", chain, resSeq=number + 1)
        for name, place in (("CA", [0.38 * number, 0.0, 0.0]), ("SC", [0.38 * number, 0.26, 0.0])):
            topology.add_atom(name, mdtraj.element.carbon, residue)
            places.append(place)
        pairs += [(2 * number, 2 * number + 1)] + ([(2 * number - 2, 2 * number)] if number else [])
    for i, j in pairs:
        topology.add_bond(topology.atom(i), topology.atom(j))
    xyz = np.array(places) + 0.01 * rng.normal(size=(FRAMES, 12, 3))
    trajectory = mdtraj.Trajectory(xyz, topology)
    assert set(read_bead_frames(files(tmp_path, trajectory), topology, beads="all").beads.bonds) == set(pairs)


def test_one_ca_far_off_in_one_frame_is_found_where_only_ca_are_read(peptide, tmp_path):
    carbons = peptide.atom_slice(peptide.topology.select("name CA"))
    xyz = carbons.xyz.copy()
    xyz[5, 2] += 0.8 * (xyz[5, 2] - xyz[5].mean(0)) / np.linalg.norm(xyz[5, 2] - xyz[5].mean(0))
    moved = mdtraj.Trajectory(xyz, carbons.topology)
    with pytest.raises(InputError, match=r"in frame 5 .* the bond .*-CA - .*-CA is .* nm long"):
        read_bead_frames(files(tmp_path, moved), given(tmp_path, carbons), beads="ca")


def test_frames_of_a_simulation_are_judged_and_not_refused(peptide, tmp_path):
    carbons = peptide.atom_slice(peptide.topology.select("name CA"))
    table = read_bead_frames(files(tmp_path, carbons), given(tmp_path, carbons), beads="ca").beads
    xyz = carbons.xyz.copy()
    xyz[5, -1] += 0.2 * (xyz[5, -1] - xyz[5, -2]) / np.linalg.norm(xyz[5, -1] - xyz[5, -2])
    stretched = files(tmp_path, mdtraj.Trajectory(xyz, table.to_mdtraj()), 3)
    assert len(read_bead_frames(stretched, table=table)) == FRAMES


def test_bonds_that_names_imply_keep_their_range_among_beads(peptide):
    """Most bonds of these sites are no chemical ones; N - CA, which names imply, is held to its own."""
    names = {(0, 1): "names", (1, 2): "topology", (2, 3): "topology"}
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain("A"), resSeq=1)
    for name in ("N", "CA", "S1", "S2"):
        topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
    xyz = np.zeros((FRAMES, 4, 3), dtype=np.float32)
    xyz[:, :, 0] = [0.0, 0.146, 0.45, 0.8]
    bonds = ChemicalBonds.of(topology, names)
    check_atom_bonds(xyz, bonds, "given.xtc", 1)
    xyz[3, 0, 0] = -0.1
    with pytest.raises(InputError, match="in frame 30 .* the bond X1-N - X1-CA is 0.246 nm long"):
        check_atom_bonds(xyz, bonds, "given.xtc", 10)
