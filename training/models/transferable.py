"""One energy for many molecules: a shared network and a prior whose constants follow from a molecule's types.

In: what is known of the types (fpforce.forcefield.transferable). Out: `of`, the energy of a batch whose rows are
different molecules, padded to the same number of beads, for training; `bind`, the energy of one molecule, seen in
training or not, as a model trained on it alone would be. Both obey the contract of the other models and have the same
weights.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.molecule.beads import BeadTable
from fpforce.training.models.chain import SharedChain, resolution_of
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.edges import RADIAL, SMOOTH_LENGTH, DisplacementEdges, FrameEdges
from fpforce.training.models.graph_transformer import GraphTransformer, uses_radius_graph
from fpforce.training.models.internal import fit_coordinates, placeholder_coordinates
from fpforce.training.models.molecule import Rows
from fpforce.training.models.prior import AnalyticPrior, PriorBatch
from fpforce.training.models.shared import SharedGraph, SharedInternal
from fpforce.training.recipe.models import ChainRecipe, GraphTransformerRecipe, InternalRecipe
from fpforce.training.recipe.plan import ExpertPlan


class TransferableEnergy(nn.Module):
    """E_theta(x, t) of any molecule of known types.

    molecules: those of the training batches; none for a model that is only to be bound.
    """

    conservative = True

    def __init__(
        self, network: SharedGraph | SharedInternal | SharedChain, molecules: Sequence[BeadTable], prior: bool
    ):
        super().__init__()
        self.network = network
        self.has_prior = prior
        self.priors: PriorBatch | None = None
        if molecules:
            self.names = []
            for name, tensor in network.batch_of(molecules).items():
                self.register_buffer(f"batch_{name}", tensor, persistent=False)
                self.names.append(name)
            if prior:
                self.priors = PriorBatch.stack(
                    [prior_of(beads, network.knowledge) for beads in molecules], max(map(len, molecules))
                )

    def of(self, rows: Rows) -> DiffusionEnergy:
        """The energy of a batch whose rows are the molecules rows.which of those that it was made with."""
        data = {name: getattr(self, f"batch_{name}")[rows.which] for name in self.names}
        return DiffusionEnergy(
            self.network.of_rows(data, rows.mask), None if self.priors is None else self.priors.of(rows.which)
        )

    def bind(self, beads: BeadTable) -> DiffusionEnergy:
        """The energy of one molecule; InputError for beads or pairs of beads that are not known."""
        reference = next(self.parameters())
        prior = prior_of(beads, self.network.knowledge) if self.has_prior else None
        return DiffusionEnergy(self.network.bound(beads), prior).to(reference.device, reference.dtype)


def prior_of(beads: BeadTable, knowledge: Knowledge) -> AnalyticPrior:
    """The prior of one molecule, from what is known of its types."""
    terms = knowledge.prior_terms(beads)
    tensors = (terms.mode_vectors, terms.mode_variances, terms.pairs, terms.mean, terms.variance)
    return AnalyticPrior(*map(torch.from_numpy, tensors)).float()


def build_transferable(
    plan: ExpertPlan,
    knowledge: Knowledge,
    molecules: Sequence[BeadTable],
    scale_nm: float,
    frames: Tensor | None = None,
) -> TransferableEnergy:
    """The untrained model that an expert's plan asks for.

    frames (frames, beads, 3): normalised, of all molecules, from which `internal` and `chain` take what they fix before
    training; without, they have room for these values, which then come with the weights.
    """
    settings = plan.model
    if isinstance(settings, InternalRecipe):
        assert knowledge.layout is not None
        beads = sum(len(names) for names in knowledge.layout)
        coordinates = (
            placeholder_coordinates(beads, volumes=settings.volumes, chiral=settings.chiral)
            if frames is None
            else fit_coordinates(frames, volumes=settings.volumes, chiral=settings.chiral)
        )
        network = SharedInternal(coordinates, settings.width, settings.layers, plan.v_min, knowledge)
        return TransferableEnergy(network, molecules, settings.prior)
    if isinstance(settings, ChainRecipe):
        resolution = {} if frames is None else resolution_of(frames, settings.window)
        return TransferableEnergy(SharedChain(settings, plan.v_min, knowledge, **resolution), molecules, settings.prior)
    assert isinstance(settings, GraphTransformerRecipe)
    if settings.edges == "frames":
        low, high = np.sqrt(np.square(knowledge.pairs.range()) + SMOOTH_LENGTH**2).tolist()
        edges: FrameEdges | DisplacementEdges = FrameEdges(torch.linspace(low, high, RADIAL), settings.chiral)
    else:
        edges = DisplacementEdges()
    cutoff = None if settings.cutoff_nm is None else settings.cutoff_nm / scale_nm
    core = GraphTransformer(
        edges,
        knowledge.vocabulary,
        settings.width,
        settings.layers,
        settings.head_width,
        plan.v_min,
        cutoff,
        radius=uses_radius_graph(settings, max(map(len, molecules), default=0)),
    )
    return TransferableEnergy(SharedGraph(core, knowledge), molecules, settings.prior)
