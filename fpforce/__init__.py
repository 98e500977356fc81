"""fpforce: simulation-consistent coarse-grained force fields for OpenMM.

The public names are loaded when first used, so that `import fpforce` needs neither OpenMM, mdtraj nor torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

_HOME_OF = {
    "InputError": "fpforce.foundation.errors",
    "Bead": "fpforce.molecule.beads",
    "BeadTable": "fpforce.molecule.beads",
    "map_beads": "fpforce.molecule.mapping",
    "BeadFrames": "fpforce.trajectories.bead_frames",
    "read_bead_frames": "fpforce.trajectories.bead_frames",
    "ForceField": "fpforce.forcefield.artifact",
    "load": "fpforce.forcefield.artifact",
    "make_system": "fpforce.system.make_system",
    "SimulationSettings": "fpforce.simulation.simulate",
    "simulate": "fpforce.simulation.simulate",
    "read_simulation": "fpforce.simulation.simulate",
    "evaluate": "fpforce.analysis",
}

__all__ = sorted(_HOME_OF)

try:
    __version__ = version("fpforce")
except PackageNotFoundError:
    __version__ = "unknown"


def __getattr__(name):
    try:
        home = _HOME_OF[name]
    except KeyError:
        raise AttributeError(f"module 'fpforce' has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__():
    return __all__
