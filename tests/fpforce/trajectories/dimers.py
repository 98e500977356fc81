"""A dimer of two short chains of CA beads from a simple potential, simulated by OpenMM.

Chains of harmonic bonds and angles that repel each other at short range and are drawn together, bead by bead, by wells
between facing beads. Nothing but the wells holds them, so that the pair moves and turns against each other.
"""

import mdtraj
import numpy as np
import openmm
from openmm import unit

BEADS = 6  # of a chain
KT = 2.494


def dimer_topology(chains=2, beads=BEADS):
    """mdtraj.Topology of chains A, B, ... of CA beads."""
    topology = mdtraj.Topology()
    for number in range(chains):
        chain = topology.add_chain("ABCD"[number])
        for place in range(beads):
            residue = topology.add_residue("LEU" if place % 2 else "ALA", chain, resSeq=place + 1)
            topology.add_atom("CA", mdtraj.element.carbon, residue)
    return topology


def simulated_dimer(frames=300, seed=1):
    """Frames (frames, 2 BEADS, 3) in nm, at 300 K."""
    count = 2 * BEADS
    system, bonds, angles = openmm.System(), openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    wells = openmm.CustomBondForce("-6*exp(-(r-0.6)^2/0.03)")
    core = openmm.CustomNonbondedForce("3*(0.42/r)^12")
    for _ in range(count):
        system.addParticle(100.0)
        core.addParticle()
    for start in (0, BEADS):
        for i in range(start, start + BEADS - 1):
            bonds.addBond(i, i + 1, 0.38, 20000.0)
            core.addExclusion(i, i + 1)
        for i in range(start, start + BEADS - 2):
            angles.addAngle(i, i + 1, i + 2, 2.0, 40.0)
            core.addExclusion(i, i + 2)
    for i in range(BEADS):
        wells.addBond(i, BEADS + i)
    for force in (bonds, angles, wells, core):
        system.addForce(force)
    integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 2 / unit.picosecond, 0.01 * unit.picoseconds)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    line = np.array([[0.32 * i, 0.1 * (i % 2), 0.0] for i in range(BEADS)])
    context.setPositions(np.concatenate([line, line + [0.0, 0.0, 0.6]]))
    openmm.LocalEnergyMinimizer.minimize(context)
    context.setVelocitiesToTemperature(300, seed)
    integrator.step(1000)
    xyz = []
    for _ in range(frames):
        integrator.step(50)
        xyz.append(context.getState(getPositions=True).getPositions(asNumpy=True)._value)
    return np.array(xyz)


def wrapped(xyz, edge_nm, shift):
    """The frames with every bead by itself in a cubic box, as an mdtraj.Trajectory."""
    moved = (xyz + np.asarray(shift)) % edge_nm
    frames = len(xyz)
    return mdtraj.Trajectory(
        moved,
        dimer_topology(),
        unitcell_lengths=np.full((frames, 3), edge_nm),
        unitcell_angles=np.full((frames, 3), 90.0),
    )
