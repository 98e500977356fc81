"""The OpenMM platform of a simulation: CUDA, HIP or OpenCL on a real GPU, else Reference.

Without a GPU, Reference is the fast one for coarse-grained systems: a step of the CPU platform costs 45 us in thread
hand-off alone, one of Reference 0.5 us, and the model is evaluated by torch or by the native kernels either way.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from fpforce.foundation.errors import InputError
from fpforce.system.opencl import opencl_gpus

if TYPE_CHECKING:
    import openmm

logger = logging.getLogger("fpforce")

GPU_PLATFORMS = ("CUDA", "HIP", "OpenCL")


def make_context(
    system: "openmm.System", make_integrator: Callable[[], "openmm.Integrator"], platform: str = "auto"
) -> tuple["openmm.Context", str]:
    """An openmm.Context for `system`, with the name of its platform.

    make_integrator: called for every platform that is tried, since an integrator is bound to one context.
    platform: `auto` takes the first of CUDA, HIP, OpenCL that has a GPU and runs this System, else Reference;
        any other value is an OpenMM platform name, which is then used or refused with an InputError.
    GPU platforms run in mixed precision: forces in single, integration in double.
    """
    import openmm

    name, available = require_platform(platform), _available()
    if name != "auto":
        try:
            return _context(system, make_integrator, available[name]), name
        except openmm.OpenMMException as error:
            raise InputError(
                f"OpenMM platform {name} cannot run this system ({error}); leave --platform out"
            ) from error

    for name in GPU_PLATFORMS:
        if name not in available or (name == "OpenCL" and not opencl_gpus()):
            continue
        try:
            return _context(system, make_integrator, available[name]), name
        except openmm.OpenMMException as error:
            logger.info("platform %s is installed but cannot be used: %s", name, error)
    return _context(system, make_integrator, available["Reference"]), "Reference"


def require_platform(platform: str) -> str:
    """`auto`, or OpenMM's name of the installed platform that is called so in any case; InputError for another."""
    available = {name.lower(): name for name in ("auto", *_available())}
    if not isinstance(platform, str) or platform.lower() not in available:
        raise InputError(
            f"OpenMM platform {platform!r} is not available here; choose auto or one of {', '.join(_available())}"
        )
    return available[platform.lower()]


@cache
def usable_platforms() -> list[str]:
    """Names of the OpenMM platforms that can be used here: those of a GPU first, if there is one."""
    import openmm

    available, particle = _available(), openmm.System()
    particle.addParticle(1.0)
    usable = []
    for name in GPU_PLATFORMS:
        if name not in available or (name == "OpenCL" and not opencl_gpus()):
            continue
        try:
            _context(particle, lambda: openmm.VerletIntegrator(0.001), available[name])
        except openmm.OpenMMException as error:
            logger.info("platform %s is installed but cannot be used: %s", name, error)
        else:
            usable.append(name)
    return usable + [name for name in available if name not in GPU_PLATFORMS]


def _available() -> dict:
    """Name -> openmm.Platform."""
    import openmm

    platforms = [openmm.Platform.getPlatform(i) for i in range(openmm.Platform.getNumPlatforms())]
    return {platform.getName(): platform for platform in platforms}


def _context(
    system: "openmm.System", make_integrator: Callable[[], "openmm.Integrator"], platform: "openmm.Platform"
) -> "openmm.Context":
    import openmm

    if platform.getName() in GPU_PLATFORMS:
        return openmm.Context(system, make_integrator(), platform, {"Precision": "mixed"})
    return openmm.Context(system, make_integrator(), platform)
