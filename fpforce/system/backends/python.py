"""The energy through OpenMM's own PythonForce: works with any torch, without openmm-torch.

The TorchScript program of model.pt is run where torch still knows TorchScript. Where it does not, and where it refuses
the program, the same network is made anew from the description and the weights (fpforce.training.modelfile.rebuild),
which takes about twice as long a step.

A force's XML is a pickle of `TorchEnergy`, so it loads wherever fpforce and torch are installed; loading it runs code,
so load only files you trust. Not for GPUs: positions come to the host at every step.
"""

import io
import logging
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError, install_extra
from fpforce.system.backends import Molecules, selection_of
from fpforce.system.backends.program import intact_program, torchscript

if TYPE_CHECKING:
    import openmm

logger = logging.getLogger("fpforce")

_REBUILD = (
    "fpforce.training.modelfile.rebuild"  # loaded where it is needed alone: the runtime does not lean on training
)


def unavailable(force_field: ForceField) -> str | None:
    """Why PythonForce cannot be used here, or None."""
    if find_spec("torch") is None:
        return f"torch is not installed; {install_extra('cpu', 'cuda13')}"
    if tuple(map(int, version("openmm").split(".")[:2])) < (8, 5):
        return f"openmm {version('openmm')} has no PythonForce, which came with 8.5; pip install 'openmm>=8.5'"
    return None


def attach(
    system: "openmm.System", force_field: ForceField, molecules: Molecules, *, force_group: int, threads: int | None
) -> "openmm.Force":
    """Add a PythonForce for these molecules; `threads` sets torch's thread count at its first call."""
    import openmm

    model = Model.of(force_field.description(), force_field.weights_bytes(), _script(force_field))
    force = openmm.PythonForce(TorchEnergy(model, selection_of(molecules), threads))
    force.setForceGroup(force_group)
    force.setName("fpforce")
    system.addForce(force)
    return force


class TorchEnergy:
    """openmm.State -> (energy in kJ/mol, (N, 3) forces in kJ/mol/nm), by autograd.

    The energy is that of the particles in `selection`; others in the System feel nothing. It can be pickled, with the
    whole model; torch is loaded at the first call.
    """

    def __init__(self, model: "Model", selection: slice | list[int], threads: int | None = None) -> None:
        self.model, self.selection, self.threads, self._called = model, selection, threads, False

    def __call__(self, state: "openmm.State") -> tuple[float, np.ndarray]:
        import torch
        from openmm import unit

        if self.threads is not None and not self._called:
            torch.set_num_threads(self.threads)
        self._called = True
        program = self.model.program()
        positions = torch.tensor(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer), requires_grad=True)
        energy = program(positions[self.selection])
        (gradient,) = torch.autograd.grad(energy, positions)
        return energy.item(), -gradient.numpy()


@dataclass(eq=False)
class Model:
    """What a model.pt has for torch, held once in a process however many forces and copies use it.

    description, weights: text of fpforce.json and bytes of fpforce.safetensors; script: a TorchScript archive, or None.
    """

    description: str
    weights: bytes
    script: bytes | None
    _program: Any = None  # a torch module
    _here = WeakValueDictionary()  # by hash of the contents; no annotation, since it is no field

    @classmethod
    def of(cls, description: str, weights: bytes, script: bytes | None) -> "Model":
        """The one with these contents."""
        contents = sha256(b"\0".join([description.encode(), weights, script or b""])).digest()
        return cls._here.setdefault(contents, cls(description, weights, script))

    def __reduce__(self) -> tuple:
        return Model.of, (self.description, self.weights, self.script)

    def program(self) -> Any:
        """The torch module, loaded when it is first asked for."""
        if self._program is None:
            program = _loaded(self.script)
            if program is None:
                program = import_module(_REBUILD).rebuild(self.description, self.weights)
            self._program = program
        return self._program


def _script(force_field: ForceField) -> bytes | None:
    """The TorchScript archive of a force field without what else model.pt holds; None where torch cannot run it."""
    import torch

    content = intact_program(force_field)
    buffer = io.BytesIO()
    try:
        with torchscript():
            torch.jit.save(torch.jit.load(io.BytesIO(content), map_location="cpu"), buffer)
    except (AttributeError, NotImplementedError, RuntimeError) as error:
        logger.info("torch %s does not run TorchScript (%s); the network is made anew", torch.__version__, error)
        try:
            import_module(_REBUILD).rebuild(force_field.description(), force_field.weights_bytes())
        except (KeyError, ValueError, RuntimeError, ModuleNotFoundError) as reason:
            raise InputError(
                f"{force_field.path} cannot be computed with torch {torch.__version__}: its program is TorchScript, "
                f"which this torch does not run, and its network cannot be made anew ({reason}); install an older torch"
            ) from reason
        return None
    return buffer.getvalue()


def _loaded(script: bytes | None) -> Any:
    """The TorchScript program, or None where there is none or torch cannot run it."""
    import torch

    if script is None:
        return None
    try:
        with torchscript():
            return torch.jit.load(io.BytesIO(script), map_location="cpu")
    except (AttributeError, NotImplementedError, RuntimeError):
        return None
