"""Basin populations, free-energy differences with errors, and whether simulations from different starts agree.

A simulation here is R replicas started from one frame. In: per plane and simulation, which basin each frame is in,
(saved times, replicas) bool, with the mask of frames that count; or, of stretches of time, how many frames are in the
upper basin and how many count. Populations are those of the upper basin (phi > 0);
free energies are F(upper) - F(lower) = -ln(p / (1 - p)), in kT.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpforce.analysis.comparison import Estimate
from fpforce.analysis.correlation import effective_sample_size
from fpforce.analysis.time_series import ObservedSeries

# (times, replicas) of one simulation, or of several: bool of frames, or numbers of frames in stretches of time.
Masks = np.ndarray | Sequence[np.ndarray]

CONVERGED, NOT_CONVERGED, NOT_JUDGED = "converged", "not converged", "not judged"
AGREEMENT_ERRORS = 2.0
DRIFT_ERRORS = 3.0
RESOLUTION_KT = 0.5
TIME_BLOCKS = 40


@dataclass(frozen=True)
class BasinPopulation:
    """Population of the upper basin in one simulation, or pooled; `drift` is second minus first half of the time."""

    name: str
    population: Estimate
    replicas: int
    starts_in_upper_basin: bool | None = None
    drift: Estimate | None = None


@dataclass(frozen=True)
class Convergence:
    """The verdict for one plane with its reason; `pooled` is over all simulations, frame by frame.

    `halves_of`: as in `judge`; the populations are then of the upper half of that basin.
    """

    verdict: str
    reason: str
    simulations: tuple[BasinPopulation, ...]
    pooled: BasinPopulation
    halves_of: str | None = None

    @property
    def converged(self) -> bool:
        return self.verdict == CONVERGED

    @property
    def free_energy_kt(self) -> Estimate:
        return free_energy_difference(self.pooled.population)


def free_energy_difference(population: Estimate) -> Estimate:
    """-ln(p / (1 - p)) in kT with its error by propagation; infinite with unknown error when a basin is empty."""
    p = population.value
    if not 0.0 < p < 1.0:
        return Estimate(math.inf if p == 0.0 else -math.inf, math.nan)
    return Estimate(math.log((1.0 - p) / p), population.standard_error / (p * (1.0 - p)))


def replica_population(inside: Masks, counted: Masks, rng: np.random.Generator, resamples: int = 1000) -> Estimate:
    """Population with the standard error of a bootstrap over replicas; a frozen replica weighs by its counted frames.

    `inside`, `counted`: (times, replicas) bool, or a list of such, which are then pooled with the replicas of each
    drawn among themselves (stratified). Or numbers of frames in stretches of time, `inside` of those that count.
    With a single replica the error is unknown (nan).
    """
    sets = [(inside, counted)] if isinstance(inside, np.ndarray) else list(zip(inside, counted, strict=True))
    hits, frames = np.zeros(resamples), np.zeros(resamples)
    all_hits, all_frames, fewest = 0, 0, math.inf
    for inside_one, counted_one in sets:
        per_replica = _hits(inside_one, counted_one), np.sum(counted_one, axis=0)
        replicas = len(per_replica[1])
        drawn = rng.multinomial(replicas, np.full(replicas, 1.0 / replicas), size=resamples)
        hits += drawn @ per_replica[0]
        frames += drawn @ per_replica[1]
        all_hits, all_frames = all_hits + per_replica[0].sum(), all_frames + per_replica[1].sum()
        fewest = min(fewest, float(np.count_nonzero(per_replica[1])))
    error = float(np.std(hits / np.maximum(frames, 1))) if fewest > 1 else math.nan
    return Estimate(float(all_hits / max(all_frames, 1)), error)


def trajectory_population(observed: ObservedSeries, rng: np.random.Generator, resamples: int = 1000) -> Estimate:
    """Population over trajectories (series of the frames in the basin) with a bootstrap error over about TIME_BLOCKS
    contiguous blocks.

    Long blocks, since the autocorrelation of a basin has slow tails (in replica exchange, the walkers' round trips).
    Blocks are not independent where a trajectory hardly changes its basin, so the error is that of the effective number
    of frames at least, sqrt(p (1 - p) / n_eff), which knows the spread between whole trajectories.
    """
    points = np.count_nonzero(observed.frames, axis=0)
    length = max(1, int(points.sum()) // TIME_BLOCKS)
    hits_of, frames_of = [], []
    for column, count in enumerate(points.tolist()):
        starts = np.arange(0, count, length)
        hits_of.append(np.add.reduceat(observed.sums[:count, column], starts))
        frames_of.append(np.add.reduceat(observed.frames[:count, column], starts))
    hits, frames = np.concatenate(hits_of), np.concatenate(frames_of)
    drawn = rng.multinomial(len(hits), np.full(len(hits), 1.0 / len(hits)), size=resamples)
    population = float(hits.sum() / frames.sum())
    if not 0.0 < population < 1.0:
        return Estimate(population, 0.0)
    effective = effective_sample_size(observed.sums, observed.frames, observed.squares)
    least = math.sqrt(population * (1.0 - population) / effective)
    return Estimate(population, max(float(np.std(drawn @ hits / (drawn @ frames))), least))


def judge(
    names: Sequence[str],
    inside: Sequence[np.ndarray],
    counted: Sequence[np.ndarray],
    started_upper: Sequence[bool],
    rng: np.random.Generator,
    halves_of: str | None = None,
) -> Convergence:
    """Convergence of one plane from simulations: their names, basins, masks and start basins, lists of equal length.

    `converged` needs every pair of simulations, started in different basins, to agree within two standard errors of
    their difference; none to drift between the halves of the counted time by more than three; and an error of the
    pooled free energy within 0.5 kT, since wide errors agree with anything. A basin that one simulation visits and
    another never does is a disagreement, whatever the errors say (that of a zero count is zero). With fewer than two
    start basins, or single replicas, nothing can be judged.

    halves_of: name of the only basin where the reference has one alone; `inside` then tells the two halves of that
        basin apart, and two independent starts anywhere in it are enough.
    """
    simulations = tuple(
        BasinPopulation(name, replica_population(i, c, rng), i.shape[1], bool(start), _drift(i, c, rng))
        for name, i, c, start in zip(names, inside, counted, started_upper, strict=True)
    )
    replicas = sum(i.shape[1] for i in inside)
    pooled = BasinPopulation("pooled", replica_population(list(inside), list(counted), rng), replicas)
    verdict, reason = _verdict(simulations, pooled, halves_of)
    return Convergence(verdict, reason, simulations, pooled, halves_of)


def _verdict(simulations: Sequence[BasinPopulation], pooled: BasinPopulation, halves_of: str | None) -> tuple[str, str]:
    if any(math.isnan(s.population.standard_error) for s in simulations):
        return NOT_JUDGED, "a simulation has fewer than two replicas with counted frames: errors are unknown"
    problems = []
    for k, first in enumerate(simulations):
        for second in simulations[k + 1 :]:
            if not populations_agree(first.population, second.population):
                problems.append(f"populations disagree: {_text(first)} and {_text(second)}")
    for s in simulations:
        if s.drift is not None and abs(s.drift.value) > DRIFT_ERRORS * s.drift.standard_error:
            problems.append(f"{s.name} still drifts by {s.drift.value:+.4f} ± {s.drift.standard_error:.4f}")
    if problems:
        return NOT_CONVERGED, "; ".join(problems)
    if halves_of and len(simulations) < 2:
        return NOT_JUDGED, f"the reference has one basin on this plane ({halves_of}): give simulations from two starts"
    if not halves_of and len({s.starts_in_upper_basin for s in simulations}) < 2:
        return NOT_JUDGED, "all simulations started in the same basin; give one from each"
    error = free_energy_difference(pooled.population).standard_error
    if error > RESOLUTION_KT:
        return NOT_CONVERGED, f"free energy known only to {error:.2f} kT; simulate longer or with more replicas"
    agreement = "populations agree within two standard errors: " + " and ".join(map(_text, simulations))
    if halves_of:
        return CONVERGED, f"the reference has one basin on this plane ({halves_of}), and of its upper half {agreement}"
    return CONVERGED, agreement


def populations_agree(a: Estimate, b: Estimate) -> bool:
    """Within two standard errors of the difference; never when exactly one of the two is 0 or 1."""
    if a.value == b.value:
        return True
    if {a.value, b.value} & {0.0, 1.0}:
        return False
    return abs(a.value - b.value) <= AGREEMENT_ERRORS * math.hypot(a.standard_error, b.standard_error)


def combine(judgements: Sequence[Convergence]) -> tuple[str, str]:
    """One verdict, reason for several planes: none may disagree, and at least one must have been judged converged."""
    failed = [j for j in judgements if j.verdict == NOT_CONVERGED]
    passed = [j for j in judgements if j.verdict == CONVERGED]
    chosen = failed or passed or list(judgements)
    return chosen[0].verdict, "; ".join(dict.fromkeys(j.reason for j in chosen))


def _drift(inside: np.ndarray, counted: np.ndarray, rng: np.random.Generator, resamples: int = 1000) -> Estimate:
    """Population of the second half of the counted time minus that of the first, error by bootstrap over replicas."""
    times = np.flatnonzero(counted.any(axis=1))
    middle = times[len(times) // 2] if len(times) else 0
    replicas = inside.shape[1]
    drawn = rng.multinomial(replicas, np.full(replicas, 1.0 / replicas), size=resamples)
    drawn = np.concatenate([np.ones((1, replicas), dtype=int), drawn])
    populations = []
    for part in (slice(0, middle), slice(middle, None)):
        hits, frames = _hits(inside[part], counted[part]), np.sum(counted[part], axis=0)
        populations.append((drawn @ hits) / np.maximum(drawn @ frames, 1))
    difference = populations[1] - populations[0]
    return Estimate(float(difference[0]), float(np.std(difference[1:])))


def _hits(inside: Any, counted: Any) -> np.ndarray:
    """Counted frames of each replica in the basin (replicas,)."""
    return np.sum(np.where(counted > 0, inside, 0), axis=0)


def _text(s: BasinPopulation) -> str:
    return f"{s.name} {s.population.value:.4f} ± {s.population.standard_error:.4f}"
