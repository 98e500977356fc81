"""The step of the last layer's weights that a round of calibration makes.

In: the last layer's inputs h of simulated frames, and their mean over the data. Out: a change of the weights. The
energy is linear in these weights w, E = w.h + ..., so the relative entropy of the data from the simulated distribution
is convex in a shift of w. Its gradient is <h>_data - <h>_simulation and its Hessian cov(h)_simulation. The step is
Newton's method on the reweighted frames, held back from changing forces (last_layer.py). Nothing here simulates or
touches a file.
Source: Shell, J. Chem. Phys. 129, 144108 (2008) (relative entropy); docs/method.md, eq. 28.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fpforce.training.calibration.last_layer import STIFFNESS, damped, least_variance

BLOCKS = 8  # of frames in order of time, over which an average's error is estimated
FACTORS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # of STIFFNESS
SMALLEST_STEP = 1e-4  # kT, after which Newton's method has converged
MOST_PRODUCTS = 60  # of a conjugate gradient
SMALLEST_SHARE = 0.5  # of the frames that must still count after reweighting; a longer step is cut


@dataclass(frozen=True)
class NewtonStep:
    """A change of the last layer's weights (features,), and what was seen on the way.

    relative_entropy: what a full step would gain by the quadratic estimate, in nats. effective: part of the frames that
    count after the step that was taken.
    """

    change: Tensor
    relative_entropy: float
    effective: float


def newton_step(
    data_mean: Tensor, simulated: Tensor, slopes: Tensor, shift: Tensor, gain: float, stiffness: float = 1.0
) -> NewtonStep:
    """The step towards <h>_simulation = data_mean (features,), from simulated h (frames, features) under `shift`
    (features,).

    slopes (features, features): what holds the shift back (last_layer), times stiffness. gain: part of the way to go;
    the step is shorter where too few of the reweighted frames would count.
    """
    h = simulated - simulated.mean(0)
    target = data_mean - simulated.mean(0)
    full = _least_relative_entropy(h, target, stiffness * slopes, shift)
    gain = bearable_part(h @ full, gain)
    hessian = damped(h.T @ h / len(h), slopes)
    gained = 0.5 * float(target @ torch.cholesky_solve(target[:, None], _factor(hessian))[:, 0])
    return NewtonStep(gain * full, gained, effective_part(h @ (gain * full)))


def chosen_stiffness(data: Tensor, simulated: Tensor, slopes: Tensor, shift: Tensor) -> float:
    """By which of FACTORS to multiply `slopes`: with it averages of some frames say most of those of the others.

    data (frames, features): h, in order of time. simulated (times, replicas, features): h under `shift` (features,).
    A step is made from all but one of BLOCKS blocks of the data and groups of replicas, and judged by the one left out:
    by how many nats it is nearer, in the quadratic estimate. Averages over few or slowly changing frames are known
    badly; then a shift of what changes forces follows their noise, and is not to be made.
    """
    inputs = simulated.flatten(0, 1)
    h = inputs - inputs.mean(0)
    covariance = h.T @ h / len(h)
    groups = [simulated[:, k::BLOCKS].mean((0, 1)) for k in range(min(BLOCKS, simulated.shape[1]))]
    apart = torch.stack([block.mean(0) for block in data.tensor_split(len(groups))]) - torch.stack(groups)
    others = (apart.sum(0) - apart) / max(len(apart) - 1, 1)
    gains = []
    for factor in FACTORS:
        held = factor * slopes
        wanted = (others + STIFFNESS * shift @ held).T
        change = -torch.cholesky_solve(wanted, _factor(damped(covariance, held))).T
        gains.append(float((-(change * apart).sum(1) - 0.5 * (change * (change @ covariance)).sum(1)).mean()))
    return FACTORS[max(range(len(FACTORS)), key=gains.__getitem__)]


def free_energy(change: Tensor, before: Tensor, after: Tensor) -> float:
    """What a change of the weights (features,) adds to the free energy -ln Z, in kT: <h>.change, integrated over it.

    before, after (features,): averages of h in simulations without and with the change. By the trapezoidal rule, which
    is right where h is Gaussian: so for one step of `newton_step`, after which half of the frames still count, and not
    for many at once, over which averages need not change evenly.
    """
    return float((before + after) @ change) / 2.0


def nearer(change: Tensor, free_energy: float, inputs: Tensor) -> tuple[float, float]:
    """By how many nats a change of the weights (features,) makes other frames more likely, and the error of that.

    free_energy: what the change adds to it. inputs (frames, features): h of the other frames, in order of time, whose
    sampling error alone is counted, from BLOCKS blocks.
    """
    gained = free_energy - inputs @ change
    blocks = torch.stack([block.mean() for block in gained.tensor_split(BLOCKS)])
    return float(gained.mean()), float(blocks.std() / len(blocks) ** 0.5)


def _least_relative_entropy(h: Tensor, target: Tensor, slopes: Tensor, shift: Tensor, steps: int = 20) -> Tensor:
    """The change of the shift with the least relative entropy plus penalty, by damped Newton steps from no change.

    Without the penalty <h> would be target (features,) under the weights exp(-h.change) of the frames. It goes as far
    as the frames reach, and some way where they hardly have the basin that is wanted.
    """
    held = STIFFNESS * slopes + torch.diag(torch.full_like(target, least_variance(h.square().mean(0).sum())))
    factor = _factor(h.T @ h / len(h) + held)
    change = torch.zeros_like(target)
    for _ in range(steps):
        weights = torch.softmax(-(h @ change), 0)
        mean = weights @ h
        wanted = mean - target - STIFFNESS * slopes @ (shift + change)
        step = _solved(h, weights, mean, held, factor, wanted)
        size = float((h @ step).std())  # kT
        step = step * min(1.0, 1.0 / max(size, 1e-12))
        while effective_part(h @ (change + step)) < 0.5 * SMALLEST_SHARE:
            if change.any():
                return change
            step = 0.5 * step
        change = change + step
        if size < SMALLEST_STEP:
            break
    return change


def _factor(matrix: Tensor) -> Tensor:
    """Cholesky's factor of a matrix that digits may have left without one: then of one a little larger."""
    least = 1e-12 * float(matrix.diagonal().mean()) + 1e-300
    for _ in range(6):
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not failed:
            return factor
        matrix, least = matrix + torch.diag(torch.full_like(matrix.diagonal(), least)), 100.0 * least
    return torch.linalg.cholesky(matrix)


