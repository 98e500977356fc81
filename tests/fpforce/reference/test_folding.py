"""The folding temperature: of a toy of two states whose equilibrium is known by quadrature."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.reference.folding import Scan, count_foldings, find_folding_temperature, reweighted
from fpforce.reference.models.bead_model import system_of

DEPTH, PLACE, WIDTH, WALL = 14.0, 0.5, 0.08, 2.0
FOLDED_BELOW_NM = 0.75
STARTS = [np.array([[0.0, 0, 0], [PLACE, 0, 0]]), np.array([[0.0, 0, 0], [1.5, 0, 0]])]
SCAN = Scan(coldest_k=260.0, hottest_k=560.0, sweeps=2000, steps_per_sweep=60, friction_per_ps=1.0, seed=4)


def toy_energy(r):
    well = -DEPTH * np.exp(-((r - PLACE) ** 2) / (2.0 * WIDTH**2))
    return well + 500.0 * np.maximum(r - WALL, 0.0) ** 2


def folded_part(temperature_k):
    """By quadrature over r, with its volume element."""
    r = np.linspace(1e-3, 4.0, 20_001)
    weight = r**2 * np.exp(-toy_energy(r) / (BOLTZMANN_KJ_PER_MOL_K * temperature_k))
    return weight[r < FOLDED_BELOW_NM].sum() / weight.sum()


@pytest.fixture
def toy():
    """Two beads in a narrow, deep well and a wide, flat one."""
    import openmm

    force = openmm.CustomBondForce(f"-{DEPTH}*exp(-(r-{PLACE})^2/{2.0 * WIDTH**2})+500*step(r-{WALL})*(r-{WALL})^2")
    force.addBond(0, 1, [])
    return system_of([50.0, 50.0], [force])


def is_folded(positions_nm):
    return np.linalg.norm(positions_nm[:, 1] - positions_nm[:, 0], axis=1) < FOLDED_BELOW_NM


def test_scan_finds_the_folding_temperature_of_a_two_state_toy(toy):
    exact = brentq(lambda t: folded_part(t) - 0.5, 200.0, 800.0)
    found = find_folding_temperature(toy, STARTS, is_folded, SCAN)
    assert SCAN.coldest_k < exact < SCAN.hottest_k
    assert found["temperature_k"] == pytest.approx(exact, rel=0.04)
    for temperature, part in zip(found["temperatures_k"], found["folded"], strict=True):
        assert part == pytest.approx(folded_part(temperature), abs=0.1)


def test_scan_moves_its_ladder_to_where_the_toy_folds(toy):
    exact = brentq(lambda t: folded_part(t) - 0.5, 200.0, 800.0)
    hot = replace(SCAN, coldest_k=500.0, hottest_k=1000.0)
    found = find_folding_temperature(toy, STARTS, is_folded, hot)
    assert found["temperatures_k"][0] < exact < found["temperatures_k"][-1]
    assert found["temperature_k"] == pytest.approx(exact, rel=0.06)


def test_molecule_that_never_folds_is_refused(toy):
    short = Scan(coldest_k=300.0, hottest_k=400.0, sweeps=10, steps_per_sweep=5, discarded_sweeps=0, seed=4)
    with pytest.raises(InputError, match="no folding temperature between .* give --temperature-k"):
        find_folding_temperature(toy, STARTS, lambda positions: np.zeros(len(positions), dtype=bool), short)


def test_reweighted_samples_of_a_harmonic_energy_have_its_mean_at_temperatures_between():
    """Energies of three harmonic degrees of freedom are gamma distributed; their mean is 3 kT / 2."""
    rng = np.random.default_rng(2)
    kt = BOLTZMANN_KJ_PER_MOL_K * np.array([300.0, 400.0])
    energies = np.stack([rng.gamma(1.5, scale, 20_000) for scale in kt])
    weights = reweighted(energies, [300.0, 400.0], [300.0, 340.0, 400.0])
    assert weights.sum(axis=1) == pytest.approx(1.0)
    expected = 1.5 * BOLTZMANN_KJ_PER_MOL_K * np.array([300.0, 340.0, 400.0])
    assert weights @ energies.ravel() == pytest.approx(expected, rel=0.02)


def test_foldings_are_passages_and_no_flickering_at_the_border():
    flicker = np.tile([0.48, 0.52], 9)
    passages = np.concatenate(
        [np.full(20, 0.2), flicker, np.full(20, 0.9), flicker, np.full(20, 0.2), np.full(20, 0.9)]
    )
    assert count_foldings(passages) == 2
    assert count_foldings(np.full(10, 0.9)) == 0 and count_foldings(np.full(10, 0.1)) == 0
