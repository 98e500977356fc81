"""`graph_transformer`: attention between typed beads, with edges that enter through linear maps only.

In: normalised centred positions (batch, n, 3), times (batch,) or (1,), the static data of one molecule or of a padded
batch of molecules. Out: the network's energy (batch,).

Edge-linear attention: with features phi_ij of the edges, a key k_j + A phi_ij and a value v_j + B phi_ij need no
tensor of size n x n x width, since q.(A phi) = (A^T q).phi and sum_j a_ij B phi_ij = B sum_j a_ij phi_ij. The
transformer of arXiv 2506.17139 is the case phi = (x_i - x_j, 1).
Source: docs/method.md, eqs. 19 (attention) and 20 (cutoff).
Longer than other files, since TorchScript compiles its classes together and each needs the others.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fpforce.molecule.beads import BeadTable
from fpforce.training.diffusion import alpha
from fpforce.training.models.contract import Network
from fpforce.training.models.edges import (
    RADIAL,
    DisplacementEdges,
    Edges,
    FrameEdges,
    collect,
    distance_statistics,
    weigh,
)
from fpforce.training.models.molecule import Molecule, Vocabulary, describe_molecule
from fpforce.training.models.neighbours import Neighbours, find_neighbours
from fpforce.training.models.noise import NoiseFeatures
from fpforce.training.recipe.models import GraphTransformerRecipe

RADIUS_BEADS = 70  # from here on a training step is faster on a radius graph: docs/measured/cost-and-speed.md
NEAR = 50  # neighbours of a bead, as a guess of how large an array of theirs is


class Surroundings(NamedTuple):
    """What the beads of a batch see: edges (batch, n, m, K), the attention's factors envelope (batch, n, m), None where
    all are 1, and index (batch, n, m) of the neighbours, None where every bead sees all n.
    """

    edges: Edges
    envelope: Tensor | None
    index: Tensor | None  # type: ignore[assignment]  # hides the method of tuples, which nobody calls here


class EdgeAttention(nn.Module):
    """Multi-head attention of beads (batch, n, width) over edges phi (batch, n, m, K).

    The m edges of a bead lead to all n beads, in their order, or to those of `index` (batch, n, m) (models.neighbours).
    """

    def __init__(self, width: int, heads: int, features: int):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.key_edges = nn.Parameter(torch.randn(heads, self.size, features) * features**-0.5)  # A
        self.value_edges = nn.Parameter(torch.randn(heads, self.size, features) * features**-0.5)  # B
        self.out = nn.Linear(width, width)

    def forward(self, h: Tensor, edges: Edges, envelope: Tensor | None, index: Tensor | None = None) -> Tensor:
        batch, beads = h.shape[0], h.shape[1]
        q, k, v = self.qkv(h).view(batch, beads, 3, self.heads, self.size).unbind(2)
        logits = products(q, k, index)
        logits = logits + weigh(edges, torch.einsum("bihd,hdk->bihk", q, self.key_edges))
        weights = edge_softmax(logits * self.size**-0.5, envelope)
        seen = collect(edges, weights)
        values = sums(weights, v, index)
        return self.out((values + torch.einsum("bihk,hdk->bihd", seen, self.value_edges)).flatten(2))


def products(q: Tensor, k: Tensor, index: Tensor | None) -> Tensor:
    """q_i.k_j (batch, n, heads, m) of beads (batch, n, heads, size) with all beads, or with the neighbours `index`.

    The products of all pairs are one matrix product, cheaper up to thousands of beads than to gather k for each edge.
    """
    found = torch.einsum("bihd,bjhd->bihj", q, k)
    return found if index is None else torch.gather(found, 3, _of_heads(index, q))


def sums(weights: Tensor, v: Tensor, index: Tensor | None) -> Tensor:
    """sum_j w_ij v_j (batch, n, heads, size), of weights (batch, n, heads, m) of all beads, or of the neighbours."""
    if index is not None:
        batch, beads, heads, _ = v.shape
        everywhere = torch.zeros(batch, beads, heads, beads, dtype=v.dtype, device=v.device)
        weights = everywhere.scatter_add(3, _of_heads(index, v), weights)
    return torch.einsum("bihj,bjhd->bihd", weights, v)


def _of_heads(index: Tensor, states: Tensor) -> Tensor:
    """Neighbours within their frame (batch, n, heads, m), of states (batch, n, heads, size)."""
    return (index % index.shape[1])[:, :, None].expand(-1, -1, states.shape[2], -1)


def edge_softmax(logits: Tensor, envelope: Tensor | None) -> Tensor:
    """Softmax of logits (batch, n, heads, m) over the last axis, each term times its envelope (batch, n, m) >= 0."""
    if envelope is None:
        return torch.softmax(logits, -1)
    factor = envelope[:, :, None]
    logits = logits.masked_fill(factor == 0.0, float("-inf"))
    terms = factor * torch.exp(logits - logits.amax(-1, keepdim=True).detach())
    return terms / terms.sum(-1, keepdim=True)


class Layer(nn.Module):
    """Attention, then an MLP that the noise level enters."""

    def __init__(self, width: int, heads: int, features: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = EdgeAttention(width, heads, features)
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, 2 * width)
        self.condition = nn.Linear(5, 2 * width, bias=False)
        self.out = nn.Linear(2 * width, width)

    def forward(self, h: Tensor, level: Tensor, around: Surroundings) -> Tensor:
        h = h + self.attention(self.attention_norm(h), around.edges, around.envelope, around.index)
        return h + self.out(nn.functional.silu(self.hidden(self.norm(h)) + self.condition(level)[:, None]))


class GraphTrunk(nn.Module):
    """Layers of attention between the beads of any molecule of a vocabulary: what energies and scores share.

    cutoff: distance in normalised units beyond which beads do not see each other; None for no cutoff. radius: compute
    only the pairs within the cutoff, instead of all with those beyond it masked; the result is the same.
    """

    def __init__(
        self,
        edges: nn.Module,
        vocabulary: Vocabulary,
        width: int,
        layers: int,
        head_width: int,
        v_min: float,
        cutoff: float | None = None,
        radius: bool = False,
    ):
        super().__init__()
        self.edges = edges
        self.cutoff = cutoff
        self.radius = radius and cutoff is not None
        self.noise = NoiseFeatures(v_min)
        self.names = nn.Embedding(len(vocabulary.names), width)
        self.residues = nn.Embedding(len(vocabulary.residues), width)
        self.level = nn.Linear(5, width)
        self.layers = nn.ModuleList(Layer(width, width // head_width, edges.features) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        if not edges.chiral:
            with torch.no_grad():
                for layer in self.layers:
                    layer.attention.key_edges[..., edges.even == 0.0] = 0.0
                    layer.attention.value_edges[..., edges.even == 0.0] = 0.0

    def numbers_of_a_frame(self, beads: int) -> int:
        """Those of the features of its edges."""
        return beads * (min(beads, NEAR) if self.radius else beads) * self.edges.made

    def states(self, level: Tensor, around: Surroundings, molecule: Molecule, identity: Tensor | None) -> Tensor:
        """States (batch, n, width) of the beads, from noise features (batch, 5) and what the beads see."""
        beads = self.names(molecule.names) + self.residues(molecule.residues)
        if identity is not None:
            beads = beads + identity
        h = (beads + self.level(level)[:, None]).expand(around.edges.features.shape[0], -1, -1)
        for layer in self.layers:
            h = layer(h, level, around)
        return self.norm(h)

    def surroundings(self, x: Tensor, t: Tensor, molecule: Molecule, mask: Tensor | None) -> Surroundings:
        """What the beads at x (batch, n, 3) see; mask (batch, n): which of them exist."""
        if self.cutoff is not None and self.radius:
            near = find_neighbours(x, self.cutoff, mask)
            edges = self.edges.near(x, t, molecule, near.index)
            return Surroundings(edges, self.near_envelope(x, near), near.index)
        return Surroundings(self.edges(x, t, molecule), self.envelope(x, mask), None)

    def envelope(self, x: Tensor, mask: Tensor | None) -> Tensor | None:
        """(batch, n, n) factors of the attention: (1 - (r/cutoff)^2)^3 to the cutoff, 0 for absent beads, 1 for
        itself.
        """
        if self.cutoff is None and mask is None:
            return None
        beads = x.shape[1]
        factor = torch.ones(x.shape[0], beads, beads, dtype=x.dtype, device=x.device)
        if self.cutoff is not None:
            square = (x[:, None] - x[:, :, None]).square().sum(-1)
            factor = (1.0 - square / self.cutoff**2).clamp_min(0.0) ** 3
        if mask is not None:
            factor = factor * mask[:, None]
        itself = torch.eye(beads, dtype=torch.bool, device=x.device)
        return torch.where(itself, torch.ones_like(factor), factor)

    def near_envelope(self, x: Tensor, near: Neighbours) -> Tensor:
        """(batch, n, m) of the same factors, 0 where a row is filled up; a bead, its own first neighbour, has 1
        there.
        """
        assert self.cutoff is not None
        theirs = x.flatten(0, 1).index_select(0, near.index.flatten()).view(near.index.shape + (3,))
        square = (theirs - x[:, :, None]).square().sum(-1)
        return (1.0 - square / self.cutoff**2).clamp_min(0.0) ** 3 * near.exists


class GraphTransformer(GraphTrunk):
    """The network for any molecule of a vocabulary."""

    def __init__(
        self,
        edges: nn.Module,
        vocabulary: Vocabulary,
        width: int,
        layers: int,
        head_width: int,
        v_min: float,
        cutoff: float | None = None,
        radius: bool = False,
    ):
        super().__init__(edges, vocabulary, width, layers, head_width, v_min, cutoff, radius)
        self.hidden = nn.Linear(width, width)
        self.condition = nn.Linear(5, width, bias=False)
        self.gate = nn.Linear(5, width)
        self.out = nn.Linear(width, 1, bias=False)
        self.offset = nn.Sequential(nn.Linear(5, 32), nn.SiLU(), nn.Linear(32, 1))
        nn.init.zeros_(self.out.weight)

    def forward(
        self, x: Tensor, t: Tensor, molecule: Molecule, identity: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Energies (batch,).

        molecule: tensors of one molecule, (n, ...), or of a padded batch, (batch, n, ...). identity (n, width): added
        to the beads' embeddings. mask (batch, n): which beads exist; the others change nothing.
        """
        level = self.noise(t)
        h = self.states(level, self.surroundings(x, t, molecule, mask), molecule, identity)
        h = nn.functional.silu(self.hidden(h) + self.condition(level)[:, None])
        if mask is not None:
            h = h * mask[..., None]
        h = h.sum(1) * (1.0 + self.gate(level))
        return alpha(t).square() * self.out(h).squeeze(-1) + self.offset(level).squeeze(-1)


