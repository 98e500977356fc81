"""Couplings of the prior's pairs: a stiff angle between stiff bonds, its exact force, noise, and earlier weights."""

import pytest
import torch

from fpforce.training.diffusion import alpha, centred_noise, diffuse, sigma_squared, time_of_variance
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.models.couplings import fit_couplings, pairs_with_a_bead_in_common
from fpforce.training.models.prior import fit_prior

BOND, ANGLE = 0.6, 1.9  # of a carbon chain whose size is three of its bonds
BOND_SPREAD, ANGLE_SPREAD = 0.02, 0.05
PAIRS = [(0, 1), (1, 2), (0, 2)]


def bent(count=20_000):
    """(count, 3, 3) frames of two harmonic bonds and a harmonic angle, in random orientations."""
    generator = torch.Generator().manual_seed(0)
    left, right, turn = torch.randn(3, count, generator=generator, dtype=torch.float64)
    left, right, angle = BOND + BOND_SPREAD * left, BOND + BOND_SPREAD * right, ANGLE + ANGLE_SPREAD * turn
    zero = torch.zeros(count, dtype=torch.float64)
    x = torch.stack(
        [
            torch.stack([left, zero, zero], -1),
            torch.stack([zero, zero, zero], -1),
            torch.stack([right * torch.cos(angle), right * torch.sin(angle), zero], -1),
        ],
        1,
    )
    turns = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))[0]
    x = x @ turns
    return x - x.mean(1, keepdim=True)


def exact_energy(x):
    """In kT, of the density of `bent` per volume: its Jacobian is left^2 right^2 sin(angle)."""
    u, v = x[:, 0] - x[:, 1], x[:, 2] - x[:, 1]
    left, right = u.norm(dim=-1), v.norm(dim=-1)
    angle = torch.acos((u * v).sum(-1) / (left * right))
    stretched = ((left - BOND) / BOND_SPREAD).square() + ((right - BOND) / BOND_SPREAD).square()
    return 0.5 * (stretched + ((angle - ANGLE) / ANGLE_SPREAD).square()) + torch.log(
        left.square() * right.square() * torch.sin(angle)
    )


def forces(energy, x):
    x = x.detach().requires_grad_()
    return -torch.autograd.grad(energy(x).sum(), x)[0]


def uncoupled(prior):
    """The same prior, of pairs that know nothing of each other."""
    tensors = {name: tensor for name, tensor in prior.state_dict().items() if "couplings" not in name}
    plain = fit_prior(bent(10), PAIRS)
    plain.load_state_dict(tensors)
    return plain


def test_coupled_pairs_have_the_forces_of_stiff_bonds_and_a_stiff_angle():
    x, t = bent(), torch.tensor([1e-5], dtype=torch.float64)
    prior, exact = fit_prior(x, PAIRS), forces(exact_energy, x[:500])

    def error(prior):
        return ((forces(lambda y: prior(y, t), x[:500]) - exact).square().sum() / exact.square().sum()).sqrt()

    assert error(prior) < 0.12
    assert error(uncoupled(prior)) > 0.3


@pytest.mark.parametrize("noise", [0.02, 0.04, 0.07])
def test_coupled_pairs_denoise_better_at_small_noise(noise):
    x, generator = bent(), torch.Generator().manual_seed(1)
    prior = fit_prior(x, PAIRS)
    t = time_of_variance(torch.tensor([noise**2], dtype=torch.float64)).expand(len(x))
    z = centred_noise(x.shape, generator, x)
    noised = diffuse(x, t, z)
    coupled, alone = (
        denoising_loss(forces(lambda y, p=one: p(y, t), noised), t, z) for one in (prior, uncoupled(prior))
    )
    assert coupled < alone - 0.01


def test_couplings_vanish_at_large_noise():
    x = bent(1000)
    prior = fit_prior(x, PAIRS)
    t = torch.full((1000,), 0.3, dtype=torch.float64)
    noised = diffuse(x, t, centred_noise(x.shape, torch.Generator().manual_seed(1), x))
    deviations = prior.differences(noised).norm(dim=-1) - alpha(t)[:, None] * prior.radius
    levels = alpha(t).square()[:, None], sigma_squared(t)[:, None]
    assert prior.couplings(deviations, prior.variance, *levels).abs().max() < 0.01


def test_pairs_with_the_same_beads_are_counted_with_their_signs():
    left, right, sign = pairs_with_a_bead_in_common(torch.tensor([(0, 1), (1, 2), (0, 2), (3, 4)]))
    assert list(zip(left.tolist(), right.tolist(), sign.tolist(), strict=True)) == [(0, 1, -1), (0, 2, 1), (1, 2, 1)]


