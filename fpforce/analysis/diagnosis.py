"""What is wrong with a force field that does not pass, by figures that the report has, and what to do about it.

In: the figures of an assessment, its checks, and the facts of its runs. Out: findings, the likeliest cause first, each
with the command to run next. Nothing is read here.

A cause is looked for in the order in which one hides another. A simulation at another temperature, one that broke, and
one that has not converged say nothing of the model; only of a converged one it is asked what is wrong with the training
frames (data_causes.py), then with the model (model_causes.py). What could not be judged comes last (unjudged.py).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fpforce.analysis import next_commands
from fpforce.analysis.causes import (
    BONDS,
    LEFT_THE_DATA,
    NOT_SAMPLED,
    ONE_BASIN,
    WRONG_TEMPERATURE,
    Finding,
)
from fpforce.analysis.comparison import FEWEST_FRAMES
from fpforce.analysis.convergence import NOT_CONVERGED, NOT_JUDGED, RESOLUTION_KT
from fpforce.analysis.criteria import FAIL, PASS, Check, Thresholds
from fpforce.analysis.data_causes import explained_by_training, is_in_the_training, too_few_frames
from fpforce.analysis.geometry import GeometryDistance
from fpforce.analysis.model_causes import wrong_distribution
from fpforce.analysis.planes import upper_basin
from fpforce.analysis.run_facts import RunFacts
from fpforce.analysis.unjudged import LONGEST, reference_too_short, simulation_too_few_frames, simulation_too_short

WIDENED = 0.05  # of the temperature, from which on widths of bonds and angles tell it
OUTSIDE = 0.01  # of the frames, beyond what independent frames of the reference have
STUCK = 0.5  # difference of populations between starts, from which on more of the same does not help
LEFT_OVER = 0.01  # of the difference between starts, when it no longer matters


def diagnose(
    figures: dict[str, Any],
    checks: Sequence[Check],
    status: str,
    thresholds: Thresholds,
    facts: RunFacts,
    noise_nm: float = 0.0,
) -> tuple[Finding, ...]:
    """Findings from the fields of an Assessment (as a dict, before it is made); none for one that passes.

    noise_nm: as of the settings, which the bonds of the reference have, too.
    """
    if status == PASS:
        return ()
    stated, settled = _stated_temperature(facts), figures["convergence_verdict"] != NOT_CONVERGED
    missed = {check.name for check in checks if check.passed is False}
    # What may be chance has no cause, but training frames that do not know a free energy do not in either case.
    over = missed | {check.name for check in checks if check.unclear and check.name == "free_energy_error_kt"}
    explained = explained_by_training(figures, over if settled else over & {"bond_w1_nm"}, thresholds)
    findings = [stated or _felt_temperature(figures, facts, noise_nm), _broken(figures, facts)]
    findings += [_not_sampled(figures, facts), _one_basin(figures, facts)]
    if stated is None:
        findings.append(too_few_frames(figures, explained, facts))
        findings.append(_bonds(figures, missed - explained.keys(), thresholds, facts))
    if stated is None and settled:
        findings.append(wrong_distribution(figures, missed - explained.keys(), thresholds, facts, explained))
    findings.append(_beside_the_data(figures, missed, facts))
    counted = checks if stated is None and settled else ()  # errors of one that says nothing matter to nothing
    if status != FAIL:  # a longer simulation of one that fails in any case would not make it pass
        if counted:
            findings.append(simulation_too_few_frames(figures, facts))
        findings.append(simulation_too_short(counted, facts))
    findings.append(reference_too_short(figures, counted, facts))
    return tuple(finding for finding in findings if finding is not None)


def _stated_temperature(facts: RunFacts) -> Finding | None:
    """A wrong temperature by what the simulations say of themselves."""
    wanted = facts.temperature_k
    simulated = sorted({one.temperature_k for one in facts.simulations if one.temperature_k is not None})
    if wanted is None or all(abs(one - wanted) <= 1e-3 for one in simulated):
        return None
    at = " and ".join(f"{one:g}" for one in simulated)
    return Finding(
        WRONG_TEMPERATURE,
        f"the simulation ran at {at} K, and the force field is a free energy at {wanted:g} K alone",
        "simulate at the model's own temperature",
        next_commands.simulate_at_the_models_temperature(facts),
    )


def _felt_temperature(figures: dict[str, Any], facts: RunFacts, noise_nm: float) -> Finding | None:
    """A wrong temperature by the widths of bonds and angles, which grow with it."""
    ratio, wanted = apparent_temperature_ratio(figures["bonds"], figures["angles"], noise_nm), facts.temperature_k
    if ratio is None:
        return None
    kelvin = "" if wanted is None else f" ({ratio * wanted:.0f} K against {wanted:g} K)"
    return Finding(
        WRONG_TEMPERATURE,
        f"bonds and angles vary {ratio:.2f} times as much as in the reference, all alike, as at {ratio:.2f} times its "
        f"temperature{kelvin}",
        "see that reference, training data and simulation are of one temperature, and that temperature_k of the recipe "
        "is this one; then simulate at the model's own",
        next_commands.simulate_at_the_models_temperature(facts),
    )


def apparent_temperature_ratio(
    bonds: Sequence[GeometryDistance], angles: Sequence[GeometryDistance], noise_nm: float = 0.0
) -> float | None:
    """Temperature of the simulation over that of the reference; None where widths are alike, or differ otherwise.

    Of a harmonic degree of freedom the variance is proportional to the temperature. So all bonds must have changed
    alike, and the angles about as much: a time step that is too long widens the stiffest bonds alone. Noise of noise_nm
    (of a bead, along an axis) does not grow with a temperature: it is taken off, and bonds that vary by less than it,
    as constrained ones, say nothing.
    """
    noise = 2.0 * noise_nm**2  # of a distance of two beads
    bonds = [bond for bond in bonds if np.var(bond.reference) >= 2.0 * noise]
    if not bonds:
        return None
    changes = np.array([_log_variance_ratio(bond, noise) for bond in bonds])
    mean, frames = float(changes.mean()), len(bonds[0].simulation)
    left = float(np.mean([1.0 - noise / max(np.var(bond.reference), 1e-300) for bond in bonds]))
    # Four standard errors of a logarithm of a ratio of two variances of so many frames, mean over the bonds.
    if abs(mean) < max(math.log1p(WIDENED), 4.0 * math.sqrt(4.0 / frames / len(bonds)) / left):
        return None
    if changes.std() > 0.5 * abs(mean):
        return None
    if angles:
        bent = float(np.mean([_log_variance_ratio(angle) for angle in angles]))
        if not 0.4 <= bent / mean <= 2.5:
            return None
    return math.exp(mean)


def _broken(figures: dict[str, Any], facts: RunFacts) -> Finding | None:
    failed, lost = figures["failed_replicas"], figures["non_finite_frames"]
    if not (failed or lost):
        return None
    return Finding(
        LEFT_THE_DATA,
        f"{failed} of {figures['replicas']} replicas broke, and {lost} frames are not finite",
        "a shorter time step; if they still break, train longer, with model.wall=true",
        next_commands.simulate_with_shorter_step(facts),
    )


def _beside_the_data(figures: dict[str, Any], missed: set[str], facts: RunFacts) -> Finding | None:
    excursion, wall, support = figures["excursion"], figures["wall"], figures["support"]
    outside = 0.0 if excursion is None else excursion.outside - 2.0 * excursion.floor
    pushed = 0.0 if wall is None else wall.more_than_a_kt
    expected = 0.0 if wall is None else figures["wall_reference"].more_than_a_kt
    unseen = support is not None and "outside_support" in missed
    if max(outside, pushed - 2.0 * expected) <= OUTSIDE and not unseen:
        return None
    parts, by_distance = [], True
    if unseen:
        reason = next(iter(support.reasons))
        by_distance = reason == "pair distances"
        parts.append(
            f"{support.outside:.1%} of the simulated frames are outside of what the model has seen "
            f"({support.floor:.1%} of the reference), most by {reason}"
        )
    if excursion is not None and outside > OUTSIDE:
        parts.append(
            f"{excursion.outside:.1%} of the simulated frames have distances that the reference never has "
            f"({excursion.floor:.1%} of its own other frames)"
        )
    if wall is not None:
        parts.append(f"the wall pushes by more than 1 kT in {pushed:.1%} ({expected:.1%} of the reference)")
    if wall is None and by_distance:
        remedy = "a wall below the smallest distances of the data, and more training"
        command = next_commands.train_anew(facts, "wall", "model.wall=true")
    elif facts.training.flow_weight == 0.0:
        remedy = "the energy is wrong beside the data: the Fokker-Planck equation along the flow, or more training"
        command = next_commands.train_anew(facts, "flow", "loss.flow_weight=0.05")
    else:
        remedy = "the energy is wrong beside the data: train longer"
        command = next_commands.train_longer(facts)
    return Finding(LEFT_THE_DATA, "; ".join(parts), remedy, command)


def _not_sampled(figures: dict[str, Any], facts: RunFacts) -> Finding | None:
    simulated, compared = figures["frames"]["simulation"], figures["frames_compared"]
    if figures["convergence_verdict"] != NOT_CONVERGED:
        if compared >= FEWEST_FRAMES or simulated > compared or simulated >= FEWEST_FRAMES:
            return None
        return Finding(
            NOT_SAMPLED,
            f"only {simulated:,} simulated frames count, and a comparison takes {FEWEST_FRAMES:,}",
            "simulate longer, then evaluate again",
            next_commands.simulate_longer(facts, max(2.0, math.ceil(FEWEST_FRAMES / simulated))),
        )
    longest = 2.0
    for plane in figures["planes"]:
        populations = [one.population.value for one in plane.convergence.simulations]
        difference = max(populations) - min(populations)
        visited = {value for value in populations if value in (0.0, 1.0)}
        if difference > STUCK or (visited and difference > 0.0):
            return Finding(
                NOT_SAMPLED,
                f"{figures['convergence_reason']}: replicas hardly leave the basin that they start in",
                f"exchange temperatures, which cross the barrier ({next_commands.LADDER} rungs or more), then evaluate "
                "the new simulations",
                next_commands.simulate_with_exchange(facts),
            )
        longest = max(longest, _missing_length(plane, difference))
    return Finding(
        NOT_SAMPLED,
        figures["convergence_reason"],
        f"simulate about {longest:.0f} times as long, then evaluate again; or exchange temperatures (--rungs "
        f"{next_commands.LADDER})",
        next_commands.simulate_longer(facts, longest),
    )


def _missing_length(plane: Any, difference: float) -> float:
    """How many times as long would do, by the error of the free energy and by the decay of what the starts left.

    An error falls with the root of the time. What is left of the start decays exponentially: of a difference of all
    `difference` is left in the middle of the counted time, and LEFT_OVER is wanted.
    """
    error = plane.convergence.free_energy_kt.standard_error
    by_error = (error / RESOLUTION_KT) ** 2 if math.isfinite(error) else 1.0
    by_memory = math.log(LEFT_OVER) / math.log(difference) if LEFT_OVER < difference < 1.0 else 1.0
    return float(np.clip(math.ceil(max(by_error, by_memory)), 2.0, LONGEST))


def _one_basin(figures: dict[str, Any], facts: RunFacts) -> Finding | None:
    if figures["convergence_verdict"] != NOT_JUDGED:
        return None
    for plane in figures["planes"]:
        starts = [one.starts_in_upper_basin for one in plane.convergence.simulations]
        if plane.convergence.verdict != NOT_JUDGED or len(set(starts)) > 1:
            continue
        basin = plane.plane.basin_names[int(bool(starts[0]))]
        return Finding(
            ONE_BASIN,
            f"every simulation started in one basin ({basin}), so that one that never leaves it looks converged",
            "simulate from a frame of another basin, too, and evaluate the simulations together",
            next_commands.simulate_from(facts, _other_start(plane, bool(starts[0]), facts)),
        )
    return None


def _other_start(plane: Any, started_upper: bool, facts: RunFacts) -> str:
    """FILE:index of the reference's frame in the middle of the other basin; of the farthest frame without one."""
    points = plane.reference_points
    other = np.flatnonzero(upper_basin(plane.plane, points.coordinates) != started_upper)
    axis = points.coordinates[:, plane.plane.split_axis]
    if len(other):
        frame = int(other[np.argmin(np.abs(axis[other] - np.median(axis[other])))])
    else:
        frame = int(np.argmin(axis) if started_upper else np.argmax(axis))
    return f"{facts.reference[min(int(points.source[frame]), len(facts.reference) - 1)]}:{points.time[frame]}"


