"""The energy through OpenMM's own PythonForce: works with any torch, without openmm-torch.

Its XML is a pickle of `TorchEnergy`, so it loads wherever fpforce and torch are installed; loading it runs code,
so load only files you trust. Not for GPUs: positions come to the host at every step.
"""

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import install_extra
from fpforce.system.backends import Molecules, selection_of

if TYPE_CHECKING:
    import openmm


def unavailable(force_field: ForceField) -> str | None:
    """Why PythonForce cannot be used here, or None."""
    if find_spec("torch") is None:
        return f"torch is not installed; {install_extra('cpu', 'cuda13')}"
    return None


def attach(
    system: "openmm.System", force_field: ForceField, molecules: Molecules, *, force_group: int, threads: int | None
) -> "openmm.Force":
    """Add a PythonForce for these molecules; `threads` sets torch's thread count at its first call."""
    import openmm

    force = openmm.PythonForce(TorchEnergy(force_field.model_bytes(), selection_of(molecules), threads))
    force.setForceGroup(force_group)
    force.setName("fpforce")
    system.addForce(force)
    return force


class TorchEnergy:
    """openmm.State -> (energy in kJ/mol, (N, 3) forces in kJ/mol/nm), by autograd on the TorchScript program.

    The energy is that of the particles in `selection`; others in the System feel nothing. Holds the bytes of model.pt,
    so that it can be pickled; torch and the program are loaded at the first call.
    """

    def __init__(self, model_bytes: bytes, selection: slice | list[int], threads: int | None = None) -> None:
        self.model_bytes = model_bytes
        self.selection = selection
        self.threads = threads
        self._program: Any = None  # torch.jit.ScriptModule

    def __getstate__(self) -> dict[str, Any]:
        return {"model_bytes": self.model_bytes, "selection": self.selection, "threads": self.threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, state: "openmm.State") -> tuple[float, np.ndarray]:
        import torch
        from openmm import unit

        if self._program is None:
            if self.threads is not None:
                torch.set_num_threads(self.threads)
            self._program = torch.jit.load(io.BytesIO(self.model_bytes), map_location="cpu")
        positions = torch.tensor(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer), requires_grad=True)
        energy = self._program(positions[self.selection])
        (gradient,) = torch.autograd.grad(energy, positions)
        return energy.item(), -gradient.numpy()
