"""What every model.pt says of itself, be it of one molecule or of any of known types.

In: the path and the metadata (fpforce.forcefield.artifact). Out: model, temperature, scale, weights, hash. A damaged
file is refused where it is read: its entries in artifact.py, fpforce.json in load.py, the program in
fpforce/system/backends/program.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.forcefield.artifact import METADATA_ENTRY, SUPPORT_ENTRY, WEIGHTS_ENTRY, read_extra


@dataclass(frozen=True)
class ModelFile:
    """A model.pt. `metadata` is its fpforce.json as a dict. Units: nm, Da, K, kJ/mol."""

    path: Path
    metadata: dict[str, Any]

    @property
    def kind(self) -> str:
        """Name of the energy model, such as `internal`."""
        return self.metadata["model"]["kind"]

    @property
    def conservative(self) -> bool:
        """Whether the forces are the gradient of an energy; if not, only they mean anything, not the energy."""
        return self.metadata["model"].get("conservative", True)

    @property
    def temperature_k(self) -> float:
        """Temperature of the training data; U is a free energy at this temperature only."""
        return float(self.metadata["temperature_k"])

    @property
    def kt_kj_per_mol(self) -> float:
        """The Boltzmann constant times the temperature."""
        return float(self.metadata["kt_kj_per_mol"])

    @property
    def scale_nm(self) -> float:
        """The one length by which centred positions are divided before they enter the network."""
        return float(self.metadata["scale_nm"])

    @property
    def t_eval(self) -> float:
        """Diffusion time at which the energy is evaluated."""
        return float(self.metadata["t_eval"])

    @property
    def noise_nm(self) -> float:
        """The noise of t_eval, of every bead along each axis, with which the force field has its data.

        0 in a file of an earlier version, which does not say.
        """
        return float(self.metadata.get("noise_nm", 0.0))

    @cached_property
    def sha256(self) -> str:
        """Hash of the whole file, which names the force field in every output."""
        return sha256(self.path.read_bytes()).hexdigest()

    def model_bytes(self) -> bytes:
        """The file's contents, which torch.jit.load reads through a buffer."""
        return self.path.read_bytes()

    @contextmanager
    def program_file(self) -> Iterator[Path]:
        """A file that holds the program, for as long as the context lasts."""
        yield self.path.resolve()

    def weights(self) -> dict[str, np.ndarray]:
        """Every weight by name, read with safetensors' numpy loader."""
        from safetensors.numpy import load as load_safetensors

        return load_safetensors(self.weights_bytes())

    def description(self) -> str:
        """The text of fpforce.json, as the native plugin reads it."""
        return read_extra(self.path, METADATA_ENTRY).decode()

    def weights_bytes(self) -> bytes:
        """The bytes of fpforce.safetensors, as the native plugin reads them."""
        return read_extra(self.path, WEIGHTS_ENTRY)

    def support_bytes(self) -> bytes:
        """The bytes of support.safetensors, which is there where the metadata have `support`."""
        return read_extra(self.path, SUPPORT_ENTRY)
