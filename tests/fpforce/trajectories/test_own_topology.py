"""Trajectories that name their own atoms, read with a topology that is given beside them."""

import importlib.util
from pathlib import Path

import mdtraj
import pytest

from fpforce.foundation.errors import InputError
from fpforce.trajectories.bead_frames import read_bead_frames

spec = importlib.util.spec_from_file_location("field_inputs", Path(__file__).with_name("field_inputs.py"))
field_inputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(field_inputs)
built = field_inputs.built


@pytest.fixture(scope="module")
def alpha_carbons():
    """Eight CA of different residues."""
    peptide = built("ADKSFCGV")
    return peptide.atom_slice(peptide.topology.select("name CA"))


@pytest.mark.parametrize("suffix", [".h5", ".pdb", ".gro", ".cif", ".xtc"])
@pytest.mark.parametrize("atoms", [range(3, 8), range(5)])
def test_another_number_of_atoms_is_refused_with_both(alpha_carbons, tmp_path, suffix, atoms):
    alpha_carbons.save(str(tmp_path / f"frames{suffix}"))
    alpha_carbons[0].atom_slice(atoms).save(str(tmp_path / "given.pdb"))
    with pytest.raises(InputError, match="holds 8 atoms, but its topology has 5"):
        read_bead_frames(tmp_path / f"frames{suffix}", tmp_path / "given.pdb", beads="ca")
    alpha_carbons[0].save(str(tmp_path / "all.pdb"))
    alpha_carbons.atom_slice(atoms).save(str(tmp_path / f"fewer{suffix}"))
    with pytest.raises(InputError, match="holds 5 atoms, but its topology has 8"):
        read_bead_frames(tmp_path / f"fewer{suffix}", tmp_path / "all.pdb", beads="ca")


@pytest.mark.parametrize("on_disk", [False, True])
def test_every_file_is_held_to_the_topology(alpha_carbons, tmp_path, on_disk):
    alpha_carbons.save(str(tmp_path / "a.h5"))
    alpha_carbons.atom_slice(range(5)).save(str(tmp_path / "b.h5"))
    folder = {"on_disk": tmp_path} if on_disk else {}
    with pytest.raises(InputError, match="b.h5 holds 5 atoms, but its topology has 8"):
        read_bead_frames([tmp_path / "a.h5", tmp_path / "b.h5"], beads="ca", **folder)


def test_other_names_are_said_with_the_first_of_them(alpha_carbons, tmp_path):
    alpha_carbons.save(str(tmp_path / "frames.h5"))
    topology = alpha_carbons.topology.copy()
    for number in (4, 6):
        topology.residue(number).name = "TRP"
    mdtraj.Trajectory(alpha_carbons.xyz[:1], topology).save(str(tmp_path / "given.pdb"))
    frames = read_bead_frames(tmp_path / "frames.h5", tmp_path / "given.pdb", beads="ca")
    was, now = (str(alpha_carbons.topology.residue(4)), str(topology.residue(4)))
    assert any(f"2 of 8 are not those of the topology, which are taken: the first is {was}-CA, and {now}-CA" in text
               for text in frames.report.warnings)  # fmt: skip
    assert now in frames.beads.residues


def test_states_and_hydrogens_by_other_names_are_the_same_atoms(tmp_path):
    peptide = built("AHK")
    peptide.save(str(tmp_path / "frames.h5"))
    topology = peptide.topology.copy()
    for residue in topology.residues:
        residue.name = {"HIS": "HIE", "HID": "HIE"}.get(residue.name, residue.name)
    next(atom for atom in topology.atoms if atom.name == "HA").name = "HA1"
    mdtraj.Trajectory(peptide.xyz[:1], topology).save(str(tmp_path / "given.pdb"))
    assert not read_bead_frames(tmp_path / "frames.h5", tmp_path / "given.pdb", beads="ca").report.warnings


def test_another_number_of_atoms_than_an_mdcrd_is_no_damage(alpha_carbons, tmp_path):
    alpha_carbons.save(str(tmp_path / "frames.mdcrd"))
    alpha_carbons[0].atom_slice(range(5)).save(str(tmp_path / "given.pdb"))
    with pytest.raises(InputError, match=r"holds another number of atoms than its topology \(5\)"):
        read_bead_frames(tmp_path / "frames.mdcrd", tmp_path / "given.pdb", beads="ca")
