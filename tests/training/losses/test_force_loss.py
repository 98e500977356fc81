"""Forces in the loss: the exact score is its minimum, single forces speak along stiff pairs alone, and along dihedrals,
where they are nearly all noise, they do not make an estimate worse.
"""

import numpy as np
import pytest
import torch

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.force_scores import ForceScores
from fpforce.training.diffusion import centred_noise, diffuse, sigma
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.force_blending import ForceBlending
from fpforce.training.losses.force_loss import ForceLoss, PairForces, unexplained
from fpforce.training.losses.time_sampling import TimeSampler
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.forces import ForceFiles

PAIRS = [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)]


@pytest.fixture(scope="module")
def gaussian():
    """(x_0, f_0, z, x_t, t, exact score) of a harmonic molecule of 4 beads, whose forces have noise of their own."""
    generator = torch.Generator().manual_seed(0)
    modes = torch.linalg.eigh(torch.eye(4, dtype=torch.float64) - 0.25)[1].T[1:]
    variances = torch.tensor([0.01, 0.05, 0.3], dtype=torch.float64)

    def in_modes(scale):
        drawn = torch.randn(40_000, 3, 3, generator=generator, dtype=torch.float64)
        return modes.T @ (scale[:, None] * drawn)

    x0 = in_modes(variances.sqrt())
    force = -modes.T @ (modes @ x0 / variances[:, None]) + in_modes(torch.full((3,), 5.0).double())
    t = torch.full((len(x0),), 0.03, dtype=torch.float64)
    z = centred_noise(x0.shape, generator, x0)
    x, s = diffuse(x0, t, z), sigma(t[:1])
    spread = (1.0 - s * s) * variances + s * s
    return x0, force, z, x, t, -modes.T @ (modes @ x / spread[:, None])


@pytest.mark.parametrize("noise", [None, 0.3, 0.0])
def test_exact_score_is_the_minimum_whatever_the_noise_of_the_forces(gaussian, noise):
    """The slope of the loss at the exact score, in directions that are functions of x_t, is zero within 4 errors."""
    x0, force, z, x, t, exact = gaussian
    loss = ForceLoss(x0, force, PAIRS, noise)
    for change in (exact, x * x.square().sum((1, 2), keepdim=True), torch.sin(5.0 * x)):
        change = change - change.mean(1, keepdim=True)
        parts = []
        for part in torch.arange(len(x)).chunk(100):
            size = torch.zeros((), dtype=torch.float64, requires_grad=True)
            value = loss(exact[part] + size * change[part], x[part], t[part], z[part], force[part])
            parts.append(torch.autograd.grad(value, size)[0])
        slopes = torch.stack(parts)
        assert abs(slopes.mean()) < 4.0 * slopes.std() / len(slopes) ** 0.5
    wrong = 1.1 * exact
    assert loss(wrong, x, t, z, force) > loss(exact, x, t, z, force)


@pytest.mark.parametrize("noise", [None, 0.3, 0.0])
def test_loss_of_no_score_is_one(gaussian, noise):
    x0, force, z, x, t, _ = gaussian
    assert float(ForceLoss(x0, force, PAIRS, noise)(torch.zeros_like(x), x, t, z, force)) == pytest.approx(
        1.0, abs=0.01
    )


def test_single_forces_count_along_pairs_by_what_the_distance_explains(gaussian):
    x0, force, z, x, t, exact = gaussian
    unit = (x0[:, 0] - x0[:, 1]) / (x0[:, 0] - x0[:, 1]).norm(dim=-1, keepdim=True)
    along = ((force[:, 0] - force[:, 1]) * unit).sum(-1)
    correlation = np.corrcoef(along, (x0[:, 0] - x0[:, 1]).norm(dim=-1))[0, 1]
    pairs = PairForces(x0, force, PAIRS)
    assert float(pairs.explained[0]) == pytest.approx(correlation**2, rel=1e-6)
    assert float(pairs.per_square[0]) == pytest.approx(correlation**2 / float(along.square().mean()), rel=1e-6)
    noise_alone = ForceLoss(x0, torch.randn(x0.shape, generator=torch.Generator().manual_seed(1)).double(), PAIRS)
    plain = denoising_loss(exact, t, z)
    torch.testing.assert_close(noise_alone(exact, x, t, z, force), plain, rtol=0, atol=0.02)


def test_averages_are_blended_in_all_directions_as_far_as_they_are_no_noise(gaussian):
    x0, force, z, x, t, exact = gaussian
    expected = ForceBlending(force).loss(exact, t, z, force)
    torch.testing.assert_close(ForceLoss(x0, force, PAIRS, 0.0)(exact, x, t, z, force), expected)
    rest = unexplained(x0, force, PAIRS)
    harmonic = without_noise(x0, force, PAIRS)
    assert rest == pytest.approx(float((force - harmonic).square().sum() / force.square().sum()), rel=0.02)
    assert ForceLoss(x0, force, PAIRS, 1.1 * rest).blended == 0.0  # all that is left is noise
    half = ForceLoss(x0, force, PAIRS, 0.5 * rest)(exact, x, t, z, force)
    torch.testing.assert_close(half, 0.5 * expected + 0.5 * ForceLoss(x0, force, PAIRS)(exact, x, t, z, force))


