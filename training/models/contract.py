"""What every energy model is to the rest of the program, and the one place where a score is derived from it.

A model is a torch module `forward(x, t) -> (batch,)`: x (batch, beads, 3) centred and normalised positions, t (batch,)
or (1,) diffusion times, the energy E_theta(x, t) = -log q_t(x) up to a constant. Of a molecule it must be invariant
under rotation and translation and tell mirror images apart, unless it is for molecules that have no hand; of one bead
in the plane it must not depend on z. It must compile with torch.jit.script and be twice differentiable in (x, t). A
`Network` also says what an implementation of it elsewhere needs besides its weights. tests/contract/ checks every model
against this.

A score network, whose score need not be the gradient of anything, is a torch module `forward(x, t) -> (q, w)` instead:
coordinates q (batch, coordinates) that depend on x as an energy does, and weights w of the same shape. Its score is
-sum_k w_k grad q_k, a combination of the directions in which the coordinates grow. It turns with the molecule, sums to
zero over the beads and exerts no torque, whatever the weights; it is conservative where w is the gradient of a function
of q.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fpforce.training.models.local_gradients import local_gradients
from fpforce.training.models.plane_prior import PlaneGaussian
from fpforce.training.models.prior import AnalyticPrior


@dataclass(frozen=True)
class LogDensity:
    """Derivatives of log q_t at a batch of points.

    score (batch, beads, 3) and time_derivative (batch,) belong to the whole energy; network_score is the part of the
    score whose divergence is not known in closed form.
    """

    score: Tensor
    time_derivative: Tensor
    network_score: Tensor

    def after(self, start: int) -> "LogDensity":
        """The points from index `start` on."""
        return LogDensity(self.score[start:], self.time_derivative[start:], self.network_score[start:])


class Network(nn.Module):
    """What a network says of itself; the defaults describe one that its weights and settings describe completely."""

    # False: energies depend on the orientation, and batches are rotated at random instead.
    rotation_invariant: bool = True
    # False: a molecule and its mirror image have one energy, exactly.
    chiral: bool = True

    def constants(self) -> dict[str, float | int | bool | str]:
        """Numbers, by name, that the network's code fixes; they travel in model.pt."""
        return {}

    def numbers_of_a_frame(self, beads: int) -> int:
        """How many numbers a molecule takes in the network's largest array, by which a training goes through its
        batches in parts that fit a processor's cache; 0 where that gains nothing.
        """
        return 0

    def readout(self) -> nn.Linear | None:
        """The last layer, linear without bias: the energy is its output times readout_factor(t), plus what it does not
        see.
        """
        return None

    def readout_factor(self, t: float) -> float:
        """What multiplies the last layer's output."""
        return 1.0

    def turns(self, x: Tensor, t: Tensor) -> Tensor | None:
        """Cosines and sines (batch, 2, turns) of which modes are the waves; None where there are none."""
        return None

    def waves(self, turns: Tensor) -> Tensor:
        """Waves (batch, 2, turns, orders) of cosines and sines (batch, 2, turns)."""
        raise NotImplementedError

    def modes(self, x: Tensor, t: Tensor) -> Tensor | None:
        """Functions (batch, modes) of x beside the last layer's inputs, which calibration may add to the energy: all
        waves, one part, turn and order after the other, and behind them those of `have_pairs`. None where there are
        none.
        """
        turns = self.turns(x, t)
        return None if turns is None else self.waves(turns).flatten(1)

    def mode_orders(self) -> int:
        """How many waves a part of each turn has, of which neighbouring modes are."""
        raise NotImplementedError

    def turn_beads(self) -> Tensor:
        """The first of the beads (turns, 2) that each turn is a function of, and the one after the last."""
        raise NotImplementedError

    def series_pairs(self) -> Tensor:
        """The pairs (pairs, 2) of beads that may have modes of their distance, behind the others."""
        return torch.zeros(0, 2, dtype=torch.long)

    def resolution_of_pairs(self, x: Tensor) -> dict[str, Tensor]:
        """What `have_pairs` takes besides orders, for distances as they are in normalised frames (frames, beads, 3)."""
        raise NotImplementedError

    def have_pairs(self, centres: Tensor, widths: Tensor, orders: int) -> None:
        """From now on have modes of these pairs, too."""
        raise NotImplementedError

    def mode_gradients(self, x: Tensor, t: Tensor) -> Tensor:
        """(modes, batch, beads, 3)"""
        x = x.detach().requires_grad_()
        turns = self.turns(x, t)
        assert turns is not None
        beads = self.turn_beads().repeat_interleave(self.mode_orders(), 0).repeat(2, 1)
        return local_gradients(self.waves(turns).flatten(1), x, beads)

    def mode_roughness(self) -> Tensor:
        """How fast each mode changes along its own coordinate (modes,): n^2 of the n-th wave."""
        raise NotImplementedError

    def add_modes(self, weights: Tensor) -> None:
        """Add the modes with these weights (modes,) to the energy."""
        raise NotImplementedError

    def add_levels(self, weights: Tensor, constants: Tensor | None = None) -> None:
        """Add the modes to the energy, at each of local_series.SIGMAS with weights (levels, modes) and a constant
        (levels,) of its own.
        """
        raise NotImplementedError

    def settled(self, t: float) -> "Network":
        """The network of this t alone, perhaps itself: modes that were added at each noise level have its weights."""
        return self

    def vocabulary(self) -> dict[str, list[str]]:
        """Words whose embeddings the weights hold, in their order, by what they name; they travel in model.pt."""
        return {}


