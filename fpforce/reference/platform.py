"""The OpenMM platform of a simulation of all atoms.

Reference is the fastest on one core up to about a hundred atoms with GBSAOBCForce, and the only one on which a resumed
run repeats the uninterrupted one exactly: the random numbers of the others are not part of a checkpoint.
"""

from typing import TYPE_CHECKING

from fpforce.foundation.errors import InputError

if TYPE_CHECKING:
    import openmm

_LARGEST_FOR_REFERENCE = 100


def choose_platform(platform: str, n_atoms: int) -> str:
    """Name of an OpenMM platform; `auto` takes Reference for a small molecule, else a GPU or the CPU platform."""
    import openmm

    from fpforce.system.platforms import make_context, require_platform

    require_platform(platform)
    if platform != "auto":
        return platform
    if n_atoms <= _LARGEST_FOR_REFERENCE:
        return "Reference"
    probe = openmm.System()
    probe.addParticle(1.0)
    name = make_context(probe, lambda: openmm.VerletIntegrator(0.001))[1]
    return "CPU" if name == "Reference" else name


def context_for_minimisation(system: "openmm.System") -> "openmm.Context":
    """openmm.Context whose minima are the same in every process: Reference, for a larger molecule one thread of the
    faster CPU.
    """
    import openmm

    name = "Reference" if system.getNumParticles() <= _LARGEST_FOR_REFERENCE else "CPU"
    return openmm.Context(system, openmm.VerletIntegrator(0.001), *platform_and_properties(name, threads=1))


def platform_and_properties(name: str, threads: int) -> tuple["openmm.Platform", dict[str, str]]:
    """openmm.Platform and the properties of its contexts."""
    import openmm

    if threads < 1:
        raise InputError(f"threads = {threads}: give at least 1")
    names = {openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())}
    exact = next(known for known in names if known.lower() == name.lower())
    properties = {"CPU": {"Threads": str(threads)}, "Reference": {}}.get(exact, {"Precision": "mixed"})
    return openmm.Platform.getPlatformByName(exact), properties
