"""Which missed criteria the training frames themselves explain: a model knows what is in them and no more.

In: figures of an assessment, and which criteria are more than is allowed. Out: for each of those that the training
frames explain how they do, and one finding with how many frames would do.

A criterion is explained where the simulation would meet it with the training frames as its reference, and these do not
meet it themselves, or do not know the free-energy difference to what is allowed (CLEAR_ERRORS standard errors are
more), or never visit a basin of the reference. No longer training and no other energy helps there. A simulation that
differs from the training frames, too, is the model's fault. Where the floor is the distance of the training frames from
the reference, distances have that taken off already, and these explain a free-energy difference alone.

Training frames do not meet a distance where they are off by more than is allowed and than the reference's own error
could add (CLEAR_ERRORS). That of the training frames does not count in this: the model has learned these, however
little they say of others. It tells what to do. What they have by chance goes away with more of them; what they have by
more than their error, too, does not. Of bonds those count that the simulation clearly misses.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fpforce.analysis import next_commands
from fpforce.analysis.causes import TOO_FEW_DATA, Finding
from fpforce.analysis.criteria import CLEAR_ERRORS, RULE_OF_THREE, Thresholds, free_energy_error_kt
from fpforce.analysis.geometry import GeometryDistance
from fpforce.analysis.run_facts import RunFacts
from fpforce.analysis.w1_errors import DistanceErrors

SEEN_OFTEN_ENOUGH = 10.0  # independent visits, by which a population is known to a third


@dataclass(frozen=True)
class Explanation:
    """What the training frames have instead, and how many times as many would do; 1 or less where no number would, as
    of what they have by more than chance.
    """

    text: str
    factor: float


def explained_by_training(
    figures: dict[str, Any], over: Collection[str], thresholds: Thresholds
) -> dict[str, Explanation]:
    """Names of criteria among `over` -> Explanation, of those that the training frames explain; none without any."""
    if "training" not in figures["frames"]:
        return {}
    found: dict[str, Explanation | None] = {}
    if "free_energy_error_kt" in over:
        found["free_energy_error_kt"] = _free_energy(figures, thresholds.free_energy_error_kt)
    for name, label in (("excess_js", "a JS divergence"), ("excess_pmf_error", "a PMF error")):
        if name in over:
            found[name] = _excess(figures, name, label, getattr(thresholds, name))
    for one in figures["distributions"]:
        name, limit = f"{one.name}_w1_nm", one.limit_nm(thresholds.excess_js)
        here, apart, errors = one.w1_nm.get("training"), one.from_training_nm, one.training_errors_nm
        if name in over and here is not None and apart is not None and _off(here, limit, errors) and limit >= apart:
            error = "" if errors is None else f" ± {errors.total:.4f}"
            text = (
                f"differ from the reference by {here:.4f}{error} nm in the {one.label}, where {limit:.4f} nm is allowed"
            )
            found[name] = Explanation(text, _as_many(here, limit, errors))
    if "bond_w1_nm" in over:
        found["bond_w1_nm"] = _bonds(figures, thresholds)
    return {name: one for name, one in found.items() if one is not None}


def too_few_frames(figures: dict[str, Any], explained: dict[str, Explanation], facts: RunFacts) -> Finding | None:
    """One finding for all that the training frames explain; None for nothing."""
    if not explained:
        return None
    frames, factors = figures["frames"]["training"], {name: one.factor for name, one in explained.items()}
    # What differs by more than chance would with more frames, too; unless these do not even know a free energy.
    by_chance = factors.get("free_energy_error_kt", min(factors.values())) > 1.0
    factor = max(factors.values()) if by_chance else 1.0
    remedy = "see that training frames and reference are of one ensemble: they differ by more than their errors"
    if factor > 1.0:
        wanted = _rounded(max(2.0, factor) * frames)
        remedy = (
            f"more training frames: about {wanted:,} instead of {frames:,} would do, as independent as these; "
            "nothing else that is trained on these helps"
        )
    return Finding(
        TOO_FEW_DATA,
        f"the training frames {'; they '.join(one.text for one in explained.values())}",
        remedy,
        next_commands.train_on_more(facts),
        needs_data=True,
    )


def is_in_the_training(bond: GeometryDistance, thresholds: Thresholds) -> bool:
    """Whether a bond is as far from the reference in the training frames, and the simulation has theirs."""
    limit = thresholds.of_bond(bond)
    return (
        bond.w1_training is not None
        and bond.w1_from_training is not None
        and _off(bond.w1_training, limit, bond.training_errors)
        and limit > bond.w1_from_training
    )


def _off(distance: float, limit: float, errors: DistanceErrors | None) -> bool:
    """Whether training frames are farther from the reference than allowed, by more than its own error could add."""
    return distance - (0.0 if errors is None else CLEAR_ERRORS * errors.others) > limit


def _as_many(distance: float, limit: float, errors: DistanceErrors | None) -> float:
    """How many times as many frames bring a distance that they have by chance down to what is allowed; else 1."""
    by_chance = errors is None or not distance - CLEAR_ERRORS * errors.total > limit
    return (distance / limit) ** 2 if by_chance else 1.0


def _bonds(figures: dict[str, Any], thresholds: Thresholds) -> Explanation | None:
    off = [bond for bond in figures["bonds"] if thresholds.clearly_misses(bond)]
    if not all(is_in_the_training(bond, thresholds) for bond in off):
        return None
    worst = thresholds.farthest_off(off)
    limit, in_training = thresholds.of_bond(worst), worst.w1_training
    assert in_training is not None
    text = (
        f"have bond {worst.name} as far from the reference as the simulation has it (W1 {1e3 * in_training:.2f} "
        f"and {1e3 * worst.w1:.2f} pm)"
    )
    return Explanation(text, _as_many(in_training, limit, worst.training_errors))


def _excess(figures: dict[str, Any], name: str, label: str, allowed: float) -> Explanation | None:
    own, apart = getattr(figures["divergences"]["training"], name), figures["excess_from_training"].get(name)
    if own is None or apart is None or not own.value > allowed >= apart:
        return None
    return Explanation(
        f"have {label} from the reference that is {own.value:.3f} ± {own.standard_error:.3f} over the floor, where "
        f"{allowed:g} is allowed",
        1.0 if own.value - CLEAR_ERRORS * own.standard_error > allowed else own.value / allowed,
    )


def _free_energy(figures: dict[str, Any], allowed_kt: float) -> Explanation | None:
    """Of all planes that are more off than is allowed; None unless each is explained."""
    explanations = []
    for plane in figures["planes"]:
        error = free_energy_error_kt(plane)
        if error is None or error <= allowed_kt:
            continue
        never = plane.populations["training"].value in (0.0, 1.0)
        one = _never_visited(figures, plane) if never else _known_badly(plane, allowed_kt)
        if one is None:
            return None
        explanations.append(one)
    if not explanations:
        return None
    return Explanation(
        "; they ".join(one.text for one in explanations), max(explanation.factor for explanation in explanations)
    )


def _never_visited(figures: dict[str, Any], plane: Any) -> Explanation | None:
    """Where training frames lack a basin that the reference has, and the simulation visits it no more often than that.

    It may visit it so often that the training frames would be expected to hold fewer than three independent ones.
    """
    lacks_upper = plane.populations["training"].value == 0.0
    rare = {
        name: plane.populations[name].value if lacks_upper else 1.0 - plane.populations[name].value
        for name in ("reference", "simulation")
    }
    if not 0.0 < rare["reference"] < 1.0:
        return None
    of_reference, of_training = figures["frames"]["reference"], figures["frames"]["training"]
    independent = plane.effective_frames["reference"]["basin"]
    each = of_reference / independent if independent > 0.0 else 1.0  # frames for one independent of the others
    if rare["simulation"] * of_training / each >= RULE_OF_THREE:
        return None
    text = (
        f"never visit the basin {plane.plane.basin_names[int(lacks_upper)]} of {plane.plane.name}, which holds "
        f"{_percent(plane, 'reference', lacks_upper)} of the reference and "
        f"{_percent(plane, 'simulation', lacks_upper)} of the simulation"
    )
    return Explanation(text, SEEN_OFTEN_ENOUGH * each / rare["reference"] / of_training)


def _known_badly(plane: Any, allowed_kt: float) -> Explanation | None:
    """Where training frames do not know the difference to what is allowed, or have another one, and the simulation has
    theirs.
    """
    training, reference = plane.free_energies_kt["training"], plane.free_energies_kt["reference"]
    simulation = plane.free_energies_kt["simulation"]
    if not (math.isfinite(simulation.value) and math.isfinite(reference.value)):
        return None
    if abs(simulation.value - training.value) - training.standard_error > allowed_kt:
        return None
    own = free_energy_error_kt(plane, "training")
    factor = (CLEAR_ERRORS * training.standard_error / allowed_kt) ** 2
    if factor <= 1.0 and (own is None or own <= allowed_kt):
        return None
    known = f"know the free-energy difference of the basins of {plane.plane.name} to {training.standard_error:.2f} kT"
    text = (
        f"{known}{' only' if factor > 1.0 else ''}: {training.value:.2f} kT, against {reference.value:.2f} ± "
        f"{reference.standard_error:.2f} kT in the reference and {simulation.value:.2f} ± "
        f"{simulation.standard_error:.2f} kT in the simulation ({plane.plane.basin_names[1]}: "
        f"{_percent(plane, 'training')} of them, {_percent(plane, 'reference')} and {_percent(plane, 'simulation')})"
    )
    return Explanation(text, factor)


def _rounded(frames: float) -> int:
    """Up to two digits: more are not known."""
    digit = 10 ** max(0, math.floor(math.log10(frames)) - 1)
    return math.ceil(frames / digit) * digit


def _percent(plane: Any, name: str, upper: bool = True) -> str:
    population = plane.populations[name]
    value = population.value if upper else 1.0 - population.value
    return f"{100.0 * value:.2f} ± {100.0 * population.standard_error:.2f}%"
