"""make_system: force field -> openmm.System, with one molecule or R independent replicas."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.load import AnyForceField, loaded
from fpforce.forcefield.transferable.bound import BoundForceField, TransferableForceField
from fpforce.foundation.arguments import require_whole
from fpforce.foundation.errors import InputError
from fpforce.molecule.space import PLANE
from fpforce.system.add_force import attach_molecules, require_energy

if TYPE_CHECKING:
    import openmm


def make_system(
    force_field: AnyForceField,
    topology: Any = None,
    *,
    backend: str = "auto",
    replicas: int = 1,
    force_group: int = 0,
    remove_cm_motion: bool = False,
    threads: int | None = None,
    scale_derivative: bool = False,
    override_not_conservative: bool = False,
) -> "openmm.System":
    """An openmm.System whose potential is the force field's free energy U (kJ/mol), ready for any integrator.

    force_field: a ForceField, a TransferableForceField, or the path of model.pt.
    topology: when given, checked against the beads: an openmm or mdtraj Topology of the molecule or of all replicas,
        or a file mdtraj reads. A transferable force field needs one, of one molecule with all its atoms or its beads
        alone, and is bound to it (TransferableForceField.bind): the particles are its beads, in its order. One that is
        bound already may be given it again.
    backend: `native`, `torchforce`, `python`, or `auto`, which takes the first of them that can compute this force
        field here and says so at INFO; fpforce.system.fastest measures. `native` has a global parameter `fpforce_scale`
        (1 by default) that scales what the network has learned and leaves the bonded prior.
    replicas: R copies that do not interact, evaluated as one batch; replica r owns particles r*n .. (r+1)*n - 1.
        The energy of the System is the sum over replicas.
    force_group: group of the one Force.
    remove_cm_motion: adds a CMMotionRemover; with several replicas it would couple them and is refused.
    threads: how many share the replicas; None for as many as pay off. With `torchforce` and `python` it is torch's
        thread count, set for the whole process, and None leaves that as it is.
    scale_derivative: State then reports the exact dU/d(fpforce_scale), at the cost of a second evaluation of the
        geometry; `native` only.
    override_not_conservative: accept forces that are no gradient, as of a score that is no energy.

    Particle masses are the beads'. U holds at `force_field.temperature_k` only: run a thermostat at that temperature.
    Raises InputError for a file that cannot be read, a topology that does not match, options out of range, and forces
    that are not the gradient of an energy.
    """
    import openmm

    force_field = loaded(force_field)
    if not override_not_conservative:
        require_energy(force_field, "override_not_conservative=True")
    if isinstance(force_field, TransferableForceField):
        force_field, topology = force_field.bound(topology), None
    require_whole("replicas", replicas, 1)
    if remove_cm_motion and replicas > 1:
        raise InputError(
            f"remove_cm_motion couples the {replicas} replicas, whose motion must be independent; leave it "
            "out (each replica's centre is subtracted inside the model)"
        )
    if remove_cm_motion and force_field.space is PLANE:
        raise InputError(f"remove_cm_motion stops the one bead of {force_field.path} altogether; leave it out")
    if topology is not None:
        try:
            check_topology(force_field, topology, replicas)
        except InputError:
            if not isinstance(force_field, BoundForceField):
                raise
            force_field = force_field.bound(topology)

    system = openmm.System()
    for mass_da in np.tile(force_field.masses_da, replicas):
        system.addParticle(float(mass_da))
    attach_molecules(
        system,
        force_field,
        np.arange(system.getNumParticles()).reshape(replicas, -1).tolist(),
        backend=backend,
        force_group=force_group,
        threads=threads,
        scale_derivative=scale_derivative,
    )
    if remove_cm_motion:
        system.addForce(openmm.CMMotionRemover())
    return system


def check_topology(force_field: ForceField, topology: Any, replicas: int) -> None:
    """Raise InputError at the first atom of `topology` that is not the bead at its place."""
    expected = [(bead.name, bead.residue) for bead in force_field.beads.beads]
    found = _atoms_and_residues(topology)
    if len(found) not in (len(expected), replicas * len(expected)):
        raise InputError(
            f"the topology has {len(found)} atoms, the force field {force_field.path} {len(expected)} beads"
            f"{f' in {replicas} replicas' if replicas > 1 else ''}; make_system takes the topology of the "
            "beads (ForceField.topology), not of the source molecule"
        )
    for index, atom in enumerate(found):
        bead = index % len(expected)
        if not force_field.beads.is_called(bead, *atom):
            bead_name, bead_residue = expected[bead]
            raise InputError(
                f"atom {index} of the topology is {atom[0]} of {atom[1]}, the force field {force_field.path} "
                f"has bead {bead_name} of {bead_residue} there; pass ForceField.topology"
            )


def _atoms_and_residues(topology: Any) -> list[tuple[str, str]]:
    """(atom name, residue name) of an openmm Topology, an mdtraj Topology or a topology file."""
    if isinstance(topology, str | Path):
        import mdtraj

        from fpforce.trajectories.formats import readable

        if not Path(topology).exists():
            raise InputError(f"topology file {topology} does not exist; check the path")
        try:
            with readable(topology) as name:
                topology = mdtraj.load_topology(name)
        except Exception as error:
            raise InputError(f"topology file {topology} cannot be read: {error}") from error
    atoms = getattr(topology, "atoms", None)
    if atoms is None:
        raise InputError(f"topology is {topology!r}; give an openmm or mdtraj Topology, or a topology file")
    return [(atom.name, atom.residue.name) for atom in (atoms() if callable(atoms) else atoms)]