def _bonds(figures: dict[str, Any], missed: set[str], thresholds: Thresholds, facts: RunFacts) -> Finding | None:
    if "bond_w1_nm" not in missed:
        return None
    worst = thresholds.farthest_off([bond for bond in figures["bonds"] if not is_in_the_training(bond, thresholds)])
    widened = math.exp(0.5 * _log_variance_ratio(worst))
    step = facts.simulations[0].timestep_fs
    if widened > 1.0 + WIDENED:
        what, remedy, command = (
            f"{widened:.2f} times as wide as in the reference",
            f"a shorter time step than {step:g} fs; if that does not help, train longer",
            next_commands.simulate_with_shorter_step(facts),
        )
    else:
        narrower = f"{widened:.2f} times as wide as in the reference"
        what, remedy, command = (
            f"shifted by {1e3 * (worst.simulation.mean() - worst.reference.mean()):+.2f} pm, "
            f"{narrower if widened < 1.0 - WIDENED else 'of the right width'}",
            "train longer: the prior is right for bonds, and the network not yet",
            next_commands.train_longer(facts),
        )
    return Finding(BONDS, f"bond {worst.name} is {what} (W1 {1e3 * worst.w1:.2f} pm)", remedy, command)


def _log_variance_ratio(distance: GeometryDistance, noise: float = 0.0) -> float:
    """Of the variances less that of the noise."""
    reference, simulation = (float(np.var(one)) - noise for one in (distance.reference, distance.simulation))
    return math.log(max(simulation, 1e-300) / max(reference, 1e-300))
