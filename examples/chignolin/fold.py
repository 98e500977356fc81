"""Make folded.pdb: CLN025 (YYDPETGTWY) in its fold, all atoms, from what is published of the fold and no structure
file.

    python examples/chignolin/fold.py examples/chignolin/folded.pdb

CLN025 is a hairpin. Residues 1 to 3 pair with 10 to 8 across a turn: Pro4, Glu5 and Thr6 are right-handed helical, Gly7
is left-handed; Asp3 O takes the hydrogens of Thr6 and Gly7, and Asp3 N gives its own to Thr8 O. Trp9 lies on Tyr2 and
Pro4. The extended peptide is annealed in the force field under restraints that say this, then minimised and simulated
without them; it is written if every hydrogen bond has stayed.

Sources: S. Honda et al., Structure 12, 1507 (2004) (chignolin: strands, turn, Trp9) and J. Am. Chem. Soc. 130, 15327
(2008) (CLN025: Tyr1 and Tyr10 paired too); D. Satoh et al., FEBS Lett. 580, 3422 (2006) (Asp3 N - Thr8 O tells the fold
from its look-alike).
"""

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from fpforce.commands.entry import command
from fpforce.foundation.errors import InputError

SEQUENCE = "YYDPETGTWY"
HYDROGEN_BONDS = ((3, 8), (6, 3), (7, 3), (1, 10), (10, 1))  # residue of N, residue of O
TURN_DEGREES = {4: (-60, -30), 5: (-70, -30), 6: (-90, -10), 7: (80, 10)}
STRAND_DEGREES = {2: (-110, 135), 3: (-90, 110), 8: (-120, 140), 9: (-115, 135)}
# Heavy atoms of the side chains of Trp, Tyr and Pro, which touch.
_RING = {"CG", "CD", "CD1", "CD2", "CE1", "CE2", "CE3", "CZ", "CZ2", "CZ3", "CH2", "NE1", "CB"}
RING_CONTACTS = ((9, 4), (9, 2))
LONGEST_NO_NM, LONGEST_HO_NM, BROKEN_NO_NM, RING_NM = 0.30, 0.21, 0.40, 0.55
TEMPERATURES_K = (600, 550, 500, 450, 400, 350, 300)
TURN_PS, STAGE_PS, FREE_PS = 6.0, 4.0, 10.0


@command
def main(
    output: Annotated[Path, typer.Argument(help="the PDB to write")],
    seed: Annotated[int, typer.Option(help="of the annealing")] = 1,
):
    """Fold CLN025 by restraints and write it, all atoms, minimised."""
    from openmm import app, unit

    topology, positions_nm, distances = fold(seed)
    if distances.max() > BROKEN_NO_NM:
        bonds = zip(HYDROGEN_BONDS, distances, strict=True)
        broken = ", ".join(f"{n} N - {o} O is {d:.2f} nm" for (n, o), d in bonds if d > BROKEN_NO_NM)
        raise InputError(f"seed {seed} does not fold: {broken}; give another --seed")
    with output.open("w") as file:
        app.PDBFile.writeFile(topology, positions_nm * unit.nanometer, file)
    print(f"{output}: N - O distances of {', '.join(f'{d:.3f}' for d in distances)} nm without restraints")


