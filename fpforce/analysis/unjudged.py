"""What is missing where a criterion cannot be judged: frames of the simulation, or of the reference.

In: the figures of an assessment, its checks, and the facts of its runs. Out: findings, each with how many times as many
frames would do. A value that is more than is allowed, by less than chance could add (criteria.py), wants frames of the
set that has the larger part of its error: as many times as bring CLEAR_ERRORS standard errors, which fall with the root
of the number, down to what is allowed.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fpforce.analysis import next_commands
from fpforce.analysis.causes import NOT_SAMPLED, REFERENCE_TOO_SHORT, Finding
from fpforce.analysis.comparison import FEWEST_FRAMES
from fpforce.analysis.criteria import CLEAR_ERRORS, Check
from fpforce.analysis.data_causes import SEEN_OFTEN_ENOUGH
from fpforce.analysis.resolution import LARGEST_JUDGING_FLOOR_JS
from fpforce.analysis.run_facts import RunFacts

# Name of a criterion -> what it is called in a sentence, and its unit; others are distances in nm.
_CALLED = {
    "excess_js": ("the excess of the JS divergence", ""),
    "excess_pmf_error": ("the excess of the PMF error", ""),
    "free_energy_error_kt": ("the error of the free-energy difference", " kT"),
}
LONGEST = 16.0  # times as long as now, that a finding asks for at most


def simulation_too_few_frames(figures: dict[str, Any], facts: RunFacts) -> Finding | None:
    """Of a simulation that has fewer frames than could be compared, over whose floor nothing can be judged."""
    simulated = figures["frames"]["simulation"]
    if figures["resolution"].can_judge or simulated > figures["frames_compared"] or simulated < FEWEST_FRAMES:
        return None
    factor = min(max(2.0, math.ceil(figures["resolution"].floor_js / LARGEST_JUDGING_FLOOR_JS)), LONGEST)
    return Finding(
        NOT_SAMPLED,
        f"so few frames as the simulation's {simulated:,} have {_floor(figures)}",
        f"simulate about {factor:.0f} times as long, then evaluate again",
        next_commands.simulate_longer(facts, factor),
    )


def simulation_too_short(checks: Sequence[Check], facts: RunFacts) -> Finding | None:
    """Of a simulation whose own error hides whether a criterion is met."""
    unclear = [check for check in checks if check.unclear and _is_the_simulations(check)]
    if not unclear:
        return None
    text = f"what is missed may be chance ({_listed(unclear)}), and most of the error is the simulation's"
    if any(math.isnan(check.own_error or 0.0) for check in unclear):
        return Finding(
            NOT_SAMPLED,
            f"{text}, which has a single replica that counts",
            "simulate several replicas, then evaluate the new simulations",
            next_commands.simulate_several(facts),
        )
    factor = min(max(2.0, *map(_times_as_many, unclear)), LONGEST)
    return Finding(
        NOT_SAMPLED,
        text,
        f"simulate about {factor:.0f} times as long, then evaluate again",
        next_commands.simulate_longer(facts, factor),
    )


def reference_too_short(figures: dict[str, Any], checks: Sequence[Check], facts: RunFacts) -> Finding | None:
    """Of a reference whose floor, or whose error, hides whether criteria are met."""
    resolution, compared, frames = figures["resolution"], figures["frames_compared"], figures["frames"]["reference"]
    reasons, factors = [], []
    if figures["frames"]["simulation"] > compared and not (resolution.can_judge and compared >= FEWEST_FRAMES):
        reasons.append(
            _floor(figures)
            if not resolution.can_judge
            else f"only {compared:,} to compare with, where a comparison takes {FEWEST_FRAMES:,}"
        )
        factors += [resolution.floor_js / LARGEST_JUDGING_FLOOR_JS, FEWEST_FRAMES / compared]
    unclear = [check for check in checks if check.unclear and not _is_the_simulations(check)]
    if unclear:
        reasons.append(f"most of the error of what may be chance ({_listed(unclear)})")
        factors += [2.0, *(_times_as_many(check) for check in unclear if check.standard_error is not None)]
        factors += [SEEN_OFTEN_ENOUGH / (frames * rare) for rare in _never_in_the_reference(figures)]
    if not reasons:
        return None
    of_training = figures["frames"].get("training", frames)
    if not resolution.can_judge and figures["floor"].source == "training" and of_training < frames:
        return Finding(
            REFERENCE_TOO_SHORT,
            f"only {of_training:,} training frames are there to measure the floor with: {_floor(figures)}",
            "another independent reference trajectory, so that the floor is measured between two of the reference",
            next_commands.evaluate(replace(facts, reference=(*facts.reference, "MORE_FRAMES"))),
            needs_data=True,
        )
    factor = max(factors)
    times, step = f"{factor:.1f}" if factor < 10.0 else f"{factor:.0f}", facts.reference_time_step_ps
    wanted = math.ceil(factor * frames)
    long, longer = ("" if step is None else f" ({count * step / 1000:.3g} ns)" for count in (frames, wanted))
    return Finding(
        REFERENCE_TOO_SHORT,
        f"the reference's {frames:,} frames{long} have {'; and '.join(reasons)}",
        f"a reference about {times} times as long, {wanted:,} frames{longer}, or more independent ones",
        next_commands.evaluate(replace(facts, reference=(*facts.reference, "MORE_FRAMES"))),
        needs_data=True,
    )


def _floor(figures: dict[str, Any]) -> str:
    floor, bins = figures["resolution"].floor_js, figures["resolution"].bins_per_axis
    most = f"where {LARGEST_JUDGING_FLOOR_JS} is the most that can judge"
    return f"a floor of {floor:.3f} with {bins} x {bins} bins, {most}"


def _is_the_simulations(check: Check) -> bool:
    """Whether the simulation has the larger part of the error, or one that is not known."""
    if check.own_error is None or check.standard_error is None:
        return False
    return not 2.0 * check.own_error**2 <= check.standard_error**2


def _times_as_many(check: Check) -> float:
    assert isinstance(check.threshold, float) and check.standard_error is not None
    return math.ceil((CLEAR_ERRORS * check.standard_error / check.threshold) ** 2)


def _never_in_the_reference(figures: dict[str, Any]) -> list[float]:
    """What part the simulation has of each basin that the reference never visits."""
    rare = []
    for plane in figures["planes"]:
        known, here = (plane.populations[name].value for name in ("reference", "simulation"))
        if known in (0.0, 1.0) and 0.0 < here < 1.0:
            rare.append(here if known == 0.0 else 1.0 - here)
    return rare


def _listed(checks: Sequence[Check]) -> str:
    return "; ".join(map(_sentence, checks))


def _sentence(check: Check) -> str:
    name, unit = _CALLED.get(check.name) or (f"the {check.label.removesuffix(', nm')}", " nm")
    allowed = f"where {check.threshold:.3g}{unit} is allowed"
    if not isinstance(check.value, float) or check.standard_error is None:
        return f"{name}, of a basin so rare that the reference may have missed it, {allowed}"
    error = "an unknown error" if math.isnan(check.standard_error) else f"{check.standard_error:.2g}"
    return f"{name}, {check.value:.3g} ± {error}{unit} {allowed}"
