"""An L-peptide from its sequence: topology and coordinates from nothing but the force field.

In: one-letter codes. Out: OpenMM topology and minimised positions in nm, capped (ACE-...-NME) or zwitterionic. The
atoms and bonds come from the force field's residue templates; the coordinates from a random start that is relaxed in
the force field's bonded terms, with L centres and trans peptide bonds enforced, then in the whole force field. Each
result is checked.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.graph import neighbours_of
from fpforce.reference.platform import context_for_minimisation

if TYPE_CHECKING:
    import openmm
    from openmm import app

THREE_LETTERS = {
    "A": "ALA",
    "R": "ARG",
    "N": "ASN",
    "D": "ASP",
    "C": "CYS",
    "Q": "GLN",
    "E": "GLU",
    "G": "GLY",
    "H": "HIE",
    "I": "ILE",
    "L": "LEU",
    "K": "LYS",
    "M": "MET",
    "F": "PHE",
    "P": "PRO",
    "S": "SER",
    "T": "THR",
    "W": "TRP",
    "Y": "TYR",
    "V": "VAL",
}
# Centre, three neighbours with positive chiral volume, its hydrogen: every CA of an L residue, and second centres.
_CENTRES = {
    None: ("CA", "N", "C", "CB", "HA"),
    "ILE": ("CB", "CA", "CG1", "CG2", "HB"),
    "THR": ("CB", "CA", "OG1", "CG2", "HB"),
}
# A tetrahedral carbon with bonds of 0.153 nm has a chiral volume of 0.0027 nm^3.
_LEAST_VOLUME_NM3 = 0.001
_ATTEMPTS = 10


def parse_sequence(sequence: str, capped: bool = True) -> list[str]:
    """One-letter codes, such as `A` or `YYDPETGTWY` -> names of the force field's residue templates.

    capped: between the caps ACE and NME; else the N- and C-terminal templates (`NALA`, `CTYR`), charged at pH 7.

    Raises:
        InputError: an unknown letter, or a single amino acid without caps, for which force fields have no template.
    """
    unknown = [letter for letter in sequence if letter not in THREE_LETTERS]
    if unknown or not sequence:
        raise InputError(
            f"sequence {sequence!r}: {unknown[0] if unknown else 'nothing'!r} is no amino acid; give one-letter codes, "
            "capitals such as A or AYPG, without the caps"
        )
    names = [THREE_LETTERS[letter] for letter in sequence]
    if capped:
        return ["ACE", *names, "NME"]
    if len(names) == 1:
        raise InputError(f"sequence {sequence!r} without caps is a single amino acid: leave --uncapped out")
    return [f"N{names[0]}", *names[1:-1], f"C{names[-1]}"]


def build_peptide(
    sequence: str, forcefield: "app.ForceField", seed: int, *, capped: bool = True, extended: bool = False
) -> tuple["app.Topology", np.ndarray]:
    """Build a peptide, every residue L, every peptide bond trans.

    Args:
        sequence: one-letter codes.
        forcefield: openmm.app.ForceField with templates for these residues.
        seed: of the random start.
        capped: ACE-sequence-NME; else with charged ends.
        extended: every residue near phi = -120, psi = 130 degrees (phi of proline stays free).

    Returns:
        openmm.app.Topology, positions (atoms, 3) in nm, minimised.

    Raises:
        InputError: unknown residue, or no sound structure found.
    """
    from openmm import unit

    topology = peptide_topology(sequence, forcefield, capped=capped)
    system = forcefield.createSystem(topology)
    generator = np.random.default_rng(seed)
    for _ in range(_ATTEMPTS):
        positions = _relax(topology, system, _random_walk(topology, generator), extended)
        if _is_sound(topology, system, positions):
            return topology, np.array(positions.value_in_unit(unit.nanometer))
    raise InputError(
        f"no sound structure of {sequence} in {_ATTEMPTS} attempts: try another seed, or a shorter sequence"
    )


def peptide_topology(sequence: str, forcefield: "app.ForceField", *, capped: bool = True) -> "app.Topology":
    """The atoms and bonds of what `build_peptide` builds. Raises InputError as that does for unknown residues."""
    from openmm.app import Topology

    names = parse_sequence(sequence, capped)
    missing = [name for name in names if name not in forcefield._templates]
    if missing:
        raise InputError(f"the force field has no residue {missing[0]}, which {sequence} needs: choose another one")
    topology = Topology()
    chain = topology.addChain("A")
    last_carbon = None
    for number, name in enumerate(names, start=1):
        template = forcefield._templates[name]
        # Reading code knows residues by their PDB names: NALA, CALA -> ALA, HIE -> HIS.
        name = name[1:] if len(name) == 4 else name
        residue = topology.addResidue("HIS" if name == "HIE" else name, chain, str(number))
        atoms = [topology.addAtom(_pdb_name(atom.name, name), atom.element, residue) for atom in template.atoms]
        for i, j in template.bonds:
            topology.addBond(atoms[i], atoms[j])
        by_name = {atom.name: atom for atom in atoms}
        if last_carbon is not None:
            topology.addBond(last_carbon, by_name["N"])
        last_carbon = by_name.get("C")
    return topology


def _pdb_name(name: str, residue: str) -> str:
    """The caps' methyl groups under their PDB names, which mdtraj knows the bonds of."""
    renamed = {"HH31": "H1", "HH32": "H2", "HH33": "H3"} | ({"CH3": "C"} if residue == "NME" else {})
    return renamed.get(name, name) if residue in ("ACE", "NME") else name