def fold(seed):
    """(openmm topology, minimised positions (atoms, 3) nm, N - O distances (bonds,) nm: the longer of theirs and of the
    mean of a free simulation at 300 K).
    """
    import mdtraj
    import openmm
    from openmm import app, unit

    from fpforce.molecule.chirality import d_residues
    from fpforce.reference.peptide import build_peptide
    from fpforce.reference.protocol import Protocol, load_force_field

    protocol = Protocol(temperatures_k=(300.0,), timestep_fs=2.0)
    force_field = load_force_field(protocol.force_field)
    topology, positions_nm = build_peptide(SEQUENCE, force_field, seed, capped=False, extended=True)
    atoms = [{atom.name: atom.index for atom in residue.atoms()} for residue in topology.residues()]
    system = protocol.make_system(topology)
    for force in _restraints(atoms):
        force.setForceGroup(1)
        system.addForce(force)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURES_K[0], 2.0, 0.002)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatformByName("CPU")
    simulation = app.Simulation(topology, system, integrator, platform, {"Threads": "1", "DeterministicForces": "true"})
    simulation.context.setPositions(positions_nm)
    # The turn first, since a hairpin that has closed around another turn does not mend it.
    simulation.context.setParameter("turning", 1.0)
    simulation.step(round(TURN_PS / 0.002))
    for stage, temperature_k in enumerate(TEMPERATURES_K, start=1):
        simulation.context.setParameter("strength", stage / len(TEMPERATURES_K))
        simulation.context.setParameter("turning", 1.0 - stage / len(TEMPERATURES_K))
        integrator.setTemperature(temperature_k)
        simulation.step(round(STAGE_PS / 0.002))
    simulation.context.setParameter("strength", 0.0)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(300.0, seed)
    sampled = []
    for _ in range(20):
        simulation.step(round(FREE_PS / 20 / 0.002))
        sampled.append(simulation.context.getState(positions=True).getPositions(asNumpy=True)._value)
    simulation.minimizeEnergy()
    state = simulation.context.getState(positions=True)
    positions_nm = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    if d_residues(positions_nm[None].astype(np.float32), mdtraj.Topology.from_openmm(topology)):
        raise InputError(f"seed {seed} turned a residue into its D form; give another --seed")
    mean = np.mean([_bond_lengths(sample, atoms) for sample in sampled], axis=0)
    return topology, positions_nm, np.maximum(_bond_lengths(positions_nm, atoms), mean)


def _bond_lengths(positions_nm, atoms):
    return np.array(
        [np.linalg.norm(positions_nm[atoms[n - 1]["N"]] - positions_nm[atoms[o - 1]["O"]]) for n, o in HYDROGEN_BONDS]
    )


def _restraints(atoms):
    """Forces that vanish where the fold is as described; the global parameter `strength` scales those of bonds and
    contacts, `turning` those of torsions."""
    import openmm

    bonds = openmm.CustomBondForce("0.5*strength*20000*max(0, r-longest)^2")
    bonds.addPerBondParameter("longest")
    for n, o in HYDROGEN_BONDS:
        bonds.addBond(atoms[n - 1]["N"], atoms[o - 1]["O"], [LONGEST_NO_NM])
        if "H" in atoms[n - 1]:  # not in the charged end, whose three hydrogens turn
            bonds.addBond(atoms[n - 1]["H"], atoms[o - 1]["O"], [LONGEST_HO_NM])
    rings = openmm.CustomCentroidBondForce(2, "0.5*strength*500*max(0, distance(g1, g2)-longest)^2")
    rings.addPerBondParameter("longest")
    for pair in RING_CONTACTS:
        groups = [
            rings.addGroup([index for name, index in atoms[number - 1].items() if name in _RING]) for number in pair
        ]
        rings.addBond(groups, [RING_NM])
    torsions = openmm.CustomTorsionForce("turning*100*(1-cos(theta-wanted))")
    torsions.addPerTorsionParameter("wanted")
    for number, (phi, psi) in (TURN_DEGREES | STRAND_DEGREES).items():
        before, here, after = atoms[number - 2], atoms[number - 1], atoms[number]
        torsions.addTorsion(before["C"], here["N"], here["CA"], here["C"], [math.radians(phi)])
        torsions.addTorsion(here["N"], here["CA"], here["C"], after["N"], [math.radians(psi)])
    for force, parameter in ((bonds, "strength"), (rings, "strength"), (torsions, "turning")):
        force.addGlobalParameter(parameter, 0.0)
    return [bonds, rings, torsions]


if __name__ == "__main__":
    main()