class DiffusionEnergy(nn.Module):
    """E_theta(x, t) = network + analytic prior (or the network alone)."""

    conservative = True

    def __init__(self, network: Network, prior: AnalyticPrior | PlaneGaussian | None = None):
        super().__init__()
        self.network = network
        self.prior = prior

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        energy = self.network(x, t)
        if self.prior is not None:
            energy = energy + self.prior(x, t)
        return energy

    def log_density(self, x: Tensor, t: Tensor, create_graph: bool = True) -> LogDensity:
        """Score and time derivative in one backward pass.

        The graph reaches the network's parameters only: the prior has none, so its part is differentiated once.
        """
        x, t = x.detach().requires_grad_(), t.detach().requires_grad_()
        slope, rate = torch.autograd.grad(self.network(x, t).sum(), (x, t), create_graph=create_graph)
        network_score = -slope
        if self.prior is None:
            return LogDensity(network_score, -rate, network_score)
        prior_slope, prior_rate = torch.autograd.grad(self.prior(x, t).sum(), (x, t))
        return LogDensity(network_score - prior_slope, -rate - prior_rate, network_score)

    def score(self, x: Tensor, t: Tensor, create_graph: bool = False) -> Tensor:
        """grad log q_t (batch, beads, 3); with create_graph it can be differentiated again, in x and the weights."""
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return -torch.autograd.grad(self(x, t).sum(), x, create_graph=create_graph)[0]

    def prior_divergence(self, x: Tensor, t: Tensor) -> Tensor | float:
        """Divergence (batch,) of the score that is known in closed form."""
        return 0.0 if self.prior is None else self.prior.score_divergence(x, t)


class DiffusionScore(nn.Module):
    """A score of its own, -w grad q of a score network, plus that of the analytic prior (or none)."""

    conservative = False

    def __init__(self, network: Network, prior: AnalyticPrior | PlaneGaussian | None = None):
        super().__init__()
        self.network = network
        self.prior = prior

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(batch,) numbers whose gradient in x is minus the score, for engines that differentiate; no energies."""
        q, w = self.network(x, t)
        # Held fixed by .data, since torch.jit.freeze drops a detach().
        pseudo_energy = (w.data * q).sum(dim=-1)
        if self.prior is not None:
            pseudo_energy = pseudo_energy + self.prior(x, t)
        return pseudo_energy

    def score(self, x: Tensor, t: Tensor, create_graph: bool = False) -> Tensor:
        """Score (batch, beads, 3); with create_graph it can be differentiated in the weights, and in x if x asks for
        it.
        """
        with torch.enable_grad():
            through_x = x.requires_grad
            x = x if through_x else x.detach().requires_grad_()
            q, w = self.network(x, t)
            (slope,) = torch.autograd.grad(q, x, w, create_graph=create_graph)
            if self.prior is not None:
                slope = (
                    slope + torch.autograd.grad(self.prior(x, t).sum(), x, create_graph=create_graph and through_x)[0]
                )
            return -slope
