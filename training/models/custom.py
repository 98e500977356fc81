"""`custom`: a network of the user's own behind the contract, found by entry point.

A package offers it in its pyproject.toml,

    [project.entry-points."fpforce.networks"]
    my_network = "my_package:build"

where build(frames, beads, conservative, v_min, **settings) returns a torch module as fpforce.training.models.contract asks
for. docs/custom-network.md has the contract and a complete example.
"""

from importlib.metadata import entry_points

from torch import Tensor, nn

from fpforce.beads import BeadTable
from fpforce.errors import InputError
from fpforce.training.model_recipe import CustomRecipe
from fpforce.training.models.contract import Network

GROUP = "fpforce.networks"


class CustomNetwork(Network):
    """A module that is no Network, with the defaults of one."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, t: Tensor):
        return self.module(x, t)


def build_custom(frames: Tensor, beads: BeadTable, settings: CustomRecipe, v_min: float, conservative: bool) -> Network:
    """The module that the entry point `settings.network` builds; InputError naming what is missing or wrong."""
    offered = {entry.name: entry for entry in entry_points(group=GROUP)}
    if settings.network not in offered:
        known = ", ".join(sorted(offered)) or "none"
        raise InputError(f"model.network = {settings.network!r} is no entry point of the group {GROUP} (installed: {known}); "
                         "install the package that has it, or mend the name")
    try:
        module = offered[settings.network].load()(frames, beads, conservative=conservative, v_min=v_min, **settings.settings)
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(f"model.network = {settings.network!r}: {offered[settings.network].value} with the settings "
                         f"{settings.settings} fails: {error}") from error
    if not isinstance(module, nn.Module):
        raise InputError(f"model.network = {settings.network!r}: {offered[settings.network].value} gives a "
                         f"{type(module).__name__}, not a torch module")
    return module if isinstance(module, Network) else CustomNetwork(module)