def _random_walk(topology: "app.Topology", generator: np.random.Generator) -> np.ndarray:
    """Each atom 0.15 nm from an atom it is bound to, away from those placed before; (atoms, 3) in nm."""
    neighbours = neighbours_of((a.index, b.index) for a, b in topology.bonds())
    positions = np.full((topology.getNumAtoms(), 3), np.nan)
    positions[0] = 0.0
    queue = [0]
    while queue:
        parent = queue.pop(0)
        for atom in neighbours.get(parent, ()):
            if np.isnan(positions[atom, 0]):
                steps = generator.normal(size=(20, 3))
                trials = positions[parent] + 0.15 * steps / np.linalg.norm(steps, axis=1, keepdims=True)
                placed = positions[~np.isnan(positions[:, 0])]
                clearance = np.linalg.norm(trials[:, None] - placed, axis=2).min(axis=1)
                positions[atom] = trials[np.argmax(clearance)]
                queue.append(atom)
    return positions


def _relax(topology: "app.Topology", system: "openmm.System", positions: Any, extended: bool) -> Any:
    """Minimise in the bonded terms, chirality and trans bonds with soft repulsion, then in the force field alone."""
    import openmm
    from openmm import unit

    bonded = openmm.System()
    for i in range(system.getNumParticles()):
        bonded.addParticle(system.getParticleMass(i))
    for force in system.getForces():
        if isinstance(force, (openmm.HarmonicBondForce, openmm.HarmonicAngleForce, openmm.PeriodicTorsionForce)):
            bonded.addForce(openmm.XmlSerializer.clone(force))
    repulsion = openmm.CustomNonbondedForce("hardness*max(0, 0.26-r)^2")
    repulsion.addGlobalParameter("hardness", 0.0)
    for _ in range(system.getNumParticles()):
        repulsion.addParticle()
    repulsion.setNonbondedMethod(
        openmm.CustomNonbondedForce.CutoffNonPeriodic
    )  # a neighbour list: the time grows as the atoms
    repulsion.setCutoffDistance(0.26)
    repulsion.createExclusionsFromBonds([(a.index, b.index) for a, b in topology.bonds()], 3)
    bonded.addForce(repulsion)
    bonded.addForce(_chirality_force(topology))
    bonded.addForce(_trans_force(topology))
    if extended:
        bonded.addForce(_extending_force(topology))
    # Atoms pass through each other until chirality and torsions are right; then they are moved apart.
    context = context_for_minimisation(bonded)
    context.setPositions(positions)
    for hardness in (0.0, 200.0, 2000.0, 20000.0):
        context.setParameter("hardness", hardness)
        openmm.LocalEnergyMinimizer.minimize(context, 1.0, 2000)
    positions = context.getState(positions=True).getPositions(asNumpy=True)
    context = context_for_minimisation(system)
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, 1.0, 5000)
    positions = context.getState(positions=True).getPositions(asNumpy=True)
    return positions.in_units_of(unit.nanometer)


