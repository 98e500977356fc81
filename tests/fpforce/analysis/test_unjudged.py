"""What is more than is allowed by less than chance could add is not judged, and what is missing for it is named."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from fpforce.analysis import causes
from fpforce.analysis.comparison import Divergences, Estimate, Floor
from fpforce.analysis.criteria import Check, Thresholds, checks_of
from fpforce.analysis.geometry import GeometryDistance
from fpforce.analysis.resolution import Resolution
from fpforce.analysis.run_facts import RunFacts, SimulationFacts
from fpforce.analysis.unjudged import reference_too_short, simulation_too_few_frames, simulation_too_short

LOST = (math.inf, math.nan)  # of a basin that is never visited, in kT


def population(free_energy_kt):
    return Estimate(1.0 / (1.0 + math.exp(free_energy_kt)), 0.0)


def plane(reference, simulation):
    """Free-energy differences (value, standard error) in kT."""
    both = {"reference": Estimate(*reference), "simulation": Estimate(*simulation)}
    populations = {name: population(one.value) for name, one in both.items()}
    return SimpleNamespace(free_energies_kt=both, populations=populations)


def figures(pmf=(0.0, 0.0), own=0.0, planes=(), reference_frames=1000):
    at = Estimate(0.0, 0.0)
    return {
        "divergences": {
            "simulation": Divergences(
                1000, at, at, at, at, at, Estimate(*pmf), own_errors={"excess_js": 0.0, "excess_pmf_error": own}
            )
        },
        "resolution": Resolution(64, 0.01, 0.01),
        "floor": Floor("trajectories", 1000, ""),
        "planes": planes,
        "distributions": (),
        "bonds": (),
        "support": None,
        "non_finite_frames": 0,
        "failed_replicas": 0,
        "convergence_verdict": "converged",
        "frames_compared": 1000,
        "frames": {"reference": reference_frames, "simulation": 1000},
    }


def check(name, **given):
    return next(one for one in checks_of(figures(**given), Thresholds()) if one.name == name)


@pytest.mark.parametrize(
    ("reference", "simulation", "passed"),
    [
        ((4.18, 0.37), (4.5, 0.09), True),
        ((4.18, 0.37), (3.14, 0.09), None),  # 1.04 off, known to 0.38
        ((3.81, 0.22), (5.09, 0.93), None),
        ((3.81, 0.22), (3.0, 5.0), None),
        ((3.81, 0.22), (4.4, 5.0), True),  # an error lets nothing pass, and takes no pass away
        ((3.81, 0.22), (6.0, 0.2), False),
        ((3.81, 0.22), (6.0, math.nan), None),  # of a single replica
        ((3.81, 0.22), (4.2, math.nan), True),
        ((3.81, 0.22), LOST, False),
        (LOST, (8.0, 0.2), None),  # 0.3 of 1,000 frames would be there
        (LOST, (3.0, 0.2), False),  # 47 would
    ],
)
def test_a_free_energy_is_judged_by_what_is_known_of_it(reference, simulation, passed):
    found = check("free_energy_error_kt", planes=[plane(reference, simulation)])
    assert found.passed is passed and found.unclear is (passed is None) and found.applies
    if math.isfinite(found.value):
        assert found.standard_error == pytest.approx(math.hypot(reference[1], simulation[1]), nan_ok=True)


def test_a_plane_that_is_clearly_off_decides_before_one_that_may_be():
    planes = [plane((3.81, 0.22), (6.0, 2.0)), plane((3.81, 0.02), (4.6, 0.02)), plane((1.0, 0.1), (1.0, 0.1))]
    found = check("free_energy_error_kt", planes=planes)
    assert found.passed is False and found.value == pytest.approx(0.77)
    assert check("free_energy_error_kt", planes=planes[::2]).passed is None


def bond(name, w1, error):
    """Of which a distance below 0.4 pm is allowed."""
    at = np.full(2, 0.15)
    return GeometryDistance(name, w1, 2e-4, at, at, standard_error=error, own_error=0.0)


def test_a_bond_that_is_clearly_off_decides_before_one_that_may_be():
    soft, stiff, fine = bond("soft", 1.2e-3, 6e-4), bond("stiff", 1e-3, 2e-5), bond("fine", 1e-4, 2e-5)
    given = figures() | {"bonds": (fine, soft, stiff)}
    found = next(one for one in checks_of(given, Thresholds()) if one.name == "bond_w1_nm")
    assert found.passed is False and found.value == stiff.w1
    given["bonds"] = (fine, soft)
    found = next(one for one in checks_of(given, Thresholds()) if one.name == "bond_w1_nm")
    assert found.passed is None and found.unclear and found.value == soft.w1


@pytest.mark.parametrize(
    ("excess", "error", "passed"), [(0.203, 0.21, None), (0.203, 0.05, False), (0.09, 0.5, True), (0.11, 0.0, False)]
)
def test_an_excess_is_judged_by_what_is_known_of_it(excess, error, passed):
    found = check("excess_pmf_error", pmf=(excess, error))
    assert found.passed is passed and found.unclear is (passed is None)


@pytest.mark.parametrize("value", [0.2, 0.59, 2.0])
@pytest.mark.parametrize("errors", [(0.0, 0.0), (0.1, 0.2), (0.4, 3.0)])
def test_no_error_lets_more_pass_than_the_value_alone(value, errors):
    found = check("free_energy_error_kt", planes=[plane((2.0, errors[0]), (2.0 + value, errors[1]))])
    assert (found.passed is True) == (value - errors[0] <= 0.5)


def unclear(error, own):
    return Check("excess_pmf_error", "", 0.2, 0.1, None, standard_error=error, own_error=own, unclear=True)


FACTS = RunFacts(simulations=(SimulationFacts(output="a.xtc", steps=1000),), reference=("held.xtc",))


def test_a_simulation_whose_own_error_hides_its_verdict_is_to_be_longer():
    found = simulation_too_short([unclear(0.1, 0.09)], FACTS)
    # twice the error is to be 0.1: half of 0.1, in four times the time
    assert found.cause == causes.NOT_SAMPLED and "4 times as long" in found.remedy and not found.needs_data
    assert "--steps 4000" in found.command and "--resume" in found.command
    assert reference_too_short(figures(), [unclear(0.1, 0.09)], FACTS) is None


def test_a_reference_whose_error_hides_the_verdict_is_to_be_longer():
    found = reference_too_short(figures(), [unclear(0.1, 0.03)], FACTS)
    assert found.cause == causes.REFERENCE_TOO_SHORT and "4,000 frames" in found.remedy and found.needs_data
    assert "0.2 ± 0.1 where 0.1 is allowed" in found.text and "MORE_FRAMES" in found.command
    assert simulation_too_short([unclear(0.1, 0.03)], FACTS) is None


def test_a_single_replica_is_asked_for_several():
    found = simulation_too_short([unclear(math.nan, math.nan)], FACTS)
    assert "a single replica" in found.text and "--replicas 64" in found.command and "unknown error" in found.text


def test_a_basin_that_the_reference_may_have_missed_is_to_be_seen_ten_times():
    given = figures(planes=[plane(LOST, (8.0, 0.2))])
    checks = checks_of(given, Thresholds())
    found = reference_too_short(given, checks, FACTS)
    # 10 visits of a part of 1 / (1 + exp(8)) = 0.000335 take 29,820 frames
    assert "about 30 times as long, 29,820 frames" in found.remedy and simulation_too_short(checks, FACTS) is None


def test_what_is_judged_has_nothing_missing():
    given = figures(planes=[plane((3.8, 0.2), (6.0, 0.2))], pmf=(0.3, 0.05))
    checks = checks_of(given, Thresholds())
    assert reference_too_short(given, checks, FACTS) is None and simulation_too_short(checks, FACTS) is None


def test_a_floor_of_few_simulated_frames_asks_for_a_longer_simulation():
    given = figures() | {"resolution": Resolution(16, 0.1, 0.3), "frames_compared": 2000}
    given["frames"] = {"reference": 50_000, "simulation": 2000}
    assert reference_too_short(given, (), FACTS) is None
    found = simulation_too_few_frames(given, FACTS)
    assert found.cause == causes.NOT_SAMPLED and "4 times as long" in found.remedy and not found.needs_data
    assert "2,000 have a floor of 0.100 with 16 x 16 bins" in found.text and "--steps 4000" in found.command
    given["frames"]["simulation"] = 9000
    assert simulation_too_few_frames(given, FACTS) is None
    assert "a floor of 0.100" in reference_too_short(given, (), FACTS).text


def test_a_reference_of_few_frames_is_not_blamed_for_its_floor():
    given = figures(reference_frames=1500) | {"resolution": Resolution(16, 0.028, 0.2), "frames_compared": 750}
    found = reference_too_short(given, (), FACTS)
    assert "have only 750 to compare with, where a comparison takes 1,000" in found.text and "floor" not in found.text
    assert "2,000 frames" in found.remedy


def test_a_floor_of_few_training_frames_asks_for_no_longer_reference():
    given = figures() | {"resolution": Resolution(16, 0.064, 0.3), "floor": Floor("training", 300, "")}
    given |= {"frames_compared": 300, "frames": {"reference": 20_000, "training": 300, "simulation": 20_000}}
    found = reference_too_short(given, (), FACTS)
    assert "only 300 training frames" in found.text and "another independent" in found.remedy and found.needs_data
    assert "times as long" not in found.remedy and "--reference MORE_FRAMES" in found.command
