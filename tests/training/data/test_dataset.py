"""What the networks see: normalised frames, and batches that depend on seed and step alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fpforce.foundation.errors import InputError
from fpforce.molecule.chirality import dihedral
from fpforce.training.data.dataset import NoisedBatches, TrainingSet, conformation_weights, random_rotations
from fpforce.training.diffusion import alpha, sigma
from fpforce.training.losses.time_sampling import TimeSampler

TIMES = TimeSampler(1e-5, 1.0, 1e-3)


def batches(training_set, seed=0, size=64):
    return NoisedBatches(training_set.frames, TIMES, size, seed)


def test_frames_are_centred_with_unit_standard_deviation(alanine_frames, alanine_set):
    assert alanine_set.frames.mean(dim=1).abs().max() < 1e-6
    assert alanine_set.frames.double().std(correction=0).item() == pytest.approx(1.0, abs=1e-6)
    # One scale for all coordinates: distances in nm come back.
    raw = np.linalg.norm(alanine_frames.positions_nm[:, 0] - alanine_frames.positions_nm[:, 4], axis=1)
    ours = (alanine_set.frames[:, 0] - alanine_set.frames[:, 4]).norm(dim=1).numpy() * alanine_set.scale_nm
    np.testing.assert_allclose(ours, raw, atol=1e-6)


def test_bond_lengths_are_those_of_a_peptide_backbone(alanine_set):
    # ff99SB equilibrium lengths in nm: C-N 0.1335, N-CA 0.1449, CA-C 0.1522.
    np.testing.assert_allclose(alanine_set.bond_lengths_nm()["mean"], [0.1335, 0.1449, 0.1522, 0.1335], atol=0.004)


def test_prior_pairs_are_the_bonds_and_the_ends_of_the_angles(alanine_set):
    assert alanine_set.prior_pairs == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)]


def test_batch_is_a_function_of_seed_and_step(alanine_set):
    def x(seed, step):
        return batches(alanine_set, seed).batch(step)[0].x

    # A fresh object, asked for step 7 first, gives what an object that has counted up to 7 gives.
    counted = batches(alanine_set)
    for step in range(8):
        noised, generator = counted.batch(step)
    assert torch.equal(noised.x, x(0, 7))
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=batches(alanine_set).batch(7)[1]))
    others = [x(0, 8), x(1, 7)]
    assert not any(torch.equal(other, noised.x) for other in others)


def test_noise_comes_in_opposite_pairs_on_the_same_frame_at_the_same_time(alanine_set):
    noised, _ = batches(alanine_set).batch(3)
    (x1, x2), (t1, t2), (z1, z2) = noised.x.chunk(2), noised.t.chunk(2), noised.z.chunk(2)
    assert torch.equal(t1, t2) and torch.equal(z1, -z2)
    early = t1 < 0.3  # where dividing by alpha loses no digits
    x0 = 0.5 * (x1 + x2)[early] / alpha(t1[early])[:, None, None]
    distance = torch.cdist(x0.flatten(1).double(), alanine_set.frames.flatten(1).double()).min(dim=1).values
    assert early.any() and distance.max() < 1e-5
    torch.testing.assert_close(0.5 * (x1 - x2), sigma(t1)[:, None, None] * z1, rtol=1e-4, atol=1e-5)
    assert noised.x.mean(dim=1).abs().max() < 1e-6


def test_frames_are_drawn_evenly_over_the_steps():
    # Frame i is recognised by its size; 200 steps of 32 pairs draw each of 40 frames 160 times on average.
    frames = (1.0 + torch.arange(40.0))[:, None, None] * torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    drawn = NoisedBatches(frames, TimeSampler(1e-5, 1e-4, 1e-3), 64, 0)
    counts = torch.zeros(40)
    for step in range(200):
        x = drawn.batch(step)[0].x
        size = 0.5 * (x[:32, 0, 0] + x[32:, 0, 0])
        counts += torch.bincount(size.round().long() - 1, minlength=40)
    # 5 standard deviations of a binomial count.
    assert counts.sum() == 6400 and (counts - 160).abs().max() < 5 * 160**0.5


def test_beads_that_do_not_move_are_refused(alanine_frames):
    for positions in (np.zeros((10, 5, 3), np.float32), np.zeros((10, 1, 3), np.float32)):
        frames = SimpleNamespace(
            positions_nm=positions, beads=alanine_frames.beads, sources=("still.xtc",), sha256="", weights=None
        )
        with pytest.raises(InputError, match="still.xtc.*nothing to learn"):
            TrainingSet.of(frames)


def test_spread_draws_frames_by_weight():
    # As above, frame i is recognised by its size; weights 1, 2, 3, 4 of 10.
    frames = (1.0 + torch.arange(4.0))[:, None, None] * torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    drawn = NoisedBatches(frames, TimeSampler(1e-6, 1e-5, 1e-3), 64, 0, weights=torch.arange(1.0, 5.0))
    x, t, _ = drawn.spread(10_000, drawn.batch(0)[1])
    counts = torch.bincount(x[:, 0, 0].round().long() - 1, minlength=4).double()
    # 5 standard deviations of a binomial count, at most 5 * 50.
    torch.testing.assert_close(counts, 1000.0 * torch.arange(1.0, 5.0, dtype=torch.float64), rtol=0, atol=250)
    assert t.min() >= 1e-6 and t.max() <= 1e-5


def test_rare_basin_gets_its_say_in_the_fokker_planck_term(alanine_set, alanine_frames):
    phi = dihedral(alanine_frames.positions_nm, (0, 1, 2, 3))
    as_seen = conformation_weights(alanine_set.frames, 0.0)
    even = conformation_weights(alanine_set.frames, 1.0)
    share = [float((w / w.sum())[torch.from_numpy(phi > 0)].sum()) for w in (as_seen, even)]
    assert share[0] == pytest.approx(0.022, abs=0.01)  # the population of phi > 0 in the data
    assert 0.1 < share[1] < 0.5


def test_weights_are_equal_where_the_density_is():
    # Bond lengths drawn uniformly have a density without structure: weights differ at the two ends only.
    length = torch.linspace(1.0, 2.0, 1500)
    frames = length[:, None, None] * torch.tensor([[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]])
    inside = conformation_weights(frames, 1.0)[500:1000]
    assert inside.std() / inside.mean() < 0.05


def test_random_rotations_are_proper_and_uniform():
    count = 100_000
    matrices = random_rotations(count, torch.Generator().manual_seed(6), torch.zeros((), dtype=torch.float64))
    identity = torch.eye(3, dtype=torch.float64)
    assert (matrices @ matrices.mT - identity).abs().max() < 1e-12
    assert (torch.linalg.det(matrices) - 1).abs().max() < 1e-12
    # Entries of a uniform rotation have mean 0 and mean square 1/3, their squares variance 4/45: 5 standard errors.
    assert matrices.mean(0).abs().max() < 5 * (1 / 3 / count) ** 0.5
    assert (matrices.square().mean(0) - 1 / 3).abs().max() < 5 * (4 / 45 / count) ** 0.5
    # The trace 1 + 2 cos(angle) of a uniform rotation has mean 0 and mean square 1.
    trace = matrices.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(trace.square().mean() - 1.0) < 5 * (2 / count) ** 0.5


@pytest.mark.parametrize("draw", ["batch", "spread"])
def test_rotated_batches_turn_frames_at_random_and_keep_their_distances(alanine_set, draw):
    frames = alanine_set.frames[:1]
    times = TimeSampler(1e-6, 1e-5, 1e-3)  # noise of 1e-3 at most
    turned = NoisedBatches(frames, times, 64, 0, rotate=True)
    noised, generator = turned.batch(0)
    x = noised.x if draw == "batch" else turned.spread(64, generator)[0]
    torch.testing.assert_close(torch.cdist(x, x), torch.cdist(frames, frames).expand(64, 5, 5), rtol=0, atol=1e-2)
    # |a - R a|^2 averages to 2 |a|^2 over rotations.
    moved = (x - frames).square().sum(dim=(1, 2)) / frames.square().sum()
    assert 1.4 < moved.mean() < 2.6
    if draw == "batch":
        torch.testing.assert_close(x[:32], x[32:], rtol=0, atol=2e-2)  # z and -z on the same turned frame
