"""Trajectories of a teacher's probability flow, a few of them made anew all along.

In: the teacher, which is the energy in training at the time when this began, and the training frames. Out: points with
their likelihoods for losses.flow. Most trajectories end at samples of the teacher, so that they are where a simulation
will be; some end at training frames. They are replaced before a network can learn them by heart. The teacher stays as
it is: an energy that follows its own flow while it changes that flow can run away from the data.
"""

import torch
from torch import Tensor

from fpforce.foundation.seeds import seeds
from fpforce.training.diffusion import centred, centred_noise, diffuse
from fpforce.training.losses.flow import FlowPoints
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.moments import NORMAL_MAD
from fpforce.training.sampling.solvers import Field, multistep, probability_flow, time_grid

T_TOP = 0.6  # alpha = 0.16: above, hardly more than the Gaussian prior is left to learn, whatever the molecule
DOWN, UP = 20, 16  # steps of the sampler from T_TOP, and of the flow back up, whose steps are of order 4
EVERY, BATCH, BATCHES = 100, 192, 8  # steps of training between batches, trajectories of one, batches kept
POINTS = 256  # drawn for a step
FROM_DATA = 0.3  # part of the trajectories that end at training frames
FAR = 6.0  # robust standard deviations of E + ln q; a trajectory beyond went astray
NEAR_KT = 1.0  # what no trajectory is left out for: near T_TOP, where E is -ln q, deviations are rounding errors


class Trajectories:
    """Points x (times, count, beads, 3) of count trajectories at t (times,), and -ln q there (times, count)."""

    def __init__(self, t: Tensor, x: Tensor, minus_log_density: Tensor):
        self.t, self.x, self.minus_log_density = t, x, minus_log_density


class FlowPool:
    """The last BATCHES batches of trajectories. A batch is a function of the seed and its number alone."""

    def __init__(
        self, teacher: DiffusionEnergy, frames: Tensor, t_min: float, t_max: float, seed: tuple[int, ...]
    ) -> None:
        self._teacher, self._frames, self._seed = teacher.requires_grad_(False), frames, seed
        self._t_min, self._t_top = t_min, min(T_TOP, t_max)
        self._batches: dict[int, Trajectories] = {}
        self._joined: Trajectories | None = None

    def draw(self, steps: int, generator: torch.Generator) -> FlowPoints:
        """POINTS points of any time and trajectory, `steps` steps of training after the first."""
        newest = steps // EVERY
        numbers = range(max(0, newest - BATCHES + 1), newest + 1)
        if self._joined is None or newest not in self._batches:
            self._batches = {number: self._batches.get(number) or self._batch(number) for number in numbers}
            self._joined = _joined(list(self._batches.values()))
        t, x, density = self._joined.t, self._joined.x, self._joined.minus_log_density
        when, which = (torch.randint(count, (POINTS,), generator=generator, device=x.device) for count in density.shape)
        return FlowPoints(x[when, which], t[when], density[when, which])

    def _batch(self, number: int) -> Trajectories:
        generator = torch.Generator(device=self._frames.device)
        generator.manual_seed(seeds(self._seed[0], "flow", *self._seed[1:], number)[0])
        return follow(self._teacher, self._frames, BATCH, self._t_min, self._t_top, generator)


def _joined(batches: list[Trajectories]) -> Trajectories:
    x, density = (torch.cat(parts, 1) for parts in zip(*((b.x, b.minus_log_density) for b in batches), strict=True))
    return Trajectories(batches[0].t, x, density)


def follow(
    energy: DiffusionEnergy, frames: Tensor, count: int, t_min: float, t_top: float, generator: torch.Generator
) -> Trajectories:
    """Trajectories of the flow from t_min up to t_top, count of them less those that went astray.

    -ln q is the energy's own at t_top, and what the flow's divergence makes of that below. Of the divergence the
    prior's is exact; the network's is estimated by a fresh probe in every evaluation, whose errors average out on the
    way. frames (frames, beads, 3): normalised training frames.
    """
    from_data = round(FROM_DATA * count)
    own = samples(energy, frames, count - from_data, t_min, t_top, generator)
    x = torch.cat([own, noised(frames, from_data, t_min, generator)])
    times, gained = time_grid(t_top, t_min, UP).flip(0), x.new_zeros(len(x))
    points, gains = [x], [gained]
    for state, gain in probability_flow(fresh_probes(energy, generator), times, x, gained):
        points.append(state.detach())
        gains.append(gain.detach())
    along, gain, t = torch.stack(points), torch.stack(gains), times.to(x)
    with torch.no_grad():
        claimed = torch.stack([energy(state, time.reshape(1)) for state, time in zip(along, t, strict=True)])
    density = claimed[-1] + gain[-1] - gain
    sound = _sound(claimed - density) & torch.isfinite(along).all(dim=0).all(dim=(1, 2))
    return Trajectories(t, along[:, sound], density[:, sound])


def samples(
    energy: DiffusionEnergy, frames: Tensor, count: int, t_min: float, t_top: float, generator: torch.Generator
) -> Tensor:
    """(count, beads, 3) at t_min, brought down from training frames noised to t_top."""

    def noise(like: Tensor) -> Tensor:
        return centred_noise(like.shape, generator, like)

    x = noised(frames, count, t_top, generator)
    for state in multistep(energy.score, time_grid(t_top, t_min, DOWN), x, noise):
        x = centred(state.detach())
    return x


def noised(frames: Tensor, count: int, t: float, generator: torch.Generator) -> Tensor:
    """(count, beads, 3) at t, from frames drawn at random."""
    chosen = frames[torch.randint(len(frames), (count,), generator=generator, device=frames.device)]
    return diffuse(chosen, frames.new_full((count,), t), centred_noise(chosen.shape, generator, chosen))


def fresh_probes(energy: DiffusionEnergy, generator: torch.Generator) -> Field:
    """Score, and an unbiased estimate of its divergence: the prior's exactly, the network's by a fresh probe."""

    def field(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            network = -torch.autograd.grad(energy.network(x, t).sum(), x, create_graph=True)[0]
            probe = centred_noise(x.shape, generator, x)
            (product,) = torch.autograd.grad(network, x, probe)
            score, divergence = network.detach(), (product * probe).sum(dim=(1, 2))
            if energy.prior is not None:
                score = score - torch.autograd.grad(energy.prior(x, t).sum(), x)[0]
                divergence = divergence + energy.prior.score_divergence(x, t).detach()
        return score, divergence

    return field


def _sound(difference: Tensor) -> Tensor:
    """Which trajectories (count,) have a difference (times, count) of E and -ln q that is like the others'."""
    difference = torch.nan_to_num(difference, nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
    off = (difference - difference.median(1, keepdim=True).values).abs()
    return (off <= FAR * NORMAL_MAD * off.median(1, keepdim=True).values + NEAR_KT).all(0)
