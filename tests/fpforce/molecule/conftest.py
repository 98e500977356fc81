"""Two molecules of atoms, and the bonds of a topology of any kind."""

from pathlib import Path

import mdtraj
import pytest
from openmm import app

from fpforce.reference.peptide import build_peptide

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"


@pytest.fixture(scope="session")
def dipeptide():
    return mdtraj.load(str(EXAMPLE / "alanine_dipeptide.pdb"))


@pytest.fixture(scope="session")
def peptide():
    """ACE-AGPY-NME with hydrogens, as fpforce-reference builds it."""
    topology, positions = build_peptide("AGPY", app.ForceField("amber99sbildn.xml"), 1)
    return mdtraj.Trajectory(positions[None], mdtraj.Topology.from_openmm(topology))


@pytest.fixture(scope="session")
def bond_set():
    """A function: topology of mdtraj or OpenMM -> {(i, j), ...}, i < j."""

    def pairs(topology):
        bonds = topology.bonds() if callable(topology.bonds) else topology.bonds
        return {tuple(sorted((a.index, b.index))) for a, b in bonds}

    return pairs
