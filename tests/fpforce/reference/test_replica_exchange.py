"""Replica exchange keeps the canonical distribution on the coldest rung, and a single rung is Langevin dynamics."""

import numpy as np
import openmm
import pytest

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.reference.protocol import suggest_rungs
from fpforce.reference.replica_exchange import ReplicaExchange
from fpforce.simulation.exchange import geometric_ladder

# V(x) = 20 ((x/0.2)^2 - 1)^2 + 5 x kJ/mol: two wells with a barrier of 8 kT at 300 K, the left one 0.8 kT deeper.
BARRIER, HALF_WIDTH, TILT, STIFFNESS = 20.0, 0.2, 5.0, 500.0
COLDEST_K = 300.0


def double_well():
    system = openmm.System()
    system.addParticle(20.0)
    force = openmm.CustomExternalForce(f"{BARRIER}*((x/{HALF_WIDTH})^2-1)^2 + {TILT}*x + 0.5*{STIFFNESS}*(y^2+z^2)")
    force.addParticle(0)
    system.addForce(force)
    return system


def exchange(temperatures_k, seed=1):
    return ReplicaExchange(
        double_well(), [[-0.2, 0, 0]], temperatures_k, timestep_fs=10.0, friction_per_ps=5.0, seed=seed
    )


def sample(replicas, sweeps, steps):
    frames = []
    for _ in range(sweeps):
        replicas.advance(steps)
        frames.append(replicas.frame()[0])
    return np.array(frames)


def exact_population_of_the_right_well(temperature_k):
    x = np.linspace(-0.6, 0.6, 20001)
    weight = np.exp(-(BARRIER * ((x / HALF_WIDTH) ** 2 - 1) ** 2 + TILT * x) / (BOLTZMANN_KJ_PER_MOL_K * temperature_k))
    return weight[x > 0].sum() / weight.sum()


@pytest.fixture(scope="module")
def cold_frames():
    replicas = exchange((COLDEST_K, 520.0, 900.0))
    frames = sample(replicas, 8000, 25)
    return replicas, frames[500:]


def test_coldest_rung_holds_the_boltzmann_weight_of_either_well(cold_frames):
    _, frames = cold_frames
    right = frames[:, 0] > 0
    exact = exact_population_of_the_right_well(COLDEST_K)
    error = np.std([block.mean() for block in np.array_split(right, 15)], ddof=1) / np.sqrt(15)
    assert error < 0.03
    assert right.mean() == pytest.approx(exact, abs=3 * error)
    # Any rung's own weight would differ by far more than the error: the hot wells are nearly even.
    assert abs(exact_population_of_the_right_well(900.0) - exact) > 3 * error


def test_coldest_rung_holds_its_temperature_in_the_harmonic_directions(cold_frames):
    _, frames = cold_frames
    # <y^2> = kT / k; 15,000 correlated values give it to about 2%.
    assert np.mean(frames[:, 1:] ** 2) == pytest.approx(BOLTZMANN_KJ_PER_MOL_K * COLDEST_K / STIFFNESS, rel=0.06)


def test_every_replica_walks_the_ladder(cold_frames):
    replicas, _ = cold_frames
    assert np.all(replicas.round_trips > 20)
    assert np.all(replicas.accepted > 0.1 * replicas.attempts)


def test_a_state_goes_on_to_the_same_frames():
    # One after the other: contexts on the Reference platform share one stream of random numbers.
    frames = sample(exchange((COLDEST_K, 520.0)), 40, 25)
    begun = exchange((COLDEST_K, 520.0))
    np.testing.assert_array_equal(sample(begun, 15, 25), frames[:15])
    state = begun.state()
    resumed = exchange((COLDEST_K, 520.0), seed=9)
    resumed.restore(state)
    np.testing.assert_array_equal(sample(resumed, 25, 25), frames[15:])


def test_one_rung_offers_no_swaps():
    replicas = exchange((COLDEST_K,))
    frames = sample(replicas, 2000, 25)
    assert np.mean(frames[:, 1:] ** 2) == pytest.approx(BOLTZMANN_KJ_PER_MOL_K * COLDEST_K / STIFFNESS, rel=0.1)
    assert replicas.round_trips.tolist() == [0] and len(replicas.attempts) == 0


def test_ladder_has_equal_ratios_and_grows_with_the_molecule():
    ladder = np.array(geometric_ladder(300.0, 600.0, 5))
    assert ladder[[0, -1]].tolist() == [300.0, 600.0]
    np.testing.assert_allclose(ladder[1:] / ladder[:-1], 2 ** (1 / 4), rtol=1e-4)
    # Twice the rungs for four times the atoms: the overlap of energies depends on sqrt(atoms) ln(ratio).
    assert suggest_rungs(300.0, 600.0, 88) - 1 == pytest.approx(2 * (suggest_rungs(300.0, 600.0, 22) - 1), abs=1)
