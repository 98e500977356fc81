"""Temperature replica exchange: replicas walk over a ladder of temperatures, and barriers are crossed on the hot rungs.

In: an OpenMM System, start positions, a ladder. Out: frames of the coldest rung, the counts by which an exchange is
judged, and a state from which it goes on exactly as if it had not stopped. Criterion and scaling of the velocities are
those of fpforce.simulation.exchange.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fpforce.foundation.errors import InputError
from fpforce.simulation.exchange import SwapCount, acceptance, half_kicks, scaled_velocities

if TYPE_CHECKING:
    import openmm

_COUNTERS = ("rungs", "round_trips", "_was_cold", "_was_hot")
_CONSTRAINT_TOLERANCE = 1e-5  # relative, as an openmm.Integrator has by default


class ReplicaExchange:
    """Replicas that each keep their context and change their temperature; with one rung, plain Langevin dynamics.

    Args:
        system: openmm.System.
        positions_nm: (atoms, 3), the start of every replica.
        temperatures_k: the ladder, coldest first.
        timestep_fs, friction_per_ps: of LangevinMiddleIntegrator.
        seed: of thermostats, velocities and exchanges.
        platform, threads: of OpenMM; on Reference, the default, a restored state goes on to the same frames.
    """

    def __init__(
        self,
        system: "openmm.System",
        positions_nm: ArrayLike,
        temperatures_k: Sequence[float],
        *,
        timestep_fs: float,
        friction_per_ps: float,
        seed: int,
        platform: str = "Reference",
        threads: int = 1,
    ) -> None:
        import openmm

        from fpforce.reference.platform import platform_and_properties

        self.temperatures_k = tuple(temperatures_k)
        self.rungs = np.arange(len(self.temperatures_k))
        self.swaps = SwapCount(len(self.rungs))
        self.round_trips = np.zeros(len(self.rungs), dtype=int)
        self._was_cold = np.zeros(len(self.rungs), dtype=bool)
        self._was_hot = np.zeros(len(self.rungs), dtype=bool)
        self._generator = np.random.default_rng(seed)
        self._contexts = []
        self._timestep_fs = timestep_fs
        self._masses_da = np.array([system.getParticleMass(k)._value for k in range(system.getNumParticles())])
        platform, properties = platform_and_properties(platform, threads)
        for temperature in self.temperatures_k:
            integrator = openmm.LangevinMiddleIntegrator(temperature, friction_per_ps, 1e-3 * timestep_fs)
            integrator.setRandomNumberSeed(int(self._generator.integers(1, 2**31)))
            context = openmm.Context(system, integrator, platform, properties)
            context.setPositions(positions_nm)
            context.setVelocitiesToTemperature(temperature, int(self._generator.integers(1, 2**31)))
            self._contexts.append(context)

    @property
    def coldest(self) -> int:
        """Index of the replica that holds the coldest rung."""
        return int(np.argmin(self.rungs))

    def advance(self, steps: int) -> None:
        """Run every replica for some steps, then offer neighbours on the ladder (every other pair in turn) a swap."""
        for context in self._contexts:
            context.getIntegrator().step(steps)
        if len(self._contexts) > 1:
            self._swap_neighbours()
            self._count_round_trips()

    def frame(self) -> np.ndarray:
        """Positions (atoms, 3) in nm of the coldest rung; InputError if they are not finite."""
        state = self._contexts[self.coldest].getState(positions=True)
        positions = state.getPositions(asNumpy=True)._value
        if not np.isfinite(positions).all():
            raise InputError("the simulation became unstable (positions are not finite): use a smaller time step")
        return positions

    def place(self, replica: int, positions_nm: ArrayLike) -> None:
        """Move a replica to positions (atoms, 3); its velocities stay."""
        self._contexts[replica].setPositions(positions_nm)

    def rung_states(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions (rungs, atoms, 3) in nm and potential energies (rungs,) in kJ/mol, coldest rung first."""
        states = [self._contexts[k].getState(positions=True, energy=True) for k in np.argsort(self.rungs)]
        positions = np.array([state.getPositions(asNumpy=True)._value for state in states])
        return positions, np.array([state.getPotentialEnergy()._value for state in states])

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to go on, as a dict of arrays for np.savez."""
        arrays = {f"context_{i}": np.frombuffer(c.createCheckpoint(), np.uint8) for i, c in enumerate(self._contexts)}
        swaps = {"attempts": self.swaps.attempts, "accepted": self.swaps.accepted}
        counters = swaps | {name: getattr(self, name) for name in _COUNTERS}
        generator = json.dumps(self._generator.bit_generator.state)
        return arrays | counters | {"sweep": np.array(self.swaps.sweeps), "generator": np.array(generator)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` returned; the same OpenMM version is needed."""
        for name in _COUNTERS:
            setattr(self, name, np.array(state[name]))
        self.swaps.sweeps = int(state["sweep"])
        self.swaps.attempts, self.swaps.accepted = np.array(state["attempts"]), np.array(state["accepted"])
        self._generator.bit_generator.state = json.loads(str(state["generator"]))
        for i, context in enumerate(self._contexts):
            context.loadCheckpoint(state[f"context_{i}"].tobytes())
            context.getIntegrator().setTemperature(self.temperatures_k[self.rungs[i]])

    def _count_round_trips(self) -> None:
        """A round trip is from the coldest rung to the hottest and back."""
        self._was_hot |= self._was_cold & (self.rungs == len(self.rungs) - 1)
        self.round_trips += self._was_hot & (self.rungs == 0)
        self._was_hot &= self.rungs != 0
        self._was_cold |= self.rungs == 0

    def _swap_neighbours(self) -> None:
        replica_on = np.argsort(self.rungs)
        energies = [c.getState(energy=True).getPotentialEnergy()._value for c in self._contexts]
        for rung in self.swaps.pairs():
            low, high = replica_on[rung], replica_on[rung + 1]
            cold_k, hot_k = self.temperatures_k[rung], self.temperatures_k[rung + 1]
            swapped = self._generator.random() < acceptance(energies[low], energies[high], cold_k, hot_k)
            self.swaps.add(rung, 1, int(swapped))
            if swapped:
                self.rungs[low], self.rungs[high] = rung + 1, rung
                self._rescale(low, hot_k, np.sqrt(hot_k / cold_k))
                self._rescale(high, cold_k, np.sqrt(cold_k / hot_k))
        self.swaps.sweeps += 1

    def _rescale(self, replica: int, temperature_k: float, factor: float) -> None:
        context = self._contexts[replica]
        context.setVelocities(self._scaled(context.getState(velocities=True, forces=True), factor))
        # The kicks along constraints are none: the integrator takes them out at its next step, this does so at once.
        context.applyVelocityConstraints(_CONSTRAINT_TOLERANCE)
        context.getIntegrator().setTemperature(temperature_k)

    def _scaled(self, state: "openmm.State", factor: float) -> np.ndarray:
        """Velocities (atoms, 3) of a state with those of the whole step scaled."""
        kicks = half_kicks(state.getForces(asNumpy=True)._value, self._masses_da, self._timestep_fs)
        return scaled_velocities(state.getVelocities(asNumpy=True)._value, kicks, factor)
