"""The potential `fpforce` of openmm-ml: `MLPotential("fpforce", model="model.pt").createSystem(topology)`.

In: what openmm-ml hands to a potential (the entry point `openmmml.potentials` names PotentialFactory). Out: the force
field's Force in openmm-ml's System. openmm-ml makes a particle of every atom of the topology, so that a topology is one
of beads here.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.load import AnyForceField, loaded
from fpforce.forcefield.transferable.bound import TransferableForceField
from fpforce.foundation.errors import InputError
from fpforce.molecule.space import PLANE
from fpforce.system.add_force import attach_molecules, require_energy
from fpforce.system.make_system import check_topology

if TYPE_CHECKING:
    import openmm
    from openmm import app

_OPTIONS = ("threads", "scale_derivative", "override_not_conservative")


class PotentialFactory(MLPotentialImplFactory):
    """Makes the potential of a force field."""

    def createImpl(
        self, name: str, model: AnyForceField | None = None, backend: str = "auto", **unknown: Any
    ) -> "Potential":
        """model: a model.pt, or a force field that fpforce.load has read; backend: as in fpforce.make_system."""
        if model is None:
            raise InputError(f'MLPotential("{name}") needs a force field; give model="model.pt"')
        _refuse_unknown(f'MLPotential("{name}")', unknown, ("model", "backend"))
        return Potential(loaded(model), backend)


class Potential(MLPotentialImpl):
    """A force field as openmm-ml's potential, of one molecule or of several that do not interact."""

    def __init__(self, force_field: ForceField | TransferableForceField, backend: str):
        self.force_field, self.backend = force_field, backend

    def addForces(
        self,
        topology: "app.Topology",
        system: "openmm.System",
        atoms: Iterable[int] | None,
        forceGroup: int,
        threads: int | None = None,
        scale_derivative: bool = False,
        override_not_conservative: bool = False,
        **unknown: Any,
    ) -> None:
        """Add the Force. atoms None, from createSystem: all atoms of `topology` are beads, of one molecule or of
        replicas, and get the beads' masses. Else, from createMixedSystem: these are one molecule, in the order of its
        beads, and keep the masses that the conventional System gave them.

        threads, scale_derivative, override_not_conservative: as in fpforce.make_system.
        Raises InputError for a topology that is not of the beads, for beads that are bonded to other atoms, for several
        molecules in createMixedSystem, and for what MLPotential has no way to do right.
        """
        _refuse_unknown("MLPotential of fpforce", unknown, _OPTIONS)
        everything = [atom.index for atom in topology.atoms()]
        chosen = everything if atoms is None else [int(atom) for atom in atoms]
        force_field = self._force_field(topology if atoms is None else _part(topology, chosen))
        beads = len(force_field.beads)
        if force_field.space is PLANE:
            raise InputError(
                f"{force_field.path} is a particle in an external potential, which openmm-ml would stop by its "
                "CMMotionRemover; use fpforce.make_system"
            )
        if not override_not_conservative:
            require_energy(force_field, "override_not_conservative=True")
        molecules = [chosen[first : first + beads] for first in range(0, len(chosen), beads)]
        if atoms is None:
            for particle, mass_da in zip(everything, list(force_field.masses_da) * len(molecules), strict=True):
                system.setParticleMass(particle, float(mass_da))
        elif len(molecules) > 1:
            raise InputError(
                f"createMixedSystem was given {len(molecules)} molecules of {beads} beads, between which openmm-ml "
                f"takes all forces away and {force_field.path} has none to put there; call it once for each molecule"
            )
        attach_molecules(
            system,
            force_field,
            molecules,
            backend=self.backend,
            force_group=forceGroup,
            threads=threads,
            scale_derivative=scale_derivative,
        )

    def getMLLongRange(self) -> bool:
        """No: a molecule does not feel its periodic images."""
        return False

    def _force_field(self, topology: "app.Topology") -> ForceField:
        """The force field of this molecule, which has a bead for every atom of the topology."""
        if isinstance(self.force_field, TransferableForceField):
            force_field = self.force_field.bind(topology)
            if len(force_field.beads) != topology.getNumAtoms():
                raise InputError(
                    f"the topology has {topology.getNumAtoms()} atoms, which become {len(force_field.beads)} beads of "
                    f"{force_field.path}, and openmm-ml makes a particle of every atom; give it the topology of the "
                    f"beads: fpforce.load({str(force_field.path)!r}).bind(topology).topology"
                )
            return force_field
        check_topology(self.force_field, topology, max(1, topology.getNumAtoms() // len(self.force_field.beads)))
        return self.force_field


def _part(topology: "app.Topology", chosen: list[int]) -> "app.Topology":
    """The topology of these atoms, in this order; InputError where a bond leads out of them."""
    from openmm import app

    atoms = list(topology.atoms())
    inside = set(chosen)
    for first, second in topology.bonds():
        if (first.index in inside) != (second.index in inside):
            raise InputError(
                f"atoms {first.index} and {second.index} are bonded, and only one of them is among the atoms that "
                "createMixedSystem was given; a force field of fpforce is of a whole molecule"
            )
    part, chains, residues, copies = app.Topology(), {}, {}, {}
    for index in chosen:
        atom = atoms[index]
        residue = atom.residue
        if residue.chain not in chains:
            chains[residue.chain] = part.addChain(residue.chain.id)
        if residue not in residues:
            residues[residue] = part.addResidue(residue.name, chains[residue.chain], residue.id, residue.insertionCode)
        copies[atom] = part.addAtom(atom.name, atom.element, residues[residue])
    for first, second in topology.bonds():
        if first in copies and second in copies:
            part.addBond(copies[first], copies[second])
    return part


def _refuse_unknown(where: str, unknown: dict[str, Any], known: tuple[str, ...]) -> None:
    if unknown:
        raise InputError(f"{where} does not know {', '.join(sorted(unknown))}; it takes {', '.join(known)}")
