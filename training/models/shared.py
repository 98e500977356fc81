"""Networks whose weights many molecules share: what they have of each molecule, a batch of several, and one on its own.

In: what is known of types (fpforce.forcefield.transferable). `SharedGraph` is for molecules of any kind;
`SharedInternal` for those of one layout, which differ in their residue types alone. Both have `batch_of`, `of_rows` and
`bound`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.molecule.beads import BeadTable
from fpforce.training.models.contract import Network
from fpforce.training.models.edges import FrameEdges
from fpforce.training.models.graph_transformer import GraphTransformer, GraphTransformerModel
from fpforce.training.models.internal import InternalCoordinates, InternalModel, placeholder_coordinates
from fpforce.training.models.molecule import Molecule, pad_molecules

TYPE_FEATURES = 16  # of a residue type's embedding


class SharedGraph(Network):
    """A graph transformer for any molecules of known types."""

    def __init__(self, core: GraphTransformer, knowledge: Knowledge):
        super().__init__()
        self.core = core
        self.knowledge = knowledge
        self.rotation_invariant = isinstance(core.edges, FrameEdges)

    def constants(self) -> dict[str, float | int | bool | str]:
        return self.core.edges.constants() | {"cutoff": self.core.cutoff or 0.0}

    def numbers_of_a_frame(self, beads: int) -> int:
        return self.core.numbers_of_a_frame(beads)

    def vocabulary(self) -> dict[str, list[str]]:
        return {"names": list(self.knowledge.vocabulary.names), "residues": list(self.knowledge.vocabulary.residues)}

    def batch_of(self, molecules: Sequence[BeadTable]) -> dict[str, Tensor]:
        """What the network has of several molecules, (molecules, ...) by name, padded."""
        return pad_molecules([molecule_of(beads, self.knowledge) for beads in molecules])[0]._asdict()

    def of_rows(self, data: dict[str, Tensor], mask: Tensor | None) -> Network:
        """The network on a batch of which data (batch, ...) say what each row is, and mask (batch, n) which beads
        exist.
        """
        return GraphOfRows(self.core, Molecule(**data), mask)

    def bound(self, beads: BeadTable) -> GraphTransformerModel:
        """The network of one molecule, with these weights."""
        return GraphTransformerModel(
            self.core, molecule_of(beads, self.knowledge), self.knowledge.vocabulary, identity=False
        )


class GraphOfRows(Network):
    """A graph transformer on a batch of different molecules."""

    def __init__(self, core: GraphTransformer, molecules: Molecule, mask: Tensor | None):
        super().__init__()
        self.core, self.molecules, self.mask = core, molecules, mask

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.core(x, t, self.molecules, None, self.mask)


class SharedInternal(InternalModel):
    """The `internal` network for molecules of one layout.

    A residue type has an embedding; those of a molecule's residues, one after the other, are mapped linearly to a shift
    of every hidden layer's biases. So one molecule's network is an `internal` model with biases of its own
    (Knowledge.internal_constants).
    """

    def __init__(self, coordinates: InternalCoordinates, width: int, layers: int, v_min: float, knowledge: Knowledge):
        super().__init__(coordinates, width, layers, v_min)
        self.knowledge = knowledge
        assert knowledge.layout is not None
        self.types = nn.Embedding(len(knowledge.vocabulary.residues), TYPE_FEATURES)
        self.shift = nn.Linear(len(knowledge.layout) * TYPE_FEATURES, layers * width, bias=False)

    def batch_of(self, molecules: Sequence[BeadTable]) -> dict[str, Tensor]:
        """What the network has of several molecules, (molecules, ...) by name."""
        own = [self.knowledge.distance_statistics(beads) for beads in molecules]
        found = {name: np.stack([one[name] for one in own]) for name in ("mean", "variance")}
        types = np.stack([self.knowledge.types_of_residues(beads) for beads in molecules])
        return {name: torch.from_numpy(values) for name, values in (found | {"types": types}).items()}

    def of_rows(self, data: dict[str, Tensor], mask: Tensor | None) -> Network:
        """The network on a batch of which data (batch, ...) say what each row is; all beads exist."""
        assert mask is None
        return InternalOfRows(self, **data)

    def bound(self, beads: BeadTable) -> InternalModel:
        """The network of one molecule, with a copy of these weights."""
        weights = self.state_dict()
        coordinates = placeholder_coordinates(
            self.coordinates.beads, volumes=len(self.coordinates.volumes) > 0, chiral=self.chiral
        )
        model = InternalModel(coordinates, self.out.in_features, len(self.hidden), self.noise.v_min).to(self.out.weight)
        own = self.knowledge.internal_constants(beads, {name: value.cpu().numpy() for name, value in weights.items()})
        weights |= {name: torch.from_numpy(value) for name, value in own.items()}
        model.load_state_dict({name: weights[name] for name in model.state_dict()})
        return model


class InternalOfRows(Network):
    """A shared `internal` network on a batch of different molecules: mean and variance (batch, pairs), types (batch,
    residues).
    """

    def __init__(self, shared: SharedInternal, mean: Tensor, variance: Tensor, types: Tensor):
        super().__init__()
        self.shared, self.mean, self.variance, self.types = shared, mean, variance, types

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        shared, level = self.shared, self.shared.noise(t)
        q = shared.coordinates.with_statistics(x, t, self.mean, self.variance)
        shifts = shared.shift(shared.types(self.types).flatten(1)).chunk(len(shared.hidden), dim=-1)
        return shared.energy(shared.state(q, level, list(shifts)), level, t)


def molecule_of(beads: BeadTable, knowledge: Knowledge) -> Molecule:
    """A graph transformer's data of one molecule, from what is known of its types."""
    constants = knowledge.network_constants(beads)
    tensors = {name: torch.from_numpy(constants[name]) for name in Molecule._fields}
    return Molecule(
        **{name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    )
