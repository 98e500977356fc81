"""Distributions that every molecule has, whatever its plane: pair distances, radius of gyration, end-to-end distance.

In: positions of every set in nm, thinned once to the same number of frames. Out: first Wasserstein distances from the
reference in nm, each with its floor and the largest value that passes; and how many frames lie where the reference has
none.

What passes is the floor and an allowance, which is that of the JS divergence said in nanometres: two normal
distributions of width s that are shifted by d have a JS divergence of about d^2 / (8 s^2) and a first Wasserstein
distance of d, so that an excess J of the one is worth s sqrt(8 J) of the other (0.28 s for J = 0.010;
docs/method.md, eq. 36).
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from fpforce.analysis.divergences import w1_distance
from fpforce.analysis.geometry import ThinnedFrames
from fpforce.analysis.observables import bond_lengths
from fpforce.analysis.w1_errors import ALL_COMPARED, ALL_REFERENCE, DistanceErrors, errors_of, moved_by_frames
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.graph import neighbours_of, steps_from

Pair = tuple[int, int]

MOST_PAIRS = 500
MOST_FRAMES = 20_000  # of a set, evenly chosen
# Of the range that a distance has in the reference, at either end: what lies farther out has left the data.
MARGIN = 0.1


@dataclass(frozen=True)
class DistributionDistance:
    """W1 distances (nm) of one quantity from the reference, keyed by set: simulation and, where given, training and
    iid. `floor_nm`: the same between independent sets of the reference; `spread_nm`: standard deviation in the
    reference. `from_training_nm`: of the simulation from the training frames, None without any. `standard_error_nm` of
    the simulation's distance less the floor, of which it has `own_error_nm`, and `training_errors_nm` of that of the
    training frames; None where blocks are not known. Of pair distances all are means over the pairs.
    """

    name: str
    label: str
    w1_nm: dict[str, float]
    floor_nm: float
    spread_nm: float
    from_training_nm: float | None = None
    standard_error_nm: float | None = None
    own_error_nm: float | None = None
    training_errors_nm: DistanceErrors | None = None

    def limit_nm(self, excess_js: float) -> float:
        """The largest distance that passes where an excess of the JS divergence of `excess_js` does."""
        return self.floor_nm + math.sqrt(8.0 * excess_js) * self.spread_nm


@dataclass(frozen=True)
class Excursion:
    """Part of the simulated frames in which a pair distance is far out of the reference's range (MARGIN); its floor:
    the same of an independent set of the reference.
    """

    outside: float
    floor: float


def distribution_distances(
    beads: BeadTable, thinned: ThinnedFrames, others: dict[str, np.ndarray]
) -> tuple[DistributionDistance, ...]:
    """One DistributionDistance for each quantity that the beads have; none for a single bead.

    others: positions (frames, beads, 3) of training and iid frames, as many as there are.
    """
    if len(beads) < 2:
        return ()
    sets = {"reference": thinned.reference, "simulation": thinned.simulation} | others
    sides = {"first": thinned.floor[0], "second": thinned.floor[1]}
    quantities: list[tuple[str, str, list[Pair | None]]] = [
        ("pair_distances", "pair distances, mean", [*pairs_of(len(beads))])
    ]
    if len(beads) > 2:
        quantities += [
            ("radius_of_gyration", "radius of gyration", [None]),
            ("end_to_end", "end-to-end distance", [ends(beads)]),
        ]
    origins = {"simulation": thinned.origins, "training": thinned.training_origins if "training" in others else None}
    known = {
        name: replace(one, frames={role: _thinned(numbers) for role, numbers in one.frames.items()})
        for name, one in origins.items()
        if one is not None
    }
    if "training" in known:  # of which all are compared, not as many as of the others
        frames = known["training"].frames
        known["training"] = replace(known["training"], frames=dict(frames) | {"compared": frames[ALL_COMPARED]})
    results = []
    for name, label, pairs in quantities:
        rows, moved = [], {name: dict[str, np.ndarray]() for name in known}
        for pair in pairs:
            values = {key: _values(beads, frames, pair) for key, frames in (sets | sides).items()}
            for compared, one in known.items():
                every = {
                    role: _values(beads, thinned.everything[one.sets[role]], pair)
                    for role in (ALL_COMPARED, ALL_REFERENCE)
                }
                for role, by in moved_by_frames(values | every | {"compared": values[compared]}, one).items():
                    moved[compared][role] = moved[compared].get(role, 0.0) + by / len(pairs)
            reference = values.pop("reference")
            floor = w1_distance(values.pop("first"), values.pop("second"))
            row = [floor, float(reference.std()), *(w1_distance(each, reference) for each in values.values())]
            if "training" in values:
                row.append(w1_distance(values["simulation"], values["training"]))
            rows.append(row)
        floor_nm, spread_nm, *distances = np.mean(rows, axis=0).tolist()
        from_training_nm = distances.pop() if "training" in others else None
        w1_nm = dict(zip(("simulation", *others), distances, strict=True))
        found = {compared: errors_of(moved[compared], one) for compared, one in known.items()}
        own = found.get("simulation")
        results.append(
            DistributionDistance(
                name,
                label,
                w1_nm,
                floor_nm,
                spread_nm,
                from_training_nm,
                standard_error_nm=None if own is None else own.total,
                own_error_nm=None if own is None else own.own,
                training_errors_nm=found.get("training"),
            )
        )
    return tuple(results)


def excursion_of(beads: BeadTable, thinned: ThinnedFrames) -> Excursion | None:
    """How often the simulation has left the data; None for a single bead."""
    if len(beads) < 2:
        return None
    known, other = thinned.floor
    outside = {"simulation": np.zeros(len(thinned.simulation), bool), "floor": np.zeros(len(other), bool)}
    for pair in pairs_of(len(beads)):
        lengths = bond_lengths(known, [pair])[:, 0]
        low, high = lengths.min(), lengths.max()
        low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
        for name, frames in (("simulation", thinned.simulation), ("floor", other)):
            values = bond_lengths(frames, [pair])[:, 0]
            outside[name] |= (values < low) | (values > high)
    return Excursion(float(outside["simulation"].mean()), float(outside["floor"].mean()))


def pairs_of(beads: int) -> list[Pair]:
    """All pairs of so many beads, or MOST_PAIRS of them, spread evenly."""
    pairs = [(i, j) for i in range(beads) for j in range(i + 1, beads)]
    if len(pairs) <= MOST_PAIRS:
        return pairs
    return [pairs[int(k)] for k in np.linspace(0, len(pairs) - 1, MOST_PAIRS).round()]


def radius_of_gyration(positions_nm: np.ndarray, masses_da: np.ndarray) -> np.ndarray:
    """Mass-weighted, (frames,) nm, of positions (frames, beads, 3)."""
    weights = np.asarray(masses_da, dtype=np.float64) / np.sum(masses_da)
    positions = np.asarray(positions_nm, dtype=np.float64)
    centred = positions - np.einsum("fni,n->fi", positions, weights)[:, None]
    return np.sqrt(np.einsum("fni,fni,n->f", centred, centred, weights))


def ends(beads: BeadTable) -> Pair:
    """The two beads with the most bonds between them, the first such pair; the first and last without bonds."""
    best, farthest = (0, len(beads) - 1), 0
    neighbours = neighbours_of(beads.bonds)
    for start in range(len(beads)):
        steps = steps_from(neighbours, start)
        last = max(steps, key=lambda bead: (steps[bead], -bead))
        if steps[last] > farthest:
            best, farthest = (min(start, last), max(start, last)), steps[last]
    return best


def _thinned(frames: np.ndarray) -> np.ndarray:
    """MOST_FRAMES of them at most."""
    return frames[:: max(1, -(-len(frames) // MOST_FRAMES))]


def _values(beads: BeadTable, frames: np.ndarray, pair: Pair | None) -> np.ndarray:
    """The distance of a pair, or without one the radius of gyration."""
    frames = _thinned(frames)
    return radius_of_gyration(frames, beads.masses_da) if pair is None else bond_lengths(frames, [pair])[:, 0]
