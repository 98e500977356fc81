"""One energy for many molecules: a graph transformer and a prior whose constants follow from a molecule's types.

In: what is known of the types (fpforce.transferable). Out: `of`, the energy of a batch whose rows are different molecules,
padded to the same number of beads, for training; `bind`, the energy of one molecule, seen in training or not, as a model
trained on it alone would be. Both obey the contract of the other models and have the same weights.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fpforce.beads import BeadTable
from fpforce.training.model_recipe import GraphTransformerRecipe
from fpforce.training.models.contract import DiffusionEnergy, Network
from fpforce.training.models.edges import RADIAL, SMOOTH_LENGTH, DisplacementEdges, FrameEdges
from fpforce.training.models.graph_transformer import GraphTransformer, GraphTransformerModel, uses_radius_graph
from fpforce.training.models.molecule import Molecule, Rows, pad_molecules
from fpforce.training.models.prior import AnalyticPrior, PriorBatch
from fpforce.training.plan import ExpertPlan
from fpforce.transferable.knowledge import Knowledge


class SharedNetwork(Network):
    """The weights that all molecules share."""

    def __init__(self, core: GraphTransformer, knowledge: Knowledge):
        super().__init__()
        self.core = core
        self.knowledge = knowledge
        self.rotation_invariant = isinstance(core.edges, FrameEdges)

    def constants(self) -> dict[str, float | int | bool | str]:
        return self.core.edges.constants() | {"cutoff": self.core.cutoff or 0.0}

    def vocabulary(self) -> dict[str, list[str]]:
        return {"names": list(self.knowledge.vocabulary.names), "residues": list(self.knowledge.vocabulary.residues)}

    def bound(self, beads: BeadTable) -> GraphTransformerModel:
        """The network of one molecule, with these weights."""
        return GraphTransformerModel(self.core, molecule_of(beads, self.knowledge), self.knowledge.vocabulary, identity=False)


class NetworkOfRows(nn.Module):
    """The network on a batch of different molecules."""

    def __init__(self, core: GraphTransformer, molecules: Molecule, mask: Tensor | None):
        super().__init__()
        self.core, self.molecules, self.mask = core, molecules, mask

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.core(x, t, self.molecules, None, self.mask)


class TransferableEnergy(nn.Module):
    """E_theta(x, t) of any molecule of known types.

    molecules: those of the training batches; none for a model that is only to be bound.
    """

    conservative = True

    def __init__(self, core: GraphTransformer, knowledge: Knowledge, molecules: Sequence[BeadTable], prior: bool):
        super().__init__()
        self.network = SharedNetwork(core, knowledge)
        self.has_prior = prior
        self.priors = None
        if molecules:
            batch, _ = pad_molecules([molecule_of(beads, knowledge) for beads in molecules])
            for name, tensor in batch._asdict().items():
                self.register_buffer(f"batch_{name}", tensor, persistent=False)
            if prior:
                self.priors = PriorBatch.stack([prior_of(beads, knowledge) for beads in molecules], max(map(len, molecules)))

    def of(self, rows: Rows) -> DiffusionEnergy:
        """The energy of a batch whose rows are the molecules rows.which of those that it was made with."""
        molecules = Molecule(*(getattr(self, f"batch_{name}")[rows.which] for name in Molecule._fields))
        return DiffusionEnergy(NetworkOfRows(self.network.core, molecules, rows.mask),
                               None if self.priors is None else self.priors.of(rows.which))

    def bind(self, beads: BeadTable) -> DiffusionEnergy:
        """The energy of one molecule; InputError for beads or pairs of beads that are not known."""
        device, dtype = self.network.core.level.weight.device, self.network.core.level.weight.dtype
        prior = prior_of(beads, self.network.knowledge) if self.has_prior else None
        return DiffusionEnergy(self.network.bound(beads), prior).to(device, dtype)


def molecule_of(beads: BeadTable, knowledge: Knowledge) -> Molecule:
    """The network's data of one molecule, from what is known of its types."""
    constants = knowledge.network_constants(beads)
    return Molecule(*(_tensor(constants[name]) for name in Molecule._fields))


def prior_of(beads: BeadTable, knowledge: Knowledge) -> AnalyticPrior:
    """The prior of one molecule, from what is known of its types."""
    terms = knowledge.prior_terms(beads)
    tensors = (terms.mode_vectors, terms.mode_variances, terms.pairs, terms.mean, terms.variance)
    return AnalyticPrior(*map(torch.from_numpy, tensors)).float()


def build_transferable(plan: ExpertPlan, knowledge: Knowledge, molecules: Sequence[BeadTable], scale_nm: float) -> TransferableEnergy:
    """The untrained model that an expert's plan, of a graph transformer, asks for."""
    settings = plan.model
    assert isinstance(settings, GraphTransformerRecipe)
    if settings.edges == "frames":
        ends = np.sqrt(np.square(knowledge.pairs.range()) + SMOOTH_LENGTH**2)
        edges = FrameEdges(torch.linspace(*map(float, ends), RADIAL))
    else:
        edges = DisplacementEdges()
    cutoff = None if settings.cutoff_nm is None else settings.cutoff_nm / scale_nm
    core = GraphTransformer(edges, knowledge.vocabulary, settings.width, settings.layers, settings.head_width, plan.v_min, cutoff,
                            radius=uses_radius_graph(settings, max(map(len, molecules), default=0)))
    return TransferableEnergy(core, knowledge, molecules, settings.prior)


def _tensor(values: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.float() if tensor.is_floating_point() else tensor
