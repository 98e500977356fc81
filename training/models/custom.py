"""`custom`: a network of the user's own behind the contract, found by entry point.

A package offers it in its pyproject.toml,

    [project.entry-points."fpforce.networks"]
    my_network = "my_package:build"

where build(frames, beads, conservative, v_min, **settings) returns a torch module as fpforce.training.models.contract
asks for. docs/custom-network.md has the contract and a complete example.
"""

from importlib.metadata import entry_points
from typing import Any

import torch
from torch import Tensor, nn

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.training.models.contract import Network
from fpforce.training.recipe.models import CustomRecipe

GROUP = "fpforce.networks"


class CustomNetwork(Network):
    """A module that is no Network, with the defaults of one."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    # TorchScript takes the type of the result from the module: energies, or coordinates and weights.
    def forward(self, x: Tensor, t: Tensor):  # type: ignore[no-untyped-def]
        return self.module(x, t)


def build_custom(frames: Tensor, beads: BeadTable, settings: CustomRecipe, v_min: float, conservative: bool) -> Network:
    """The module that the entry point `settings.network` builds; InputError naming what is missing or wrong."""
    offered = {entry.name: entry for entry in entry_points(group=GROUP)}
    if settings.network not in offered:
        known = ", ".join(sorted(offered)) or "none"
        raise InputError(
            f"model.network = {settings.network!r} is no entry point of the group {GROUP} (installed: {known}); "
            "install the package that has it, or mend the name"
        )
    try:
        module = offered[settings.network].load()(
            frames, beads, conservative=conservative, v_min=v_min, **settings.settings
        )
    except Exception as error:  # of the user's code
        raise InputError(
            f"model.network = {settings.network!r}: {offered[settings.network].value} with the settings "
            f"{settings.settings} fails: {_said(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"model.network = {settings.network!r}: {offered[settings.network].value} gives a "
            f"{type(module).__name__}, not a torch module"
        )
    problem = _breach(module, frames[:3], conservative)
    if problem:
        raise InputError(
            f"model.network = {settings.network!r}: {problem}; docs/custom-network.md has the contract and an example"
        )
    return module if isinstance(module, Network) else CustomNetwork(module)


def _breach(module: nn.Module, x: Tensor, conservative: bool) -> str | None:
    """What the module does otherwise than the contract asks, on a few normalised frames x (frames, beads, 3); None if
    nothing.
    """
    x, t = x.detach().clone().requires_grad_(), torch.linspace(0.1, 0.9, len(x), dtype=x.dtype).requires_grad_()
    try:
        with torch.enable_grad():
            found = module(x, t)
            return _wrong_shape(found, len(x), conservative) or (_independent_of(found, x, t) if conservative else None)
    except Exception as error:  # of the user's code
        return f"it fails on {len(x)} frames of {x.shape[1]} beads: {_said(error)}"


def _wrong_shape(found: Any, frames: int, conservative: bool) -> str | None:
    several = isinstance(found, tuple | list)
    shapes = [tuple(part.shape) for part in (found if several else [found])]
    if conservative:
        right, wanted = shapes == [(frames,)] and not several, f"energies of shape ({frames},)"
    else:
        right = len(shapes) == 2 and shapes[0] == shapes[1] and len(shapes[0]) == 2 and shapes[0][0] == frames
        wanted = (
            f"coordinates and weights, both of one shape ({frames}, coordinates), since the expert is not conservative"
        )
    said = (
        f"{len(shapes)} results of shapes {', '.join(map(str, shapes))}"
        if several
        else f"a tensor of shape {shapes[0]}"
    )
    return None if right else f"of {frames} frames it returns {said}, expected {wanted}"


def _independent_of(energy: Tensor, x: Tensor, t: Tensor) -> str | None:
    slopes = torch.autograd.grad(energy.sum(), (x, t), allow_unused=True)
    for name, slope in zip(("x", "t"), slopes, strict=True):
        if slope is None:
            return (
                f"its energy does not depend on {name}; it must be a differentiable function of positions and "
                "diffusion time"
            )
    return None


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
