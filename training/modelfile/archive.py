"""Writes model.pt: the TorchScript program with metadata, weights and topology beside it in one archive.

The reader is fpforce.forcefield.load.
"""

import io
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

import fpforce
from fpforce.forcefield.artifact import METADATA_ENTRY, TOPOLOGY_ENTRY, WEIGHTS_ENTRY, format_version_of
from fpforce.foundation.atomic_files import replacing


def write_archive(
    path, scripted_module: torch.jit.ScriptModule, metadata: dict, weights: dict, topology_pdb: str
) -> None:
    """Write a force field file.

    scripted_module: `forward(positions)` maps (n, 3) or (R*n, 3) positions in nm, of any float type, to the energy
        in kJ/mol, summed over the R replicas; its exported method `energies(positions)` returns the (R,) parts.
        It subtracts each replica's centre before it casts to float32.
    metadata: everything fpforce.json holds except `format`, `format_version` and `fpforce_version`, added here.
    weights: name -> torch tensor or numpy array.
    topology_pdb: the start frame as PDB text.

    The archive is saved through a buffer, so that its entries lie under `archive/` whatever `path` is called, and
    reaches `path` in one step, so that an interrupted export leaves no half file.
    """
    path = Path(path)
    metadata = {
        "format": "fpforce",
        "format_version": format_version_of(metadata),
        "fpforce_version": fpforce.__version__,
    } | metadata
    tensors = {
        name: (torch.from_numpy(value) if isinstance(value, np.ndarray) else value.detach()).contiguous().cpu()
        for name, value in weights.items()
    }
    buffer = io.BytesIO()
    torch.jit.save(
        scripted_module,
        buffer,
        _extra_files={
            METADATA_ENTRY: json.dumps(metadata, indent=1, allow_nan=False),
            WEIGHTS_ENTRY: save_safetensors(tensors),
            TOPOLOGY_ENTRY: topology_pdb,
        },
    )
    with replacing(path) as unfinished:
        unfinished.write_bytes(buffer.getbuffer())
