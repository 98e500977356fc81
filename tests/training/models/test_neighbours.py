"""The radius graph: who is near whom, and that a network on it is the network on all pairs, masked."""

import pytest
import torch

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.diffusion import centred, centred_noise, diffuse
from fpforce.training.losses.fokker_planck import perturb, residuals
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.graph_transformer import RADIUS_BEADS, fit_graph_transformer, uses_radius_graph
from fpforce.training.models.neighbours import (
    find_neighbours,
    pairs_within,
    warn_of_small_cutoff,
)
from fpforce.training.recipe.models import GraphTransformerRecipe
from fpforce.training.train import train

BEADS, CUTOFF_NM = 24, 1.0
SMALL = ("model.kind=graph_transformer", "model.head_width=8", "model.cutoff_nm=0.4")


@pytest.fixture(scope="module")
def globule():
    """Frames (40, 24, 3) of a chain wound up at random, some cutoffs wide, float64, and its bead table."""
    beads = tuple(Bead("CA", ("ALA", "GLY")[i % 2], i, i + 1, "A", "C", 12.0, (i,), ("CA",)) for i in range(BEADS))
    generator = torch.Generator().manual_seed(0)
    walk = torch.randn(1, BEADS, 3, generator=generator, dtype=torch.float64).cumsum(1)
    frames = centred(0.5 * walk + 0.1 * torch.randn(40, BEADS, 3, generator=generator, dtype=torch.float64))
    return frames, BeadTable(beads, tuple((i, i + 1) for i in range(BEADS - 1)), "test")


def both(globule, dtype=torch.float64, conservative=True, cutoff_nm=CUTOFF_NM, **settings):
    """The same random network over all pairs, and over the radius graph."""
    networks = []
    for neighbours in ("dense", "radius"):
        recipe = GraphTransformerRecipe(
            width=24, layers=2, head_width=8, cutoff_nm=cutoff_nm, neighbours=neighbours, **settings
        )
        network = fit_graph_transformer(*globule, recipe, 1e-3, 1.0, conservative).to(dtype)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        networks.append(network)
    return networks


def noised(globule, time, dtype=torch.float64):
    x0 = globule[0][:6]
    t = torch.full((len(x0),), time, dtype=torch.float64)
    return diffuse(x0, t, centred_noise(x0.shape, torch.Generator().manual_seed(2), x0)).to(dtype), t.to(dtype)


def close(found, expected, dtype):
    """To rounding of the type, relative to the largest entry: 1e-10 in float64, 1e-5 in float32."""
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    scale = float(expected.detach().abs().max())
    assert scale > 1e-6  # alpha^2 makes it small at large t
    torch.testing.assert_close(found, expected, rtol=0.0, atol=tolerance * scale)


@pytest.mark.parametrize("time", [1e-5, 0.1, 1.0])
@pytest.mark.parametrize("edges", ["frames", "displacement"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_radius_graph_gives_energy_forces_and_time_derivative_of_all_pairs_masked(globule, edges, dtype, time):
    x, t = noised(globule, time, dtype)
    dense, radius = both(globule, dtype, edges=edges)
    near = radius.core.surroundings(x, t, radius.molecule(), None)
    assert 1 < near.index.shape[-1] < BEADS  # the cutoff leaves some pairs and takes others
    close(radius(x, t), dense(x, t), dtype)
    expected, found = (DiffusionEnergy(network).log_density(x, t) for network in (dense, radius))
    close(found.score, expected.score, dtype)
    close(found.time_derivative, expected.time_derivative, dtype)


@pytest.mark.parametrize("conservative", [True, False], ids=["energy", "score"])
def test_radius_graph_trains_as_all_pairs_do(globule, conservative):
    # The losses differentiate the score: second derivatives of everything, gathers included.
    x, t = noised(globule, 0.05)
    gradients = []
    for network in both(globule, conservative=conservative):
        model = (DiffusionEnergy if conservative else DiffusionScore)(network)
        loss = model.score(x, t, create_graph=True).square().sum()
        gradients.append(torch.autograd.grad(loss, list(network.parameters()), allow_unused=True))
    assert sum(gradient is not None for gradient in gradients[0]) > 20
    for expected, found in zip(*gradients, strict=True):
        assert (expected is None) == (found is None)
        if expected is not None:
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10 * float(expected.abs().max()))


def test_radius_graph_has_the_fokker_planck_residual_of_all_pairs(globule):
    x, t = noised(globule, 0.05)
    perturbed = perturb(x, t, 1e-4, torch.Generator().manual_seed(3))
    losses = []
    for network in both(globule):
        energy = DiffusionEnergy(network)
        residual = residuals(energy, energy.log_density(perturbed.points, perturbed.times), perturbed)
        loss = residual.prod(0).mean()
        losses.append((residual.detach(), *torch.autograd.grad(loss, [network.core.layers[0].attention.key_edges])))
    for expected, found in zip(*losses, strict=True):
        # The divergence subtracts scores 1e-4 apart: 1e4 of rounding.
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10 * float(expected.abs().max()))


