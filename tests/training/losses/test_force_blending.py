"""Forces in the denoising target: its mean is the exact score, it is less noisy, and the loss has the exact score as
its minimum.

Gaussians are treated in closed form: the target is linear in (z, f_0), so its covariance with x_t follows from
matrices, and no sampling error hides a wrong factor. Reference scores come from explicitly assembled covariances.
"""

from types import SimpleNamespace

import pytest
import torch

from fpforce.training.data.dataset import NoisedBatches
from fpforce.training.diffusion import alpha, centred_noise, degrees_of_freedom, diffuse, sigma
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.force_blending import ForceBlending
from fpforce.training.losses.time_sampling import TimeSampler

BEADS = 4
D = degrees_of_freedom(BEADS)
TIMES = (1e-5, 1e-3, 0.02, 0.1, 0.5, 1.0)
PROJECTOR = torch.kron(torch.eye(BEADS) - 1.0 / BEADS, torch.eye(3)).double()


def random_covariance(seed, low, high, isotropic=False):
    """(3n, 3n) covariance in the centred subspace, eigenvalues from low to high; isotropic: one for each bead mode."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.eigh(torch.eye(BEADS, dtype=torch.float64) - 1.0 / BEADS)[1].T[1:]
    size = BEADS - 1 if isotropic else D
    rotation = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
    if not isotropic:
        basis = torch.kron(basis, torch.eye(3))
    axes = rotation @ basis
    values = torch.logspace(torch.log10(torch.tensor(low)), torch.log10(torch.tensor(high)), size, dtype=torch.float64)
    covariance = axes.T @ torch.diag(values) @ axes
    return torch.kron(covariance, torch.eye(3, dtype=torch.float64)) if isotropic else covariance


def draw(covariance, count, seed):
    values, vectors = torch.linalg.eigh(covariance)
    normal = torch.randn(count, len(values), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (normal * values.clamp_min(0).sqrt() @ vectors.T).view(count, BEADS, 3)


@pytest.fixture(scope="module")
def harmonic():
    """A harmonic molecule: covariance of x_0, of its forces' own noise, and the blending fitted to 20,000 frames."""
    data, noise = random_covariance(1, 0.002, 0.5), random_covariance(2, 1.0, 400.0)
    x0 = draw(data, 20_000, 3)
    stiffness = torch.linalg.pinv(data, rtol=1e-9)
    forces = -(x0.flatten(1) @ stiffness).view_as(x0) + draw(noise, len(x0), 4)
    return SimpleNamespace(
        data=data, noise=noise, stiffness=stiffness, x0=x0, forces=forces, blending=ForceBlending(forces)
    )


def linear_maps(blending, time):
    """(3n, 3n) matrices A, B with target = A z + B f_0, read off from the implementation."""
    unit = torch.eye(3 * BEADS, dtype=torch.float64).view(-1, BEADS, 3)
    t, nothing = torch.full((len(unit),), time, dtype=torch.float64), torch.zeros_like(unit)
    return (blending.target(t, unit, nothing).flatten(1).T, blending.target(t, nothing, unit).flatten(1).T)


@pytest.mark.parametrize("time", TIMES)
def test_mean_of_the_target_at_given_x_is_the_exact_score_of_the_noised_gaussian(harmonic, time):
    on_noise, on_force = linear_maps(harmonic.blending, time)
    a, s = float(alpha(torch.tensor(time, dtype=torch.float64))), float(sigma(torch.tensor(time, dtype=torch.float64)))
    # x_t = a x_0 + s z and f_0 = -K x_0 + noise: E[T | x] = cov(T, x) cov(x)^-1 x for jointly Gaussian variables.
    with_x = s * on_noise @ PROJECTOR - a * on_force @ harmonic.stiffness @ harmonic.data
    diffused = torch.linalg.pinv(a * a * harmonic.data + s * s * PROJECTOR, rtol=1e-12)
    torch.testing.assert_close(with_x @ diffused, -diffused, rtol=0, atol=1e-7 * float(diffused.abs().max()))


