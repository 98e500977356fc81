"""add_force: a force field on particles of an openmm.System that exists already.

In: a System and the particles that are the beads. Out: the Force that was added to it.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.load import AnyForceField, loaded
from fpforce.forcefield.model_file import ModelFile
from fpforce.foundation.arguments import require_whole
from fpforce.foundation.errors import InputError
from fpforce.system import backends

if TYPE_CHECKING:
    import openmm

logger = logging.getLogger("fpforce")


def add_force(
    system: "openmm.System",
    force_field: AnyForceField,
    particles: Sequence[int] | Sequence[Sequence[int]],
    topology: Any = None,
    *,
    backend: str = "auto",
    force_group: int = 0,
    threads: int | None = None,
    scale_derivative: bool = False,
    override_not_conservative: bool = False,
) -> "openmm.Force":
    """Add the force field's free energy U (kJ/mol) of molecules made of the System's particles, and return the Force.

    particles: indices (n,) of one molecule's beads in the order of `force_field.beads`, or (R, n) of R molecules,
        between which this Force does not act.
    topology: of a transferable force field the molecule, as in make_system; else left out.
    backend, force_group, threads, scale_derivative, override_not_conservative: as in make_system.

    Masses are left as they are: they change no equilibrium distribution, but those of the beads
    (`force_field.masses_da`) are what time steps were tried with. U holds at `force_field.temperature_k` only.
    Raises InputError for particles that are not there, stand twice, or are not as many as the beads, and where
    make_system does.
    """
    force_field = loaded(force_field).bound(topology)
    if not override_not_conservative:
        require_energy(force_field, "override_not_conservative=True")
    return attach_molecules(
        system,
        force_field,
        _molecules(system, force_field, particles),
        backend=backend,
        force_group=force_group,
        threads=threads,
        scale_derivative=scale_derivative,
    )


def attach_molecules(
    system: "openmm.System",
    force_field: ForceField,
    molecules: backends.Molecules,
    *,
    backend: str = "auto",
    force_group: int = 0,
    threads: int | None = None,
    scale_derivative: bool = False,
) -> "openmm.Force":
    """Add the Force of a backend for these molecules, and say which it is at INFO; their particles are not checked.

    Raises InputError for a backend that cannot be used, and for options out of range.
    """
    require_whole("force_group", force_group, 0, 31)
    if threads is not None:
        require_whole("threads", threads, 1)
    if scale_derivative and backend not in ("auto", "native"):
        raise InputError(f"scale_derivative is for the native backend, not {backend}; leave one of the two out")
    name, module = backends.choose(force_field, "native" if scale_derivative else backend)
    attach = module.attach_with_scale_derivative if scale_derivative else module.attach
    force = attach(system, force_field, molecules, force_group=force_group, threads=threads)
    if not force_field.conservative:
        logger.warning(
            "the forces of %s are no gradient: the energy that OpenMM reports means nothing", force_field.path
        )
    logger.info(
        "backend %s: %d replica%s of %d beads; the free energy is that of %g K",
        name,
        len(molecules),
        "" if len(molecules) == 1 else "s",
        len(force_field.beads),
        force_field.temperature_k,
    )
    return force


def require_energy(force_field: ModelFile, override: str) -> None:
    """Raise InputError for forces that are not the gradient of an energy; `override` names what accepts them all the
    same.
    """
    if not force_field.conservative:
        raise InputError(
            f"the forces of {force_field.path} are a score that is not the gradient of an energy: they can do work "
            "around a closed path, so that their simulation has no Boltzmann distribution and may heat up until it "
            f"fails; train the first expert with conservative: true, or give {override} to see it"
        )


def _molecules(
    system: "openmm.System", force_field: ForceField, particles: Sequence[int] | Sequence[Sequence[int]]
) -> list[list[int]]:
    """The particles (R, n) of each molecule, checked."""
    beads, available = len(force_field.beads), system.getNumParticles()
    try:
        indices = np.array(particles)
    except ValueError:
        indices = np.array(None)
    if indices.ndim not in (1, 2) or indices.shape[-1] != beads or not np.issubdtype(indices.dtype, np.integer):
        raise InputError(
            f"particles is {particles!r}; give the indices of the {beads} beads of {force_field.path} as whole "
            "numbers, or a list of such lists, one for each molecule"
        )
    wrong = indices[(indices < 0) | (indices >= available)]
    if wrong.size:
        raise InputError(f"particles has {wrong[0]}, and the System has the particles 0 to {available - 1}")
    numbers, counts = np.unique(indices, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"particles has {numbers[counts > 1][0]} twice; a particle is one bead of one molecule")
    return indices.reshape(-1, beads).tolist()
