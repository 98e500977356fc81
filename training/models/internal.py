"""`internal`: an MLP on internal coordinates of one molecule.

In: normalised centred positions (batch, beads, 3), times (batch,) or (1,). Out: the network's energy (batch,).
Coordinates: all pair distances, sine and cosine (with second harmonics) of the dihedrals of consecutive beads, and the
volumes that three beads span with the centre. Distances alone cannot tell mirror images apart; the sines and the
volumes can. All are smoothed, so that their derivatives stay moderate where noise lines three beads up or puts two on
top of each other; the diffused density is that smooth itself.
Source: docs/method.md, eq. 17 (volumes).
Longer than other files, since the coordinates and the two networks on them are one model.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from fpforce.training.diffusion import alpha, sigma_squared, time_of_variance
from fpforce.training.models.contract import Network
from fpforce.training.models.local_series import DELTA, ORDERS, LevelSeries, LocalSeries, modes_of
from fpforce.training.models.moments import mean, variance
from fpforce.training.models.noise import NoiseFeatures
from fpforce.training.models.pair_series import PairSeries, quartiles
from fpforce.training.models.windows import Windows, inputs_of
from fpforce.training.recipe.plan import BOND

SMOOTH_LENGTH = 0.2  # normalised units, added in quadrature to distances
SMOOTH_AREA = 0.45  # normalised units squared, added in quadrature to the normals of dihedral planes
NOISE_AREA = 2.0  # the same for each unit of sigma, since noise of that size blurs a normal by about as much
SMOOTH_ARM = 0.45  # normalised units, added in quadrature to the distances from the centre that volumes are divided by
NOISE_ARM = 1.4  # the same for each unit of sigma
SPAN = 2.5  # standard deviations of a 1-3 distance that its series takes for a quarter of a turn
MOST_TRIPLES = 500_000  # of which volumes are chosen: those of 145 beads
WINDOWS_SEE = 0.125  # of v_min: the least noise variance that stretches of beads see
AT_ONCE = 2_000_000  # numbers: a part of the pairs or triples at a time, whatever the number of beads


class InternalCoordinates(nn.Module):
    """Positions (batch, beads, 3) at t (batch,) or (1,) -> features (batch, features), of order one at every t.

    A pair's distance enters as (d - alpha mean) / sqrt(alpha^2 variance + 2 sigma^2), so that a stiff bond is
    resolved at small t and a pair of any kind is resolved at large t. Three beads i, j, k enter as 2 y_i . (y_j x y_k),
    with y = x / sqrt(x^2 + blur) seen from the centre: the log odds of a noisy frame and its mirror image are, to
    leading order in alpha / sigma, linear in such volumes (docs/method.md, eq. 18).

    volumes (count, 3): triples of beads. chiral: whether mirror images differ. Where they do not, there are no
    volumes, and the sines, which change sign in a mirror, are zero; so are their weights, so that programs which
    compute the sines have the same energy. bond: mean distance of neighbours in the chain, with which lengths and areas
    shrink where it is below BOND, so that dihedrals of a long chain are resolved as those of a short one. earliest:
    what a network on the coordinates sees of time (InternalLayers.seen) begins here; 0 for all of it.
    """

    first: Tensor
    second: Tensor
    mean: Tensor
    variance: Tensor
    volumes: Tensor
    blurs: Tensor
    bends: Tensor
    earliest: Tensor

    def __init__(
        self, mean: Tensor, variance: Tensor, beads: int, volumes: Tensor, chiral: bool = True, bond: float = BOND
    ):
        super().__init__()
        assert chiral or not len(volumes)
        self.chiral = chiral
        pairs = torch.triu_indices(beads, beads, offset=1)
        self.register_buffer("first", pairs[0])
        self.register_buffer("second", pairs[1])
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.register_buffer("volumes", volumes)
        self.beads = beads
        # Pairs (k, k + 2) among those of rows k, which begin with (k, k + 1).
        rows = torch.arange(max(beads - 2, 0))
        self.register_buffer("bends", rows * (2 * beads - rows - 1) // 2 + 1, persistent=False)
        self.span = SPAN
        self.features = 2 * pairs.shape[1] + 4 * max(beads - 3, 0) + len(volumes)
        short = min(1.0, bond / BOND)
        self.register_buffer("blurs", torch.tensor([SMOOTH_LENGTH * short, SMOOTH_AREA * short**2, NOISE_AREA * short]))
        self.register_buffer("earliest", torch.zeros(1))
        self.smooth_arm = SMOOTH_ARM
        self.noise_arm = NOISE_ARM

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Weights of an earlier version have the lengths as they stand, and see all times."""
        if f"{prefix}mean" in state_dict and f"{prefix}earliest" not in state_dict:
            state_dict[f"{prefix}earliest"] = torch.zeros_like(self.earliest)
        if f"{prefix}mean" in state_dict and f"{prefix}blurs" not in state_dict:
            state_dict[f"{prefix}blurs"] = torch.tensor([SMOOTH_LENGTH, SMOOTH_AREA, NOISE_AREA]).to(self.blurs)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.with_statistics(x, t, self.mean, self.variance)

    def with_statistics(self, x: Tensor, t: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """The features with other statistics of the pairs, (pairs,) or (batch, pairs) for a batch of several
        molecules.
        """
        features = self.deviations(x[:, self.first] - x[:, self.second], t, mean, variance)
        if self.beads < 4:
            return torch.cat(features, dim=-1)
        features += self.harmonics(x, t)
        if len(self.volumes):
            features.append(self.signed_volumes(x, t, self.volumes))
        return torch.cat(features, dim=-1)

    def deviations(self, u: Tensor, t: Tensor, mean: Tensor, variance: Tensor) -> list[Tensor]:
        """Both features (batch, pairs) of pairs that are u (batch, pairs, 3) apart."""
        signal, noise = alpha(t)[:, None], 2.0 * sigma_squared(t)[:, None]
        distances = torch.sqrt(u.square().sum(-1) + self.blurs[0] ** 2)
        spread = signal.square() * variance + noise
        deviations = (distances - signal * mean) * torch.rsqrt(spread)
        return [deviations, deviations * (noise / spread)]

    def harmonics(self, x: Tensor, t: Tensor) -> list[Tensor]:
        """All four features (batch, beads - 3) of the dihedrals."""
        cosine, sine = self.turns(x, t)
        odd = sine if self.chiral else torch.zeros_like(sine)
        return [cosine, odd, cosine.square() - sine.square(), 2.0 * odd * cosine]

    def pairs_at(self, later: Tensor, q: Tensor, t: Tensor) -> Tensor:
        """The features q (batch, features) at t with those of the pairs at another time, of which they are linear."""
        signal, noise = alpha(later)[:, None], 2.0 * sigma_squared(later)[:, None]
        before = alpha(t)[:, None]
        spread = signal.square() * self.variance + noise
        apart = q[:, : len(self.mean)] * torch.sqrt(before.square() * self.variance + 2.0 * sigma_squared(t)[:, None])
        deviations = (apart + (before - signal) * self.mean) * torch.rsqrt(spread)
        return torch.cat([deviations, deviations * (noise / spread), q[:, 2 * len(self.mean) :]], dim=-1)

    def turns(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Smoothed cosine and sine (batch, beads - 3) of the dihedrals of consecutive beads, four or more."""
        smooth_length, smooth_area, noise_area = self.blurs[0], self.blurs[1], self.blurs[2]
        bonds = x[:, 1:] - x[:, :-1]
        planes = torch.linalg.cross(bonds[:, :-1], bonds[:, 1:])
        left, right, middle = planes[:, :-1], planes[:, 1:], bonds[:, 1:-1]
        blur = smooth_area**2 + noise_area**2 * sigma_squared(t)[:, None]
        norm = torch.rsqrt((left.square().sum(-1) + blur) * (right.square().sum(-1) + blur))
        axis = torch.sqrt(middle.square().sum(-1) + smooth_length**2)
        return (left * right).sum(-1) * norm, axis * (bonds[:, :-2] * right).sum(-1) * norm

    def local_turns(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine (batch, 2 beads - 5) of the dihedrals, and of the angles 2 atan(u / SPAN) that the deviations
        u of 1-3 distances are turned into, of three beads or more.
        """
        signal = alpha(t)[:, None]
        apart = torch.sqrt((x[:, 2:] - x[:, :-2]).square().sum(-1) + self.blurs[0] ** 2)
        spread = signal.square() * self.variance[self.bends] + 2.0 * sigma_squared(t)[:, None]
        v = (apart - signal * self.mean[self.bends]) * torch.rsqrt(spread) / self.span
        cosine, sine = (1.0 - v.square()) / (1.0 + v.square()), 2.0 * v / (1.0 + v.square())
        if self.beads < 4:
            return cosine, sine
        turns = self.turns(x, t)
        return torch.cat([turns[0], cosine], -1), torch.cat([turns[1], sine], -1)

    def signed_volumes(self, x: Tensor, t: Tensor, triples: Tensor) -> Tensor:
        """(batch, count), of triples (count, 3) of beads seen from their centre, each arm divided by its smoothed
        length.
        """
        arms = x - x.mean(1, keepdim=True)
        blur = self.smooth_arm**2 + self.noise_arm**2 * sigma_squared(t)[:, None]
        arms = arms * torch.rsqrt(arms.square().sum(-1) + blur)[..., None]
        normals = torch.linalg.cross(arms[:, triples[:, 1]], arms[:, triples[:, 2]])
        return 2.0 * (arms[:, triples[:, 0]] * normals).sum(-1)

    def odd_features(self) -> list[int]:
        """The features that change sign in a mirror."""
        turns = max(self.beads - 3, 0)
        start = 2 * len(self.mean)
        second, fourth = range(start + turns, start + 2 * turns), range(start + 3 * turns, start + 4 * turns)
        return [*second, *fourth, *range(start + 4 * turns, self.features)]


def placeholder_coordinates(beads: int, *, volumes: bool, chiral: bool = True) -> InternalCoordinates:
    """Coordinates of as many features as those of `fit_coordinates`, for weights to be loaded into."""
    pairs, triples = beads * (beads - 1) // 2, math.comb(beads, 3) if volumes and chiral and beads > 3 else 0
    return InternalCoordinates(
        torch.zeros(pairs), torch.ones(pairs), beads, torch.zeros(min(pairs, triples), 3, dtype=torch.long), chiral
    )


def fit_coordinates(
    x0: Tensor, *, volumes: bool, chiral: bool = True, weights: Tensor | None = None
) -> InternalCoordinates:
    """Coordinates with the pair statistics of normalised frames x0 (frames, beads, 3) with weights (frames,).

    volumes: with those of the most definite sign in the frames, at most as many as there are pairs.
    """
    beads = x0.shape[1]
    means, variances = (moment.to(x0.dtype) for moment in _pair_statistics(x0, weights))
    wanted = volumes and chiral and beads > 3
    triples = _some_triples(beads) if wanted else torch.zeros(0, 3, dtype=torch.long)
    bond = bond_of(x0)
    coordinates = InternalCoordinates(means, variances, beads, triples, chiral, bond)
    if len(triples) <= len(means):
        return coordinates
    return InternalCoordinates(means, variances, beads, triples[_most_handed(coordinates, x0, weights)], bond=bond)


def bond_of(x0: Tensor) -> float:
    """Mean distance of neighbours in the chain in frames x0 (frames, beads, 3), of at most 10,000 of them."""
    some = x0[:: -(-len(x0) // 10_000)]
    return float((some[:, 1:] - some[:, :-1]).norm(dim=-1).double().mean())


def _pair_statistics(x0: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and variance (pairs,) of the distances in double precision, a part of the pairs at a time."""
    beads = x0.shape[1]
    first, second = torch.triu_indices(beads, beads, offset=1)
    at_once = max(1, AT_ONCE // len(x0))
    parts = [
        (x0[:, i] - x0[:, j]).double().norm(dim=-1)
        for i, j in zip(first.split(at_once), second.split(at_once), strict=True)
    ]
    means, variances = (torch.cat([moment(part, weights) for part in parts]) for moment in (mean, variance))
    return means, variances


def _some_triples(beads: int) -> Tensor:
    """All triples (count, 3) of beads, or as many as MOST_TRIPLES at random, in order."""
    if math.comb(beads, 3) <= MOST_TRIPLES:
        return torch.combinations(torch.arange(beads), 3)
    drawn = torch.randint(beads, (2 * MOST_TRIPLES, 3), generator=torch.Generator().manual_seed(0)).sort(1).values
    apart = (drawn[:, 0] < drawn[:, 1]) & (drawn[:, 1] < drawn[:, 2])
    return torch.unique(drawn[apart][:MOST_TRIPLES], dim=0)


def _most_handed(coordinates: InternalCoordinates, x0: Tensor, weights: Tensor | None) -> Tensor:
    """Which volumes to keep, in order: as many as there are pairs, of the most definite sign in the frames."""
    every = -(-len(x0) // 500)
    some, weights = x0[::every], None if weights is None else weights[::every]
    parts = coordinates.volumes.split(max(1, AT_ONCE // (8 * len(some))))
    volumes = (coordinates.signed_volumes(some, x0.new_zeros(1), part) for part in parts)
    handedness = torch.cat([mean(part, weights).abs() for part in volumes])
    return handedness.topk(min(len(coordinates.mean), len(handedness))).indices.sort().values


class InternalLayers(Network):
    """Hidden layers on the internal coordinates, the noise level gating every one; what both networks below share.

    Before coordinates.earliest they see no time, so that what they say is the same at all smaller noise, but for series
    that a denoising fit adds. Losses there tell next to nothing of it, while the coordinates of stiff pairs would
    sharpen to the end.
    """

    def __init__(self, coordinates: InternalCoordinates, width: int, layers: int, v_min: float):
        super().__init__()
        self.coordinates = coordinates
        self.noise = NoiseFeatures(v_min)
        sizes = [self.coordinates.features] + [width] * layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.conditions = nn.ModuleList(nn.Linear(5, width) for _ in range(layers))
        self.gate = nn.Linear(5, width)
        self.chiral = coordinates.chiral
        if not coordinates.chiral:
            with torch.no_grad():
                self.hidden[0].weight[:, coordinates.odd_features()] = 0.0

    def seen(self, t: Tensor) -> Tensor:
        """The times (batch,) or (1,) as the layers and coordinates see them."""
        return torch.clamp(t, min=self.coordinates.earliest)

    def constants(self) -> dict[str, float | int | bool | str]:
        smooth_length, smooth_area, noise_area = self.coordinates.blurs.tolist()
        earliest = float(self.coordinates.earliest)
        return {
            "smooth_length": smooth_length,
            "smooth_area": smooth_area,
            "noise_area": noise_area,
            "smooth_arm": SMOOTH_ARM,
            "noise_arm": NOISE_ARM,
        } | ({"earliest": earliest} if earliest else {})

    def state(self, q: Tensor, level: Tensor, shifts: list[Tensor] | None = None) -> Tensor:
        """Last hidden state (batch, width) from coordinates and noise features.

        shifts: for each layer, added to its biases, (batch, width).
        """
        h = q
        for k, (linear, condition) in enumerate(zip(self.hidden, self.conditions)):  # noqa: B905 (TorchScript knows no strict=)
            before = linear(h) + condition(level)
            h = torch.nn.functional.silu(before if shifts is None else before + shifts[k])
        return h * (1.0 + self.gate(level))


class InternalModel(InternalLayers):
    """Energy: one output of the layers, plus a head c(t) that ignores x.

    The output is multiplied by alpha(t)^2, since beyond the Gaussian prior nothing is left to learn at large t.
    window: beads of a stretch that has an energy of its own (windows.py), from layers of window_width; none where it
    is 0, or the molecule no longer. Stretches see v_min / 8 at least, a noise variance.
    series: what a calibration has added for the t that it is of, None for nothing. levels: what the denoising fit has
    added, at every t; None for nothing.
    """

    def __init__(
        self,
        coordinates: InternalCoordinates,
        width: int = 128,
        layers: int = 3,
        v_min: float = 1e-3,
        window: int = 0,
        window_width: int = 32,
    ):
        super().__init__(coordinates, width, layers, v_min)
        self.windows: Windows | None = None
        if 4 <= window < coordinates.beads:
            pairs = torch.stack([coordinates.first, coordinates.second], 1)
            inputs = inputs_of(coordinates.beads, window, pairs)
            earliest = time_of_variance(torch.tensor(WINDOWS_SEE * v_min, dtype=torch.float64))
            self.windows = Windows(inputs, window_width, layers, float(earliest))
            if not coordinates.chiral:
                with torch.no_grad():
                    odd = torch.isin(inputs[0], torch.tensor(coordinates.odd_features()))
                    self.windows.hidden[0].weight[:, odd] = 0.0
        self.series: LocalSeries | None = None
        self.levels: LevelSeries | None = None
        self.pair_series: PairSeries | None = None
        self.orders, self.delta = ORDERS, DELTA
        self.out = nn.Linear(width, 1, bias=False)
        self.offset = nn.Sequential(nn.Linear(5, 32), nn.SiLU(), nn.Linear(32, 1))
        nn.init.zeros_(self.out.weight)

    def constants(self) -> dict[str, float | int | bool | str]:
        return super().constants() | (
            {} if self.series is None else {"series_delta": self.series.delta, "series_span": SPAN}
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Weights of a calibrated energy bring their series along."""
        series = state_dict.get(f"{prefix}series.weights")
        self.series = None if series is None else LocalSeries(torch.zeros_like(series))
        named = f"{prefix}pair_series."
        pairs = {name.removeprefix(named): tensor for name, tensor in state_dict.items() if name.startswith(named)}
        if pairs and pairs.keys() != {"pairs", "centres", "widths", "weights", "smooth"}:
            raise ValueError(f"{prefix}pair_series has {', '.join(sorted(pairs))}")
        self.pair_series = PairSeries(**pairs) if pairs else None
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def turns(self, x: Tensor, t: Tensor) -> Tensor | None:
        if self.coordinates.beads < 3:
            return None
        cosine, sine = self.coordinates.local_turns(x, self.seen(t))
        return torch.stack([cosine, sine], 1)

    def waves(self, turns: Tensor) -> Tensor:
        found = modes_of(turns[:, 0], turns[:, 1], ORDERS, DELTA)
        if not self.chiral:  # the sines of dihedrals change sign in a mirror
            found[:, 1, : self.coordinates.beads - 3] = 0.0
        return found

    def mode_orders(self) -> int:
        return ORDERS

    def turn_beads(self) -> Tensor:
        n = self.coordinates.beads
        return torch.tensor([(k, k + 4) for k in range(n - 3)] + [(k, k + 3) for k in range(n - 2)])

    def series_pairs(self) -> Tensor:
        c = self.coordinates
        pairs = torch.stack([c.first, c.second], 1)
        return pairs[pairs[:, 1] - pairs[:, 0] != 2]

    def resolution_of_pairs(self, x: Tensor) -> dict[str, Tensor]:
        centres, widths = quartiles(self.series_pairs(), x, self.coordinates.blurs[0])
        return {"centres": centres, "widths": widths}

    def have_pairs(self, centres: Tensor, widths: Tensor, orders: int) -> None:
        like, pairs = self.out.weight, self.series_pairs()
        none = like.new_zeros(2, len(pairs), orders)
        smooth = self.coordinates.blurs[0].clone()
        self.pair_series = PairSeries(pairs, centres.to(like), widths.to(like), none, smooth.to(like))

    def modes(self, x: Tensor, t: Tensor) -> Tensor | None:
        local = super().modes(x, t)
        if local is None or self.pair_series is None:
            return local
        return torch.cat([local, self.pair_series.modes(x)], 1)

    def mode_gradients(self, x: Tensor, t: Tensor) -> Tensor:
        local = super().mode_gradients(x, t)
        return local if self.pair_series is None else torch.cat([local, self.pair_series.gradients(x)])

    def mode_roughness(self) -> Tensor:
        def squares(orders: int, series: int) -> Tensor:
            return torch.arange(1, orders + 1, dtype=torch.float64).square().repeat(series)

        local = squares(ORDERS, 2 * len(self.turn_beads()))
        if self.pair_series is None:
            return local
        return torch.cat([local, squares(self.pair_series.orders, 2 * len(self.pair_series.pairs))])

    def add_modes(self, weights: Tensor) -> None:
        local = 2 * len(self.turn_beads()) * ORDERS
        added = weights.flatten()[:local].reshape(2, -1, ORDERS).to(self.out.weight)
        self.series = LocalSeries(added if self.series is None else self.series.weights + added)
        beyond = weights.flatten()[local:]
        if len(beyond):
            assert self.pair_series is not None  # or there would be no such modes
            self.pair_series.weights += beyond.reshape(self.pair_series.weights.shape).to(self.out.weight)

    def add_levels(self, weights: Tensor, constants: Tensor | None = None) -> None:
        like = self.out.weight
        self.levels = LevelSeries(weights.to(like), None if constants is None else constants.to(like))

    def settled(self, t: float) -> "InternalModel":
        if self.levels is not None:
            own = self.levels.double()(torch.tensor([t], dtype=torch.float64))[0]
            self.levels = None
            if own.any():
                self.add_modes(own)
        return self

    def readout(self) -> nn.Linear:
        return self.out

    def readout_factor(self, t: float) -> float:
        return float(alpha(torch.tensor(max(t, float(self.coordinates.earliest)), dtype=torch.float64))) ** 2

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        seen = self.seen(t)
        level = self.noise(seen)
        q = self.coordinates(x, seen)
        energy = self.energy(self.state(q, level), level, seen)
        if self.windows is not None:
            energy = energy + self.of_windows(q, seen)
        if self.pair_series is not None:
            energy = energy + self.pair_series(x)
        if self.series is None and self.levels is None:
            return energy
        cosine, sine = self.coordinates.local_turns(x, seen)
        if self.series is not None:
            energy = energy + self.series(cosine, sine)
        if self.levels is not None:
            modes = modes_of(cosine, sine, self.orders, self.delta).flatten(1)
            energy = energy + (self.levels(t) * modes).sum(1) + self.levels.constant(t)
        return energy

    def of_windows(self, q: Tensor, t: Tensor) -> Tensor:
        """What stretches add to the energies (batch,), from all coordinates q (batch, features) at t."""
        assert self.windows is not None
        late = self.windows.seen(t)
        return alpha(late).square() * self.windows(self.coordinates.pairs_at(late, q, t), self.noise(late))

    def energy(self, h: Tensor, level: Tensor, t: Tensor) -> Tensor:
        """Energies (batch,) of last hidden states (batch, width)."""
        return alpha(t).square() * self.out(h).squeeze(-1) + self.offset(level).squeeze(-1)


class InternalScore(InternalLayers):
    """Score network: the coordinates, and from the same layers a weight for the direction of each.

    Distances alone span every direction but those out of the plane of a flat molecule; the dihedrals and volumes add
    these, and let mirror images have scores that are not mirror images.
    """

    def __init__(self, coordinates: InternalCoordinates, width: int = 128, layers: int = 3, v_min: float = 1e-3):
        super().__init__(coordinates, width, layers, v_min)
        self.out = nn.Linear(width, coordinates.features, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.seen(t)
        q = self.coordinates(x, seen)
        return q, alpha(seen).square()[:, None] * self.out(self.state(q, self.noise(seen)))
