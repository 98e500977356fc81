"""Replicas that a training simulates with the force field it has so far, in OpenMM.

In: a force field and positions of the replicas. Out: their frames, the last of which the next simulation goes on from.
"""

import numpy as np

from fpforce.artifact import ForceField
from fpforce.errors import InputError
from fpforce.platforms import make_context
from fpforce.replicas import BondLimits
from fpforce.system import make_system
from fpforce.training.recipe_sections import CalibrationRecipe

INTERVAL_PS = 1.0


class PersistentReplicas:
    """Langevin dynamics of replicas from positions (R, n, 3) in nm, with fresh velocities."""

    def __init__(self, force_field: ForceField, positions_nm: np.ndarray, settings: CalibrationRecipe, threads: int | None,
                 seed: int):
        import openmm
        from openmm import unit

        replicas = len(positions_nm)
        self._limits, self._space, self._shape = BondLimits.of(force_field), force_field.space, positions_nm.shape
        self._interval = max(1, round(1000.0 * INTERVAL_PS / settings.timestep_fs))
        self._times = max(2, round(settings.picoseconds / INTERVAL_PS))
        system = make_system(force_field, replicas=replicas, threads=threads)

        def make_integrator():
            integrator = openmm.LangevinMiddleIntegrator(force_field.temperature_k * unit.kelvin, 1.0 / unit.picosecond,
                                                         settings.timestep_fs * unit.femtosecond)
            integrator.setRandomNumberSeed(seed + 1)
            return integrator

        self._context, _ = make_context(system, make_integrator)
        self._context.setPositions(positions_nm.reshape(-1, 3))
        self._context.setVelocitiesToTemperature(force_field.temperature_k, seed + 1)

    def simulate(self, stop) -> np.ndarray | None:
        """Frames (times, R, n, 3) in nm, one every picosecond; None if the event `stop` is set meanwhile.

        Raises InputError when a replica breaks.
        """
        frames = []
        for time in range(self._times):
            self._context.getIntegrator().step(self._interval)
            positions = self._context.getState(positions=True).getPositions(asNumpy=True)._value
            frames.append(self._space.project(np.array(positions).reshape(self._shape)))
            broken = self._limits.broken(frames[-1])
            if broken:
                raise InputError(f"calibration: replica {next(iter(broken))} broke after {(time + 1) * INTERVAL_PS:g} ps "
                                 f"({next(iter(broken.values()))}); train further, or lower calibration.timestep_fs")
            if stop.is_set():
                return None
        return np.stack(frames)
