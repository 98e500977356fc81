"""fpforce: simulation-consistent coarse-grained force fields for OpenMM.

The public names. They are loaded when first used, so that `import fpforce` needs neither OpenMM, mdtraj nor torch;
type checkers see the same names by the imports below.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fpforce.analysis.report import evaluate as evaluate
    from fpforce.fitting.fit import fit as fit
    from fpforce.fitting.settings import FitSettings as FitSettings
    from fpforce.forcefield.force_field import ForceField as ForceField
    from fpforce.forcefield.load import load as load
    from fpforce.forcefield.transferable.bound import TransferableForceField as TransferableForceField
    from fpforce.foundation.errors import InputError as InputError
    from fpforce.shipped.pretrained import pretrained as pretrained
    from fpforce.simulation.read import read_simulation as read_simulation
    from fpforce.simulation.settings import SimulationSettings as SimulationSettings
    from fpforce.simulation.simulate import simulate as simulate
    from fpforce.system.add_force import add_force as add_force
    from fpforce.system.make_system import make_system as make_system
    from fpforce.system.support import support as support
    from fpforce.training.export import export as export
    from fpforce.training.recipe.read import load_recipe as load_recipe
    from fpforce.training.recipe.sections import Recipe as Recipe
    from fpforce.training.sample import SampleSettings as SampleSettings
    from fpforce.training.sample import sample as sample
    from fpforce.training.train import train as train
    from fpforce.trajectories.bead_frames import BeadFrames as BeadFrames
    from fpforce.trajectories.bead_frames import read_bead_frames as read_bead_frames

# tests/fpforce/test_import.py holds this and the imports above to the same names and homes.
_HOME_OF = {
    "BeadFrames": "fpforce.trajectories.bead_frames",
    "FitSettings": "fpforce.fitting.settings",
    "ForceField": "fpforce.forcefield.force_field",
    "InputError": "fpforce.foundation.errors",
    "Recipe": "fpforce.training.recipe.sections",
    "SampleSettings": "fpforce.training.sample",
    "SimulationSettings": "fpforce.simulation.settings",
    "TransferableForceField": "fpforce.forcefield.transferable.bound",
    "add_force": "fpforce.system.add_force",
    "evaluate": "fpforce.analysis.report",
    "export": "fpforce.training.export",
    "fit": "fpforce.fitting.fit",
    "load": "fpforce.forcefield.load",
    "load_recipe": "fpforce.training.recipe.read",
    "make_system": "fpforce.system.make_system",
    "pretrained": "fpforce.shipped.pretrained",
    "read_bead_frames": "fpforce.trajectories.bead_frames",
    "read_simulation": "fpforce.simulation.read",
    "sample": "fpforce.training.sample",
    "simulate": "fpforce.simulation.simulate",
    "support": "fpforce.system.support",
    "train": "fpforce.training.train",
}

__all__ = sorted(_HOME_OF)

try:
    __version__ = version("fpforce")
except PackageNotFoundError:
    __version__ = "unknown"


if not TYPE_CHECKING:  # which would take any name for one of the package

    def __getattr__(name: str) -> Any:
        try:
            home = _HOME_OF[name]
        except KeyError:
            raise AttributeError(f"module 'fpforce' has no attribute {name!r}") from None
        try:
            return getattr(import_module(home), name)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if not home.startswith("fpforce.training.") or missing == "fpforce":
                raise
            from fpforce.foundation.errors import InputError, install_extra

            raise InputError(
                f"fpforce.{name} needs {missing}, which is not installed; {install_extra('cpu', 'cuda13')}"
            ) from error


def __dir__() -> list[str]:
    return __all__