def single_forces(alanine):
    """(TrainingSet, f_0) of the excerpt of alanine dipeptide."""
    excerpt = alanine / "forces_excerpt.npz"
    files = ForceFiles(paths=(excerpt,), optimal=True)
    frames = read_bead_frames(
        excerpt, alanine / "forces_excerpt.pdb", beads="backbone5", length_unit="nm", forces=files
    )
    data = TrainingSet.of(frames)
    return data, ForceScores.of(frames, data.scale_nm, 300.0 * BOLTZMANN_KJ_PER_MOL_K).values


def dihedral(x, i, j, k, m):
    first, middle, last = x[:, j] - x[:, i], x[:, k] - x[:, j], x[:, m] - x[:, k]
    left, right = torch.linalg.cross(first, middle), torch.linalg.cross(middle, last)
    sine = (torch.linalg.cross(left, right) * middle).sum(-1) / middle.norm(dim=-1)
    return torch.atan2(sine, (left * right).sum(-1))


def without_noise(x, force, pairs):
    """The mean force (frames, beads, 3) as far as harmonic bonds and angles explain it, by least squares."""
    apart = torch.stack([x[:, i] - x[:, j] for i, j in pairs], 1)
    lengths = apart.norm(dim=-1)
    pulls = torch.zeros(*lengths.shape, x.shape[1], 3, dtype=x.dtype)
    for k, (i, j) in enumerate(pairs):
        pulls[:, k, i] = ((lengths - lengths.mean(0))[:, k] / lengths[:, k])[:, None] * apart[:, k]
        pulls[:, k, j] = -pulls[:, k, i]
    basis = pulls.flatten(2)
    stiffness = torch.linalg.solve(
        torch.einsum("fpi,fqi->pq", basis, basis), torch.einsum("fpi,fi->p", basis, force.flatten(1))
    )
    return torch.einsum("p,fpi->fi", stiffness, basis).view_as(force)


def test_single_forces_do_not_make_a_dihedrals_free_energy_noisier(alanine):
    """The variance of a coefficient c in E = c cos(phi) + ..., from 536 frames of alanine dipeptide, at the noise
    levels below which nothing is resolved any more, over that of denoising alone.

    Both losses are quadratic in c. With a the gradient of the function, denoising has per frame the slope s.a + div a
    once its noise has averaged out (Hyvarinen 2005) and forces have a.W r, r their noise; weights are A, the mean
    sigma^2 at those levels, and W. So the variance is that of A (s.a + div a) + a.W r over (A <a.a> + <a.W a>)^2.
    """
    data, force = single_forces(alanine)
    x, force = data.frames.double(), force.double()
    exact = without_noise(x, force, data.prior_pairs)
    noise = force - exact
    times = TimeSampler(1e-5, 1.0, 1e-3)(4096, torch.Generator().manual_seed(0), x)
    s = sigma(times)
    weight, part = float((s.square() * (s < 0.05)).mean()), float((s < 0.05).double().mean())
    modes, pairs = ForceBlending(force), PairForces(x, force, data.prior_pairs)

    def by_modes(b, c):
        return part * ((modes.modes @ b) * (modes.modes @ c) / modes.variances[:, None]).sum((1, 2))

    def by_pairs(b, c):
        return part * (pairs.per_square * pairs.along(x, b) * pairs.along(x, c)).sum(1)

    ratios = []
    for beads in ((0, 1, 2, 3), (1, 2, 3, 4)):
        for function in (torch.cos, torch.sin):
            at = x.clone().requires_grad_()
            (a,) = torch.autograd.grad(function(dihedral(at, *beads)).sum(), at, create_graph=True)
            divergence = sum(
                torch.autograd.grad(a[:, bead, axis].sum(), at, retain_graph=True)[0][:, bead, axis]
                for bead in range(5)
                for axis in range(3)
            ).detach()
            a = a.detach()
            slope, square = weight * ((exact * a).sum((1, 2)) + divergence), weight * a.square().sum((1, 2)).mean()
            alone = slope.var() / square**2
            ratios.append(
                [
                    float((slope + w(a, noise)).var() / (square + w(a, a).mean()) ** 2 / alone)
                    for w in (by_modes, by_pairs)
                ]
            )
    of_modes, of_pairs = zip(*ratios, strict=True)
    assert max(of_pairs) < 1.05, ratios
    assert np.mean(of_modes) > 1.15, ratios  # blended in all directions, as averages are


def test_single_forces_keep_their_say_along_bonds(alanine):
    data, force = single_forces(alanine)
    explained = PairForces(data.frames, force, data.prior_pairs).explained
    assert all(explained[k] > 0.7 for k, (i, j) in enumerate(data.prior_pairs) if j == i + 1), explained
