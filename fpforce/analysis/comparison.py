"""Divergence of a sample from the reference at equal frame counts, with its finite-sample floor.

Both the JS divergence and the PMF error of two finite samples of the SAME distribution are positive, roughly as 1/N,
so a value means something only beside its floor: the same metric between independent trajectories of the reference,
at the same number of frames N. Reported are value, floor and excess = value - floor.

Floors, in order of preference: whole trajectories of the reference against each other; the only reference trajectory
against the training set, another independent run of the same ensemble; the two contiguous halves of the only
reference trajectory, everything then at half the frames. Where the trajectories of a slow system disagree, as each
holds a few of its events, their floor hides every error of a model; the one against the training set can be asked for.

N is the smallest count among the sets compared; larger sets are thinned at random, without replacement, and the
metrics averaged over several thinnings. Frames are NOT thinned further, to the number of effectively independent ones:
that would leave hundreds of frames and no power to see a wrong model. Correlation within the simulation only raises
its value, so the excess is conservative; effective sample sizes are reported beside the counts.

Standard errors: delete-one-block jackknife over independent blocks (groups of replicas; contiguous stretches of time)
of every set that enters, with the thinning held fixed. Unlike a bootstrap, which draws frames twice and so raises the
divergence itself, it shifts nothing; near equal distributions its variance is about twice too large, never too small.
Source: B. Efron and C. Stein, Ann. Statist. 9, 586 (1981).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpforce.analysis.divergences import BINS_PER_AXIS, js_divergence, pmf_error
from fpforce.foundation.errors import InputError

BLOCKS = 20
# An excess is given from this number of frames compared on,
FEWEST_FRAMES = 1000
# and unless the floor of the JS divergence is within 5 % of ln 2, its value for distributions without common bins.
LARGEST_FLOOR_JS = 0.95 * math.log(2.0)
FLOORS = ("auto", "trajectories", "training")


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error."""

    value: float
    standard_error: float

    @property
    def range95(self) -> tuple[float, float]:
        """value -+ 1.96 standard errors."""
        return self.value - 1.96 * self.standard_error, self.value + 1.96 * self.standard_error


