"""The criteria that a simulation must meet, and the verdict.

A simulation that has not converged is never passed, whatever its figures, nor one whose convergence cannot be judged,
nor one of which too little was measured: distributions of few frames, or whose floor is that of sets without overlap,
agree with anything. One that does not meet a criterion fails, whether or not the rest can be judged.

An excess, a distance or a free-energy difference is known to its standard error only. It is met up to what is allowed,
whatever its error; it is missed from CLEAR_ERRORS standard errors beyond that on; between the two it is not judged,
since another simulation or another reference of the same length could find it met. So the error never lets anything
pass, and a reference or simulation too short to tell is said to be that. Without a known error nothing can be told
beyond what is allowed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fpforce.analysis.convergence import AGREEMENT_ERRORS, CONVERGED, NOT_JUDGED
from fpforce.analysis.geometry import GeometryDistance

PASS, FAIL = "pass", "fail"
CLEAR_ERRORS = AGREEMENT_ERRORS  # two starts that differ by so many standard errors disagree, too
RULE_OF_THREE = 3.0  # frames expected of what 95 % of sets then have at least one of


@dataclass(frozen=True)
class Thresholds:
    """Largest values that pass: excesses over the finite-sample floor, and the error of the free-energy difference
    between the basins beyond the reference's own standard error, in kT. What distances and radii may be off follows
    from `excess_js` (fpforce.analysis.distributions)."""

    excess_js: float = 0.010
    excess_pmf_error: float = 0.10
    free_energy_error_kt: float = 0.5
    bond_w1_nm: float = 2e-4
    bond_width: float = 0.05

    def of_bond(self, bond: GeometryDistance) -> float:
        """The W1 distance in nm that a bond may not reach: its floor and bond_w1_nm, or where that is more bond_width
        of its standard deviation in the reference, so that a soft bond is asked for as much as a stiff one."""
        return bond.w1_floor + max(self.bond_w1_nm, self.bond_width * float(np.std(bond.reference)))

    def farthest_off(self, bonds: Sequence[GeometryDistance]) -> GeometryDistance:
        """The bond that is judged, and named: whose W1 distance is the largest part of what it may be, of those that
        chance could not add so much to if there are any.
        """
        return max(bonds, key=lambda bond: (self.clearly_misses(bond), bond.w1 / self.of_bond(bond)))

    def clearly_misses(self, bond: GeometryDistance) -> bool:
        """Whether a bond is off by more than is allowed and chance could add."""
        limit, error = self.of_bond(bond), bond.standard_error
        return bond.w1 >= limit and (error is None or bond.w1 - CLEAR_ERRORS * error > limit)

    @property
    def outside_support(self) -> float:
        """Part of the frames that may lie where no data are, beyond the reference's own part: such a part p adds
        p ln(2) / 2 to the JS divergence, so that it is what `excess_js` allows (docs/method.md)."""
        return 2.0 * self.excess_js / math.log(2.0)


@dataclass(frozen=True)
class Check:
    """One criterion: a number that must not exceed its threshold (a bond length's must be less), or a word to match.

    `passed` None: not judged, since too little was measured, or, with `applies` False, there is nothing to measure.
    `unclear`: not judged, since it is more than is allowed by less than chance could add. `standard_error` of the
    value; `own_error`: the part of it that the simulation has, the rest is the reference's. None where there are none,
    nan where they are not known.
    """

    name: str
    label: str
    value: float | str | None
    threshold: float | str
    passed: bool | None
    applies: bool = True
    standard_error: float | None = None
    own_error: float | None = None
    unclear: bool = False

    @property
    def outcome(self) -> str:
        """`met`, `not met` or `not judged`."""
        return "not judged" if self.passed is None else "met" if self.passed else "not met"


def checks_of(figures: dict[str, Any], thresholds: Thresholds) -> tuple[Check, ...]:
    """The checks, from the fields of an Assessment (as a dict, before it is made)."""
    divergences = figures["divergences"]["simulation"]
    measured = divergences.no_excess is None
    checks = []
    for name, label in (
        ("excess_js", "JS divergence, excess over the floor"),
        ("excess_pmf_error", "PMF error, excess over the floor, (kT)²"),
    ):
        excess, allowed = getattr(divergences, name), getattr(thresholds, name)
        if not measured:
            checks.append(Check(name, label, None, allowed, None))
            continue
        error = excess.standard_error
        passed, unclear = _within(excess.value, allowed, clear=excess.value - CLEAR_ERRORS * error > allowed)
        if passed and not figures["resolution"].can_judge:  # a wrong model's would be, too
            passed = None
        own = divergences.own_errors.get(name)
        checks.append(
            Check(name, label, excess.value, allowed, passed, standard_error=error, own_error=own, unclear=unclear)
        )
    checks.append(_free_energy_check(figures, thresholds.free_energy_error_kt, measured))
    for one in figures["distributions"]:
        value, allowed = one.w1_nm["simulation"], one.limit_nm(thresholds.excess_js)
        label, errors = f"W1 distance of the {one.label}, nm", (one.standard_error_nm, one.own_error_nm)
        checks.append(_distance_check(f"{one.name}_w1_nm", label, value, allowed, value <= allowed, errors, measured))
    if figures["bonds"]:
        worst = thresholds.farthest_off(figures["bonds"])
        label, allowed = "W1 distance of the bond length that is farthest off, nm", thresholds.of_bond(worst)
        errors, met = (worst.standard_error, worst.own_error), worst.w1 < allowed
        checks.append(_distance_check("bond_w1_nm", label, worst.w1, allowed, met, errors, measured))
    support, allowed = figures["support"], thresholds.outside_support
    label = "Frames outside of what the model has seen, part beyond the reference's own"
    if support is not None:
        checks.append(Check("outside_support", label, support.excess, allowed, support.excess <= allowed))
    for name, label in (("non_finite_frames", "Frames that are not finite"), ("failed_replicas", "Failed replicas")):
        checks.append(Check(name, label, figures[name], 0, figures[name] == 0))
    verdict = figures["convergence_verdict"]
    agreed = None if verdict == NOT_JUDGED else verdict == CONVERGED
    checks.append(Check("converged", "Agreement of the start basins", verdict, CONVERGED, agreed))
    return tuple(checks)


def _within(value: float, allowed: float, *, clear: bool) -> tuple[bool | None, bool]:
    """Whether a value is allowed, None where it is not by less than chance could add; and whether it is that."""
    if value <= allowed:
        return True, False
    return (False, False) if clear else (None, True)


def _distance_check(
    name: str,
    label: str,
    value: float,
    allowed: float,
    met: bool,
    errors: tuple[float | None, float | None],
    measured: bool,
) -> Check:
    """Of a distance and what is allowed, its floor among that; `errors` of their difference."""
    error, own = errors
    unclear = measured and not met and error is not None and not value - CLEAR_ERRORS * error > allowed
    passed = None if unclear or not measured else met
    return Check(name, label, value, allowed, passed, standard_error=error, own_error=own, unclear=unclear)


def _free_energy_check(figures: dict[str, Any], allowed: float, measured: bool) -> Check:
    """Of the plane that decides: one that is clearly missed, else one that is not judged, else the farthest off."""
    name, label = "free_energy_error_kt", "Free-energy difference of the basins, error beyond the reference's own, kT"
    found = []
    for plane in figures["planes"]:
        error = free_energy_error_kt(plane)
        if error is None:
            continue
        passed, unclear = _within(error, allowed, clear=clearly_off(plane, allowed, figures["frames"]["reference"]))
        reference, simulation = (plane.free_energies_kt[key].standard_error for key in ("reference", "simulation"))
        check = Check(
            name,
            label,
            error,
            allowed,
            passed,
            standard_error=None if math.isinf(error) else math.hypot(reference, simulation),
            own_error=None if math.isinf(error) else simulation,
            unclear=unclear,
        )
        found.append((passed is False, passed is None, error, check))
    if not found:
        return Check(name, label, None, allowed, None, applies=False)
    check = max(found, key=lambda one: one[:3])[3]
    return check if measured else replace(check, passed=None, unclear=False)


def clearly_off(plane: Any, allowed_kt: float, reference_frames: int) -> bool:
    """Whether the free-energy difference of a simulation is off by more than is allowed and chance could add.

    Chance could add CLEAR_ERRORS standard errors of the difference of simulation and reference. A basin that is lost is
    off, and so is one that the reference never visits, unless so many independent frames as it has would be expected to
    hold fewer than three of it (rule of three, at 95 %).
    """
    reference, simulation = plane.free_energies_kt["reference"], plane.free_energies_kt["simulation"]
    if not math.isfinite(simulation.value):
        return True
    if not math.isfinite(reference.value):
        rare = plane.populations["simulation"].value
        rare = rare if plane.populations["reference"].value == 0.0 else 1.0 - rare
        return bool(rare * reference_frames >= RULE_OF_THREE)
    by_chance = CLEAR_ERRORS * math.hypot(reference.standard_error, simulation.standard_error)
    return abs(simulation.value - reference.value) - by_chance > allowed_kt


def free_energy_error_kt(plane: Any, name: str = "simulation") -> float | None:
    """|dF - dF(reference)| of a set minus the reference's standard error, at least 0; infinite for a lost basin.

    None where both visit the same one basin only (both infinite), so that there is no difference to compare.
    """
    reference, simulation = plane.free_energies_kt["reference"], plane.free_energies_kt[name]
    if reference.value == simulation.value and not np.isfinite(reference.value):
        return None
    if not np.isfinite(reference.value) or not np.isfinite(simulation.value):
        return float("inf")
    return max(0.0, abs(simulation.value - reference.value) - reference.standard_error)


def status_of(convergence_verdict: str, checks: Sequence[Check]) -> str:
    """`not converged` before anything else; `fail` where a criterion is not met, whatever else could not be judged;
    `not judged` where one could not be, for want of frames or within its error; else `pass`.
    """
    if convergence_verdict not in (CONVERGED, NOT_JUDGED):
        return convergence_verdict
    if any(check.passed is False for check in checks):
        return FAIL
    unjudged = any(check.passed is None and check.applies for check in checks)
    return NOT_JUDGED if unjudged or convergence_verdict == NOT_JUDGED else PASS