class OneMolecule(Network):
    """A trunk bound to one molecule, with an embedding of each bead's own if `identity`."""

    def __init__(self, core: GraphTrunk, molecule: Molecule, vocabulary: Vocabulary, identity: bool = True):
        super().__init__()
        self.core = core
        self.words = vocabulary
        self.rotation_invariant = isinstance(core.edges, FrameEdges)
        self.chiral = core.edges.chiral
        for name, tensor in molecule._asdict().items():
            self.register_buffer(name, tensor.clone())
        self.identity = nn.Parameter(torch.randn(len(molecule.names), core.level.out_features)) if identity else None

    def constants(self) -> dict[str, float | int | bool | str]:
        return self.core.edges.constants() | {"cutoff": self.core.cutoff or 0.0}

    def vocabulary(self) -> dict[str, list[str]]:
        return {"names": list(self.words.names), "residues": list(self.words.residues)}

    def numbers_of_a_frame(self, beads: int) -> int:
        return self.core.numbers_of_a_frame(beads)

    def molecule(self) -> Molecule:
        """The molecule that the trunk is bound to."""
        return Molecule(
            self.names,
            self.residues,
            self.frames,
            self.separation,
            self.bond_distance,
            self.distance_mean,
            self.distance_variance,
        )


class GraphTransformerModel(OneMolecule):
    """The energy of one molecule."""

    def readout(self) -> nn.Linear:
        return self.core.out

    def readout_factor(self, t: float) -> float:
        return float(alpha(torch.tensor(t, dtype=torch.float64))) ** 2

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.core(x, t, self.molecule(), self.identity, None)


