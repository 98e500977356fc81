"""Models E_theta(x, t), or scores of their own, behind one contract, and the analytic prior they build on."""

import torch
from torch import Tensor

from fpforce.forcefield.transferable.vocabulary import Vocabulary
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.space import PLANE, space_of
from fpforce.training.diffusion import degrees_of_freedom, time_of_variance
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore, Network
from fpforce.training.models.custom import build_custom
from fpforce.training.models.graph_transformer import fit_graph_transformer
from fpforce.training.models.internal import InternalCoordinates, InternalModel, InternalScore, fit_coordinates
from fpforce.training.models.mlp import MlpModel, MlpScore
from fpforce.training.models.plane_prior import fit_plane_gaussian
from fpforce.training.models.prior import fit_prior
from fpforce.training.recipe.models import ChainRecipe, CustomRecipe, GraphTransformerRecipe, MlpRecipe, ModelRecipe
from fpforce.training.recipe.plan import FEW, ExpertPlan
from fpforce.trajectories.weights import in_proportion

RESOLVED = 0.5  # of the stiffest distance that the prior does not hold, which noise must not blur while it is unseen


def build_model(
    plan: ExpertPlan,
    frames: Tensor,
    prior_pairs: list[tuple[int, int]],
    beads: BeadTable,
    scale_nm: float,
    weights: Tensor | None = None,
    vocabulary: Vocabulary | None = None,
) -> DiffusionEnergy | DiffusionScore:
    """The untrained model that an expert's plan asks for, with the statistics of normalised frames (frames, n, 3).

    prior_pairs: pairs of beads that the prior holds together. beads: the molecule. scale_nm: the unit of the frames.
    weights (frames,): of the frames, None where all count alike. vocabulary: of a `graph_transformer`, None for the
    molecule's own words.
    Raises InputError for a model of molecules on one bead, and for `mlp` on several.
    """
    _check_space(plan.model, beads)
    network = _build_network(plan, frames, prior_pairs, beads, scale_nm, weights, vocabulary)
    prior = None
    if plan.model.prior:
        if space_of(len(beads)) is PLANE:
            prior = fit_plane_gaussian(frames, weights)
        else:
            # Of five beads and less, whose every table was made without, simulations with couplings were not measured.
            prior = fit_prior(frames, prior_pairs, weights, coupled=degrees_of_freedom(len(beads)) > FEW)
    return DiffusionEnergy(network, prior) if plan.conservative else DiffusionScore(network, prior)


def _check_space(settings: ModelRecipe, beads: BeadTable) -> None:
    in_plane = space_of(len(beads)) is PLANE
    if in_plane and not isinstance(settings, MlpRecipe | CustomRecipe):
        raise InputError(
            f"model.kind = {settings.kind} is for molecules, and the data have one bead, a particle in an "
            "external potential; set model.kind to mlp, or choose more beads"
        )
    if not in_plane and isinstance(settings, MlpRecipe):
        raise InputError(
            f"model.kind = mlp is for one bead in an external potential, and the data have {len(beads)} beads; "
            "set model.kind to internal or graph_transformer"
        )


def _build_network(
    plan: ExpertPlan,
    frames: Tensor,
    prior_pairs: list[tuple[int, int]],
    beads: BeadTable,
    scale_nm: float,
    weights: Tensor | None,
    vocabulary: Vocabulary | None,
) -> Network:
    settings = plan.model
    if isinstance(settings, GraphTransformerRecipe):
        return fit_graph_transformer(
            frames, beads, settings, plan.v_min, scale_nm, plan.conservative, weights, vocabulary
        )
    if isinstance(settings, CustomRecipe):
        if weights is not None:  # its contract knows frames that count alike
            frames = frames[torch.from_numpy(in_proportion(weights.numpy(), len(frames)))]
        return build_custom(frames, beads, settings, plan.v_min, plan.conservative)
    if isinstance(settings, MlpRecipe):
        return (MlpModel if plan.conservative else MlpScore)(settings.width, settings.layers, plan.v_min)
    assert not isinstance(settings, ChainRecipe)  # the recipe has it for many molecules alone
    coordinates = fit_coordinates(frames, volumes=settings.volumes, chiral=settings.chiral, weights=weights)
    if settings.unseen:
        smallest = min(settings.unseen * plan.v_min, (RESOLVED * _stiffest(coordinates, prior_pairs)) ** 2)
        coordinates.earliest.fill_(float(time_of_variance(torch.tensor(smallest, dtype=torch.float64))))
    if settings.window and not plan.conservative:
        raise InputError(
            f"model.window = {settings.window} adds energies of stretches, and a score that is not conservative has "
            "none; set it to 0"
        )
    window = settings.window or 0
    if window >= len(beads):
        raise InputError(
            f"model.window = {settings.window} needs a molecule of more beads, and the data have {len(beads)}; set it "
            "to 0, or to fewer"
        )
    if not plan.conservative:
        return InternalScore(coordinates, settings.width, settings.layers, plan.v_min)
    windows = (window, settings.window_width)
    return InternalModel(coordinates, settings.width, settings.layers, plan.v_min, *windows)


def _stiffest(coordinates: InternalCoordinates, prior_pairs: list[tuple[int, int]]) -> float:
    """The smallest standard deviation of a distance that the prior does not hold, normalised; 0 where it holds all."""
    held = {(min(pair), max(pair)) for pair in prior_pairs}
    pairs = zip(coordinates.first.tolist(), coordinates.second.tolist(), coordinates.variance.tolist(), strict=True)
    return min((variance for i, j, variance in pairs if (i, j) not in held), default=0.0) ** 0.5
