"""What is wrong with an input is said where it is wrong, with what was likely meant."""

import mdtraj
import numpy as np
import pytest
from openmm import app

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable
from fpforce.molecule.mapping import map_beads
from fpforce.molecule.selection import chosen_atoms
from fpforce.reference.peptide import build_peptide
from fpforce.trajectories.bead_frames import read_bead_frames

FRAMES = 20


@pytest.fixture(scope="module")
def peptide():
    topology, positions = build_peptide("LKSAMF", app.ForceField("amber99sbildn.xml"), 1)
    noise = np.random.default_rng(1).normal(size=(FRAMES, *positions.shape))
    return mdtraj.Trajectory(positions + 0.003 * noise, mdtraj.Topology.from_openmm(topology))


@pytest.mark.parametrize(
    "beads, hint",
    [
        ("CA", "did you mean the preset 'ca'"),
        ("Backbones", "did you mean the preset 'backbone'"),
        ("CB", "atoms of that name are `name CB`"),
        ("LYS", "residues of that name are `resname LYS`"),
    ],
)
def test_word_that_is_no_choice_is_answered_with_what_was_meant(peptide, beads, hint):
    with pytest.raises(InputError, match=hint):
        map_beads(peptide.topology, beads)


@pytest.mark.parametrize("beads", ["ca", "backbone"])
def test_residue_without_an_atom_of_its_backbone_is_named(peptide, tmp_path, beads):
    kept = [a.index for a in peptide.topology.atoms if str(a) != "SER4-N"]
    part = peptide.atom_slice(kept)
    part.save(str(tmp_path / "frames.xtc"))
    part[0].save(str(tmp_path / "given.pdb"))
    with pytest.raises(InputError, match="residue SER4 lacks its atom N"):
        read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads=beads)


def test_ion_in_a_group_is_named(peptide, tmp_path):
    topology = peptide.topology.copy()
    topology.add_atom("NA", mdtraj.element.sodium, topology.add_residue("NA", topology.add_chain("I"), resSeq=99))
    xyz = np.concatenate([peptide.xyz, np.full((FRAMES, 1, 3), 3.0)], axis=1)
    mdtraj.Trajectory(xyz, topology).save(str(tmp_path / "frames.xtc"))
    mdtraj.Trajectory(xyz[:1], topology).save(str(tmp_path / "given.pdb"))
    groups = {"a": "resid 0 1 2 or resname NA", "b": "resid 3 4 5 6 7"}
    with pytest.raises(InputError, match="bead 'a' has the atom NA99-NA, which is an ion .*and not resname NA"):
        read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads=groups)


@pytest.mark.parametrize("choice", ["name C4'", 'name "C4\'"', "name C4' O5*", "resname DA and (name C4' or name 'P')"])
def test_names_with_primes_and_stars_are_selected(choice):
    topology = mdtraj.Topology()
    residue = topology.add_residue("DA", topology.add_chain("A"), resSeq=1)
    for name in ("P", "C4'", "O5*", "C5'"):
        topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
    wanted = {"P": "'P'" in choice, "C4'": True, "O5*": "O5*" in choice, "C5'": False}
    assert [topology.atom(atom).name for atom in chosen_atoms(topology, choice)] == [
        n for n, is_in in wanted.items() if is_in
    ]


@pytest.mark.parametrize("second", ["dcd", "trr", "nc"])
def test_one_run_in_two_formats_is_noticed(peptide, tmp_path, caplog, second):
    topology = tmp_path / "given.pdb"
    peptide[0].save(str(topology))
    first, other = tmp_path / "run.xtc", tmp_path / f"run.{second}"
    peptide.save(str(first))
    peptide.save(str(other))
    read_bead_frames([first, other], topology, beads="ca")
    assert f"{FRAMES} frames of {other} (all of them) are in {first} too" in caplog.text


