"""Edge features of the graph transformer: what one bead sees of another.

In: normalised positions (batch, n, 3), times (batch,) or (1,), a Molecule. Out: features phi (batch, n, n, K) of the
edge from bead i to bead j, as `Edges`. The network uses them through linear maps only, shared by all layers and heads:
`weigh` and `collect`. So nothing of size n x n x width arises, and features that are products of what two beads have
of their own, or that depend on the molecule alone, need not be made at all.

`FrameEdges` are invariant under rotation and tell mirror images apart; `DisplacementEdges` are the raw difference
vectors of arXiv 2506.17139, which are neither, and need augmentation by random rotations.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

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


class Edges(NamedTuple):
    """Features phi of the edges from n beads to m others each, in K columns by the way they are computed.

    features (batch, n, F, m): the first F, which are made for every edge. axes (batch, n, 3, 3) of the beads and
    their_axes (batch, n, 9) of all, or (batch, n, m, 9) of neighbours: their products are nine more. place (n, P, m) or
    (batch, n, P, m): the last P, which do not depend on positions. even (9,): which products count, None for all.
    """

    features: Tensor
    axes: Tensor | None
    their_axes: Tensor | None
    place: Tensor | None
    even: Tensor | None


def weigh(edges: Edges, u: Tensor) -> Tensor:
    """sum_k u_ik phi_ijk (batch, n, heads, m) for weights u (batch, n, heads, K)."""
    first = edges.features.shape[2]
    found = torch.matmul(u[..., :first], edges.features)
    axes, theirs, place, even = edges.axes, edges.their_axes, edges.place, edges.even
    if axes is not None and theirs is not None:
        products = u[..., first : first + 9]
        if even is not None:
            products = products * even
        along = torch.matmul(products.unflatten(-1, [3, 3]).transpose(3, 4), axes[:, :, None]).flatten(3)
        theirs = theirs.transpose(-1, -2)
        if theirs.dim() == 3:
            found = found + torch.matmul(along.flatten(1, 2), theirs).view(found.shape)
        else:
            found = found + torch.matmul(along, theirs)
    if place is not None:
        of_place = u[..., first + 9 :]
        if place.dim() == 3:
            found = found + torch.einsum("bihk,ikj->bihj", of_place, place)
        else:
            found = found + torch.matmul(of_place, place)
    return found


def collect(edges: Edges, weights: Tensor) -> Tensor:
    """sum_j w_ij phi_ijk (batch, n, heads, K) for weights w (batch, n, heads, m); the transpose of `weigh`."""
    found = [torch.matmul(weights, edges.features.transpose(2, 3))]
    axes, theirs, place, even = edges.axes, edges.their_axes, edges.place, edges.even
    if axes is not None and theirs is not None:
        if theirs.dim() == 3:
            around = torch.matmul(weights.flatten(1, 2), theirs).view(weights.shape[:3] + (9,))
        else:
            around = torch.matmul(weights, theirs)
        products = torch.matmul(axes[:, :, None], around.unflatten(-1, [3, 3]).transpose(3, 4)).flatten(3)
        found.append(products if even is None else products * even)
    if place is not None:
        if place.dim() == 3:
            found.append(torch.einsum("bihj,ikj->bihk", weights, place))
        else:
            found.append(torch.matmul(weights, place.transpose(2, 3)))
    return torch.cat(found, -1)


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
        self.made = RADIAL + 1 + 3 + 3  # features that are made for every edge; the products of axes follow
        self.features = self.made + 9 + SEPARATIONS + BOND_DISTANCES
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

    def forward(self, x: Tensor, t: Tensor, molecule: Molecule) -> Edges:
        batch, beads = x.shape[0], x.shape[1]
        signal, noise = alpha(t)[:, None, None], sigma_squared(t)[:, None, None]
        axes = self.axes(x, noise, molecule.frames)
        square = (x[:, None] - x[:, :, None]).square().sum(-1)
        level = (axes * x[:, :, None]).sum(-1)  # x_i . e_a(i)
        own = torch.matmul(axes.flatten(1, 2), x.transpose(1, 2)).view(batch, beads, 3, beads) - level[..., None]
        columns = axes.permute(0, 3, 2, 1)
        other = torch.matmul(x, columns.flatten(2)).view(batch, beads, 3, beads)
        other = level.transpose(1, 2)[:, None] - other
        place = self.place(molecule.separation, molecule.bond_distance, x)
        lengths = self.lengths(square, signal, noise, molecule.distance_mean, molecule.distance_variance)
        features = self.joined(lengths, torch.cat([own, other], 2), square, noise)
        return Edges(features, axes, axes.flatten(2), place, self.even_products())

    def near(self, x: Tensor, t: Tensor, molecule: Molecule, index: Tensor) -> Edges:
        """The same of the edges to the neighbours `index` (batch, n, m) only (models.neighbours)."""
        batch, beads, slots = index.shape
        signal, noise = alpha(t)[:, None, None], sigma_squared(t)[:, None, None]
        axes = self.axes(x, noise, molecule.frames)
        theirs = (
            torch.cat([x, axes.flatten(2)], -1)
            .flatten(0, 1)
            .index_select(0, index.flatten())
            .view(batch, beads, slots, 12)
        )
        away = theirs[..., :3] - x[:, :, None]
        own = torch.matmul(axes, away.transpose(2, 3))
        other = (theirs[..., 3:].view(batch, beads, slots, 3, 3) * away[..., None, :]).sum(-1).transpose(2, 3)
        places = pair_places(index, molecule.separation)
        place = self.place(molecule.separation.take(places), molecule.bond_distance.take(places), x)
        square = away.square().sum(-1)
        lengths = self.lengths(
            square, signal, noise, molecule.distance_mean.take(places), molecule.distance_variance.take(places)
        )
        features = self.joined(lengths, torch.cat([own, other], 2), square, noise)
        return Edges(features, axes, theirs[..., 3:], place, self.even_products())

    def lengths(self, square: Tensor, signal: Tensor, noise: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Radial functions and the standardised distance (batch, n, 17, m) from squared distances (batch, n, m)."""
        distance = torch.sqrt(square + self.smooth_length**2)
        spread = signal.square() * self.radial_width.square() + 2.0 * noise
        away = distance[:, :, None] - (signal * self.centres)[..., None]
        radial = torch.exp(away.square() * (-0.5 / spread)[..., None])
        deviation = (distance - signal * mean) * torch.rsqrt(signal.square() * variance + 2.0 * noise)
        return torch.cat([radial, deviation[:, :, None]], 2)

    def joined(self, lengths: Tensor, along: Tensor, square: Tensor, noise: Tensor) -> Tensor:
        """All features (batch, n, 23, m) that are made: `lengths`, and the directions, of the differences `along` the
        axes (batch, n, 6, m).
        """
        blur = self.smooth_length**2 + self.noise_length**2 * noise
        features = torch.cat([lengths, along * torch.rsqrt(square + blur)[:, :, None]], 2)
        return features if self.chiral else features * self.even[: self.made, None]

    def even_products(self) -> Tensor | None:
        """Which products of axes are the same in a mirror, None where mirror images differ."""
        return None if self.chiral else self.even[self.made : self.made + 9]

    def place(self, separation: Tensor, bond_distance: Tensor, like: Tensor) -> Tensor:
        """(..., n, 16, m) one-hot places in the bond graph, of classes (..., n, m)."""
        kinds = [one_hot(separation, self.separations, like), one_hot(bond_distance, self.bond_distances, like)]
        return torch.cat(kinds, -1).transpose(-1, -2)

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
        self.features = self.made = 4

    def constants(self) -> dict[str, float]:
        """Numbers fixed by this code: none."""
        return {}

    def forward(self, x: Tensor, t: Tensor, molecule: Molecule) -> Edges:
        difference = x[..., None] - x.transpose(1, 2)[:, None]
        return Edges(torch.cat([difference, torch.ones_like(difference[:, :, :1])], 2), None, None, None, None)

    def near(self, x: Tensor, t: Tensor, molecule: Molecule, index: Tensor) -> Edges:
        """The same features of the edges to the neighbours `index` (batch, n, m) only."""
        theirs = (
            x.flatten(0, 1).index_select(0, index.flatten()).view(index.shape[0], index.shape[1], index.shape[2], 3)
        )
        difference = (x[:, :, None] - theirs).transpose(2, 3)
        return Edges(torch.cat([difference, torch.ones_like(difference[:, :, :1])], 2), None, None, None, None)


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
