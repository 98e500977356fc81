"""Which backend on which platform simulates a force field the fastest on this machine, by a short measurement.

In: a force field and a number of replicas. Out: names of a backend and of an OpenMM platform.

Nothing is measured where there is nothing to choose: without a GPU the first backend that can compute the force field,
on Reference, is the fastest at every size that was measured (docs/measured/cost-and-speed.md). With a GPU it depends on
the model, the replicas and the machine: a step of a few beads ends on the processor before a GPU has begun.
"""

import gc
import logging
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError
from fpforce.system import backends
from fpforce.system.platforms import GPU_PLATFORMS, make_context, require_platform, usable_platforms

if TYPE_CHECKING:
    import openmm

logger = logging.getLogger("fpforce")

_ON_A_GPU = ("native", "torchforce")  # to the others positions come from the device at every step
_SECONDS = 0.2  # of one way, or one step where that takes longer
_TIMESTEP_PS = 1e-6  # in which no bead goes anywhere


class Way(NamedTuple):
    """A backend's name and a platform's."""

    backend: str
    platform: str

    def __str__(self) -> str:
        return f"{self.backend} on {self.platform}"


_measured: dict[tuple, Way] = {}  # in this process


def fastest_way(
    force_field: ForceField,
    replicas: int = 1,
    *,
    backend: str = "auto",
    platform: str = "auto",
    threads: int | None = None,
    before: tuple[str, str] | None = None,
) -> Way:
    """The fastest of the ways that can be had here; says at INFO what was measured.

    backend, platform: `auto`, or the one that it has to be. With both named nothing is measured.
    threads: as in make_system.
    before: (backend, platform) of an earlier part of the same simulation. It is taken, without measuring, where it can
        be had here and is what is named, so that the parts are of one kind.

    The same force field, replicas and threads are measured once in a process. That takes tenths of a second beside
    what torch and a GPU's driver take to begin, or six steps where these take longer. Raises InputError for names that
    cannot be used here.
    """
    named, platforms = require_platform(platform), usable_platforms()
    if before is not None and backend in ("auto", before[0]) and named in ("auto", before[1]):
        if before[1] in platforms and _can_compute(force_field, before[0]):
            return Way(*before)
    ways = tuple(_ways(force_field, backend, named))
    if len(ways) == 1 or force_field.positions_nm is None:
        return ways[0]
    contents = sha256(force_field.description().encode() + force_field.weights_bytes()).digest()
    key = (contents, replicas, threads, ways)
    if key not in _measured:
        _measured[key] = _fastest(force_field, replicas, threads, ways)
    return _measured[key]


def first_way(force_field: ForceField, *, backend: str = "auto", platform: str = "auto") -> Way:
    """One that is the same whenever it is asked for on a machine, since nothing is measured: on a GPU where there is
    one, and of the backends the first. Errors and arguments as of `fastest_way`.
    """
    return next(_ways(force_field, backend, require_platform(platform)))


def _can_compute(force_field: ForceField, backend: str) -> bool:
    try:
        backends.choose(force_field, backend)
    except InputError:
        return False
    return True


def _ways(force_field: ForceField, backend: str, platform: str) -> Iterator[Way]:
    """Those worth measuring: on the platform of a GPU what computes there, and on the host the first backend."""
    platforms: tuple[str, ...] = (platform,)
    if platform == "auto":
        platforms = (*[name for name in usable_platforms() if name in GPU_PLATFORMS][:1], "Reference")
    names = backends.usable(force_field, backend)
    first, on_gpu = next(names), []
    if platforms[0] in GPU_PLATFORMS:
        on_gpu = [Way(name, platforms[0]) for name in (first, *names) if name in _ON_A_GPU]
    yield from on_gpu
    if platforms[-1] not in GPU_PLATFORMS or not on_gpu:
        yield Way(first, platforms[-1])


def _fastest(force_field: ForceField, replicas: int, threads: int | None, ways: tuple[Way, ...]) -> Way:
    import openmm

    seconds = {}
    for way in ways:
        try:
            seconds[way] = _seconds_per_step(force_field, replicas, threads, way)
        except (InputError, openmm.OpenMMException) as error:
            logger.info("%s is passed over: %s", way, error)
        gc.collect()  # a Context holds a GPU's memory
    if not seconds:
        return ways[0]  # whose error the simulation itself will tell
    fastest = min(seconds, key=seconds.__getitem__)
    figures = ", ".join(f"{way} ({1e6 * each:.3g} us a step)" for way, each in seconds.items())
    logger.info("%s is taken, the fastest of %s", fastest, figures)
    return fastest


def _seconds_per_step(force_field: ForceField, replicas: int, threads: int | None, way: Way) -> float:
    """Of Langevin dynamics from the force field's own positions: the least that was measured."""
    import openmm

    assert force_field.positions_nm is not None  # nothing is measured without
    system = openmm.System()
    for mass_da in np.tile(force_field.masses_da, replicas):
        system.addParticle(float(mass_da))
    molecules = np.arange(system.getNumParticles()).reshape(replicas, -1).tolist()
    _, module = backends.choose(force_field, way.backend)
    module.attach(system, force_field, molecules, force_group=0, threads=threads)
    integrator = openmm.LangevinMiddleIntegrator(force_field.temperature_k, 1.0, _TIMESTEP_PS)
    context, _ = make_context(system, lambda: integrator, way.platform)
    context.setPositions(np.tile(force_field.positions_nm, (replicas, 1)))
    _timed(context, 5)  # what is compiled or cached at the first steps
    until, steps, least = time.perf_counter() + _SECONDS, 1, float("inf")
    while time.perf_counter() < until:
        seconds = _timed(context, steps)
        least = min(least, seconds / steps)
        if seconds < _SECONDS / 8:
            steps *= 2
    return least


def _timed(context: "openmm.Context", steps: int) -> float:
    """Seconds of so many steps, until the device is done with them."""
    began = time.perf_counter()
    context.getIntegrator().step(steps)
    context.getState(positions=True)
    return time.perf_counter() - began
