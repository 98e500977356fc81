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
from fpforce.system.backends.program import load_program

if TYPE_CHECKING:
    import openmm


def unavailable(force_field: ForceField) -> str | None:
    """Why PythonForce cannot be used here, or None."""
    if find_spec("torch") is None:
        return f"torch is not installed; {install_extra('cpu', 'cuda13')}"
    return None


def attach(
    system: "openmm.System", force_field: ForceField, *, replicas: int, force_group: int, threads: int | None
) -> "openmm.Force":
    """Add a PythonForce for `replicas` molecules; `threads` sets torch's thread count at its first call."""
    import openmm

    load_program(force_field)  # what is wrong with it is said here, not by OpenMM in the middle of a step
    force = openmm.PythonForce(TorchEnergy(force_field.model_bytes(), replicas * len(force_field.beads), threads))
    force.setForceGroup(force_group)
    force.setName("fpforce")
    system.addForce(force)
    return force


class TorchEnergy:
    """openmm.State -> (energy in kJ/mol, (N, 3) forces in kJ/mol/nm), by autograd on the TorchScript program.

    The energy is that of the first `count` particles; others in the System feel nothing. Holds the bytes of model.pt,
    so that it can be pickled; torch and the program are loaded at the first call.
    """

    def __init__(self, model_bytes: bytes, count: int, threads: int | None = None) -> None:
        self.model_bytes = model_bytes
        self.count = count
        self.threads = threads
        self._program: Any = None  # torch.jit.ScriptModule

    def __getstate__(self) -> dict[str, Any]:
        return {"model_bytes": self.model_bytes, "count": self.count, "threads": self.threads}

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
        energy = self._program(positions[: self.count])
        (gradient,) = torch.autograd.grad(energy, positions)
        return energy.item(), -gradient.numpy()