def test_frames_of_no_weight_do_not_count():
    x = bent(12_000)
    weights = torch.zeros(len(x), dtype=torch.float64)
    weights[1::3] = 1.0
    ours, theirs = (fit_prior(*given).couplings for given in ((x, PAIRS, weights), (x[1::3], PAIRS)))
    torch.testing.assert_close(ours.variances, theirs.variances, rtol=0.05, atol=0.0)


def flat(count=5000):
    """(count, 4, 3) frames of an atom with three neighbours about it in a plane, out of which they move a little."""
    generator = torch.Generator().manual_seed(0)
    angles = torch.tensor([0.0, 2.1, 4.2], dtype=torch.float64)
    corners = torch.stack([torch.cos(angles), torch.sin(angles), torch.zeros(3, dtype=torch.float64)], -1)
    x = torch.cat([torch.zeros(1, 3, dtype=torch.float64), corners]).expand(count, 4, 3)
    x = x + 0.03 * torch.randn(count, 4, 3, generator=generator, dtype=torch.float64)
    return x - x.mean(1, keepdim=True)


def test_angles_that_add_up_are_no_stiff_mode():
    # Their sum is fixed but for what is of second order out of the plane, and a Gaussian of that width would have
    # frames many widths out.
    x, pairs = flat(), torch.tensor([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
    distances = (x[:, pairs[:, 0]] - x[:, pairs[:, 1]]).norm(dim=-1)
    couplings = fit_couplings(x, pairs, distances)
    along = (distances - distances.mean(0)) @ couplings.modes.T
    assert (along / couplings.variances.sqrt()).abs().max() < 6.0
    assert couplings.variances.min() > 0.3 * distances.var(0).min() / 2.0


def helix(stretch, count=4000):
    """(count, 12, 3) frames of a helix of CA beads with harmonic bonds and angles and soft dihedrals. stretch
    (11,): lengths by which its bonds are longer.
    """
    generator, beads = torch.Generator().manual_seed(0), 12
    bonds, angles, dihedrals = (
        torch.randn(count, size, generator=generator, dtype=torch.float64) for size in (beads - 1, beads - 2, beads - 3)
    )
    bonds = 0.76 + BOND_SPREAD * bonds + stretch
    angles, dihedrals = 1.6 + 0.15 * angles, 0.87 + 0.4 * dihedrals
    placed = [torch.zeros(count, 3, dtype=torch.float64)]
    along = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(count, 3)
    normal = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand(count, 3)
    for k in range(beads - 1):
        if k:
            if k > 1:
                turn = dihedrals[:, k - 2, None]
                normal = torch.cos(turn) * normal + torch.sin(turn) * torch.linalg.cross(along, normal)
            turn = torch.pi - angles[:, k - 1, None]
            along = torch.cos(turn) * along + torch.sin(turn) * torch.linalg.cross(normal, along)
        placed.append(placed[-1] + bonds[:, k, None] * along)
    x = torch.stack(placed, 1)
    return x - x.mean(1, keepdim=True)


def test_bonds_of_a_helix_are_as_stiff_as_in_the_data():
    # At fixed angles and dihedrals the energy of a bond is harmonic, of the stiffness 1 / BOND_SPREAD^2. The 1-3
    # distances of a helix are nearly redundant, and a part of their widths was given to the bonds.
    none, t = torch.zeros(11, dtype=torch.float64), torch.tensor([1e-5], dtype=torch.float64)
    pairs = [(k, k + 1) for k in range(11)] + [(k, k + 2) for k in range(10)]
    prior = fit_prior(helix(none), pairs)
    for bond in range(11):
        step = none.clone()
        step[bond] = BOND_SPREAD
        before, here, after = (prior(helix(stretched, 200), t).mean() for stretched in (-step, none, step))
        assert float(before - 2.0 * here + after) == pytest.approx(1.0, abs=0.08)


def test_few_frames_leave_the_couplings_of_many_pairs_finite():
    couplings = fit_prior(bent(4), PAIRS).couplings
    assert (couplings.variances > 0).all() and torch.isfinite(couplings.modes).all()


def test_a_single_pair_and_pairs_apart_have_none(alanine_set):
    assert fit_prior(bent(100), [(0, 1)]).couplings is None
    assert fit_prior(alanine_set.frames, [(0, 1), (2, 3)]).couplings is None


def test_weights_of_an_earlier_version_are_of_pairs_by_themselves():
    x, t = bent(200), torch.tensor([1e-3], dtype=torch.float64)
    now = fit_prior(x, PAIRS)
    earlier = uncoupled(now)
    assert earlier.couplings is None
    distances = now.differences(x).norm(dim=-1)
    levels = alpha(t).square()[:, None], sigma_squared(t)[:, None]
    added = now.couplings(distances - alpha(t)[:, None] * now.radius, now.variance, *levels)
    torch.testing.assert_close(earlier(x, t), now(x, t) - added)
    assert added.std() > 0.1
