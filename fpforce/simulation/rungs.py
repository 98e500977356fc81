"""The contexts of a simulation: one, or one for every temperature of a ladder, between which molecules change places.

In: a System of R molecules that do not interact, the ladder, one molecule's System for its energy. Out: positions of
all rungs, arrays from which they go on. Molecule r of one rung swaps with molecule r of the next
(fpforce.simulation.exchange), so that the R ladders are independent of each other.
"""

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fpforce.simulation.exchange import SwapCount, acceptance, half_kicks, scaled_velocities
from fpforce.simulation.replicas import freeze
from fpforce.system.platforms import make_context

if TYPE_CHECKING:
    import openmm

logger = logging.getLogger("fpforce")


class Rungs:
    """R molecules at each of K temperatures; with one temperature, plain Langevin dynamics.

    Args:
        system: openmm.System of R molecules. molecule: the System of one, for K > 1.
        temperatures_k: the ladder, coldest first.
        shape: (R, beads, 3).
        timestep_fs, friction_per_ps: of LangevinMiddleIntegrator.
        noise_seeds: one for each rung. swap_seed: of the exchanges; those of a sweep depend on it and the sweep's
        number alone.
        platform: wanted, as in `make_context`.

    Attributes: platform, swaps (a SwapCount).
    """

    def __init__(
        self,
        system: "openmm.System",
        molecule: "openmm.System | None",
        temperatures_k: Sequence[float],
        shape: tuple[int, int, int],
        *,
        timestep_fs: float,
        friction_per_ps: float,
        noise_seeds: Sequence[int],
        swap_seed: int,
        platform: str,
    ) -> None:
        import openmm
        from openmm import unit

        self._system, self._shape, self._temperatures_k, self._swap_seed = (
            system,
            shape,
            tuple(temperatures_k),
            swap_seed,
        )
        self._contexts = []

        def langevin(temperature_k: float, seed: int) -> openmm.LangevinMiddleIntegrator:
            integrator = openmm.LangevinMiddleIntegrator(
                temperature_k * unit.kelvin, friction_per_ps / unit.picosecond, timestep_fs * unit.femtosecond
            )
            integrator.setRandomNumberSeed(seed)
            return integrator

        for temperature_k, seed in zip(self._temperatures_k, noise_seeds, strict=True):
            context, self.platform = make_context(system, partial(langevin, temperature_k, seed), platform)
            self._contexts.append(context)
        self._one: openmm.Context  # of one molecule, for its energy, where there are several rungs
        if molecule is not None and len(self._contexts) > 1:
            self._one, _ = make_context(molecule, lambda: openmm.VerletIntegrator(0.001), platform)
            self._timestep_fs = timestep_fs
            self._masses_da = np.array([molecule.getParticleMass(k)._value for k in range(molecule.getNumParticles())])
        self.swaps = SwapCount(len(self._contexts))

    def start(self, positions_nm: np.ndarray, velocity_seeds: Sequence[int], minimise: bool) -> None:
        """Put every rung at positions (R, n, 3) nm, or the nearest minimum, with velocities of its own."""
        from openmm import LocalEnergyMinimizer

        self._contexts[0].setPositions(positions_nm.reshape(-1, 3))
        if minimise:
            LocalEnergyMinimizer.minimize(self._contexts[0])
            positions_nm = self.positions()[0]
        for context, temperature_k, seed in zip(self._contexts, self._temperatures_k, velocity_seeds, strict=True):
            context.setPositions(positions_nm.reshape(-1, 3))
            context.setVelocitiesToTemperature(temperature_k, seed)

    def step(self, steps: int) -> None:
        """Step by step, where there are several: on Reference all contexts draw from one stream of random numbers, and
        which draws what must not depend on where a run was cut.
        """
        integrators = [context.getIntegrator() for context in self._contexts]
        if len(integrators) == 1:
            integrators[0].step(steps)
            return
        for _ in range(steps):
            for integrator in integrators:
                integrator.step(1)

    def positions(self) -> np.ndarray:
        """(K, R, n, 3) nm, a copy."""
        states = (context.getState(positions=True) for context in self._contexts)
        return np.stack([state.getPositions(asNumpy=True)._value for state in states]).reshape(-1, *self._shape)

    def velocities(self) -> np.ndarray:
        """(K, R, n, 3) nm/ps, a copy."""
        states = (context.getState(velocities=True) for context in self._contexts)
        return np.stack([state.getVelocities(asNumpy=True)._value for state in states]).reshape(-1, *self._shape)

    def _forces(self) -> np.ndarray:
        """(K, R, n, 3) kJ/mol/nm."""
        states = (context.getState(forces=True) for context in self._contexts)
        return np.stack([state.getForces(asNumpy=True)._value for state in states]).reshape(-1, *self._shape)

    def set_positions(self, positions_nm: np.ndarray) -> None:
        for context, each in zip(self._contexts, positions_nm, strict=True):
            context.setPositions(each.reshape(-1, 3))

    def freeze(self, replicas: Iterable[int], positions_nm: np.ndarray) -> None:
        """Stop some molecules for good on every rung, at positions (K, R, n, 3) nm."""
        for context, each in zip(self._contexts, positions_nm, strict=True):
            freeze(context, self._system, replicas, each)

    def exchange(self, positions_nm: np.ndarray, frozen: Iterable[int]) -> None:
        """Offer a swap to neighbours, every other pair of rungs in turn; positions (K, R, n, 3) nm are the present
        ones.

        frozen: indices of the molecules that take no part.
        """
        if len(self._contexts) == 1:
            return
        uniform = np.random.default_rng((self._swap_seed, self.swaps.sweeps)).random(positions_nm.shape[:2])
        moving = ~np.isin(np.arange(self._shape[0]), list(frozen))
        energies, place = self._energies(positions_nm), np.arange(len(self._contexts))
        place = np.repeat(place[:, None], self._shape[0], axis=1)  # (K, R): the rung that a molecule comes from
        for rung in self.swaps.pairs():
            probability = acceptance(energies[rung], energies[rung + 1], *self._temperatures_k[rung : rung + 2])
            swapped = moving & (uniform[rung] < probability)
            self.swaps.add(rung, moving.sum(), swapped.sum())
            place[rung, swapped], place[rung + 1, swapped] = rung + 1, rung
        self.swaps.sweeps += 1
        temperatures_k, column = np.array(self._temperatures_k), np.arange(self._shape[0])
        factors = np.sqrt(temperatures_k[:, None] / temperatures_k[place])
        velocities, kicks = self.velocities(), half_kicks(self._forces(), self._masses_da, self._timestep_fs)
        for context, origin, factor in zip(self._contexts, place, factors, strict=True):
            v, kick, factor = velocities[origin, column], kicks[origin, column], factor[:, None, None]
            context.setPositions(positions_nm[origin, column].reshape(-1, 3))
            context.setVelocities(scaled_velocities(v, kick, factor).reshape(-1, 3))

    def _energies(self, positions_nm: np.ndarray) -> np.ndarray:
        """(K, R) kJ/mol."""
        energies = np.empty(positions_nm.shape[:2])
        for index in np.ndindex(energies.shape):
            self._one.setPositions(positions_nm[index])
            energies[index] = self._one.getState(energy=True).getPotentialEnergy()._value
        return energies

    def state(self) -> dict:
        """Arrays from which `restore` goes on."""
        checkpoints = {
            _checkpoint_name(k): np.frombuffer(c.createCheckpoint(), np.uint8) for k, c in enumerate(self._contexts)
        }
        return checkpoints | {
            "positions_nm": self.positions(),
            "velocities_nm_per_ps": self.velocities(),
            "sweeps": np.array(self.swaps.sweeps),
            "attempts": self.swaps.attempts,
            "accepted": self.swaps.accepted,
        }

    def restore(self, arrays: dict, platform: str) -> None:
        """Go on from `state`, which was of this OpenMM platform or another one."""
        import openmm

        if len(self._contexts) > 1:
            self.swaps.sweeps = int(arrays["sweeps"])
            self.swaps.attempts, self.swaps.accepted = arrays["attempts"], arrays["accepted"]
        try:
            if platform != self.platform:
                raise openmm.OpenMMException(f"it is of platform {platform}")
            for k, context in enumerate(self._contexts):
                context.loadCheckpoint(arrays[_checkpoint_name(k)].tobytes())
        except openmm.OpenMMException as error:
            logger.info(
                "OpenMM's checkpoint cannot be used here (%s): positions and velocities go on, with fresh noise", error
            )
            rungs = len(self._contexts)
            positions, velocities = (
                arrays[name].reshape(rungs, -1, 3) for name in ("positions_nm", "velocities_nm_per_ps")
            )
            for context, x, v in zip(self._contexts, positions, velocities, strict=True):
                context.setPositions(x)
                context.setVelocities(v)


def _checkpoint_name(rung: int) -> str:
    return f"openmm_checkpoint_{rung}" if rung else "openmm_checkpoint"
