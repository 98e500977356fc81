"""The energy through openmm-torch's TorchForce, which runs the TorchScript program inside OpenMM.

The Force holds the program itself: its XML carries the whole model and loads where model.pt is gone.
"""

import logging
import tempfile
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError, install_extra
from fpforce.system.backends import Molecules, selection_of
from fpforce.system.backends.program import load_program, torchscript

if TYPE_CHECKING:
    import openmm

_INSTALL = install_extra("cpu", "cuda13")


def unavailable(force_field: ForceField) -> str | None:
    """Why TorchForce cannot be used here, or None.

    Raises InputError when two openmm-torch wheels are installed: they overwrite each other's files.
    """
    wheels = sorted(
        {
            _canonical(distribution.name)
            for distribution in distributions()
            if _canonical(distribution.name).startswith(("acellera-openmmtorch", "openmmtorch"))
        }
    )
    if len(wheels) > 1:
        raise InputError(
            f"{len(wheels)} openmm-torch wheels are installed ({', '.join(wheels)}) and overwrite each "
            f"other's files; run: pip uninstall -y {' '.join(wheels)}, then {_INSTALL}"
        )
    if find_spec("openmmtorch") is None:
        return f"openmm-torch is not installed; {_INSTALL}"
    if not version("openmm").startswith("8.5."):
        return (
            f"openmm {version('openmm')} crashes the openmm-torch wheels, which were built against 8.5; "
            "pip install openmm==8.5.2"
        )
    return None


def attach(
    system: "openmm.System", force_field: ForceField, molecules: Molecules, *, force_group: int, threads: int | None
) -> "openmm.Force":
    """Add a TorchForce for these molecules; `threads` sets torch's thread count for this process."""
    import torch

    force_class = _torch_force_class()
    if threads is not None:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "program.pt")
        program = _own_particles(force_field, selection_of(molecules))
        with torchscript():
            program.save(str(path))
        force = force_class(str(path))
    force.setForceGroup(force_group)
    force.setName("fpforce")
    system.addForce(force)
    return force


def _own_particles(force_field: ForceField, selection: slice | list[int]) -> Any:
    """The program, of these particles alone: TorchForce hands it all that the System has, others' too."""
    import torch

    class Consecutive(torch.nn.Module):
        def __init__(self, program: Any, first: int, last: int) -> None:
            super().__init__()
            self.program, self.first, self.last = program, first, last

        def forward(self, positions: torch.Tensor) -> torch.Tensor:
            return self.program(positions[self.first : self.last])

    class Chosen(torch.nn.Module):
        particles: torch.Tensor

        def __init__(self, program: Any, particles: list[int]) -> None:
            super().__init__()
            self.program = program
            self.register_buffer("particles", torch.tensor(particles))

        def forward(self, positions: torch.Tensor) -> torch.Tensor:
            return self.program(positions[self.particles])

    program = load_program(force_field)
    with torchscript():
        if isinstance(selection, slice):
            return torch.jit.script(Consecutive(program, selection.start, selection.stop))
        return torch.jit.script(Chosen(program, selection))


def _torch_force_class() -> Any:
    """openmmtorch.TorchForce; importing it logs a warning about its own use of the name `simtk`, held back here."""
    disabled_before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        from openmmtorch import TorchForce
    finally:
        logging.disable(disabled_before)
    return TorchForce


def _canonical(name: str | None) -> str:
    return (name or "").lower().replace("_", "-")