def test_frames_of_a_slow_run_are_not_taken_for_repeats(peptide, tmp_path, caplog):
    """Every frame differs from every other by 0.002 nm in one coordinate, which the files keep."""
    xyz = np.repeat(peptide.xyz[:1], FRAMES, axis=0)
    carbons = peptide.topology.select("name CA")
    xyz[:, carbons[1], 0] += 0.002 * np.arange(FRAMES)
    mdtraj.Trajectory(xyz, peptide.topology).save(str(tmp_path / "run.xtc"))
    peptide[0].save(str(tmp_path / "given.pdb"))
    frames = read_bead_frames(tmp_path / "run.xtc", tmp_path / "given.pdb", beads="ca")
    assert frames.report.files[0].repeated == 0


def beads_of(residues, bonds):
    """N, CA, C of residues, a table with these bonds."""
    beads = [
        Bead(name, "ALA", r, r + 1, "A", name[0], 12.0, (3 * r + k,), (name,))
        for r in range(residues)
        for k, name in enumerate(("N", "CA", "C"))
    ]
    return BeadTable(tuple(beads), tuple(bonds), "backbone")


def test_torsions_do_not_lead_over_a_gap_that_a_disulfide_bridges():
    chain = [(i, i + 1) for i in range(11)]
    assert [t["residue"] for t in beads_of(4, chain).phi_psi] == ["ALA2", "ALA3"]
    cut = sorted({*chain, (1, 10)} - {(5, 6)})
    assert beads_of(4, cut).phi_psi == []
    whole = beads_of(2, [(i, i + 1) for i in range(5)]).phi_psi_across_peptide_bonds
    assert len(whole) == 1
    assert beads_of(2, sorted({*[(i, i + 1) for i in range(5)], (1, 4)} - {(2, 3)})).phi_psi_across_peptide_bonds == []


def test_gap_that_a_disulfide_bridges_is_reported(tmp_path):
    """Two strands N-CA-C-... along x in one chain, 0.5 nm apart, whose cysteines' sulfurs are bonded."""
    topology, places = mdtraj.Topology(), []
    chain = topology.add_chain("A")
    for strand, side in ((0, 1.0), (1, -1.0)):
        x = 0.0
        for number in range(3):
            residue = topology.add_residue("CYS" if number == 1 else "GLY", chain, resSeq=3 * strand + number + 1)
            for name, step in (("N", 0.133), ("CA", 0.146), ("C", 0.152)):
                x += step
                topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
                places.append([x, 0.565 * strand, 0.0])
                if name == "CA" and number == 1:
                    beta, sulfur = [x, places[-1][1] + 0.15 * side, 0.1], [x, places[-1][1] + 0.18 * side, 0.28]
            if number == 1:
                for name, place in (("CB", beta), ("SG", sulfur)):
                    topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
                    places.append(place)
    xyz = np.array(places) + 0.002 * np.random.default_rng(0).normal(size=(FRAMES, len(places), 3))
    trajectory = mdtraj.Trajectory(xyz, topology)
    trajectory.save(str(tmp_path / "frames.xtc"))
    trajectory[0].save(str(tmp_path / "given.gro"))
    frames = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.gro", beads="backbone", allow_d_residues=True)
    assert len(frames.report.links) == 1
    assert len(frames.report.warnings) == 1
    assert "GLY4 follows GLY3" in frames.report.warnings[0]
    assert "no torsion or bond leads across" in frames.report.warnings[0]
    assert [torsion["residue"] for torsion in frames.beads.phi_psi] == ["CYS2", "CYS5"]


@pytest.mark.parametrize(
    "beads, message",
    [
        ("", "beads = '' chooses nothing: give a preset"),
        ("  ", "chooses nothing: give a preset"),
        ({}, "beads = {} chooses nothing: give a preset"),
        ({"a": "", "b": "name CA"}, "bead 'a' = '' names no atoms: give a selection"),
        ("name CA and (", "it cannot be understood from character 14 on"),
        ("nme CA", "it cannot be understood from character 5 on"),
    ],
)
def test_choice_that_says_nothing_is_answered_without_a_grammar(peptide, beads, message):
    with pytest.raises(InputError) as refusal:
        map_beads(peptide.topology, beads)
    assert message in str(refusal.value) and "Expected" not in str(refusal.value)
