"""The denoising loss with what forces add to it, which depends on how much of them is noise.

In: the score at x_t, z, and f_0 = F s / kT of the frame x_0. Out: a scalar, 1 in the mean for a zero score.

A force is the mean force on the beads plus the noise of all other atoms. The noise z is drawn anew in every step and
averages out in training; that of a force comes back with its frame, and does not. So a force is worth its weight only
where its signal is large. It is along bonds and angles, which are stiff. Along the dihedrals of alanine dipeptide more
than nine tenths of a single force are noise, and denoising, once z has averaged out, knows them better. Blended in all
directions, single forces made the energy along a dihedral up to 1.6 times noisier (in variance) at small t than none.
They are therefore matched along the pairs of bonds and angles alone, each by the part of them that its own stretching
explains:

    L = L_denoising + 1/D sum_p c_p [(alpha s_p)^2 - 2 alpha s_p f_p] / v_p

with s_p = u.(s_i - s_j) along the direction u of the pair (i, j) at x_t, f_p the same of the force, v_p the mean
square of f_p and c_p the squared correlation of f_p with the pair's distance. Up to a constant the bracket is
(alpha s_p - f_p)^2. Since u is a function of x_t and f_0 / alpha has the score as its mean at given x_t, the exact
score is the minimum whatever the noise, and any weights would do.

Averages over held beads (fpforce.reference.mean_forces) know their noise. Of their mean square take away what harmonic
bonds and angles explain; the part of the rest that is no noise is the part to which they are blended in all directions
(training.losses.force_blending). Single forces are blended in none.
Source: docs/method.md, Forces in the data.
"""

import torch
from torch import Tensor

from fpforce.training.diffusion import alpha, degrees_of_freedom
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.force_blending import ForceBlending
from fpforce.training.models.moments import mean

ELEMENTS = 20_000_000  # of the largest array that the noise of averages is judged by


class PairForces:
    """Forces along pairs of beads, and how much each counts.

    frames and scores (frames, beads, 3): x_0 and f_0, with weights (frames,) or None. pairs: bonded (1-2) and angle
    (1-3) pairs. per_square (pairs,): c_p / v_p.
    """

    def __init__(self, frames: Tensor, scores: Tensor, pairs: list[tuple[int, int]], weights: Tensor | None = None):
        self.first, self.second = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
        x, f = frames.double(), scores.double()
        along = self.along(x, f)
        distances = (x[:, self.first] - x[:, self.second]).norm(dim=-1)
        force, stretch = along - mean(along, weights), distances - mean(distances, weights)
        both, own = mean(force * stretch, weights), mean(force.square(), weights) * mean(stretch.square(), weights)
        self.explained = both.square() / own.clamp_min(1e-300)
        self.per_square = (self.explained / mean(along.square(), weights).clamp_min(1e-300)).to(scores.dtype)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move to where the network is."""
        self.first, self.second = self.first.to(device), self.second.to(device)
        self.per_square = self.per_square.to(device, dtype)

    def along(self, x: Tensor, vectors: Tensor) -> Tensor:
        """Components (batch, pairs) of vectors (batch, beads, 3) along the pairs of x (batch, beads, 3)."""
        apart = x[:, self.first] - x[:, self.second]
        direction = apart / apart.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return (direction * (vectors[:, self.first] - vectors[:, self.second])).sum(-1)

    def loss(self, score: Tensor, x: Tensor, t: Tensor, force: Tensor) -> Tensor:
        """Scalar that forces add to the denoising loss; 0 for a zero score."""
        ours, theirs = alpha(t)[:, None] * self.along(x, score), self.along(x, force)
        terms = self.per_square * (ours.square() - 2.0 * ours * theirs)
        return terms.sum(1).mean() / degrees_of_freedom(x.shape[1])


def unexplained(frames: Tensor, scores: Tensor, pairs: list[tuple[int, int]]) -> float:
    """Part of the mean square of forces f_0 that harmonic pairs leave, each of its own stiffness (least squares).

    frames and scores (frames, beads, 3), of which as many are taken as are needed or memory holds.
    """
    size = max(1, len(pairs) * frames[0].numel())
    some = torch.linspace(0, len(frames) - 1, min(len(frames), max(100, ELEMENTS // size))).round().long()
    x, f = frames[some].double(), scores[some].double().flatten(1)
    basis = x.new_zeros(len(x), len(pairs), *x.shape[1:])
    for k, (i, j) in enumerate(pairs):
        apart = x[:, i] - x[:, j]
        length = apart.norm(dim=-1, keepdim=True)
        basis[:, k, i] = (length - length.mean()) * apart / length.clamp_min(1e-12)
        basis[:, k, j] = -basis[:, k, i]
    flat = basis.flatten(2)
    square, product = torch.einsum("fpi,fqi->pq", flat, flat), torch.einsum("fpi,fi->p", flat, f)
    explained = product @ torch.linalg.lstsq(square, product[:, None]).solution[:, 0]
    return float((1.0 - explained / f.square().sum()).clamp_min(1e-12))


class ForceLoss:
    """The loss of a training set with forces.

    noise: part of the mean square of averaged forces that is noise; None for single forces. The rest as for PairForces.
    """

    def __init__(
        self,
        frames: Tensor,
        scores: Tensor,
        pairs: list[tuple[int, int]],
        noise: float | None = None,
        weights: Tensor | None = None,
    ):
        self.blended = 0.0 if noise is None else max(0.0, 1.0 - noise / unexplained(frames, scores, pairs))
        self.pairs = PairForces(frames, scores, pairs, weights)
        self.modes = ForceBlending(scores, weights)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move to where the network is."""
        self.pairs.to(device, dtype)
        self.modes.to(device, dtype)

    def __call__(self, score: Tensor, x: Tensor, t: Tensor, z: Tensor, force: Tensor) -> Tensor:
        """Scalar loss of a score (batch, beads, 3) at x_t = x, t (batch,), from z and f_0 like the score."""
        loss = torch.zeros_like(t[0])
        if self.blended < 1.0:
            along = denoising_loss(score, t, z) + self.pairs.loss(score, x, t, force)
            loss = loss + (1.0 - self.blended) * along
        if self.blended > 0.0:
            loss = loss + self.blended * self.modes.loss(score, t, z, force)
        return loss
