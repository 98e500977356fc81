"""The OpenMM platform of a simulation: CUDA, HIP or OpenCL on a real GPU, else Reference.

Without a GPU, Reference is the fast one for coarse-grained systems: a step of the CPU platform costs 45 us in thread
hand-off alone, one of Reference 0.5 us, and the model is evaluated by torch or by the native kernels either way.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from fpforce.foundation.errors import InputError

if TYPE_CHECKING:
    import openmm

logger = logging.getLogger("fpforce")

_GPU_PLATFORMS = ("CUDA", "HIP", "OpenCL")
# OpenCL implementations, by vendor string, that run on the CPU and are slower than Reference.
_CPU_OPENCL = ("portable computing language", "pocl", "intel(r) cpu", "oclgrind")
_CPU_DEVICES = ("cpu", "pthread", "xeon", "ryzen", "epyc", "core(tm)", "llvmpipe")


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

    require_platform(platform)
    available = _available()
    if platform != "auto":
        name = next(name for name in available if name.lower() == platform.lower())
        try:
            return _context(system, make_integrator, available[name]), name
        except openmm.OpenMMException as error:
            raise InputError(
                f"OpenMM platform {name} cannot run this system ({error}); leave --platform out"
            ) from error

    for name in _GPU_PLATFORMS:
        if name not in available:
            continue
        try:
            context = _context(system, make_integrator, available[name])
        except openmm.OpenMMException as error:
            logger.info("platform %s is installed but cannot be used: %s", name, error)
            continue
        if name != "OpenCL" or is_gpu(
            *(available[name].getPropertyValue(context, prop) for prop in ("OpenCLPlatformName", "DeviceName"))
        ):
            return context, name
        logger.info("platform OpenCL has no GPU here; it is left out")
        del context
    return _context(system, make_integrator, available["Reference"]), "Reference"


def require_platform(platform: str) -> None:
    """Raise InputError unless `platform` is `auto` or an OpenMM platform that is installed, in any case."""
    if platform == "auto":
        return
    available = _available()
    if not isinstance(platform, str) or platform.lower() not in {name.lower() for name in available}:
        raise InputError(
            f"OpenMM platform {platform!r} is not available here; choose auto or one of {', '.join(available)}"
        )


def _available() -> dict:
    """Name -> openmm.Platform."""
    import openmm

    platforms = [openmm.Platform.getPlatform(i) for i in range(openmm.Platform.getNumPlatforms())]
    return {platform.getName(): platform for platform in platforms}


def is_gpu(opencl_platform: str, device: str) -> bool:
    """Whether an OpenCL device, named as OpenMM reports it, is a GPU rather than a CPU implementation such as pocl."""
    return not any(name in opencl_platform.lower() for name in _CPU_OPENCL) and not any(
        name in device.lower() for name in _CPU_DEVICES
    )


def _context(
    system: "openmm.System", make_integrator: Callable[[], "openmm.Integrator"], platform: "openmm.Platform"
) -> "openmm.Context":
    import openmm

    if platform.getName() in _GPU_PLATFORMS:
        return openmm.Context(system, make_integrator(), platform, {"Precision": "mixed"})
    return openmm.Context(system, make_integrator(), platform)
