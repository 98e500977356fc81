"""Why a simulation that has converged has another distribution than the reference, by the model's own samples.

In: figures of an assessment and the facts of its runs. Out: one finding. Samples are right and the simulation is wrong:
the energy at small t contradicts the rest of the model. Both are wrong: the model has not learned the data, for want of
frames where it knows training frames better than others, else for want of training.
"""

import math
from collections.abc import Collection
from typing import Any

from fpforce.analysis import next_commands
from fpforce.analysis.causes import INCONSISTENT, SAMPLES_UNKNOWN, TOO_FEW_DATA, UNDERTRAINED, Finding
from fpforce.analysis.criteria import Thresholds, free_energy_error_kt
from fpforce.analysis.run_facts import RunFacts

ONLY_WEIGHTS = "only the weights of the basins are off"
FEW_ROUNDS, MORE_ROUNDS = 8, 6  # of calibration: the fewest that a training has by default, and what to add to that
MEMORISED = 0.05  # of the held-out loss, by which the loss on training frames is lower: as the training warns of


def frames_that_would_do(frames: int, loss: float, held_out_loss: float) -> int:
    """How many frames like these bring the loss on training frames within MEMORISED of that on held-out ones.

    The difference of the two falls as one over the number of independent frames. Source: Murata, Yoshizawa and Amari,
    IEEE Trans. Neural Networks 5, 865 (1994) (network information criterion).
    """
    return math.ceil(frames * max(1.0 - loss / held_out_loss, 0.0) / MEMORISED)


def wrong_distribution(
    figures: dict[str, Any],
    missed: set[str],
    thresholds: Thresholds,
    facts: RunFacts,
    explained: Collection[str] = (),
) -> Finding | None:
    """Why a simulation that has converged has another distribution than the reference, by the model's own samples.

    missed: criteria. explained: those that are no fault of the model's (data_causes.py), for samples neither.
    """
    own = {"excess_js", "excess_pmf_error", "free_energy_error_kt"} | {
        f"{one.name}_w1_nm" for one in figures["distributions"]
    }
    wrong = [name for name in own if name in missed]
    if not wrong:
        return None
    training, memorised = facts.training, _memorised(facts)
    few = "" if memorised is None else f"; {memorised}"
    if "iid" not in figures["divergences"]:
        return Finding(
            SAMPLES_UNKNOWN,
            f"the simulation's distribution is wrong{few}; whether the model's own samples are, too, is not known",
            "draw samples and evaluate with them: where they are right the energy contradicts the model, where they "
            "are wrong the model has not learned the data",
            next_commands.sample_and_evaluate(facts),
        )
    off = misses(figures, "iid", thresholds, explained)
    if not off:
        return _inconsistent(figures, facts, few)
    named = ", ".join(off)
    if memorised is not None:
        frames = figures["frames"].get("training")
        many = _wanted_frames(frames, facts)
        return Finding(
            TOO_FEW_DATA,
            f"simulation and samples are both wrong ({named}), and {memorised}",
            f"more frames: {many}; until then a smaller network, or forces of the data, if there are any",
            next_commands.train_on_more(facts),
        )
    known = ""
    if training.held_out_loss is not None and training.loss is not None:
        known = f"; losses on training and held-out frames agree ({training.loss:.4f}, {training.held_out_loss:.4f})"
    return Finding(
        UNDERTRAINED,
        f"simulation and samples are both wrong ({named}){known}",
        "train longer; if the losses no longer fall, a wider network (model.width)",
        next_commands.train_longer(facts),
    )


