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
    frames = sample(replicas, 10000, 25)
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
    # <y^2> = kT / k; 19,000 correlated values give it to about 2%.
    assert np.mean(frames[:, 1:] ** 2) == pytest.approx(BOLTZMANN_KJ_PER_MOL_K * COLDEST_K / STIFFNESS, rel=0.06)


def test_every_replica_walks_the_ladder(cold_frames):
    replicas, _ = cold_frames
    assert np.all(replicas.round_trips > 20)
    assert np.all(replicas.swaps.accepted > 0.1 * replicas.swaps.attempts)


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
    assert replicas.round_trips.tolist() == [0] and len(replicas.swaps.attempts) == 0


def test_ladder_has_equal_ratios_and_grows_with_the_molecule():
    ladder = np.array(geometric_ladder(300.0, 600.0, 5))
    assert ladder[[0, -1]].tolist() == [300.0, 600.0]
    np.testing.assert_allclose(ladder[1:] / ladder[:-1], 2 ** (1 / 4), rtol=1e-4)
    # Twice the rungs for four times the atoms: the overlap of energies depends on sqrt(atoms) ln(ratio).
    assert suggest_rungs(300.0, 600.0, 88) - 1 == pytest.approx(2 * (suggest_rungs(300.0, 600.0, 22) - 1), abs=1)


MASS_DA, FREQUENCY_PER_PS, STEP = (
    20.0,
    10.0,
    1.2,
)  # a particle in a harmonic well, and the time step times its frequency


def well(distance_nm=None):
    """A particle in an isotropic well, or a rigid dimer of two at a distance, each in it."""
    system = openmm.System()
    force = openmm.CustomExternalForce(f"0.5*{MASS_DA * FREQUENCY_PER_PS**2}*(x^2+y^2+z^2)")
    for index in range(1 if distance_nm is None else 2):
        system.addParticle(MASS_DA)
        force.addParticle(index)
    if distance_nm is not None:
        system.addConstraint(0, 1, distance_nm)
    system.addForce(force)
    return system


def in_the_well(temperatures_k, start_nm, distance_nm=None):
    return ReplicaExchange(
        well(distance_nm),
        start_nm,
        temperatures_k,
        timestep_fs=1e3 * STEP / FREQUENCY_PER_PS,
        friction_per_ps=0.1 * FREQUENCY_PER_PS,
        seed=1,
    )


def whole_step(context):
    """Positions (atoms, 3), and the velocities of the whole step before constraints."""
    state = context.getState(positions=True, velocities=True, forces=True)
    x, v, forces = (
        values._value for values in (state.getPositions(True), state.getVelocities(True), state.getForces(True))
    )
    return x, v + 0.5 * STEP / FREQUENCY_PER_PS / MASS_DA * forces


def test_after_swaps_velocities_of_the_whole_step_know_nothing_of_the_positions():
    """Their correlation is 0 in equilibrium; scaling the lagging velocities makes it -0.07 here."""
    replicas, products = in_the_well((COLDEST_K, 600.0), [[0.0, 0.0, 0.0]]), []
    for _ in range(6000):
        replicas.advance(10)
        products.append(np.mean(np.multiply(*whole_step(replicas._contexts[replicas.coldest]))))
    products = np.array(products[500:]) * MASS_DA * FREQUENCY_PER_PS / (BOLTZMANN_KJ_PER_MOL_K * COLDEST_K)
    error = np.std([block.mean() for block in np.array_split(products, 20)], ddof=1) / np.sqrt(20)
    assert error < 0.012
    assert abs(products.mean()) < 3 * error


def test_a_swap_scales_the_velocities_of_the_whole_step_along_what_constraints_leave(monkeypatch):
    monkeypatch.setattr("fpforce.reference.replica_exchange.acceptance", lambda *_: 1.0)
    replicas = in_the_well((300.0, 450.0), [[-0.05, 0.0, 0.0], [0.05, 0.0, 0.0]], 0.1)

    def free(context):
        """The whole-step velocities without what lies along the rod, and the part along it of those that are kept."""
        x, w = whole_step(context)
        rod = (x[1] - x[0]) / np.linalg.norm(x[1] - x[0])
        kept = context.getState(velocities=True).getVelocities(True)._value
        return w - np.outer([-0.5, 0.5], rod) * ((w[1] - w[0]) @ rod), (kept[1] - kept[0]) @ rod

    for context in replicas._contexts:
        context.getIntegrator().step(20)
    before = [free(context)[0] for context in replicas._contexts]
    replicas._swap_neighbours()
    assert replicas.rungs.tolist() == [1, 0]
    for context, velocities, factor in zip(replicas._contexts, before, (1.5**0.5, 1.5**-0.5), strict=True):
        after, along = free(context)
        np.testing.assert_allclose(after, factor * velocities, rtol=1e-4, atol=1e-4)
        assert abs(along) < 1e-4
