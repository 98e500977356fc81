"""The criteria that a simulation must meet, and the verdict.

A simulation that has not converged is never passed, whatever its figures, nor one whose convergence cannot be judged.
"""

from dataclasses import dataclass

import numpy as np

from fpforce.analysis.convergence import CONVERGED

PASS, FAIL = "pass", "fail"


@dataclass(frozen=True)
class Thresholds:
    """Largest values that pass: excesses over the finite-sample floor, and the error of the free-energy difference
    between the basins beyond the reference's own standard error, in kT."""

    excess_js: float = 0.010
    excess_pmf_error: float = 0.10
    free_energy_error_kt: float = 0.5
    bond_w1_nm: float = 2e-4


@dataclass(frozen=True)
class Check:
    """One criterion: a number that must not exceed its threshold (a bond length's must be less), or a word to match."""

    name: str
    label: str
    value: float | str
    threshold: float | str
    passed: bool


def checks_of(figures, thresholds):
    """The checks, from the fields of an Assessment (as a dict, before it is made)."""
    divergences = figures["divergences"]["simulation"]
    limits = (
        ("excess_js", "JS divergence, excess over the floor", divergences.excess_js.value),
        ("excess_pmf_error", "PMF error, excess over the floor, (kT)²", divergences.excess_pmf_error.value),
        ("free_energy_error_kt", "Free-energy difference of the basins, error beyond the reference's own, kT",
         max(free_energy_error_kt(plane) for plane in figures["planes"])),
    )  # fmt: skip
    checks = [
        Check(name, label, value, getattr(thresholds, name), value <= getattr(thresholds, name))
        for name, label, value in limits
    ]
    worst = max((bond.w1 for bond in figures["bonds"]), default=0.0)
    label = "Largest W1 distance of a bond length, nm"
    checks.append(Check("bond_w1_nm", label, worst, thresholds.bond_w1_nm, worst < thresholds.bond_w1_nm))
    for name, label in (("non_finite_frames", "Frames that are not finite"), ("failed_replicas", "Failed replicas")):
        checks.append(Check(name, label, figures[name], 0, figures[name] == 0))
    verdict = figures["convergence_verdict"]
    checks.append(Check("converged", "Agreement of the start basins", verdict, CONVERGED, verdict == CONVERGED))
    return tuple(checks)


def free_energy_error_kt(plane):
    """|dF(simulation) - dF(reference)| minus the reference's standard error, at least 0; infinite for a lost basin.

    A basin that the reference itself never visits (both infinite) says nothing and counts as 0.
    """
    reference, simulation = plane.free_energies_kt["reference"], plane.free_energies_kt["simulation"]
    if reference.value == simulation.value:
        return 0.0
    if not np.isfinite(reference.value) or not np.isfinite(simulation.value):
        return float("inf")
    return max(0.0, abs(simulation.value - reference.value) - reference.standard_error)


def status_of(convergence_verdict, checks):
    """`pass`, `fail`, or, before anything else, `not converged` or `not judged`."""
    if convergence_verdict != CONVERGED:
        return convergence_verdict
    return PASS if all(check.passed for check in checks) else FAIL
