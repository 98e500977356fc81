"""What the graph transformer claims beyond the contract: symmetry under relabelling, padding, the cutoff, its
algebra.
"""

from dataclasses import replace

import pytest
import torch

from fpforce.molecule.beads import Bead, BeadTable
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.diffusion import alpha, sigma_squared
from fpforce.training.models.edges import DisplacementEdges, FrameEdges, collect, distance_statistics, weigh
from fpforce.training.models.graph_transformer import (
    EdgeAttention,
    GraphTransformer,
    edge_softmax,
    fit_graph_transformer,
)
from fpforce.training.models.molecule import Molecule, Vocabulary, describe_molecule, pad_molecules
from fpforce.training.recipe.models import GraphTransformerRecipe
from fpforce.trajectories.bead_frames import read_bead_frames

TIMES = (1e-5, 0.1, 1.0)
VARIANTS = [
    {},
    {"identity": False},
    {"cutoff_nm": 0.35},
    {"edges": "displacement"},
    {"cutoff_nm": 0.35, "neighbours": "radius"},
]


def randomised(module, seed=0):
    """Random weights: at the start of a training the last layer is zero, which would hide everything."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return module.double()


def features_of(edges, count):
    """All features (batch, n, count, m) of the edges, one head of weights for each."""
    batch, beads = edges.features.shape[:2]
    one = torch.eye(count, dtype=edges.features.dtype, device=edges.features.device)
    return weigh(edges, one.expand(batch, beads, count, count))


def network_of(frames, beads, scale_nm=0.15, **settings):
    recipe = GraphTransformerRecipe(width=24, layers=2, head_width=8, **settings)
    return randomised(fit_graph_transformer(frames, beads, recipe, 1e-3, scale_nm))


@pytest.fixture(scope="module")
def heavy_set(alanine):
    """Alanine dipeptide with all ten heavy atoms: branches at C, CA and O, a TrainingSet."""
    return TrainingSet.of(
        read_bead_frames(alanine / "train.xtc", alanine / "alanine_dipeptide.pdb", beads="heavy", stride=500)
    )


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_order_of_the_beads_does_not_matter(heavy_set, settings, time):
    x0, beads = heavy_set.frames.double(), heavy_set.beads
    order = torch.randperm(len(beads), generator=torch.Generator().manual_seed(1))
    place = {int(old): new for new, old in enumerate(order)}
    relabelled = replace(
        beads,
        beads=tuple(beads.beads[int(old)] for old in order),
        bonds=tuple(sorted(tuple(sorted((place[i], place[j]))) for i, j in beads.bonds)),
    )
    network, other = network_of(x0, beads, **settings), network_of(x0[:, order], relabelled, **settings)
    other.core.load_state_dict(network.core.state_dict())
    if network.identity is not None:
        other.identity.data = network.identity.data[order]
    t = torch.tensor([time], dtype=torch.float64)
    torch.testing.assert_close(other(x0[:16, order], t), network(x0[:16], t), rtol=1e-11, atol=1e-11)


def test_chain_of_equal_beads_has_a_direction():
    # One name, one residue type, no identity: only the signed separation tells a chain from the chain read backwards.
    beads = tuple(Bead("CA", "ALA", i, i + 1, "A", "C", 12.0, (i,), ("CA",)) for i in range(6))
    table = BeadTable(beads, tuple((i, i + 1) for i in range(5)), "test")
    x0 = torch.randn(50, 6, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    network = network_of(x0, table, identity=False)
    t = torch.tensor([0.01], dtype=torch.float64)
    assert (network(x0.flip(1), t) - network(x0, t)).abs().median() > 1e-2


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("edges", ["frames", "displacement"])
@pytest.mark.parametrize("radius", [False, True], ids=["dense", "radius"])
def test_padded_batch_of_several_molecules_equals_each_alone(alanine_set, heavy_set, edges, radius, time):
    sets = [alanine_set, heavy_set]
    words = [Vocabulary.of(one.beads) for one in sets]
    vocabulary = Vocabulary(
        *(
            tuple(sorted({*ours, *theirs}))
            for ours, theirs in ((words[0].names, words[1].names), (words[0].residues, words[1].residues))
        )
    )
    molecules = []
    for one in sets:
        statistics = distance_statistics(one.frames.double())
        molecules.append(describe_molecule(one.beads, vocabulary, statistics.mean, statistics.variance))
    features = FrameEdges(torch.linspace(0.5, 4.0, 16)) if edges == "frames" else DisplacementEdges()
    core = randomised(GraphTransformer(features, vocabulary, 24, 2, 8, 1e-3, cutoff=3.0, radius=radius))
    t = torch.full((2,), time, dtype=torch.float64)
    alone = [core(one.frames[:1].double(), t[:1], molecule) for one, molecule in zip(sets, molecules, strict=True)]
    batch, mask = pad_molecules(molecules)
    # What stands in the padding, even far-off values, must not matter, nor receive a force.
    x = 7.0 * torch.randn(2, 10, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for row, one in enumerate(sets):
        x[row, : len(one.beads)] = one.frames[0].double()
    x.requires_grad_()
    energies = core(x, t, batch, mask=mask)
    torch.testing.assert_close(energies, torch.cat(alone), rtol=1e-12, atol=1e-12)
    (slope,) = torch.autograd.grad(energies.sum(), x)
    assert torch.isfinite(slope).all() and (slope[~mask] == 0.0).all() and (slope[mask] != 0.0).any()


def test_edge_linear_attention_equals_the_naive_formula_with_an_edge_vector_for_every_pair():
    # The paper's transformer: e_ij = W2 (W1 (x_i - x_j) + b1) + b2 is added to key and value, each as (n, n, width).
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    width, heads, beads, hidden = 32, 4, 6, 16
    attention = randomised(EdgeAttention(width, heads, 4))
    inner, inner_bias = draw(hidden, 3), draw(hidden)
    maps = {name: (draw(width, hidden), draw(width)) for name in ("key_edges", "value_edges")}
    for name, (outer, outer_bias) in maps.items():
        whole = torch.cat([outer @ inner, (outer @ inner_bias + outer_bias)[:, None]], 1)
        getattr(attention, name).data = whole.view(heads, width // heads, 4)
    h, x = draw(3, beads, width), draw(3, beads, 3)
    edges = DisplacementEdges()(x, torch.zeros(1, dtype=torch.float64), None)
    q, k, v = attention.qkv(h).chunk(3, -1)
    middle = (x[:, :, None] - x[:, None]) @ inner.T + inner_bias
    keys, values = (
        near[:, None] + middle @ maps[name][0].T + maps[name][1]
        for near, name in ((k, "key_edges"), (v, "value_edges"))
    )  # (3, n, n, width)
    by_head = (3, beads, beads, heads, width // heads)
    logits = (q.view(3, beads, 1, heads, -1) * keys.view(by_head)).sum(-1) / (width // heads) ** 0.5
    naive = (torch.softmax(logits, 2)[..., None] * values.view(by_head)).sum(2).flatten(2)
    torch.testing.assert_close(attention(h, edges, None), attention.out(naive), rtol=1e-12, atol=1e-12)
    single = attention.float()(h.float(), edges._replace(features=edges.features.float()), None)
    assert (single - attention.out(naive.float())).abs().max() < 1e-6 * naive.abs().max()


def two_fragments(cutoff, radius):
    """Network with a cutoff (normalised) and a function: distance of two fragments of three beads -> energy."""
    corner = torch.tensor([[0.0, 0.0, 0.0], [-0.9, 0.1, 0.0], [-1.2, 1.0, 0.3]], dtype=torch.float64)
    static = dict.fromkeys(("names", "residues"), torch.zeros(6, dtype=torch.long))
    away = torch.ones(6, 6, dtype=torch.float64)
    bonds = torch.block_diag(*2 * [torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, 0]]) - 5]) + 5
    frames = torch.tensor([[0, 1, 2], [0, 1, 2], [2, 1, 0], [3, 4, 5], [3, 4, 5], [5, 4, 3]])
    molecule = Molecule(
        **static,
        frames=frames,
        separation=torch.full((6, 6), 4),
        bond_distance=bonds,
        distance_mean=2 * away,
        distance_variance=away,
    )
    core = randomised(
        GraphTransformer(
            FrameEdges(torch.linspace(0.5, 4.0, 16)),
            Vocabulary(("CA",), ("ALA",)),
            24,
            2,
            8,
            1e-3,
            cutoff=cutoff,
            radius=radius,
        )
    )

    def energy(distance):
        # Only the two beads at the origins come near each other: the others point away.
        other = corner * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
        shift = torch.stack([distance, 0.0 * distance, 0.0 * distance])
        return core(torch.cat([corner, other + shift])[None], torch.tensor([1e-3], dtype=torch.float64), molecule)[0]

    return energy


def slopes(energy, distance):
    """First and second derivative."""
    r = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(energy(r), r, create_graph=True)
    (second,) = torch.autograd.grad(first, r) if first.requires_grad else (torch.zeros(()),)
    return first.item(), second.item()


@pytest.mark.parametrize("radius", [False, True], ids=["dense", "radius"])
def test_force_and_its_slope_go_to_zero_at_the_cutoff_and_stay_there(radius):
    cutoff = 3.0
    energy = two_fragments(cutoff, radius)
    assert slopes(energy, cutoff + 1e-9) == pytest.approx((0.0, 0.0), abs=1e-14)
    gaps = (1e-2, 1e-3)
    (wide_force, wide_slope), (force, slope) = (slopes(energy, cutoff - gap) for gap in gaps)
    # (1 - x^2)^3 leaves a force of order gap^2 and a slope of order gap: tenfold nearer, 100 and 10 times less.
    assert force != 0.0 and wide_force / force == pytest.approx(100, rel=0.1)
    assert slope != 0.0 and wide_slope / slope == pytest.approx(10, rel=0.1)


def test_cutoff_far_beyond_the_molecule_is_no_cutoff(heavy_set):
    x0 = heavy_set.frames.double()
    # f = (1 - (r/r_c)^2)^3 is 1 to rounding at r_c = 1e8 r.
    near, whole = (network_of(x0, heavy_set.beads, **settings) for settings in ({"cutoff_nm": 1e8}, {}))
    t = torch.tensor([0.01], dtype=torch.float64)
    torch.testing.assert_close(near(x0[:8], t), whole(x0[:8], t), rtol=1e-12, atol=1e-12)


def test_attention_within_the_cutoff_survives_larger_logits_outside():
    # A bead out of reach may have any logit: 500 more would leave exp(-500) = 0 of the others in a careless softmax.
    logits = torch.tensor([0.0, 1.0, 500.0], dtype=torch.float32).expand(1, 1, 1, 3)
    envelope = torch.tensor([1.0, 0.5, 0.0]).expand(1, 1, 3)
    weights = edge_softmax(logits, envelope)[0, 0, 0]
    torch.testing.assert_close(weights, torch.tensor([1.0, 0.5 * 2.718281828, 0.0]) / (1.0 + 0.5 * 2.718281828))


def test_edge_features_in_closed_form():
    # Three beads at a right angle at t = 0.1: bonds b1 = (1, 0, 0) and b2 = (0, 2, 0) of the frame (0, 1, 2).
    x = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 2.0, 0.0]]], dtype=torch.float64)
    t = torch.tensor([0.1], dtype=torch.float64)
    a, s2 = float(alpha(t)), float(sigma_squared(t))
    zeros, ones = torch.zeros(3, dtype=torch.long), torch.ones(3, 3, dtype=torch.float64)
    molecule = Molecule(
        zeros,
        zeros,
        torch.tensor([[0, 1, 2]] * 3),
        torch.full((3, 3), 5),
        torch.full((3, 3), 2),
        1.5 * ones,
        0.3 * ones,
    )
    phi = features_of(FrameEdges(torch.linspace(0.0, 3.0, 16, dtype=torch.float64))(x, t, molecule), 48)[0, 0, :, 2]
    length, area = 0.2**2 + s2, 0.45**2 + 4.0 * s2
    axes = torch.tensor([[1.0, 2.0, 0.0], [-1.0, 2.0, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    axes /= torch.tensor([5.0 + length, 5.0 + length, 4.0 + area], dtype=torch.float64).sqrt()[:, None]
    distance = (5.0 + 0.2**2) ** 0.5
    direction = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64) / (5.0 + length) ** 0.5
    centres = a * torch.linspace(0.0, 3.0, 16, dtype=torch.float64)
    radial = torch.exp(-((distance - centres) ** 2) / (2.0 * (a**2 * 0.2**2 + 2.0 * s2)))
    deviation = torch.tensor([(distance - a * 1.5) / (a**2 * 0.3 + 2.0 * s2) ** 0.5], dtype=torch.float64)
    place = torch.zeros(16, dtype=torch.float64)
    place[[5, 10 + 2]] = 1.0
    expected = torch.cat([radial, deviation, axes @ direction, axes @ direction, (axes @ axes.T).flatten(), place])
    torch.testing.assert_close(phi, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("near", [False, True], ids=["all", "neighbours"])
@pytest.mark.parametrize("chiral", [True, False])
def test_features_that_are_never_made_are_weighed_and_collected_as_if_they_were(heavy_set, chiral, near):
    x, molecule = heavy_set.frames[:3].double(), one_molecule(heavy_set)
    t = torch.tensor([1e-3, 0.05, 0.4], dtype=torch.float64)
    edges = FrameEdges(torch.linspace(0.5, 4.0, 16, dtype=torch.float64), chiral)
    index = torch.arange(30).view(3, 1, 10).expand(-1, 10, -1).flip(2)[:, :, :7]
    found = edges.near(x, t, molecule, index) if near else edges(x, t, molecule)
    phi = features_of(found, edges.features)
    # The products of axes and the places in the bond graph, from their definition.
    axes = edges.axes(x, sigma_squared(t)[:, None, None], molecule.frames)
    products = torch.einsum("biac,bjdc->biadj", axes, axes).flatten(2, 3)
    separation, bonds = (
        torch.nn.functional.one_hot(table, count).double().transpose(1, 2).expand(3, -1, -1, -1)
        for table, count in ((molecule.separation, 10), (molecule.bond_distance, 6))
    )
    expected = torch.cat([products * (1.0 if chiral else edges.even[23:32, None]), separation, bonds], 2)
    expected = expected.flip(3)[..., :7] if near else expected
    torch.testing.assert_close(phi[:, :, 23:], expected, rtol=1e-12, atol=1e-12)
    generator = torch.Generator().manual_seed(7)
    u = torch.randn(3, 10, 4, 48, generator=generator, dtype=torch.float64)
    w = torch.randn(3, 10, 4, phi.shape[3], generator=generator, dtype=torch.float64)
    torch.testing.assert_close(weigh(found, u), torch.einsum("bihk,bikj->bihj", u, phi), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(collect(found, w), torch.einsum("bihj,bikj->bihk", w, phi), rtol=1e-11, atol=1e-11)


def one_molecule(one):
    statistics = distance_statistics(one.frames.double())
    return describe_molecule(one.beads, Vocabulary.of(one.beads), statistics.mean, statistics.variance)


def test_distance_statistics_are_those_of_the_smoothed_distances(alanine_set):
    x0 = alanine_set.frames
    found = distance_statistics(x0)
    smoothed = torch.sqrt((x0[:, 1] - x0[:, 4]).double().square().sum(-1) + 0.04)
    assert found.mean[1, 4] == found.mean[4, 1] == pytest.approx(float(smoothed.mean()), rel=1e-6)
    assert found.variance[1, 4] == pytest.approx(float(smoothed.var()), rel=1e-5)
    assert found.mean.diagonal().eq(0.2).all() and found.variance.diagonal().eq(1.0).all()
    everything = torch.sqrt(torch.cdist(x0, x0).square() + 0.04)
    off = ~torch.eye(5, dtype=torch.bool)
    assert found.range == pytest.approx((float(everything[:, off].min()), float(everything[:, off].max())), rel=1e-5)
