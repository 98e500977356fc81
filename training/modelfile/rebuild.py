"""The energy of a model.pt made anew as a plain torch module, from its description and weights, without TorchScript.

In: the text of fpforce.json and the bytes of fpforce.safetensors, of one molecule or bound to one. Out: the module that
was exported. The network's code is that of the fpforce that is installed; format_version says whether it knows the
model.
"""

import json
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load as load_safetensors

from fpforce.forcefield.transferable.vocabulary import Vocabulary
from fpforce.forcefield.wall import Wall
from fpforce.molecule.beads import BeadTable
from fpforce.training.modelfile.physical_energy import PhysicalEnergy
from fpforce.training.models import build_model
from fpforce.training.recipe.models import ModelRecipe
from fpforce.training.recipe.plan import ExpertPlan

_FRAMES = 64  # of noise: what is fitted to them is replaced by the weights


def rebuild(description: str, weights: bytes) -> PhysicalEnergy:
    """The energy in physical units, in evaluation mode; its parameters take no gradients.

    Raises InputError for a network that is not installed (`custom`), and KeyError, ValueError or RuntimeError where the
    description and the weights are not those of a model that fpforce has written.
    """
    metadata, tensors = json.loads(description), load_safetensors(weights)
    beads = BeadTable.from_dict(metadata["beads"])
    pairs: list[tuple[int, int]] = []
    if "prior.first" in tensors:  # a particle in the plane has another prior
        pairs = list(zip(tensors["prior.first"].tolist(), tensors["prior.second"].tolist(), strict=True))
    energy = build_model(
        _plan(metadata["model"]),
        torch.randn(_FRAMES, len(beads), 3, generator=torch.Generator().manual_seed(0)),
        pairs,
        beads,
        metadata["training"].get("scale_nm", metadata["scale_nm"]),
        vocabulary=_vocabulary(metadata["model"]["vocabulary"]),
    )
    if "network.series.weights" in tensors:
        energy.network.add_modes(tensors["network.series.weights"])
    if "network.pair_series.weights" in tensors:
        of, series = tensors["network.pair_series.pairs"], tensors["network.pair_series.weights"]
        if series.dim() != 3 or not torch.equal(of, energy.network.series_pairs()):
            raise ValueError("network.pair_series is of other pairs than the molecule has")
        named = {name: tensors[f"network.pair_series.{name}"] for name in ("centres", "widths")}
        energy.network.have_pairs(**named, orders=series.shape[2])
    # A bound model's weights include what its constants were made of.
    own = energy.state_dict()
    energy.load_state_dict({name: tensor for name, tensor in tensors.items() if name in own})
    record = metadata.get("wall")
    if record is None:
        wall = None
    elif record.get("of_pairs"):
        own = {name: tensor.numpy() for name, tensor in tensors.items() if name.startswith("wall.")}
        wall = Wall.of_constants(own, len(beads))
    else:
        wall = Wall.of(beads, record["smallest_distances"])
    return (
        PhysicalEnergy(
            energy.float(),
            len(beads),
            metadata["scale_nm"],
            metadata["kt_kj_per_mol"],
            metadata["t_eval"],
            metadata["origin_nm"],
            wall,
        )
        .eval()
        .requires_grad_(False)
    )


def _plan(model: dict[str, Any]) -> ExpertPlan:
    """The expert as far as its network depends on it."""
    settings = dict(model["settings"])
    v_min, t_max = settings.pop("v_min"), settings.pop("t_max")
    return ExpertPlan(
        t_min=0.0,
        t_max=t_max,
        conservative=model["conservative"],
        model=TypeAdapter(ModelRecipe).validate_python(settings),
        v_min=v_min,
        fokker_planck_weight=0.0,
        flow_weight=0.0,
        anchor_weight=0.0,
        max_steps=0,
        max_minutes=None,
    )


def _vocabulary(words: dict[str, list[str]]) -> Vocabulary | None:
    return Vocabulary(tuple(words["names"]), tuple(words["residues"])) if words else None