def spread_of(on_noise, on_force, harmonic):
    """Mean square of a target A z + B f_0."""
    of_forces = harmonic.stiffness @ harmonic.data @ harmonic.stiffness + harmonic.noise
    return torch.trace(on_noise @ PROJECTOR @ on_noise.T) + torch.trace(on_force @ of_forces @ on_force.T)


@pytest.mark.parametrize("time", TIMES)
def test_target_is_less_noisy_than_noise_alone_forces_alone_and_one_weight_for_all_modes(harmonic, time):
    a, s = float(alpha(torch.tensor(time, dtype=torch.float64))), float(sigma(torch.tensor(time, dtype=torch.float64)))
    nothing = torch.zeros_like(PROJECTOR)
    blended = spread_of(*linear_maps(harmonic.blending, time), harmonic)
    by_noise, by_force = (spread_of(-PROJECTOR / s, nothing, harmonic), spread_of(nothing, PROJECTOR / a, harmonic))
    v = by_force * a * a / D
    w = s * s * v / (a * a + s * s * v)
    by_one_weight = spread_of(-w * PROJECTOR / s, (1 - w) * PROJECTOR / a, harmonic)
    # All targets have the same mean at given x, so their mean squares differ as their variances do. The modes were
    # fitted to a sample, hence the thousandth.
    assert blended < min(by_noise, by_force)
    assert blended < 1.001 * by_one_weight
    torch.testing.assert_close(by_one_weight, D / (s * s + a * a / v))  # the harmonic mean of the two


def test_one_weight_for_all_modes_is_noisier_where_stiff_and_soft_modes_meet():
    data = random_covariance(5, 5e-4, 0.5, isotropic=True)
    stiffness = torch.linalg.pinv(data, rtol=1e-9)
    molecule = SimpleNamespace(data=data, stiffness=stiffness, noise=0.2 * stiffness)  # as noisy as it is stiff
    time = torch.tensor(0.02, dtype=torch.float64)
    a, s = float(alpha(time)), float(sigma(time))
    forces = draw(stiffness + molecule.noise, 20_000, 14)
    v = float(torch.trace(stiffness + molecule.noise)) / D
    assert spread_of(*linear_maps(ForceBlending(forces), 0.02), molecule) < 0.7 * D / (s * s + a * a / v)


@pytest.mark.parametrize("time", TIMES)
def test_target_is_the_score_itself_where_forces_are_exact_and_modes_isotropic(time):
    data = random_covariance(5, 0.01, 0.5, isotropic=True)
    axes, values = torch.linalg.eigh(data)[1].T[3:], torch.linalg.eigh(data)[0][3:]
    # Frames whose second moments are exactly those of the Gaussian, so that the fitted modes are exact too.
    x0 = (axes * (values * len(axes)).sqrt()[:, None]).view(-1, BEADS, 3)
    forces = -(x0.flatten(1) @ torch.linalg.pinv(data, rtol=1e-9)).view_as(x0)
    t = torch.full((len(x0),), time, dtype=torch.float64)
    z = centred_noise(x0.shape, torch.Generator().manual_seed(6), x0)
    x = diffuse(x0, t, z).flatten(1)
    a, s = alpha(t[:1]), sigma(t[:1])
    exact = -x @ torch.linalg.pinv(a * a * data + s * s * PROJECTOR, rtol=1e-12)
    torch.testing.assert_close(ForceBlending(forces).target(t, z, forces).flatten(1), exact, rtol=1e-6, atol=1e-6)


