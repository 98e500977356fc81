"""Coordinates in bohr that a file without a unit passes for angstrom, and models of beads, which are no such."""

import importlib.util
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.molecule.bonds_by_distance import SampleFrames
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.bohr import ANGSTROM_PER_BOHR, refuse_bohr

spec = importlib.util.spec_from_file_location("field_inputs", Path(__file__).with_name("field_inputs.py"))
field_inputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(field_inputs)
REMEDY = "in bohr, taken for angstrom: multiply the coordinates by 0.529177"


@pytest.fixture(scope="module")
def peptide():
    return field_inputs.built("LKSFC")


def molecule(symbols, places_nm):
    """One residue of atoms without bonds."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    for number, symbol in enumerate(symbols):
        topology.add_atom(f"{symbol}{number}", mdtraj.element.get_by_symbol(symbol), residue)
    return topology, SampleFrames(np.array([places_nm], dtype=np.float32))


@pytest.mark.parametrize("kept", ["all", "element != H", "name N CA C"])
@pytest.mark.parametrize("beads", ["ca", "backbone", {"a": "resid 1", "b": "resid 2", "c": "resid 3"}])
@pytest.mark.parametrize("form", ["xyz", "npy"])
def test_bohr_is_named_with_the_factor(peptide, tmp_path, kept, beads, form):
    part = peptide.atom_slice(peptide.topology.select(kept))
    given = part[0]
    given.save(str(tmp_path / "given.pdb"))
    too_long = mdtraj.Trajectory(part.xyz / ANGSTROM_PER_BOHR, part.topology)
    if form == "xyz":
        too_long.save(str(tmp_path / "frames.xyz"))
    else:
        np.save(tmp_path / "frames.npy", 10.0 * too_long.xyz)
    unit = {"length_unit": "angstrom"} if form == "npy" else {}
    with pytest.raises(InputError, match=f"frames.{form}: .* 1.89 times as far as they are: .*{REMEDY}"):
        read_bead_frames(tmp_path / f"frames.{form}", tmp_path / "given.pdb", beads=beads, **unit)


def test_bohr_of_a_molecule_whose_bonds_nobody_knows_is_told_by_its_hydrogens():
    ethane = np.array(
        [
            [0.0, 0, 0],
            [0.153, 0, 0],
            *[[-0.036, *at] for at in _round(0.0)],
            *[[0.189, *at] for at in _round(np.pi / 3)],
        ]
    )
    topology, right = molecule("CCHHHHHH", ethane)
    refuse_bohr(topology, right, Path("ethane.xyz"))
    with pytest.raises(InputError, match=f"ethane.xyz: hydrogens are typically 0.20.*{REMEDY}"):
        refuse_bohr(topology, SampleFrames(right.xyz / ANGSTROM_PER_BOHR), Path("ethane.xyz"))


def _round(turned):
    """Three places about an axis, 0.103 nm from it."""
    return [
        0.103 * np.array([np.cos(turned + k * 2 * np.pi / 3), np.sin(turned + k * 2 * np.pi / 3)]) for k in range(3)
    ]


@pytest.mark.parametrize("bond_nm", np.linspace(0.1, 0.5, 21))
@pytest.mark.parametrize("symbols", ["C", "N", "CN", "CO", "CCS", "P"])
def test_beads_are_never_taken_for_atoms_in_bohr(bond_nm, symbols):
    """Chains of beads that a file lists as atoms, of every length of bonds."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(24, 3))
    places = bond_nm * np.cumsum(steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)
    refuse_bohr(*molecule([symbols[k % len(symbols)] for k in range(24)], places), Path("beads.xyz"))


@pytest.mark.parametrize("factor", [0.1, 0.7, 1.0, 1.3, 1.5, 2.2, 3.0, 10.0])
def test_other_factors_are_not_taken_for_bohr(peptide, factor):
    for kept in ("all", "element != H"):
        part = peptide.atom_slice(peptide.topology.select(kept))
        refuse_bohr(part.topology, SampleFrames(factor * part.xyz[:3]), Path("frames.xyz"))
