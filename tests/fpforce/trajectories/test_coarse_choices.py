"""Few beads of many atoms: bonds between them follow from the atoms' own, however long, and what is skipped is said."""

import importlib.util
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.molecule.atom_bonds import complete_bonds
from fpforce.molecule.bonding import LINK
from fpforce.molecule.mapping import choose_beads
from fpforce.trajectories.bead_frames import read_bead_frames

spec = importlib.util.spec_from_file_location("field_inputs", Path(__file__).with_name("field_inputs.py"))
field_inputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(field_inputs)
built, files = field_inputs.built, field_inputs.files


@pytest.fixture(scope="module")
def peptide():
    return built("GADKEYRCHA")


@pytest.fixture(scope="module")
def long_peptide():
    return built("A" * 14)


@pytest.mark.parametrize("choice", ["name CA and resid 1 5 9 13", {f"b{i}": f"resid {i}" for i in (1, 4, 7, 10, 13)}])
def test_every_fourth_residue_may_be_a_bead(long_peptide, tmp_path, choice):
    frames = read_bead_frames(*files(tmp_path, long_peptide), beads=choice)
    assert frames.beads.bonds == tuple((i, i + 1) for i in range(len(frames.beads) - 1))
    assert max(bond.longest_nm for bond in frames.report.bonds) > 0.9
    assert any("are amino acids without a bead" in text for text in frames.report.warnings)


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_wrong_unit_of_a_coarse_choice_is_still_refused(long_peptide, tmp_path, factor):
    wrong = mdtraj.Trajectory(long_peptide.xyz * factor, long_peptide.topology)
    wrong.save(str(tmp_path / "frames.trr"))
    long_peptide[0].save(str(tmp_path / "given.pdb"))
    with pytest.raises(InputError, match="nm long"):
        read_bead_frames(tmp_path / "frames.trr", tmp_path / "given.pdb", beads="name CA and resid 1 5 9 13")


@pytest.mark.parametrize("choice", ["ca", "backbone"])
def test_residue_of_the_chain_that_has_no_backbone_by_name_is_a_warning(peptide, tmp_path, choice):
    topology = peptide.topology.copy()
    topology._bonds = []
    residue = topology.residue(4)
    residue.name = "CRO"
    for atom in residue.atoms:
        atom.name = {"N": "N1", "CA": "CA1", "C": "C3"}.get(atom.name, atom.name)
    frames = read_bead_frames(*files(tmp_path, mdtraj.Trajectory(peptide.xyz, topology)), beads=choice)
    (warning,) = frames.report.warnings
    assert f"CRO{residue.resSeq} is a part of the chain without a bead" in warning
    assert str(next(group for group in frames.report.left_out if "CRO" in group.residues)).endswith("no atom chosen")


def test_long_side_chains_that_are_bonded_are_a_link():
    peptide = built("AEGGGGKA")
    atoms = {str(atom): atom for atom in peptide.topology.atoms}
    ends = [next(atom for name, atom in atoms.items() if name.endswith(end)) for end in ("-CD", "-NZ")]
    assert [end.residue.name for end in ends] == ["GLU", "LYS"]
    topology = peptide.topology.copy()
    topology.add_bond(*(topology.atom(end.index) for end in ends))
    choice = choose_beads(complete_bonds(topology), "ca")
    beads = [bead.residue for bead in choice.table.beads]
    assert choice.sources[beads.index("GLU"), beads.index("LYS")] == LINK
    assert sum(source == LINK for source in choice.sources.values()) == 1


def test_nucleotide_that_is_left_out_is_not_said_to_lack_a_backbone(tmp_path):
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for number in range(3):
        residue = topology.add_residue("DA", chain, resSeq=number + 1)
        for name in ("P", "O5'", "C5'", "C4'", "C3'", "O3'")[number == 0 :]:
            topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
    xyz = [[[0.14 * i, 0.03 * (i % 2), 0.0] for i in range(topology.n_atoms)]] * 3
    frames = read_bead_frames(*files(tmp_path, mdtraj.Trajectory(xyz, topology)), beads="name P")
    assert [str(group) for group in frames.report.left_out] == ["1 DA: bonded to the beads, but no atom chosen"]


@pytest.mark.filterwarnings("error::RuntimeWarning:fpforce")
def test_chain_copied_onto_another_is_refused_as_that(peptide, tmp_path):
    twice = peptide.stack(peptide)
    twice.save(str(tmp_path / "frames.xtc"))
    twice[0].save(str(tmp_path / "given.pdb"))
    with pytest.raises(InputError, match="both lie in one place"):
        read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads="ca", several_chains=True)


@pytest.mark.parametrize("name, between", [("CD", "CD3, CD6"), ("W", "W3, W6"), ("CE", None)])
def test_beads_that_are_called_as_ions_are_not_passed_over_in_silence(tmp_path, name, between):
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for number, bead in enumerate(["CB", "CC", name] * 3, start=1):
        topology.add_atom(bead, mdtraj.element.carbon, topology.add_residue(bead, chain, resSeq=number))
    places = np.array([[0.33 * k, 0.2 * (k % 2), 0.0] for k in range(9)])
    xyz = places + 0.01 * np.random.default_rng(0).normal(size=(12, 9, 3))
    frames = read_bead_frames(*files(tmp_path, mdtraj.Trajectory(xyz, topology), "given.gro"), beads="all")
    said = [text for text in frames.report.warnings if "water or ions by their names" in text]
    assert len(said) == (between is not None)
    assert between is None or said[0].startswith("2 of the assumed bonds lead across") and f"({between})" in said[0]