def test_neighbours_are_all_other_beads_within_the_cutoff_in_padded_batches_too():
    x = torch.randn(5, 9, 3, generator=torch.Generator().manual_seed(4))
    mask = torch.arange(9) < torch.tensor([9, 4, 1, 9, 7])[:, None]
    near = find_neighbours(x, 1.2, mask)
    distance = torch.cdist(x, x)
    for frame in range(5):
        for bead in range(9):
            row = 9 * frame + bead
            expected = {row} | {9 * frame + j for j in range(9) if distance[frame, bead, j] < 1.2 and mask[frame, j]}
            index, exists = near.index[frame, bead], near.exists[frame, bead]
            assert index[0] == row and exists[0] and sorted(index[exists].tolist()) == sorted(expected)
            assert (index[~exists] == row).all()


def test_edges_grow_as_the_beads_do_at_constant_density():
    # A cube of beads on a lattice of spacing 1: inside, 27 are within 1.9, themselves counted, whatever its size.
    counts = {}
    for edge in (4, 6, 8):
        grid = torch.stack(torch.meshgrid(*3 * [torch.arange(float(edge))], indexing="ij"), -1).reshape(1, -1, 3)
        near = find_neighbours(grid, 1.9, None)
        assert near.index.shape == (1, edge**3, 27)
        counts[edge] = int(near.exists.sum())
    # A bead on a face, an edge or a corner has fewer: the sum over pairs is that along each axis, to the third power.
    assert counts == {edge: (3 * edge - 2) ** 3 for edge in counts}


def test_pairs_do_not_depend_on_how_many_distances_are_computed_at_once():
    x = torch.randn(7, 9, 3, generator=torch.Generator().manual_seed(5))
    assert torch.equal(pairs_within(x, 1.5, distances=1), pairs_within(x, 1.5))


def test_beads_without_any_neighbour_see_themselves_and_their_own_frame(globule):
    x, t = noised(globule, 1e-5)
    dense, radius = both(globule, cutoff_nm=1e-4)
    assert radius.core.surroundings(x, t, radius.molecule(), None).index.shape[-1] == 1
    close(radius(x, t), dense(x, t), torch.float64)
    expected, found = (DiffusionEnergy(network).log_density(x, t).score for network in (dense, radius))
    close(found, expected, torch.float64)


def test_replica_that_went_astray_leaves_the_others_alone(globule):
    x, t = noised(globule, 1e-5)
    _, radius = both(globule)
    program = torch.jit.script(DiffusionEnergy(radius))
    expected = program(x, t)
    x[2, 5] = float("nan")
    energies = program(x, t)
    assert energies[2].isnan()
    kept = [0, 1, 3, 4, 5]
    torch.testing.assert_close(energies[kept], expected[kept], rtol=1e-12, atol=1e-12)


def test_radius_graph_without_a_cutoff_is_refused(small_recipe, tmp_path):
    with pytest.raises(InputError, match="neighbours = radius needs a cutoff_nm"):
        small_recipe(tmp_path, "model.kind=graph_transformer", "model.neighbours=radius")


def test_auto_takes_the_radius_graph_for_many_beads_with_a_cutoff_only():
    assert uses_radius_graph(GraphTransformerRecipe(cutoff_nm=1.0), RADIUS_BEADS)
    assert not uses_radius_graph(GraphTransformerRecipe(cutoff_nm=1.0), RADIUS_BEADS - 1)
    assert not uses_radius_graph(GraphTransformerRecipe(), RADIUS_BEADS)


def test_training_on_the_radius_graph_is_training_on_all_pairs(small_recipe, tmp_path):
    weights = []
    for neighbours in ("dense", "radius"):
        recipe = small_recipe(tmp_path / neighbours, *SMALL, f"model.neighbours={neighbours}", "run.max_steps=20")
        weights.append(read_checkpoint(train(recipe, show_progress=False)).weights)
    for name, expected in weights[0].items():
        # Rounding of float32, amplified by Adam over 20 steps of 2e-3.
        torch.testing.assert_close(weights[1][name], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cutoff_nm, warns", [(0.1, True), (0.14, False), (1.0, False)])
def test_cutoff_below_nearly_all_distances_is_warned_of(cutoff_nm, warns, caplog):
    # A straight chain, 0.13 nm a bond: 1.6 others of five beads are within 0.14 nm of one, none within 0.1 nm.
    frames = torch.zeros(3, 5, 3)
    frames[:, :, 0] = torch.arange(5.0)
    with caplog.at_level("WARNING", logger="fpforce"):
        warn_of_small_cutoff(frames, 0.13, cutoff_nm)
    assert (
        f"cutoff_nm = {cutoff_nm:g} is below 100% of the distances in the data (0.13 to 0.52 nm)" in caplog.text
    ) == warns
    assert bool(caplog.records) == warns
