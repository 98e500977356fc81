"""Energy models E_theta(x, t) behind one contract, and the analytic prior they build on."""

from torch import Tensor

from fpforce.beads import BeadTable
from fpforce.training.model_recipe import GraphTransformerRecipe
from fpforce.training.models.contract import DiffusionEnergy, EnergyNetwork
from fpforce.training.models.graph_transformer import fit_graph_transformer
from fpforce.training.models.internal import InternalModel, fit_coordinates
from fpforce.training.models.prior import fit_prior
from fpforce.training.recipe import Recipe


def build_energy(recipe: Recipe, frames: Tensor, prior_pairs: list[tuple[int, int]], beads: BeadTable,
                 scale_nm: float) -> DiffusionEnergy:
    """The untrained energy that a recipe asks for, with the statistics of normalised frames (frames, n, 3).

    prior_pairs: pairs of beads that the prior holds together. beads: the molecule. scale_nm: the unit of the frames.
    """
    network = _build_network(recipe, frames, beads, scale_nm)
    return DiffusionEnergy(network, fit_prior(frames, prior_pairs) if recipe.model.prior else None)


def _build_network(recipe: Recipe, frames: Tensor, beads: BeadTable, scale_nm: float) -> EnergyNetwork:
    settings, v_min = recipe.model, recipe.diffusion.v_min
    if isinstance(settings, GraphTransformerRecipe):
        return fit_graph_transformer(frames, beads, settings, v_min, scale_nm)
    return InternalModel(fit_coordinates(frames), settings.width, settings.layers, v_min)
