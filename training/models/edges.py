"""Edge features of the graph transformer: what one bead sees of another.

In: normalised positions (batch, n, 3), times (batch,) or (1,), a Molecule. Out: features phi (batch, n, n, K) of the
edge from bead i to bead j. The network uses them through linear maps only, shared by all layers and heads, so that
nothing of size n x n x width arises.

`FrameEdges` are invariant under rotation and tell mirror images apart; `DisplacementEdges` are the raw difference
vectors of arXiv 2506.17139, which are neither, and need augmentation by random rotations.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fpforce.training.diffusion import alpha, sigma_squared
from fpforce.training.models.molecule import BOND_DISTANCES, SEPARATIONS, Molecule
from fpforce.training.models.moments import shares

RADIAL = 16
SMOOTH_LENGTH = 0.2  # normalised units, added in quadrature to distances and to the lengths of axes
NOISE_LENGTH = 1.0  # the same for each unit of sigma: noise of that size turns an axis about
SMOOTH_AREA = 0.45  # normalised units squared, added in quadrature to the normal of a frame
NOISE_AREA = 2.0  # the same for each unit of sigma


@dataclass(frozen=True)
class DistanceStatistics:
    """mean and variance (n, n) of the smoothed distances in the data, and their range over all pairs."""

    mean: Tensor
    variance: Tensor
    range: tuple[float, float]


def distance_statistics(x0: Tensor, weights: Tensor | None = None) -> DistanceStatistics:
    """Statistics of normalised frames (frames, n, 3) with weights (frames,), in double precision, a part of the frames
    at a time.

    On the diagonal, where nothing varies, the variance is one.
    """
    beads = x0.shape[1]
    first, second = torch.triu_indices(beads, beads, offset=1)
    total, squares = torch.zeros(2, len(first), dtype=torch.float64)
    low, high = math.inf, 0.0
    own = torch.ones(len(x0), dtype=torch.float64) if weights is None else len(x0) * shares(weights)
    size = max(1, 1_000_000 // len(first))
    for part, counts in zip(x0.split(size), own[:, None].split(size), strict=True):
        square = (part[:, first] - part[:, second]).double().square().sum(-1)
        distance = torch.sqrt(square + SMOOTH_LENGTH**2)
        total += (counts * distance).sum(0)
        squares += (counts * square).sum(0)
        low, high = min(low, float(distance.min())), max(high, float(distance.max()))
    mean = torch.full((beads, beads), SMOOTH_LENGTH, dtype=torch.float64)
    variance = torch.ones(beads, beads, dtype=torch.float64)
    mean[first, second] = mean[second, first] = total / len(x0)
    spread = squares / len(x0) + SMOOTH_LENGTH**2 - (total / len(x0)).square()
    effective = len(x0) ** 2 / float(own.square().sum())
    variance[first, second] = variance[second, first] = spread * effective / (effective - 1)
    return DistanceStatistics(mean.to(x0.dtype), variance.to(x0.dtype), (low, high))


class FrameEdges(nn.Module):
    """K = 48 features of distance, of directions in the local frames, and of the place in the bond graph.

    In order: 16 radial functions and the standardised distance; the direction to j along the axes of i (3) and along
    those of j (3); the axes of i along those of j (9); residue separation (10) and bond distance (6), one-hot. Widths
    grow with the noise as those of the diffused density do.

    chiral: whether mirror images differ. Where they do not, the features that change sign in a mirror are zero: those
    with one normal. The network's weights of these are zero, too, for programs that compute them.
    """

    centres: Tensor
    radial_width: Tensor
    even: Tensor

    def __init__(self, centres: Tensor, chiral: bool = True):
        super().__init__()
        self.chiral = chiral
        self.register_buffer("centres", centres)
        self.register_buffer("radial_width", centres[1:2] - centres[:1])
        self.features = RADIAL + 1 + 3 + 3 + 9 + SEPARATIONS + BOND_DISTANCES
        self.distance_feature = RADIAL  # the standardised distance; the direction along the axes of i follows
        one, both = [1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        place = [1.0] * (SEPARATIONS + BOND_DISTANCES)
        even = torch.tensor([1.0] * (RADIAL + 1) + one + one + both + place, dtype=centres.dtype)
        self.register_buffer("even", even, persistent=False)
        self.separations, self.bond_distances = SEPARATIONS, BOND_DISTANCES
        self.smooth_length, self.noise_length = SMOOTH_LENGTH, NOISE_LENGTH
        self.smooth_area, self.noise_area = SMOOTH_AREA, NOISE_AREA

    def constants(self) -> dict[str, float]:
        """Numbers fixed by this code."""
        return {
            "smooth_length": SMOOTH_LENGTH,
            "noise_length": NOISE_LENGTH,
            "smooth_area": SMOOTH_AREA,
            "noise_area": NOISE_AREA,
        }

    def forward(self, x: Tensor, t: Tensor, molecule: Molecule) -> Tensor:
        batch, beads = x.shape[0], x.shape[1]
        signal, noise = alpha(t)[:, None, None], sigma_squared(t)[:, None, None]
        blur = self.smooth_length**2 + self.noise_length**2 * noise
        axes = self.axes(x, noise, molecule.frames)
        flat = axes.flatten(1, 2)
        square = (x[:, None] - x[:, :, None]).square().sum(-1)
        along = torch.matmul(x, flat.transpose(1, 2)).view(batch, beads, beads, 3).transpose(1, 2)  # x_j . e_a(i)
        own = (along - along.diagonal(dim1=1, dim2=2).transpose(1, 2)[:, :, None]) * torch.rsqrt(square + blur)[
            ..., None
        ]
        mutual = torch.matmul(flat, flat.transpose(1, 2)).view(batch, beads, 3, beads, 3).transpose(2, 3).flatten(3)
        lengths = self.lengths(square, signal, noise, molecule.distance_mean, molecule.distance_variance)
        place = torch.cat(
            [
                one_hot(molecule.separation, self.separations, x),
                one_hot(molecule.bond_distance, self.bond_distances, x),
            ],
            -1,
        )
        place = place.expand(batch, beads, beads, self.separations + self.bond_distances)
        edges = torch.cat([lengths, own, -own.transpose(1, 2), mutual, place], -1)
        return edges if self.chiral else edges * self.even

    def near(self, x: Tensor, t: Tensor, molecule: Molecule, index: Tensor) -> Tensor:
        """The same features (batch, n, m, K) of the edges to the neighbours `index` (batch, n, m) only
        (models.neighbours).
        """
        batch, beads, slots = index.shape
        signal, noise = alpha(t)[:, None, None], sigma_squared(t)[:, None, None]
        blur = self.smooth_length**2 + self.noise_length**2 * noise
        axes = self.axes(x, noise, molecule.frames)
        theirs = (
            torch.cat([x, axes.flatten(2)], -1)
            .flatten(0, 1)
            .index_select(0, index.flatten())
            .view(batch, beads, slots, 12)
        )
        away = theirs[..., :3] - x[:, :, None]
        square = away.square().sum(-1)
        direction = away * torch.rsqrt(square + blur)[..., None]
        own = torch.matmul(direction, axes.transpose(2, 3))
        their_axes = theirs[..., 3:].reshape(batch, beads, slots, 3, 3)
        other = (their_axes * direction[..., None, :]).sum(-1)
        mutual = (
            torch.matmul(their_axes.flatten(2, 3), axes.transpose(2, 3)).view(batch, beads, slots, 3, 3).transpose(3, 4)
        )
        places = pair_places(index, molecule.separation)
        lengths = self.lengths(
            square, signal, noise, molecule.distance_mean.take(places), molecule.distance_variance.take(places)
        )
        separation = one_hot(molecule.separation.take(places), self.separations, x)
        bonds = one_hot(molecule.bond_distance.take(places), self.bond_distances, x)
        edges = torch.cat([lengths, own, other, mutual.flatten(3), separation, bonds], -1)
        return edges if self.chiral else edges * self.even

    def lengths(self, square: Tensor, signal: Tensor, noise: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Radial functions and the standardised distance (batch, n, m, 17) from squared distances (batch, n, m)."""
        distance = torch.sqrt(square + self.smooth_length**2)
        spread = signal.square() * self.radial_width.square() + 2.0 * noise
        away = distance[..., None] - (signal * self.centres)[:, :, None]
        radial = torch.exp(away.square() * (-0.5 / spread)[..., None])
        deviation = (distance - signal * mean) * torch.rsqrt(signal.square() * variance + 2.0 * noise)
        return torch.cat([radial, deviation[..., None]], -1)

    def axes(self, x: Tensor, noise: Tensor, frames: Tensor) -> Tensor:
        """(batch, n, 3, 3) local axes e_a: sum, difference and normal of the two bonds of a frame, smoothly
        normalised.
        """
        if frames.dim() == 2:
            corners = x[:, frames]
        else:
            corners = torch.gather(x, 1, frames.flatten(1)[..., None].expand(-1, -1, 3)).view(
                x.shape[0], x.shape[1], 3, 3
            )
        first, second = corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 1]
        axes = torch.stack([first + second, second - first, torch.linalg.cross(first, second)], 2)
        length = self.smooth_length**2 + self.noise_length**2 * noise
        area = self.smooth_area**2 + self.noise_area**2 * noise
        blur = torch.cat([length, length, area], -1)
        return axes * torch.rsqrt(axes.square().sum(-1) + blur)[..., None]


