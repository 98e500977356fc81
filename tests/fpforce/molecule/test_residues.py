"""What is solvent and what is a bead, where both have the same names."""

import mdtraj
import pytest

from fpforce.foundation.errors import InputError
from fpforce.molecule.elements import correct_elements
from fpforce.molecule.mapping import map_beads
from fpforce.molecule.presets import all_atoms
from fpforce.molecule.residues import is_solvent


def strand(residues, atom="CA", symbol="C", bonded=False):
    """A residue of one atom for each letter, in one chain."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for number, name in enumerate(residues, start=1):
        residue = topology.add_residue(name, chain, resSeq=number)
        topology.add_atom(atom or name, mdtraj.element.get_by_symbol(symbol), residue)
    for number in range(topology.n_atoms - 1) if bonded else ():
        topology.add_bond(topology.atom(number), topology.atom(number + 1))
    return topology


@pytest.mark.parametrize("sequence", ["ACDKSFCG", "KAAAAAAK", "WAAAAAAI", "KKKK", "FIWK"])
@pytest.mark.parametrize("choice", ["ca", "all", "heavy"])
def test_residues_of_one_letter_have_all_their_beads(sequence, choice):
    table = map_beads(strand(sequence), choice)
    assert [bead.residue for bead in table.beads] == list(sequence)
    assert len(table.bonds) == len(sequence) - 1


def test_guessed_calcium_of_a_residue_called_k_is_carbon():
    topology = strand("AKF", symbol="Ca")
    assert len(correct_elements(topology, range(topology.n_atoms))) == 3
    assert {atom.element.symbol for atom in topology.atoms} == {"C"}


@pytest.mark.parametrize(
    "residue, atom, symbol",
    [
        ("ZN", "ZN", "Zn"),
        ("ZN2", "ZN", "Zn"),
        ("MN", "MN", "Mn"),
        ("FE", "FE1", "Fe"),
        ("CU2", "CU", "Cu"),
        ("CD2", "CD", "Cd"),
        ("NI", "NI", "Ni"),
        ("SOD", "SOD", "Na"),  # names of CHARMM
        ("CLA", "CLA", "Cl"),
        ("POT", "POT", "K"),
        ("CAL", "CAL", "Ca"),
        ("CES", "CES", "Cs"),
        ("LIT", "LIT", "Li"),
        ("RUB", "RUB", "Rb"),
        ("BAR", "BAR", "Ba"),
        ("CAD", "CAD", "Cd"),
        ("NA", "NA", "Na"),
        ("NA+", "NA+", "Na"),
        ("CL-", "Cl-", "Cl"),
        ("CA2+", "CA", "Ca"),
        ("ION", "NA", "Na"),
        ("ION", "SOD", "Na"),
        ("ION", "CD2+", "Cd"),
        ("CIO", "Cs+", "Cs"),
        ("IOD", "I", "I"),
        ("IB", "IB", "guess"),
        ("DUM", "ZN", "guess"),
        ("W", "W", "guess"),
    ],
)
@pytest.mark.parametrize("guess", ["VS", "C", "S"])
def test_ion_has_the_element_of_its_name_where_the_file_has_none(residue, atom, symbol, guess):
    topology = strand([residue], atom, guess)
    assert not correct_elements(topology, range(topology.n_atoms))  # nothing that the file says
    assert topology.atom(0).element.symbol == (guess if symbol == "guess" else symbol)
    assert symbol == "guess" or is_solvent(topology.residue(0))
    stated = strand([residue], atom, guess)  # by a file that has elements
    assert not correct_elements(stated) and stated.atom(0).element.symbol == guess


def test_bead_of_a_strand_has_no_element_of_an_ion():
    topology = strand(["CO", "NI", "K"], atom=None, symbol="C", bonded=True)
    correct_elements(topology, range(topology.n_atoms))
    assert {atom.element.symbol for atom in topology.atoms} == {"C"}


@pytest.mark.parametrize("choice", ["all", "heavy"])
def test_beads_of_no_element_are_not_passed_over(choice):
    """As Q1 between C1 and C2 of a file without elements: others would be joined across it."""
    topology = strand(["POL"] * 6)
    for number in (1, 2, 5):
        topology.atom(number).element = mdtraj.element.virtual
    with pytest.raises(InputError, match="POL2-CA, POL3-CA: beads whose names are of no element"):
        map_beads(topology, choice)
    for number in (1, 2):
        topology.add_atom("C", mdtraj.element.carbon, topology.residue(number))
    molecule = [atom.index for atom in topology.atoms if atom.element.symbol == "C"]
    assert all_atoms(topology) == molecule  # sites of residues of atoms, and at the end


def test_atom_without_a_name_is_a_site():
    topology = strand(["ALA"], "CA")
    for name in ("N", "C", ""):
        topology.add_atom(name, mdtraj.element.virtual, topology.residue(0))
    correct_elements(topology, range(topology.n_atoms))
    assert [atom.element.symbol for atom in topology.atoms] == ["C", "N", "C", "VS"]


@pytest.mark.parametrize("sequence", ["KWFI", "KKKK"])
def test_beads_that_are_bonded_to_one_another_are_no_ions(sequence):
    assert not any(map(is_solvent, strand(sequence, atom=None, bonded=True).residues))
    assert all(map(is_solvent, strand(sequence, atom=None).residues))


@pytest.mark.parametrize(
    "residue, atom, symbol",
    [
        ("K", "K", "K"), ("K+", "K", "K"), ("CL-", "CL", "Cl"), ("SOD", "SOD", "S"), ("NA", "SOD", "S"),
        ("CLA", "CLA", "C"), ("CA", "CA", "Ca"), ("CA2+", "CA", "Ca"), ("CAL", "CAL", "C"), ("ION", "CA", "Ca"),
        ("CIO", "Cs+", "Cs"), ("IB", "IB", "I"), ("ZN2", "ZN", "Zn"), ("CU1+", "CU", "Cu"), ("I", "IOD", "I"),
        ("ION", "NA+", "Na"), ("W", "W", "VS"), ("HOH", "O", "O"),
    ],
)  # fmt: skip
def test_ions_and_water_are_solvent_by_every_name(residue, atom, symbol):
    assert is_solvent(strand([residue], atom, symbol).residue(0))


def test_ion_that_is_bonded_to_a_protein_or_to_crystal_water_is_one():
    topology = strand(["K", "HOH"], atom=None, symbol="K", bonded=True)
    chelate = topology.add_residue("ASP", topology.add_chain())
    for name in ("OD1", "OD2"):
        topology.add_bond(topology.atom(0), topology.add_atom(name, mdtraj.element.oxygen, chelate))
    assert is_solvent(topology.residue(0)) and is_solvent(topology.residue(1))


@pytest.mark.parametrize("residue, atom", [("I", "P"), ("I", "C1'"), ("K", "BB"), ("F", "CB")])
def test_atom_that_is_no_ions_is_none_whatever_its_residue_is_called(residue, atom):
    assert not is_solvent(strand([residue], atom, atom[0]).residue(0))


def test_ion_with_a_drude_particle_is_one():
    topology = strand(["POT"], "POT", "K")
    topology.add_atom("DPOT", mdtraj.element.virtual, topology.residue(0))
    assert is_solvent(topology.residue(0))
    topology.atom(0).element = mdtraj.element.phosphorus  # as a reader takes POT for
    correct_elements(topology, range(topology.n_atoms))
    assert [atom.element.symbol for atom in topology.atoms] == ["K", "VS"]
