"""Residues with atoms N, CA and C that are no alpha-amino acids, or of which one is a whole peptide."""

import importlib.util
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.molecule.atom_bonds import complete_bonds
from fpforce.molecule.bonds_by_distance import SampleFrames
from fpforce.molecule.misnamed import off_the_backbone
from fpforce.trajectories.bead_frames import read_bead_frames

spec = importlib.util.spec_from_file_location("field_inputs", Path(__file__).with_name("field_inputs.py"))
field_inputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(field_inputs)
built, files, zigzag = field_inputs.built, field_inputs.files, field_inputs.zigzag
GLYCINE = ("GLY", "N CA C")
BETA = {"BAL": "N CB CA C", "B3A": "N CB CA C", "STA": "N CA CH CM C"}


def beta_peptide(name):
    """Glycine, a beta- or gamma-amino acid, glycine."""
    return zigzag([GLYCINE, (name, BETA[name]), GLYCINE], {(number, "C"): "O" for number in range(3)})


@pytest.mark.parametrize("name", BETA)
@pytest.mark.parametrize("listed", [False, True])
def test_carbons_between_n_ca_and_c_are_bonded_as_they_lie(tmp_path, name, listed):
    trajectory = beta_peptide(name)
    if listed:
        trajectory.topology = complete_bonds(trajectory.topology, SampleFrames(trajectory.xyz)).topology
    paths = files(tmp_path, trajectory)
    assert read_bead_frames(*paths, beads="ca").beads.bonds == ((0, 1), (1, 2))
    table = read_bead_frames(*paths, beads="heavy").beads
    assert len(table.bonds) == len(table) - 1
    inside = [{table.beads[end].name for end in pair} for pair in table.bonds]
    chain = BETA[name].split()
    assert all({first, second} in inside for first, second in zip(chain[:-1], chain[1:], strict=True))


@pytest.mark.parametrize("beads", ["backbone", "heavy"])
def test_beads_of_the_backbone_of_a_beta_amino_acid_are_read(tmp_path, beads):
    table = read_bead_frames(*files(tmp_path, beta_peptide("BAL")), beads=beads).beads
    assert len(table.bonds) == len(table) - 1


def test_torn_amino_acid_of_another_name_is_refused(tmp_path):
    torn = zigzag([GLYCINE, ("NLE", "N CA C"), GLYCINE], {(number, "C"): "O" for number in range(3)})
    torn.xyz[:, 6:] += np.array([0.6, 0.0, 0.0], dtype=np.float32)
    with pytest.raises(InputError, match="the bond NLE2-CA - NLE2-C is typically 0.7"):
        read_bead_frames(*files(tmp_path, torn), beads="heavy")


def test_ca_to_ca_across_an_isopeptide_bond_may_be_longer_than_half_a_nanometre(tmp_path):
    residues = [GLYCINE, ("IAS", "N CA CB CG"), GLYCINE]
    trajectory = zigzag(residues, {(0, "C"): "O", (1, "CA"): "C HA", (1, "CG"): "OD1", (2, "C"): "O"})
    trajectory.xyz[:, 11:, 0] -= 0.015
    trajectory.xyz[5, 11:, 0] += 0.03
    table = read_bead_frames(*files(tmp_path, trajectory), beads="ca", allow_d_residues=True).beads
    assert table.bonds == ((0, 1), (1, 2))


def test_isopeptide_bond_between_neighbours_is_no_gap(tmp_path):
    """Of gamma-glutamate, as in glutathione: C of its own carboxyl group is far from the next N."""
    trajectory = zigzag([("GGL", "N CA CB CG CD"), GLYCINE], {(0, "CA"): "C HA", (0, "CD"): "OE1", (1, "C"): "O"})
    frames = read_bead_frames(*files(tmp_path, trajectory), beads="ca", allow_d_residues=True)
    assert frames.beads.bonds == ((0, 1),) and not frames.report.warnings


def test_ca_to_ca_across_a_peptide_bond_may_not(tmp_path):
    trajectory = zigzag([GLYCINE] * 3, {(number, "C"): "O" for number in range(3)})
    trajectory.xyz[5, 6:, 0] += 0.15
    with pytest.raises(InputError, match="in frame 5 .* the bond GLY2-CA - GLY3-CA is 0.5"):
        read_bead_frames(*files(tmp_path, trajectory), beads="ca")


ACHIRAL = {
    "dehydroalanine": ("DHA", "CB HB1 HB2"),
    "dehydroalanine without hydrogens": ("DHA", "CB"),
    "Aib": ("AIB", "CG CB"),
    "sarcosine": ("SAR", "HA HA3"),
}


@pytest.mark.parametrize("kind", ACHIRAL)
def test_residue_whose_ca_has_no_four_different_neighbours_has_no_hand(tmp_path, kind):
    name, branch = ACHIRAL[kind]
    oxygens = {(number, "C"): "O" for number in range(3)}
    trajectory = zigzag([GLYCINE, (name, "N CA C"), GLYCINE], {(1, "CA"): branch, **oxygens})
    for hand in (1.0, -1.0):
        trajectory.xyz *= np.array([1.0, 1.0, hand], dtype=np.float32)
        assert len(read_bead_frames(*files(tmp_path, trajectory), beads="ca").beads) == 3