class GraphTransformerScore(OneMolecule):
    """Score network of one molecule: for every edge the standardised distance and the direction along the axes of bead
    i, each with a weight that is bilinear in the states of the two beads.
    """

    def __init__(self, core: GraphTrunk, molecule: Molecule, vocabulary: Vocabulary, identity: bool = True):
        super().__init__(core, molecule, vocabulary, identity)
        width = core.level.out_features
        self.directions = 4
        self.from_bead = nn.Linear(width, self.directions * width, bias=False)
        self.to_bead = nn.Linear(width, self.directions * width)
        nn.init.zeros_(self.from_bead.weight)

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        molecule, level = self.molecule(), self.core.noise(t)
        around = self.core.surroundings(x, t, molecule, None)
        h = self.core.states(level, around, molecule, self.identity)
        index, envelope = around.index, around.envelope
        ends = (h.shape[0], h.shape[1], self.directions, h.shape[2])
        start, end = self.from_bead(h).view(ends), self.to_bead(h).view(ends)
        w = products(start, end, index).transpose(2, 3)
        w = w * h.shape[2] ** -0.5
        if envelope is not None:
            w = w * envelope[..., None]
        first = self.core.edges.distance_feature
        q = around.edges.features[:, :, first : first + self.directions].transpose(2, 3)
        return q.flatten(1), (alpha(t).square()[:, None, None, None] * w).flatten(1)


