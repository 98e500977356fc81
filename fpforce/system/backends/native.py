"""The energy through fpforce's own OpenMM plugin: compiled code without torch, on the host's processor.

The Force holds the model itself: its XML carries the whole force field, and loads in any process whose OpenMM has the
plugin, whether or not it imports fpforce.
"""

from typing import TYPE_CHECKING

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError
from fpforce.molecule.space import PLANE
from fpforce.plugin import library
from fpforce.system.backends import Molecules

if TYPE_CHECKING:
    import openmm

    from fpforce.plugin import FPForce


def unavailable(force_field: ForceField) -> str | None:
    """Why the plugin cannot evaluate this force field here, or None. Imports neither OpenMM nor torch."""
    if not force_field.conservative:
        return f"{force_field.path} is a score that is not the gradient of an energy, and the plugin computes energies"
    if force_field.space is PLANE:
        return (
            f"{force_field.path} is a particle in an external potential ({force_field.kind}), and the plugin computes "
            "molecules"
        )
    return library.problem() or library.model_problem(force_field.description(), force_field.weights_bytes())


def attach(
    system: "openmm.System", force_field: ForceField, molecules: Molecules, *, force_group: int, threads: int | None
) -> "openmm.Force":
    """Add an FPForce for these molecules; `threads` share them, None for as many as pay off."""
    return _add(system, _force(force_field, molecules, threads), force_group)


def attach_with_scale_derivative(
    system: "openmm.System", force_field: ForceField, molecules: Molecules, *, force_group: int, threads: int | None
) -> "openmm.Force":
    """Add a CustomCVForce that computes the same, and from which State has dU/d(fpforce_scale)."""
    import openmm

    from fpforce.plugin import FPForce

    scale = FPForce.Scale()
    force = openmm.CustomCVForce(f"prior + {scale}*network")
    force.addGlobalParameter(scale, 1.0)
    force.addEnergyParameterDerivative(scale)
    for name, terms in (("prior", FPForce.Prior), ("network", FPForce.Network)):
        part = _force(force_field, molecules, threads)
        part.setTerms(terms)
        part.setScaleParameter("")  # the expression does the scaling
        force.addCollectiveVariable(name, part)
    return _add(system, force, force_group)


def _force(force_field: ForceField, molecules: Molecules, threads: int | None) -> "FPForce":
    import openmm

    from fpforce.plugin import FPForce

    try:
        force = FPForce.from_file(force_field)
    except openmm.OpenMMException as error:
        raise InputError(f"{force_field.path}: {error}") from error
    for particles in molecules:
        force.addReplica(particles)
    force.setNumThreads(threads or 0)
    return force


def _add(system: "openmm.System", force: "openmm.Force", force_group: int) -> "openmm.Force":
    force.setForceGroup(force_group)
    force.setName("fpforce")
    system.addForce(force)
    return force
