"""The peptide of the field cases, the files that are made of it, and small molecules of beads."""

from pathlib import Path

import mdtraj
import numpy as np
from openmm import app

from fpforce.reference.peptide import build_peptide

SEQUENCE = "GADKEYRCHA"
FRAMES = 12


def built(sequence, seed=1, capped=True):
    """A peptide with hydrogens, in frames that differ by 0.003 nm in every coordinate."""
    topology, positions = build_peptide(sequence, app.ForceField("amber99sbildn.xml"), seed)
    noise = np.random.default_rng(seed).normal(size=(FRAMES, *positions.shape))
    return mdtraj.Trajectory(positions + 0.003 * noise, mdtraj.Topology.from_openmm(topology))


def renamed(trajectory, number, name):
    """The trajectory with another name for the residue `number`, and without bonds, as names must give them."""
    topology = trajectory.topology.copy()
    topology._bonds = []
    topology.residue(number).name = name
    return mdtraj.Trajectory(trajectory.xyz, topology)


def files(folder, trajectory, topology_name="given.pdb"):
    trajectory.save(str(folder / "frames.xtc"))
    trajectory[0].save(str(folder / topology_name))
    return folder / "frames.xtc", folder / topology_name


def residues_of(frames):
    return [bead.residue_index for bead in frames.beads.beads]


def ca_beads(count, chain=None, topology=None):
    topology = topology or mdtraj.Topology()
    chain = chain or topology.add_chain()
    for number in range(count):
        residue = topology.add_residue("ALA", chain, resSeq=number + 1)
        topology.add_atom("CA", mdtraj.element.carbon, residue)
    return topology


def pdb_lines(frame):
    """The frame as PDB text with the chain A, columns filled."""
    import io
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        frame.save_pdb(str(Path(folder, "frame.pdb")))
        text = Path(folder, "frame.pdb").read_text()
    return [line for line in io.StringIO(text).read().splitlines() if line.strip()]
