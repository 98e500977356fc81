"""Replica exchange of a coarse-grained force field: barriers are crossed, and the coldest rung keeps its Boltzmann
distribution.
"""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import fpforce
from fpforce.analysis.inputs import open_simulation_of
from fpforce.foundation.errors import InputError
from fpforce.simulation.exchange import acceptance, warn_of_ladder
from fpforce.simulation.simulate import SimulationSettings, read_simulation, simulate

PLAIN = SimulationSettings(
    steps=4000, replicas=64, timestep_fs=5.0, friction_per_ps=5.0, report_interval_ps=0.2, seed=3
)
EXCHANGED = replace(PLAIN, steps=6000, rungs=3, top_temperature_k=1500.0)
SHORT = replace(EXCHANGED, steps=400, replicas=3, report_interval_ps=0.1)


def lengths(output, field):
    """(saved times, replicas) nm, of a dimer."""
    positions_nm = read_simulation(output, field.beads).positions_nm
    return np.linalg.norm(positions_nm[:, :, 1] - positions_nm[:, :, 0], axis=-1).astype(float)


def exact_means(kt_kj_per_mol):
    """Population of the long bond, then mean and mean square of the length (nm), by quadrature of d^2 exp(-U / kT)."""
    d = np.linspace(0.1, 0.8, 20_001)
    x = (d - 0.4) / 0.1
    weight = d**2 * np.exp(-(12.0 * (x**2 - 1.0) ** 2 + 0.6 * x))
    return [np.sum(weight * each) / weight.sum() for each in (d > 0.4, d, d**2)]


@pytest.fixture(scope="module")
def field(two_wells):
    return fpforce.load(two_wells)


def test_coldest_rung_has_the_boltzmann_distribution_that_plain_dynamics_does_not_reach(field, tmp_path):
    """A barrier of 12 kT, and molecules that all begin on the side of the smaller weight."""
    simulate(field, tmp_path / "plain.xtc", PLAIN)
    assert not (lengths(tmp_path / "plain.xtc", field) > 0.4).any()
    result = simulate(field, tmp_path / "out.xtc", EXCHANGED)
    assert len(result.accepted_swaps) == 2 and all(0.3 < part < 0.95 for part in result.accepted_swaps)
    late = lengths(tmp_path / "out.xtc", field)[30:]
    for exact, samples in zip(exact_means(field.kt_kj_per_mol), (late > 0.4, late, late**2), strict=True):
        per_ladder = samples.mean(axis=0)
        error = per_ladder.std(ddof=1) / np.sqrt(len(per_ladder))
        assert 0.0 < error < 0.05
        assert abs(per_ladder.mean() - exact) < 3.5 * error


def test_acceptance_is_in_detailed_balance():
    """What leaves a pair of states for its mirror image comes back: pi(a at cold, b at hot) A = pi(b, a) A'."""
    beta = [1.0 / (0.00831446261815324 * t) for t in (300.0, 450.0)]
    a, b = np.array([-3.0, 2.0, 7.0]), np.array([1.0, -4.0, 6.5])
    there = np.exp(-beta[0] * a - beta[1] * b) * acceptance(a, b, 300.0, 450.0)
    back = np.exp(-beta[0] * b - beta[1] * a) * acceptance(b, a, 300.0, 450.0)
    np.testing.assert_allclose(there, back, rtol=1e-12)


def test_extended_exchange_equals_an_uninterrupted_one(field, tmp_path):
    whole = simulate(field, tmp_path / "whole.xtc", SHORT)
    simulate(field, tmp_path / "parts.xtc", replace(SHORT, steps=210))
    parts = simulate(field, tmp_path / "parts.xtc", replace(SHORT, resume=True))
    assert parts.accepted_swaps == whole.accepted_swaps
    np.testing.assert_allclose(
        lengths(tmp_path / "parts.xtc", field), lengths(tmp_path / "whole.xtc", field), atol=1e-5
    )
    with pytest.raises(
        InputError,
        match="the ladder of --rungs and --top-temperature-k is 300, .*900 K, the run to continue has 300, .*1500 K",
    ):
        simulate(field, tmp_path / "parts.xtc", replace(SHORT, steps=800, top_temperature_k=900.0, resume=True))