class DisplacementEdges(nn.Module):
    """K = 4 features: the difference vector x_i - x_j, and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.chiral = True
        self.features = 4

    def constants(self) -> dict[str, float]:
        """Numbers fixed by this code: none."""
        return {}

    def forward(self, x: Tensor, t: Tensor, molecule: Molecule) -> Tensor:
        difference = x[:, :, None] - x[:, None]
        return torch.cat([difference, torch.ones_like(difference[..., :1])], -1)

    def near(self, x: Tensor, t: Tensor, molecule: Molecule, index: Tensor) -> Tensor:
        """The same features (batch, n, m, 4) of the edges to the neighbours `index` (batch, n, m) only."""
        theirs = (
            x.flatten(0, 1).index_select(0, index.flatten()).view(index.shape[0], index.shape[1], index.shape[2], 3)
        )
        difference = x[:, :, None] - theirs
        return torch.cat([difference, torch.ones_like(difference[..., :1])], -1)


def pair_places(index: Tensor, table: Tensor) -> Tensor:
    """Places (batch, n, m), in a flattened table of pairs (n, n) or (batch, n, n), of every bead with its
    neighbours.
    """
    beads = index.shape[1]
    first = torch.arange(index.shape[0] * beads, device=index.device).view(index.shape[0], beads, 1)
    if table.dim() == 2:
        first = first % beads
    return first * beads + index % beads


def one_hot(index: Tensor, count: int, like: Tensor) -> Tensor:
    """(..., count) floats of the type of `like`; unlike torch's own it does not look at the values, which a traced step
    cannot.
    """
    return (index[..., None] == torch.arange(count, device=index.device)).to(like.dtype)