def _solved(h: Tensor, weights: Tensor, mean: Tensor, held: Tensor, factor: Tensor, wanted: Tensor) -> Tensor:
    """The solution y of (cov(h) + held) y = wanted, where weights (frames,) give the covariance and mean (features,).

    factor: Cholesky's of the same without weights, with which conjugate gradients need few products with h.
    """

    def product(y: Tensor) -> Tensor:
        along = h @ y
        return h.T @ (weights * along) - mean * (mean @ y) + held @ y

    def nearly(r: Tensor) -> Tensor:
        return torch.cholesky_solve(r[:, None], factor)[:, 0]

    y, r = torch.zeros_like(wanted), wanted
    z = nearly(r)
    p, size = z, r @ z
    enough = 1e-16 * size
    for _ in range(MOST_PRODUCTS):
        if not size > enough:
            break
        along = product(p)
        part = size / (p @ along)
        y, r = y + part * p, r - part * along
        z = nearly(r)
        before, size = size, r @ z
        p = z + size / before * p
    return y


def bearable_part(energy_change: Tensor, gain: float) -> float:
    """`gain`, or the lower one up to which enough of the frames still count after reweighting by it."""
    while effective_part(gain * energy_change) < SMALLEST_SHARE:
        gain *= 0.8
    return gain


def resampled(energy_change: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Times and replicas (both (replicas,)) of as many frames as there are replicas, drawn by their weights.

    energy_change (times, replicas): of each frame, whose weight is exp(-energy_change). Systematic resampling, one
    replica after the other: each gives as many frames as its share is worth, but for a fraction.
    Source: Kitagawa, J. Comput. Graph. Stat. 5, 1 (1996).
    """
    times, replicas = energy_change.shape
    weights = torch.softmax(-energy_change.double().T.flatten(), 0)
    first = torch.rand(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    at = (torch.arange(replicas, dtype=torch.float64) + first) / replicas
    chosen = torch.searchsorted(weights.cumsum(0), at).clamp(max=len(weights) - 1)
    return chosen % times, chosen // times


def effective_part(energy_change: Tensor) -> float:
    """Kish's effective part of frames with weights exp(-energy_change)."""
    weights = torch.softmax(-energy_change, 0)
    return float(1.0 / (len(weights) * weights.square().sum()))
