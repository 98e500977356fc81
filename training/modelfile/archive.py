"""Writes model.pt: the TorchScript program with metadata, weights and topology beside it in one archive.

The reader is fpforce.forcefield.load.
"""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

import fpforce
from fpforce.forcefield.artifact import (
    METADATA_ENTRY,
    SUPPORT_ENTRY,
    TOPOLOGY_ENTRY,
    WEIGHTS_ENTRY,
    format_version_of,
)
from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError


def write_archive(
    path: str | Path,
    scripted_module: torch.jit.ScriptModule,
    metadata: dict,
    weights: dict,
    topology_pdb: str,
    support: dict[str, np.ndarray] | None = None,
) -> None:
    """Write a force field file.

    scripted_module: `forward(positions)` maps (n, 3) or (R*n, 3) positions in nm, of any float type, to the energy
        in kJ/mol, summed over the R replicas; its exported method `energies(positions)` returns the (R,) parts.
        It subtracts each replica's centre before it casts to float32.
    metadata: everything fpforce.json holds except `format`, `format_version` and `fpforce_version`, added here.
    weights: name -> torch tensor or numpy array.
    topology_pdb: the start frame as PDB text.
    support: arrays of a Gauge (training.modelfile.support) by name, which the metadata's `support` goes with.

    Raises InputError, naming them, for numbers of the metadata that are not finite.

    The archive is saved through a buffer, so that its entries lie under `archive/` whatever `path` is called, and
    reaches `path` in one step, so that an interrupted export leaves no half file.
    """
    path = Path(path)
    metadata = {
        "format": "fpforce",
        "format_version": format_version_of(metadata),
        "fpforce_version": fpforce.__version__,
    } | metadata
    try:
        text = json.dumps(metadata, indent=1, allow_nan=False)
    except ValueError:
        where = ", ".join(_not_finite(metadata))
        raise InputError(
            f"{path} is not written: {where} of the model is not finite; train again, on frames that move more or with "
            "a smaller learning rate"
        ) from None
    entries = {
        METADATA_ENTRY: text,
        WEIGHTS_ENTRY: _packed(weights),
        TOPOLOGY_ENTRY: topology_pdb,
    } | ({} if support is None else {SUPPORT_ENTRY: _packed(support)})
    buffer = io.BytesIO()
    torch.jit.save(scripted_module, buffer, _extra_files=entries)
    with replacing(path) as unfinished:
        unfinished.write_bytes(buffer.getbuffer())


def _not_finite(value: Any, place: str = "") -> Iterator[str]:
    """Where numbers are not finite in nested dicts and lists, as names joined by dots."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _not_finite(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _not_finite(item, f"{place}.{number}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield place


def _packed(tensors: dict) -> bytes:
    return save_safetensors(
        {
            name: (torch.from_numpy(value) if isinstance(value, np.ndarray) else value.detach()).contiguous().cpu()
            for name, value in tensors.items()
        }
    )
