"""Peptides from force field templates: all atoms, L, trans, with caps or charged ends; and the same from a PDB."""

import importlib.util

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app

from fpforce.foundation.errors import InputError
from fpforce.molecule.chirality import chiral_residues, d_residues
from fpforce.reference.make import Molecule
from fpforce.reference.peptide import THREE_LETTERS, build_peptide
from fpforce.reference.protocol import FORCE_FIELD, load_force_field
from fpforce.reference.structure import one_letter_codes, read_structure

# Atoms of ACE and NME, and of each residue in ff99SB: 6 + 6 and, for GLY 7, ALA 10, ... TRP 24 (histidine neutral).
CAP_ATOMS = 12
RESIDUE_ATOMS = dict(
    A=10,
    R=24,
    N=14,
    D=12,
    C=11,
    Q=17,
    E=15,
    G=7,
    H=17,
    I=19,
    L=19,
    K=22,
    M=17,
    F=20,
    P=14,
    S=11,
    T=14,
    W=24,
    Y=21,
    V=16,
)


@pytest.fixture(scope="module")
def force_field():
    return load_force_field(FORCE_FIELD)


def as_trajectory(topology, positions_nm):
    return mdtraj.Trajectory(positions_nm[None], mdtraj.Topology.from_openmm(topology))


@pytest.mark.parametrize("letter", THREE_LETTERS)
def test_capped_amino_acid_is_l_and_trans_with_all_atoms(letter, force_field):
    topology, positions_nm = build_peptide(letter, force_field, 2)
    built = as_trajectory(topology, positions_nm)
    assert built.n_atoms == CAP_ATOMS + RESIDUE_ATOMS[letter]
    assert len(chiral_residues(built.topology)) == (letter != "G")
    assert d_residues(built.xyz, built.topology) == []
    assert np.all(np.abs(mdtraj.compute_omega(built)[1]) > np.radians(140))
    names = [residue.name for residue in built.topology.residues]
    assert names == ["ACE", "HIS" if letter == "H" else THREE_LETTERS[letter], "NME"]


def test_uncapped_ends_are_charged(force_field):
    topology, _ = build_peptide("AYS", force_field, 1, capped=False)
    first, middle, last = ({atom.name for atom in residue.atoms()} for residue in topology.residues())
    assert {"H1", "H2", "H3"} <= first and "OXT" in last and "H" in middle
    system = force_field.createSystem(topology)
    nonbonded = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    per_atom = [nonbonded.getParticleParameters(i)[0]._value for i in range(topology.getNumAtoms())]
    atoms = [list(residue.atoms()) for residue in topology.residues()]
    # N-terminal residue +1, C-terminal residue -1, between them neutral.
    assert [round(sum(per_atom[a.index] for a in residue), 3) for residue in atoms] == [1.0, 0.0, -1.0]


def test_extended_start_is_extended(force_field):
    built = as_trajectory(*build_peptide("AVL", force_field, 1, extended=True))
    for angles, wanted in ((mdtraj.compute_phi(built), -120.0), (mdtraj.compute_psi(built), 140.0)):
        # Minimisation moves the torsions within the beta basin, which is some 50 degrees wide.
        assert np.all(np.abs((np.degrees(angles[1]) - wanted + 180) % 360 - 180) < 60)


@pytest.mark.parametrize(
    "sequence, capped, message",
    [("AX", True, "'X' is no amino acid"), ("", True, "is no amino acid"), ("A", False, "a single amino acid")],
)
def test_builder_refuses(sequence, capped, message, force_field):
    with pytest.raises(InputError, match=message):
        build_peptide(sequence, force_field, 1, capped=capped)


@pytest.fixture(scope="module")
def peptide(force_field):
    return build_peptide("AKS", force_field, 3)


