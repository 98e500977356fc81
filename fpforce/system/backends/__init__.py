"""Ways to attach a force field's energy to an openmm.System, one file each.

A backend is a module with

    unavailable(force_field) -> str | None
        why it cannot compute this force field here, with the remedy, or None; imports neither torch nor OpenMM;
    attach(system, force_field, molecules, *, force_group, threads) -> openmm.Force
        adds the energy of these molecules, each given by its particles in the order of the beads; it acts on these
        particles alone, whatever others the system has or gets.
"""

import logging
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import ModuleType

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError

logger = logging.getLogger("fpforce")

# The particles of each molecule, in the order of the force field's beads.
Molecules = Sequence[Sequence[int]]

# In the order in which `auto` tries them.
_MODULE_OF = {
    "native": "fpforce.system.backends.native",
    "torchforce": "fpforce.system.backends.torchforce",
    "python": "fpforce.system.backends.python",
}


def names() -> tuple[str, ...]:
    """Every backend's name, `auto`'s first choice first."""
    return tuple(_MODULE_OF)


def choose(force_field: ForceField, name: str = "auto") -> tuple[str, ModuleType]:
    """The backend called `name`, or with `auto` the first that can compute this force field here, as (name, module).

    Raises InputError for an unknown name, and when the backend (or, with `auto`, every one) is unavailable.
    """
    chosen = next(usable(force_field, name))
    return chosen, import_module(_MODULE_OF[chosen])


def usable(force_field: ForceField, name: str = "auto") -> Iterator[str]:
    """The names of those that can compute this force field here, `auto`'s first choice first; with a name this one.

    Raises InputError as `choose` does.
    """
    if name != "auto" and name not in _MODULE_OF:
        raise InputError(f"unknown backend {name!r}; choose auto, {' or '.join(_MODULE_OF)}")
    candidates, reasons = _MODULE_OF if name == "auto" else [name], []
    for candidate in candidates:
        reason = import_module(_MODULE_OF[candidate]).unavailable(force_field)
        if reason is None:
            yield candidate
            continue
        reasons.append(f"backend {candidate}: {reason}")
        if name == "auto":
            logger.info("backend %s is passed over: %s", candidate, reason)
    if len(reasons) == len(candidates):
        raise InputError("; ".join(reasons))


def selection_of(molecules: Molecules) -> slice | list[int]:
    """What picks the molecules' particles out of an array of all particles: a slice where they are consecutive."""
    particles = [int(particle) for molecule in molecules for particle in molecule]
    first, last = particles[0], particles[-1] + 1
    return slice(first, last) if particles == list(range(first, last)) else particles
