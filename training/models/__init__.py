"""Models E_theta(x, t), or scores of their own, behind one contract, and the analytic prior they build on."""

from torch import Tensor

from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.internal import InternalModel, InternalScore, fit_coordinates
from fpforce.training.models.prior import fit_prior
from fpforce.training.plan import ExpertPlan


def build_model(plan: ExpertPlan, frames: Tensor, prior_pairs: list[tuple[int, int]]) -> DiffusionEnergy | DiffusionScore:
    """The untrained model that an expert's plan asks for, with the statistics of normalised frames (frames, beads, 3)."""
    settings = plan.model
    network = InternalModel if plan.conservative else InternalScore
    whole = DiffusionEnergy if plan.conservative else DiffusionScore
    layers = network(fit_coordinates(frames), settings.width, settings.layers, plan.v_min)
    return whole(layers, fit_prior(frames, prior_pairs) if settings.prior else None)
