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


def zigzag(residues, branches):
    """A chain in a plane, without bonds: residues are (name, names of its atoms in the chain), branches {(residue,
    atom): atoms of it}: one, which lies in the plane too, one and two more that are bonded to it, or two above and
    below the plane.
    """
    topology, places = mdtraj.Topology(), []
    chain, count = topology.add_chain("A"), 0
    for number, (name, atoms) in enumerate(residues):
        residue = topology.add_residue(name, chain, resSeq=number + 1)
        for atom in atoms.split():
            side = 1.0 if count % 2 else -1.0
            place = np.array([0.125 * count, 0.0425 * side, 0.0])
            beside = branches.get((number, atom), "").split()
            away = [[0.0, 0.125, 0.0], [0.09, 0.185, 0.0], [-0.09, 0.185, 0.0]]
            if len(beside) == 2:
                away = [[0.0, 0.07, 0.1], [0.0, 0.07, -0.1]]
            away = [place + np.array(step) * [1.0, side, 1.0] for step in away]
            for one, at in zip((atom, *beside), (place, *away), strict=False):
                topology.add_atom(one, mdtraj.element.get_by_symbol(one[0]), residue)
                places.append(at)
            count += 1
    noise = np.random.default_rng(1).normal(size=(FRAMES, len(places), 3))
    return mdtraj.Trajectory(np.array(places) + 0.003 * noise, topology)


def pdb_lines(frame):
    """The frame as PDB text with the chain A, columns filled."""
    import io
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        frame.save_pdb(str(Path(folder, "frame.pdb")))
        text = Path(folder, "frame.pdb").read_text()
    return [line for line in io.StringIO(text).read().splitlines() if line.strip()]