@dataclass(frozen=True)
class Sample:
    """Frames of one set: `bins` (F, planes) flat histogram bins, `block` (F,) independent block of each frame,
    `trajectory` (F,) which trajectory it is from, `cells` bins of a plane."""

    bins: np.ndarray
    block: np.ndarray
    trajectory: np.ndarray
    cells: int = BINS_PER_AXIS**2

    def __len__(self) -> int:
        return len(self.bins)

    @classmethod
    def from_trajectories(cls, bins: Sequence[np.ndarray], cells: int = BINS_PER_AXIS**2) -> "Sample":
        """Whole trajectories [(F_k, planes)], cut into about BLOCKS contiguous blocks in all."""
        per_trajectory = max(1, -(-BLOCKS // len(bins)))
        blocks = [k * per_trajectory + _stretches(len(values), per_trajectory) for k, values in enumerate(bins)]
        sizes = [len(values) for values in bins]
        return cls(np.concatenate(bins), np.concatenate(blocks), np.repeat(np.arange(len(bins)), sizes), cells)

    @classmethod
    def from_replicas(cls, bins: np.ndarray, replica: np.ndarray, cells: int = BINS_PER_AXIS**2) -> "Sample":
        """Frames (F, planes) of independent replicas (F,), in time order within each; about BLOCKS blocks in all.

        Many replicas are put into groups, few are each cut into stretches of time.
        """
        names, number = np.unique(replica, return_inverse=True)
        if len(names) >= BLOCKS:
            block = number * BLOCKS // len(names)
        else:
            per_replica = -(-BLOCKS // len(names))
            block = np.zeros(len(number), dtype=int)
            for k in range(len(names)):
                mine = number == k
                block[mine] = k * per_replica + _stretches(int(mine.sum()), per_replica)
        return cls(bins, block, number, cells)


@dataclass(frozen=True)
class Divergences:
    """JS divergence (nats) and PMF error ((kT)^2) of a sample from the reference, `frames` frames of each.

    Floor and excess are None where the sample itself served as the floor. Where the frames are too few for an excess it
    is None alone, and `no_excess` says why.
    """

    frames: int
    js: Estimate
    pmf_error: Estimate
    js_floor: Estimate | None = None
    pmf_error_floor: Estimate | None = None
    excess_js: Estimate | None = None
    excess_pmf_error: Estimate | None = None
    no_excess: str | None = None


@dataclass(frozen=True)
class Floor:
    """Which sets are compared with each other for the floor, and the largest frame count that they allow."""

    source: str
    frames: int
    description: str

    @classmethod
    def choose(cls, reference: Sample, training: Sample | None, wanted: str = "auto") -> "Floor":
        """wanted: one of FLOORS; "auto" is the order of preference above. InputError for one that the sets do
        not have.
        """
        sizes = np.sort(np.bincount(reference.trajectory))
        if wanted not in FLOORS:
            raise InputError(f"floor {wanted!r} is unknown; give one of {', '.join(FLOORS)}")
        if wanted == "trajectories" and len(sizes) < 2:
            raise InputError("floor trajectories needs two or more reference trajectories, and there is one; give auto")
        if wanted == "training" and training is None:
            raise InputError("floor training needs the training trajectories; give them, or floor auto")
        if wanted != "training" and len(sizes) > 1:
            frames, text = int(sizes[: len(sizes) // 2].sum()), "independent trajectories of the reference"
            return cls("trajectories", frames, text)
        if training is not None:
            text = "the training set, independent of the reference, against it"
            return cls("training", min(len(training), len(reference)), text)
        return cls("halves", len(reference) // 2, "first half against second half of the only reference trajectory")

    def draw(
        self, reference: Sample, training: Sample | None, frames: int, rng: np.random.Generator
    ) -> tuple[tuple[str, np.ndarray], tuple[str, np.ndarray]]:
        """Frame numbers of two independent sets, `frames` each: ((set name, indices), (set name, indices))."""
        if self.source == "training":
            assert training is not None, "the floor was chosen with a training set"
            return ("reference", _thin(len(reference), frames, rng)), ("training", _thin(len(training), frames, rng))
        if self.source == "halves":
            half = len(reference) // 2
            first, second = np.arange(half), np.arange(half, len(reference))
        else:
            order = rng.permutation(reference.trajectory.max() + 1)
            in_first = np.isin(reference.trajectory, order[: len(order) // 2])
            first, second = np.flatnonzero(in_first), np.flatnonzero(~in_first)
        return (
            ("reference", first[_thin(len(first), frames, rng)]),
            ("reference", second[_thin(len(second), frames, rng)]),
        )


def compare(
    candidate: Sample,
    reference: Sample,
    training: Sample | None,
    floor: Floor,
    frames: int,
    rng: np.random.Generator,
    thinnings: int = 10,
    is_training: bool = False,
    target: Sample | None = None,
) -> tuple[Divergences, ...]:
    """Divergences of `candidate` from `reference`: one for each plane, then their mean over the planes.

    All are `Sample`s (`training` may be None); `frames` is the largest count to use, lowered to the candidate's size.
    target: compare with this set instead of the reference, which then serves for the floor alone.
    """
    target_name = "reference" if target is None else "target"
    given = {"candidate": candidate, "reference": reference, "training": training, "target": target}
    sets = {name: sample for name, sample in given.items() if sample is not None}
    frames = min(frames, len(candidate), len(sets[target_name]), floor.frames)
    if frames < 2:
        raise InputError(f"{frames} frames are too few to compare distributions; give longer trajectories")
    own_floor = not (is_training and floor.source == "training")
    full, deleted = [], {}
    for _ in range(thinnings):
        draws = [(name, _thin(len(sets[name]), frames, rng)) for name in ("candidate", target_name)]
        if own_floor:
            draws.extend(floor.draw(reference, training, frames, rng))
        blocks = [_block_counts(sets[name], indices) for name, indices in draws]
        totals = [counts.sum(axis=0) for counts in blocks]
        full.append(_metrics(totals))
        for name in {name for name, _ in draws}:
            rows = [
                _metrics(
                    [
                        t - b[k] if source == name else t
                        for (source, _), t, b in zip(draws, totals, blocks, strict=False)
                    ]
                )
                for k in range(sets[name].block.max() + 1)
            ]
            deleted.setdefault(name, []).append(rows)
    value = np.mean(full, axis=0)
    error = np.sqrt(np.sum([_jackknife_variance(np.mean(rows, axis=0)) for rows in deleted.values()], axis=0))
    names = ("js", "pmf_error", "js_floor", "pmf_error_floor", "excess_js", "excess_pmf_error")[: len(value)]
    return tuple(
        _divergences(frames, {n: Estimate(float(value[m, p]), float(error[m, p])) for m, n in enumerate(names)})
        for p in range(value.shape[1])
    )


def floor_js(
    reference: Sample, training: Sample | None, floor: Floor, frames: int, rng: np.random.Generator, thinnings: int = 4
) -> float:
    """JS divergence between the floor's two sets at `frames` frames each, mean over planes and thinnings, in nats."""
    sets = {"reference": reference, "training": training}
    values = []
    for _ in range(thinnings):
        drawn = [(sets[name], indices) for name, indices in floor.draw(reference, training, frames, rng)]
        first, second = (_block_counts(sample, indices).sum(axis=0) for sample, indices in drawn if sample is not None)
        values.append(js_divergence(first, second).mean())
    return float(np.mean(values))


def _divergences(frames: int, estimates: dict[str, Estimate]) -> Divergences:
    """Without the excess where it would be the difference of two values that say nothing, about 0 whatever the
    sample.
    """
    figures: dict[str, Any] = dict(estimates)
    reason, floor = None, estimates.get("js_floor")
    if floor is not None and frames < FEWEST_FRAMES:
        reason = f"{frames} frames are compared, and an excess takes {FEWEST_FRAMES:,}"
    elif floor is not None and floor.value > LARGEST_FLOOR_JS:
        reason = (
            f"independent sets of {frames:,} frames of the reference have hardly a bin in common (floor "
            f"{floor.value:.2f} of ln 2)"
        )
    if reason is not None:
        figures |= {"excess_js": None, "excess_pmf_error": None}
    return Divergences(frames, **figures, no_excess=reason)


def _metrics(counts: Sequence[np.ndarray]) -> np.ndarray:
    """(metrics, planes + 1) from counts (planes, cells) of candidate, reference and, if given, the two floor sets."""
    rows = [js_divergence(counts[0], counts[1]), pmf_error(counts[0], counts[1])]
    if len(counts) == 4:
        rows += [js_divergence(counts[2], counts[3]), pmf_error(counts[2], counts[3])]
        rows += [rows[0] - rows[2], rows[1] - rows[3]]
    values = np.array(rows)
    return np.concatenate([values, values.mean(axis=1, keepdims=True)], axis=1)


def _jackknife_variance(leave_one_out: np.ndarray) -> np.ndarray:
    blocks = len(leave_one_out)
    return (blocks - 1) / blocks * np.sum((leave_one_out - leave_one_out.mean(axis=0)) ** 2, axis=0)


def _block_counts(sample: Sample, indices: np.ndarray) -> np.ndarray:
    """Histograms (blocks, planes, cells) of the chosen frames."""
    blocks, planes = sample.block.max() + 1, sample.bins.shape[1]
    row = sample.block[indices, None] * planes + np.arange(planes)
    flat = np.bincount((row * sample.cells + sample.bins[indices]).ravel(), minlength=blocks * planes * sample.cells)
    return flat.reshape(blocks, planes, sample.cells)


def _thin(available: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.permutation(available)[:frames]) if frames < available else np.arange(available)


def _stretches(length: int, count: int) -> np.ndarray:
    return np.arange(length) * count // max(length, 1)