def test_ladders_that_do_not_connect_are_warned_of(field, tmp_path, caplog, monkeypatch):
    """A pair that was never offered a swap has no figure, and is not warned of."""
    result = simulate(field, tmp_path / "out.xtc", replace(SHORT, steps=20))
    assert result.accepted_swaps[0] is not None and result.accepted_swaps[1] is None
    assert "few swaps" not in caplog.text
    monkeypatch.setattr("fpforce.simulation.exchange.FEWEST_SWAPS", 1.1)
    simulate(field, tmp_path / "wide.xtc", replace(SHORT, steps=20))
    assert "few swaps are accepted between 300 and 670.82 K: " in caplog.text and "670.82 and 1500" not in caplog.text


@pytest.mark.parametrize(("rung", "warned"), [(0, False), (1, True)])
def test_a_ladder_too_hot_is_known_by_the_rung_of_the_failure_whatever_its_reason_says(caplog, rung, warned):
    failure = {"step": 1, "frame": 0, "reason": "on the rung of words", "rung": rung, "temperature_k": 300.0}
    warn_of_ladder({"ladder_k": [300.0, 1200.0], "swaps": {"accepted": [1], "attempts": [2]}, "failed": {"0": failure}})
    assert ("1 of 1 failed replicas broke on a hot rung" in caplog.text) == warned


def test_exchange_goes_on_without_openmms_checkpoint(field, tmp_path):
    simulate(field, tmp_path / "out.xtc", replace(SHORT, steps=200))
    result = simulate(field, tmp_path / "out.xtc", replace(SHORT, resume=True, platform="CPU"))
    assert result.platform == "CPU" and result.saved_times == 20
    swaps = json.loads((tmp_path / "out.xtc.json").read_text())["swaps"]
    assert sum(swaps["attempts"]) == 3 * 20  # one of two pairs, three molecules, twenty saved times


def test_molecule_that_breaks_on_a_hot_rung_ends_its_ladder_alone(fragile_dimer, tmp_path, caplog):
    """Barrier 3 kT at 300 K: cold molecules hold for long, those of 1200 K break at once."""
    field = fpforce.load(fragile_dimer)
    settings = SimulationSettings(
        steps=300, replicas=8, rungs=2, top_temperature_k=1200.0, report_interval_ps=0.1, seed=2
    )
    result = simulate(field, tmp_path / "out.xtc", settings)
    assert 0 < len(result.failed) < 8
    where = {(info["rung"], info["temperature_k"]) for info in result.failed.values()}
    assert (1, 1200.0) in where and where <= {(0, 300.0), (1, 1200.0)}
    assert "(on the rung of 1200 K); it is frozen" in caplog.text
    assert "failed replicas broke on a hot rung; give a lower --top-temperature-k" in caplog.text
    frames = read_simulation(tmp_path / "out.xtc", field.beads)
    whole = [replica for replica in range(8) if replica not in result.failed]
    first = min(info["frame"] for info in result.failed.values())
    assert np.abs(np.diff(frames.positions_nm[first:, whole], axis=0)).max(axis=(2, 3)).min() > 0
    for replica, info in result.failed.items():
        assert not np.ptp(frames.positions_nm[max(info["frame"] - 1, 0) :, replica], axis=0).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rungs": 0}, "rungs"),
        ({"rungs": 1}, "top_temperature_k is 1500 K, but there is one rung"),
        ({"top_temperature_k": 250.0}, "top temperature 250 K: give one above the coldest, 300 K"),
        ({"top_temperature_k": float("nan")}, "top_temperature_k"),
    ],
)
def test_ladders_that_cannot_be_are_refused(field, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        simulate(field, tmp_path / "out.xtc", replace(SHORT, **options))
    assert not list(tmp_path.iterdir())


def test_command_tells_the_swaps_and_the_evaluation_that_it_is_no_dynamics(field, tmp_path):
    command = [
        sys.executable,
        "-c",
        "from fpforce.commands.simulate import main; main()",
        str(field.path),
        "--steps",
        "400",
    ]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out.xtc"), "--replicas", "3", "--rungs", "3"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "swaps accepted between rungs: " in done.stdout, done.stderr
    simulation, metadata = open_simulation_of(tmp_path / "out.xtc", field)
    assert metadata["ladder_k"] == [300.0, 424.26, 600.0] and simulation.exchanged
    simulate(field, tmp_path / "plain.xtc", replace(PLAIN, steps=100))
    assert not open_simulation_of(tmp_path / "plain.xtc", field)[0].exchanged