class DisplacementScore(OneMolecule):
    """Score network of one molecule on raw difference vectors: a vector for each bead, read off its state.

    It neither turns with the molecule nor is free of torque; it sums to zero over the beads.
    """

    def __init__(self, core: GraphTrunk, molecule: Molecule, vocabulary: Vocabulary, identity: bool = True):
        super().__init__(core, molecule, vocabulary, identity)
        self.out = nn.Linear(core.level.out_features, 3, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        molecule, level = self.molecule(), self.core.noise(t)
        h = self.core.states(level, self.core.surroundings(x, t, molecule, None), molecule, self.identity)
        w = self.out(h)
        w = w - w.mean(1, keepdim=True)
        return x.flatten(1), (alpha(t).square()[:, None, None] * w).flatten(1)


def fit_graph_transformer(
    x0: Tensor,
    beads: BeadTable,
    settings: GraphTransformerRecipe,
    v_min: float,
    scale_nm: float,
    conservative: bool = True,
    weights: Tensor | None = None,
    vocabulary: Vocabulary | None = None,
) -> OneMolecule:
    """The untrained network of one molecule, with the distance statistics of normalised frames x0 (frames, n, 3) with
    weights (frames,).

    conservative: an energy; else a score network. vocabulary: None for the molecule's own words.
    """
    vocabulary, statistics = vocabulary or Vocabulary.of(beads), distance_statistics(x0, weights)
    molecule = describe_molecule(beads, vocabulary, statistics.mean, statistics.variance)
    if settings.edges == "frames":
        edges, score = (
            FrameEdges(torch.linspace(*statistics.range, RADIAL, dtype=x0.dtype), settings.chiral),
            GraphTransformerScore,
        )
    else:
        edges, score = DisplacementEdges(), DisplacementScore
    cutoff = None if settings.cutoff_nm is None else settings.cutoff_nm / scale_nm
    trunk, network = (GraphTransformer, GraphTransformerModel) if conservative else (GraphTrunk, score)
    core = trunk(
        edges,
        vocabulary,
        settings.width,
        settings.layers,
        settings.head_width,
        v_min,
        cutoff,
        radius=uses_radius_graph(settings, len(beads)),
    )
    return network(core, molecule, vocabulary, settings.identity)


def uses_radius_graph(settings: GraphTransformerRecipe, beads: int) -> bool:
    """Whether a network of so many beads computes pairs within its cutoff only; `auto` where that is faster."""
    if settings.neighbours == "auto":
        return settings.cutoff_nm is not None and beads >= RADIUS_BEADS
    return settings.neighbours == "radius"