@pytest.mark.skipif(importlib.util.find_spec("pdbfixer") is None, reason="pdbfixer is not installed")
class TestPdb:
    """Reading a PDB of ACE-AKS-NME, as it is and spoiled."""

    @pytest.fixture
    def write(self, peptide, tmp_path):
        def write_lines(change=lambda line: line, extra=(), mirror=False):
            path = tmp_path / "input.pdb"
            topology, positions_nm = peptide
            with open(path, "w") as file:
                app.PDBFile.writeFile(topology, 10 * positions_nm * np.array([-1 if mirror else 1, 1, 1]), file)
            lines = [line for line in path.read_text().splitlines() if not line.startswith(("CONECT", "END", "TER"))]
            changed = [change(line) for line in lines]
            path.write_text("\n".join([*filter(None, changed), *extra, "END", ""]))
            return path

        return write_lines

    def test_missing_atoms_are_repaired_and_all_others_stay(self, peptide, write, force_field, caplog):
        caplog.set_level("INFO", "fpforce")
        lost = ("CG", "CD", "CE", "NZ")
        path = write(
            lambda line: None if line[17:20] == "LYS" and line[12:16].strip() in lost else line,
            ["HETATM  900  O   HOH W   1      30.000  30.000  30.000  1.00  0.00           O"],
        )
        topology, positions_nm = read_structure(path, force_field)
        assert one_letter_codes(topology) == ("AKS", True)
        assert topology.getNumAtoms() == peptide[0].getNumAtoms()
        assert "CG, CD, CE, NZ added" in caplog.text and "1 HOH dropped" in caplog.text
        before = {(a.residue.index, a.name): peptide[1][a.index] for a in peptide[0].atoms()}
        for atom in topology.atoms():
            if atom.element.symbol != "H" and atom.name not in lost:
                np.testing.assert_allclose(positions_nm[atom.index], before[atom.residue.index, atom.name], atol=1e-4)

    @pytest.mark.parametrize("capped", [True, False])
    def test_ends_can_be_chosen(self, write, force_field, capped):
        topology, _ = read_structure(write(), force_field, capped)
        assert one_letter_codes(topology) == ("AKS", capped)

    def test_the_same_file_gives_the_same_positions_of_hydrogens_too(self, write, force_field):
        path = write()
        np.testing.assert_array_equal(*(read_structure(path, force_field)[1] for _ in range(2)))

    def test_a_pdb_gives_the_start_of_a_sequence(self, write, force_field):
        molecule = Molecule("AKS", force_field, True, 1)
        start = as_trajectory(molecule.topology, molecule.start_positions(str(write()), 1))
        assert d_residues(start.xyz, start.topology) == []
        built = as_trajectory(*build_peptide("AKS", force_field, 3))
        # The file is an energy minimum already, so its torsions stay.
        difference = mdtraj.compute_phi(start)[1] - mdtraj.compute_phi(built)[1]
        assert np.all(np.abs(np.sin(difference / 2)) < np.sin(np.radians(10)))

    def test_another_molecule_is_no_start(self, write, force_field):
        with pytest.raises(InputError, match="is another molecule"):
            Molecule("AKA", force_field, True, 1).start_positions(str(write()), 1)

    @pytest.mark.parametrize(
        "spoil, message",
        [
            (dict(change=lambda line: line.replace("LYS", "MSE")), "residue MSE 3 of chain A is none of the 20"),
            (
                dict(change=lambda line: line[:21] + "B" + line[22:] if line[17:20] == "NME" else line),
                "2 protein chains",
            ),
            (dict(change=lambda line: None if line[17:20] == "LYS" else line), "gap between ALA 2 and SER 4"),
            (dict(mirror=True), "is a D amino acid"),
        ],
    )
    def test_what_cannot_be_repaired_is_refused(self, write, force_field, spoil, message):
        with pytest.raises(InputError, match=message):
            read_structure(write(**spoil), force_field)

    def test_a_missing_file_is_named(self, force_field, tmp_path):
        with pytest.raises(InputError, match="nowhere.pdb: no such file"):
            read_structure(tmp_path / "nowhere.pdb", force_field)