@pytest.mark.parametrize("hand", [1.0, -1.0])
def test_alpha_amino_acid_of_any_name_is_judged(tmp_path, hand):
    peptide = field_inputs.renamed(built("GAEKG"), 3, "XYZ")
    peptide.xyz *= np.array([1.0, 1.0, hand], dtype=np.float32)
    others = {atom.index for atom in peptide.topology.atoms if atom.name in ("CB", "HA") and atom.residue.index != 3}
    judged = peptide.atom_slice([i for i in range(peptide.n_atoms) if i not in others])
    if hand > 0:
        report = read_bead_frames(*files(tmp_path, judged), beads="ca").report
        assert report.chirality.startswith("1 residue found L")
    else:
        with pytest.raises(InputError, match="XYZ4 is a D amino acid in 12 of 12 frames"):
            read_bead_frames(*files(tmp_path, judged), beads="ca")


def test_peptide_that_is_one_residue_has_the_bonds_of_its_atoms(tmp_path):
    peptide = built("GADKEYRCHA")
    topology = mdtraj.Topology()
    whole = topology.add_residue("UNL", topology.add_chain("A"), resSeq=1)
    for atom in peptide.topology.atoms:
        topology.add_atom(atom.name, atom.element, whole)
    single = mdtraj.Trajectory(peptide.xyz, topology)
    found = complete_bonds(topology, SampleFrames(peptide.xyz[:3])).sources
    assert set(found) == {tuple(sorted((a.index, b.index))) for a, b in peptide.topology.bonds}
    table = read_bead_frames(*files(tmp_path, single), beads="name CA").beads
    assert table.bonds == tuple((i, i + 1) for i in range(9))


def exchanged(peptide, number, names_alone, name="XYZ"):
    """The peptide with CA and CB of a residue in each other's place: their names alone, or atoms with their names."""
    topology, order = mdtraj.Topology(), []
    chain = topology.add_chain("A")
    for residue in peptide.topology.residues:
        atoms = list(residue.atoms)
        names = [atom.name for atom in atoms]
        if residue.index == number:
            i, j = names.index("CA"), names.index("CB")
            names[i], names[j] = names[j], names[i]
            if not names_alone:
                atoms[i], atoms[j] = atoms[j], atoms[i]
        added = topology.add_residue(name if residue.index == number else residue.name, chain, resSeq=residue.resSeq)
        for atom, own in zip(atoms, names, strict=True):
            topology.add_atom(own, atom.element, added)
            order.append(atom.index)
    return mdtraj.Trajectory(peptide.xyz[:, order], topology)


@pytest.mark.parametrize("topology_name", ["given.pdb", "given.gro"])
@pytest.mark.parametrize("name", ["XYZ", "ALA"])
@pytest.mark.parametrize("beads", ["ca", "backbone", "heavy", {"a": "resid 1", "b": "resid 2", "c": "resid 3 to 5"}])
def test_names_and_not_the_order_of_atoms_say_which_is_ca(tmp_path, topology_name, name, beads):
    peptide = built("LKAKL")
    right = read_bead_frames(*files(tmp_path, peptide, topology_name), beads=beads)
    found = read_bead_frames(*files(tmp_path, exchanged(peptide, 3, False, name), topology_name), beads=beads)
    places = {(bead.residue_index, bead.name): place for place, bead in enumerate(found.beads.beads)}
    order = [places[bead.residue_index, bead.name] for bead in right.beads.beads]
    np.testing.assert_allclose(found.positions_nm[:, order], right.positions_nm, atol=2e-3)
    back = {place: bead for bead, place in enumerate(order)}
    assert {tuple(sorted((back[i], back[j]))) for i, j in found.beads.bonds} == set(right.beads.bonds)
    assert not found.report.warnings


@pytest.mark.parametrize("name, bonds, words", [
    ("FOL", "C11-C C-O C-N N-HN N-CA CA-CB CA-CT", None),
    ("5AU", "C5-C C-N N-CA N-HN CA-HA", None),
    ("BAL", "N-CB CB-CA CA-C C-O", None),
    ("PRO", "N-CA CA-C C-O CA-CB CB-CG CG-CD CD-N", None),
    ("XYZ", "N-C C-CA CA-O C-CB", "but nothing is"),  # C and CA exchanged
    ("XYZ", "N-CB CB-C CB-CA C-O N-CN", "but CB is"),
])  # fmt: skip
def test_carbon_of_an_amide_is_no_exchanged_ca(name, bonds, words):
    """As in force fields: of folate N, CA and CT are those of an amino acid, and C is of another."""
    topology = mdtraj.Topology()
    residue = topology.add_residue(name, topology.add_chain())
    atoms = {atom: None for bond in bonds.split() for atom in bond.split("-")}
    for atom in atoms:
        atoms[atom] = topology.add_atom(atom, mdtraj.element.get_by_symbol(atom[0]), residue)
    for bond in bonds.split():
        topology.add_bond(*(atoms[atom] for atom in bond.split("-")))
    lines = off_the_backbone(topology, range(topology.n_atoms))
    assert not lines if words is None else words in lines[0]


@pytest.mark.parametrize("beads", ["ca", "backbone", "heavy"])
def test_ca_that_is_not_between_n_and_c_is_said(tmp_path, beads):
    """As where the topology lists the atoms of a residue that nobody knows in another order than the trajectory."""
    peptide = exchanged(built("LKAKL"), 3, names_alone=True)
    frames = read_bead_frames(*files(tmp_path, peptide, "given.gro"), beads=beads)
    (line,) = frames.report.warnings
    assert line.startswith("the bead XYZ4-CA is not between N and C of its residue by the bonds that the frames show")
    assert "but CB is: " in line and "in another order than the trajectory" in line
    with pytest.raises(InputError, match="in another order than the trajectory"):  # whose bonds everybody knows
        read_bead_frames(*files(tmp_path, exchanged(built("LKAKL"), 3, True, "ALA"), "given.gro"), beads=beads)