def _chirality_force(topology: "app.Topology") -> "openmm.Force":
    """Push the chiral volumes (b-a) . ((c-a) x (d-a)) of every centre a above 0.001 nm^3."""
    import openmm

    b, c, d = (tuple(f"({axis}{point}-{axis}1)" for axis in "xyz") for point in (2, 3, 4))
    volume = "+".join(f"{b[i]}*({c[(i + 1) % 3]}*{d[(i + 2) % 3]}-{c[(i + 2) % 3]}*{d[(i + 1) % 3]})" for i in range(3))
    force = openmm.CustomCompoundBondForce(4, f"1e9*max(0, 0.001-volume)^2; volume={volume}")
    for centre, first, second, third, hydrogen in _chiral_centres(topology):
        # All four faces, or the hydrogen would stay on the wrong side and turn the centre back.
        for face in (
            (first, second, third),
            (second, first, hydrogen),
            (first, third, hydrogen),
            (third, second, hydrogen),
        ):
            force.addBond((centre, *face))
    return force


def _trans_force(topology: "app.Topology") -> "openmm.Force":
    import openmm

    force = openmm.CustomTorsionForce("100*(1+cos(theta))")
    for quadruple in peptide_bonds(topology):
        force.addTorsion(*quadruple)
    return force


def _extending_force(topology: "app.Topology") -> "openmm.Force":
    """Hold phi near -120 and psi near 130 degrees while the chain takes shape."""
    import openmm

    force = openmm.CustomTorsionForce("100*(1-cos(theta-angle))")
    force.addPerTorsionParameter("angle")
    residues = list(topology.residues())
    atoms = [{atom.name: atom.index for atom in residue.atoms()} for residue in residues]
    for residue, before, here, after in zip(residues, [{}, *atoms], atoms, [*atoms[1:], {}], strict=False):
        if not {"N", "CA", "C"} <= set(here):
            continue
        if "C" in before and residue.name != "PRO":
            force.addTorsion(before["C"], here["N"], here["CA"], here["C"], [np.radians(-120.0)])
        if "N" in after:
            force.addTorsion(here["N"], here["CA"], here["C"], after["N"], [np.radians(130.0)])
    return force


def _chiral_centres(topology: "app.Topology") -> list[tuple[int, ...]]:
    centres = []
    for residue in topology.residues():
        atoms = {atom.name: atom.index for atom in residue.atoms()}
        for name in (None, residue.name):
            if name in _CENTRES and set(_CENTRES[name]) <= set(atoms):
                centres.append(tuple(atoms[atom] for atom in _CENTRES[name]))
    return centres


def peptide_bonds(topology: "app.Topology") -> list[tuple[int, int, int, int]]:
    """CA-C-N-CA of every peptide bond; a cap's methyl carbon stands for CA."""
    residues: list[dict[str, Any]] = [
        {atom.name: atom.index for atom in residue.atoms()} for residue in topology.residues()
    ]
    return [
        (left["CA" if "CA" in left else "CH3"], left["C"], right["N"], right["CA" if "CA" in right else "C"])
        for left, right in zip(residues, residues[1:], strict=False)
    ]


def _is_sound(topology: "app.Topology", system: "openmm.System", positions: Any) -> bool:
    """No bond more than 0.02 nm off (a pierced ring), every centre L, every peptide bond within 40 degrees of trans."""
    import openmm
    from openmm import unit

    from fpforce.molecule.chirality import dihedral

    xyz = np.array(positions.value_in_unit(unit.nanometer))
    if not np.isfinite(xyz).all():
        return False
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for bond in range(force.getNumBonds()):
                i, j, length, _ = force.getBondParameters(bond)
                if abs(np.linalg.norm(xyz[i] - xyz[j]) - length.value_in_unit(unit.nanometer)) > 0.02:
                    return False
    for a, b, c, d, _ in _chiral_centres(topology):
        if np.dot(xyz[b] - xyz[a], np.cross(xyz[c] - xyz[a], xyz[d] - xyz[a])) < _LEAST_VOLUME_NM3:
            return False
    return all(abs(dihedral(xyz[None], quadruple)[0]) > np.radians(140.0) for quadruple in peptide_bonds(topology))