def misses(figures: dict[str, Any], name: str, thresholds: Thresholds, explained: Collection[str] = ()) -> list[str]:
    """Which distributions of a set of frames are farther from the reference than a simulation's may be.

    explained: criteria to leave out.
    """
    found = {}
    excess = figures["divergences"][name].excess_js
    if excess is not None and excess.value > thresholds.excess_js:
        found["excess_js"] = "JS divergence"
    errors = [free_energy_error_kt(plane, name) for plane in figures["planes"]]
    if any(error is not None and error > thresholds.free_energy_error_kt for error in errors):
        found["free_energy_error_kt"] = "free energy"
    for one in figures["distributions"]:
        if one.w1_nm[name] > one.limit_nm(thresholds.excess_js):
            found[f"{one.name}_w1_nm"] = one.label
    return [label for criterion, label in found.items() if criterion not in explained]


def _as_simulated(facts: RunFacts) -> tuple[str, ...]:
    """The temperatures of a calibration of what was simulated: those of an exchange, where there was one."""
    rungs = max((one.rungs for one in facts.simulations), default=1)
    return () if rungs <= facts.training.rungs else (f"calibration.rungs={rungs}",)


def _inconsistent(figures: dict[str, Any], facts: RunFacts, few: str) -> Finding:
    training, shape = facts.training, figures["self_consistency"]
    apart = (
        "" if shape is None or shape.excess_js is None else f" (JS {shape.excess_js.value:.3f} over the floor apart)"
    )
    gap = "" if training.gap_kt is None else f"; energy and log likelihood differ by {training.gap_kt:.1f} kT"
    text = f"the model's samples are right and its simulation is not{apart}{gap}{few}"
    if _shape_is_right(figures):
        text = f"{text}; {ONLY_WEIGHTS}"
    if training.rounds <= FEW_ROUNDS or _as_simulated(facts):
        return Finding(
            INCONSISTENT,
            text,
            "calibrate by rounds of simulation",
            next_commands.train_on(facts, f"calibration.rounds={training.rounds + MORE_ROUNDS}", *_as_simulated(facts)),
        )
    if training.flow_weight == 0.0:
        return Finding(
            INCONSISTENT,
            text,
            "raise loss.flow_weight from 0 to 0.05: the Fokker-Planck equation along the model's own flow",
            next_commands.train_anew(facts, "flow", "loss.flow_weight=0.05"),
        )
    weight = 2.0 * training.flow_weight
    return Finding(
        INCONSISTENT,
        text,
        f"raise loss.flow_weight from {training.flow_weight:g} to {weight:g}, and train longer",
        next_commands.train_anew(facts, "flow", f"loss.flow_weight={weight:g}"),
    )


def _shape_is_right(figures: dict[str, Any]) -> bool:
    """Whether the simulation has the shape of the distribution, but for how much each basin weighs."""
    excess = figures["divergences"]["simulation"].excess_js
    limit = Thresholds().excess_js
    return (
        excess is not None
        and excess.value <= limit
        and all(one.w1_nm["simulation"] <= one.limit_nm(limit) for one in figures["distributions"])
    )


def _memorised(facts: RunFacts) -> str | None:
    """What held-out frames say of the training, where it knows its own frames better."""
    loss, held_out = facts.training.loss, facts.training.held_out_loss
    if loss is None or held_out is None:
        return None
    known_better = 1.0 - loss / held_out
    if known_better <= MEMORISED and not facts.training.stopped_early:
        return None
    early = ", and the training stopped early as it grew" if facts.training.stopped_early else ""
    return (
        f"the loss on training frames is {known_better:.0%} lower than on held-out ones ({loss:.4f}, {held_out:.4f})"
        f"{early}"
    )


def _wanted_frames(frames: int | None, facts: RunFacts) -> str:
    loss, held_out = facts.training.loss, facts.training.held_out_loss
    assert loss is not None and held_out is not None, "what is memorised is known by both losses"
    if frames is None:
        times = max(2.0, frames_that_would_do(1000, loss, held_out) / 1000)
        return f"about {times:.1f} times as many would do, as independent as these"
    many = max(2 * frames, frames_that_would_do(frames, loss, held_out))
    return f"about {many:,} instead of {frames:,} would do, as independent as these"
