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
divergence itself, it shifts nothing; but its variance is too large. split_errors.py finds by how much that of the
divergence from the target is, and that of its floor and excess is divided by the same: it is more too large, if
anything, since the sides of a floor are nearer to equal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fpforce.analysis.divergences import js_divergence, pmf_error
from fpforce.analysis.sample import Sample
from fpforce.analysis.split_errors import SplitVariance
from fpforce.foundation.errors import InputError

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
class Divergences:
    """JS divergence (nats) and PMF error ((kT)^2) of a sample from the reference, `frames` frames of each.

    Floor and excess are None where the sample itself served as the floor. Where the frames are too few for an excess it
    is None alone, and `no_excess` says why. `own_errors`: by excess the part of its standard error that all frames of
    the sample have, which more of them would lessen; the rest is that of the others, and of comparing so few. Where the
    sample is what is short, that of comparing so few is its own.
    """

    frames: int
    js: Estimate
    pmf_error: Estimate
    js_floor: Estimate | None = None
    pmf_error_floor: Estimate | None = None
    excess_js: Estimate | None = None
    excess_pmf_error: Estimate | None = None
    no_excess: str | None = None
    own_errors: dict[str, float] = field(default_factory=dict)


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
        sizes = np.sort(np.bincount(reference.trajectory, reference.frames))
        if wanted not in FLOORS:
            raise InputError(f"floor {wanted!r} is unknown; give one of {', '.join(FLOORS)}")
        if wanted == "trajectories" and len(sizes) < 2:
            raise InputError("floor trajectories needs two or more reference trajectories, and there is one; give auto")
        if wanted == "training" and training is None:
            raise InputError("floor training needs the training trajectories; give them, or floor auto")
        if wanted != "training" and len(sizes) > 1:
            frames, text = int(sizes[: len(sizes) // 2].sum()), "trajectories of the reference against each other"
            return cls("trajectories", frames, text)
        if training is not None:
            text = "the training set against the reference"
            return cls("training", min(len(training), len(reference)), text)
        frames = int(min(reference.frames[half].sum() for half in _halves(reference)))
        return cls("halves", frames, "first half against second half of the only reference trajectory")

    def sides(self, reference: Sample, rng: np.random.Generator) -> tuple[tuple[str, np.ndarray | None], ...]:
        """Two independent sets, as (set name, its blocks (blocks,) bool; None for all): of the reference, or that and
        the training set.
        """
        if self.source == "training":
            return ("reference", None), ("training", None)
        if self.source == "halves":
            first, second = _halves(reference)
        else:
            order = rng.permutation(reference.trajectory.max() + 1)
            first = np.isin(reference.trajectory, order[: len(order) // 2])
            second = ~first
        return ("reference", first), ("reference", second)


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
    split = SplitVariance(_metrics, [len(candidate.frames), len(sets[target_name].frames)])
    full, deleted = [], {}
    for _ in range(thinnings):
        draws: list[tuple[str, np.ndarray | None]] = [("candidate", None), (target_name, None)]
        if own_floor:
            draws.extend(floor.sides(reference, rng))
        blocks = [sets[name].drawn(frames, rng, inside) for name, inside in draws]
        totals = [counts.sum(axis=0) for counts in blocks]
        full.append(_metrics(totals))
        split.add(blocks[:2])
        for name in {name for name, _ in draws}:
            rows = [
                _metrics(
                    [
                        t - b[k] if source == name else t
                        for (source, _), t, b in zip(draws, totals, blocks, strict=False)
                    ]
                )
                for k in range(len(sets[name].frames))
            ]
            deleted.setdefault(name, []).append(rows)
    value = np.mean(full, axis=0)
    variances = {name: _jackknife_variance(np.mean(rows, axis=0)) for name, rows in deleted.items()}
    too_large = split.too_large([np.mean(deleted[name], axis=0)[:, :2] for name in ("candidate", target_name)])
    variances = {name: one * np.tile(too_large, (len(value) // 2, 1)) for name, one in variances.items()}
    error = np.sqrt(np.sum([*variances.values()], axis=0))
    own = np.minimum(_own_variance(candidate, totals[1]) * too_large, variances["candidate"][:2])
    if own_floor and 2 * len(candidate) <= min(len(sets[target_name]), floor.frames):
        # More frames of the sample are then compared with more of the target, whose own error is what all of its leave.
        left = np.minimum(_own_variance(sets[target_name], totals[0]) * too_large, variances[target_name][:2])
        own = np.maximum(own, error[4:6] ** 2 - 2.0 * left)
    own = np.sqrt(own)
    names = ("js", "pmf_error", "js_floor", "pmf_error_floor", "excess_js", "excess_pmf_error")[: len(value)]
    own_errors = [
        {f"excess_{name}": float(own[m, p]) for m, name in enumerate(names[:2])} if own_floor else {}
        for p in range(value.shape[1])
    ]
    return tuple(
        _divergences(
            frames,
            {n: Estimate(float(value[m, p]), float(error[m, p])) for m, n in enumerate(names)},
            own_errors[p],
        )
        for p in range(value.shape[1])
    )


def excess_from(
    candidate: Sample, target: Sample, frames: int, floor: Divergences, rng: np.random.Generator, thinnings: int = 10
) -> dict[str, float]:
    """Excess of the JS divergence and the PMF error of a sample from another one than the reference: `excess_js`,
    `excess_pmf_error`, means over planes and thinnings of so many frames of each.

    floor: divergences of the sample from the reference, whose floor is taken off; nothing where it has none.
    """
    if floor.no_excess is not None or floor.js_floor is None or floor.pmf_error_floor is None:
        return {}
    values = []
    for _ in range(thinnings):
        first, second = (sample.drawn(frames, rng).sum(axis=0) for sample in (candidate, target))
        values.append((js_divergence(first, second).mean(), pmf_error(first, second).mean()))
    js, pmf = np.mean(values, axis=0).tolist()
    return {"excess_js": js - floor.js_floor.value, "excess_pmf_error": pmf - floor.pmf_error_floor.value}


def floor_js(
    reference: Sample, training: Sample | None, floor: Floor, frames: int, rng: np.random.Generator, thinnings: int = 4
) -> float:
    """JS divergence between the floor's two sets at `frames` frames each, mean over planes and thinnings, in nats."""
    sets = {"reference": reference} | ({} if training is None else {"training": training})
    values = []
    for _ in range(thinnings):
        first, second = (
            sets[name].drawn(frames, rng, inside).sum(axis=0) for name, inside in floor.sides(reference, rng)
        )
        values.append(js_divergence(first, second).mean())
    return float(np.mean(values))


def _divergences(frames: int, estimates: dict[str, Estimate], own_errors: dict[str, float]) -> Divergences:
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
        own_errors = {}
    return Divergences(frames, **figures, no_excess=reason, own_errors=own_errors)


def _metrics(counts: Sequence[np.ndarray]) -> np.ndarray:
    """(metrics, planes + 1) from counts (planes, cells) of candidate, reference and, if given, the two floor sets."""
    rows = [js_divergence(counts[0], counts[1]), pmf_error(counts[0], counts[1])]
    if len(counts) == 4:
        rows += [js_divergence(counts[2], counts[3]), pmf_error(counts[2], counts[3])]
        rows += [rows[0] - rows[2], rows[1] - rows[3]]
    values = np.array(rows)
    return np.concatenate([values, values.mean(axis=1, keepdims=True)], axis=1)


def _own_variance(candidate: Sample, target: np.ndarray) -> np.ndarray:
    """Jackknife variance (2, planes + 1) of both divergences of all frames of a sample from counts (planes, cells)."""
    blocks = candidate.drawn(len(candidate), np.random.default_rng(0))  # all of them: nothing is drawn
    total = blocks.sum(axis=0)
    return _jackknife_variance(np.array([_metrics([total - block, target]) for block in blocks]))


def _jackknife_variance(leave_one_out: np.ndarray) -> np.ndarray:
    blocks = len(leave_one_out)
    return (blocks - 1) / blocks * np.sum((leave_one_out - leave_one_out.mean(axis=0)) ** 2, axis=0)


def _halves(reference: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Blocks (blocks,) bool of the two halves in time of the only trajectory."""
    blocks = len(reference.frames)
    first = 2 * np.arange(blocks) < blocks
    return first, ~first
