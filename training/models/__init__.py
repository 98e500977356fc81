"""Models E_theta(x, t), or scores of their own, behind one contract, and the analytic prior they build on."""

from torch import Tensor

from fpforce.beads import BeadTable
from fpforce.training.model_recipe import CustomRecipe, GraphTransformerRecipe
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore, Network
from fpforce.training.models.custom import build_custom
from fpforce.training.models.graph_transformer import fit_graph_transformer
from fpforce.training.models.internal import InternalModel, InternalScore, fit_coordinates
from fpforce.training.models.prior import fit_prior
from fpforce.training.plan import ExpertPlan


def build_model(plan: ExpertPlan, frames: Tensor, prior_pairs: list[tuple[int, int]], beads: BeadTable,
                scale_nm: float) -> DiffusionEnergy | DiffusionScore:
    """The untrained model that an expert's plan asks for, with the statistics of normalised frames (frames, n, 3).

    prior_pairs: pairs of beads that the prior holds together. beads: the molecule. scale_nm: the unit of the frames.
    """
    network = _build_network(plan, frames, beads, scale_nm)
    prior = fit_prior(frames, prior_pairs) if plan.model.prior else None
    return DiffusionEnergy(network, prior) if plan.conservative else DiffusionScore(network, prior)


def _build_network(plan: ExpertPlan, frames: Tensor, beads: BeadTable, scale_nm: float) -> Network:
    settings = plan.model
    if isinstance(settings, GraphTransformerRecipe):
        return fit_graph_transformer(frames, beads, settings, plan.v_min, scale_nm, plan.conservative)
    if isinstance(settings, CustomRecipe):
        return build_custom(frames, beads, settings, plan.v_min, plan.conservative)
    kind = InternalModel if plan.conservative else InternalScore
    return kind(fit_coordinates(frames), settings.width, settings.layers, plan.v_min)
