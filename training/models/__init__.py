"""Energy models E_theta(x, t) behind one contract, and the analytic prior they build on."""

from torch import Tensor

from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.internal import InternalModel, fit_coordinates
from fpforce.training.models.prior import fit_prior
from fpforce.training.recipe import Recipe


def build_energy(recipe: Recipe, frames: Tensor, prior_pairs: list[tuple[int, int]]) -> DiffusionEnergy:
    """The untrained energy that a recipe asks for, with the statistics of normalised frames (frames, beads, 3)."""
    settings = recipe.model
    network = InternalModel(fit_coordinates(frames), settings.width, settings.layers, recipe.diffusion.v_min)
    return DiffusionEnergy(network, fit_prior(frames, prior_pairs) if settings.prior else None)