def test_target_is_unbiased_for_a_density_with_two_basins(harmonic):
    # Score of a mixture of two Gaussians 0.8 apart, by hand; forces with noise of their own. 4 standard errors.
    shift = 0.4 * torch.linalg.eigh(harmonic.data)[1][:, -1]
    count, time = 100_000, 0.05
    generator = torch.Generator().manual_seed(7)
    sign = torch.where(torch.rand(count, 1, generator=generator, dtype=torch.float64) < 0.7, 1.0, -1.0)
    x0 = draw(harmonic.data, count, 8).flatten(1) + sign * shift

    def score(x, precision, distance):
        responsible = torch.sigmoid(torch.logit(torch.tensor(0.7)) + 2.0 * x @ precision @ (distance * shift))
        mean = (2.0 * responsible - 1.0)[:, None] * distance * shift
        return (mean - x) @ precision

    force = score(x0, harmonic.stiffness, 1.0).view(-1, BEADS, 3) + draw(harmonic.noise, count, 9)
    t = torch.full((count,), time, dtype=torch.float64)
    z = centred_noise(force.shape, generator, force)
    x = diffuse(x0.view_as(force), t, z)
    a, s = alpha(t[:1]), sigma(t[:1])
    diffused = torch.linalg.pinv(a * a * harmonic.data + s * s * PROJECTOR, rtol=1e-12)
    error = (ForceBlending(force).target(t, z, force).flatten(1) - score(x.flatten(1), diffused, float(a))) @ shift
    along = x.flatten(1) @ shift / shift.norm()
    for test in (torch.ones_like(along), along, along.square(), torch.sin(5 * along)):
        product = test * error
        assert abs(product.mean()) < 4.0 * product.std() / count**0.5


def test_loss_is_denoising_plus_force_matching_up_to_a_constant(harmonic):
    force, x0 = harmonic.forces[:64], harmonic.x0[:64]
    generator = torch.Generator().manual_seed(10)
    z = centred_noise(x0.shape, generator, x0)
    t = torch.rand(64, generator=generator, dtype=torch.float64).clamp_min(1e-3)

    def both(score):
        apart = torch.matmul(harmonic.blending.modes, alpha(t)[:, None, None] * score - force)
        matching = (apart.square() / harmonic.blending.variances[:, None]).sum(dim=(1, 2)).mean() / D
        return denoising_loss(score, t, z) + matching

    first, second = (centred_noise(x0.shape, generator, x0) * size for size in (1.0, 10.0))
    by_blending = harmonic.blending.loss(first, t, z, force) - harmonic.blending.loss(second, t, z, force)
    torch.testing.assert_close(by_blending, both(first) - both(second))


@pytest.mark.parametrize("time", TIMES)
def test_loss_of_no_score_is_one_at_every_noise_level(harmonic, time):
    t = torch.full((len(harmonic.x0),), time, dtype=torch.float64)
    z = centred_noise(harmonic.x0.shape, torch.Generator().manual_seed(11), harmonic.x0)
    loss = harmonic.blending.loss(torch.zeros_like(z), t, z, harmonic.forces)
    assert float(loss) == pytest.approx(1.0, abs=5 * (2.0 / D / len(t)) ** 0.5)


def test_forces_too_noisy_to_help_leave_the_denoising_loss(harmonic):
    wild = ForceBlending(1e9 * harmonic.forces)
    t = torch.full((64,), 0.1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(12)
    z, score = (centred_noise((64, BEADS, 3), generator, harmonic.x0) for _ in range(2))
    expected = denoising_loss(score, t, z)
    torch.testing.assert_close(wild.loss(score, t, z, 1e9 * harmonic.forces[:64]), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("rotate", [False, True])
def test_forces_follow_their_frames_into_batches_and_change_nothing_else(rotate):
    frames = torch.randn(50, BEADS, 3, generator=torch.Generator().manual_seed(13))
    frames = frames - frames.mean(1, keepdim=True)
    times = TimeSampler(1e-6, 1e-5, 1e-3)  # next to no noise, so that x is x_0
    plain, given = (
        NoisedBatches(frames, times, 64, 0, rotate=rotate, forces=forces) for forces in (None, -3.0 * frames)
    )
    for step in range(3):
        (bare, one), (noised, other) = plain.batch(step), given.batch(step)
        assert bare.force is None
        assert torch.equal(bare.x, noised.x) and torch.equal(bare.t, noised.t) and torch.equal(bare.z, noised.z)
        assert torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=other))
        assert all(map(torch.equal, plain.spread(8, one)[:2], given.spread(8, other)[:2]))
        torch.testing.assert_close(noised.force, -3.0 * noised.x, rtol=0, atol=3e-2)
        assert torch.equal(*noised.force.chunk(2))  # z and -z share the frame and its forces
