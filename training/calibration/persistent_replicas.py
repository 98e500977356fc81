"""Replicas that a training simulates with the force field it has so far, in OpenMM.

In: a force field and positions of the replicas. Out: their frames, and where the next simulation goes on from.
"""

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError
from fpforce.simulation.exchange import geometric_ladder
from fpforce.simulation.replicas import BondLimits
from fpforce.simulation.rungs import Rungs
from fpforce.system.make_system import make_system
from fpforce.training.recipe.sections import CalibrationRecipe

INTERVAL_PS = 1.0
SWAPS_PER_INTERVAL = 2


class PersistentReplicas:
    """Langevin dynamics of replicas from positions (K, R, n, 3) in nm, with fresh velocities; K temperatures, which
    exchange.

    Attributes: positions_nm (K, R, n, 3), where they are.
    """

    def __init__(
        self,
        force_field: ForceField,
        positions_nm: np.ndarray,
        settings: CalibrationRecipe,
        threads: int | None,
        seed: int,
    ):
        shape = positions_nm.shape
        self._ladder_k = geometric_ladder(force_field.temperature_k, settings.top_temperature_k, shape[0])
        self._limits, self._space = BondLimits.of(force_field), force_field.space
        self._pauses = 1 if shape[0] == 1 else SWAPS_PER_INTERVAL
        self._steps = max(1, round(1000.0 * INTERVAL_PS / self._pauses / settings.timestep_fs))
        self._times = max(2, round(settings.picoseconds / INTERVAL_PS))
        seeds = [seed + 1 + 1000 * rung for rung in range(shape[0])]
        system = make_system(force_field, replicas=shape[1], threads=threads)
        molecule = make_system(force_field, threads=threads) if shape[0] > 1 else None
        self._rungs = Rungs(
            system,
            molecule,
            self._ladder_k,
            shape[1:],
            timestep_fs=settings.timestep_fs,
            friction_per_ps=1.0,
            noise_seeds=seeds,
            swap_seed=seed,
            platform="auto",
        )
        self._rungs.start(positions_nm[0], seeds, minimise=False)
        self._rungs.set_positions(positions_nm)
        self.positions_nm = positions_nm

    def simulate(self, stop) -> np.ndarray | None:
        """Frames (times, R, n, 3) in nm of the coldest rung, one every picosecond; None if the event `stop` is set
        meanwhile.

        Raises InputError when a replica breaks.
        """
        frames = []
        for time in range(self._times):
            for _ in range(self._pauses):
                self._rungs.step(self._steps)
                positions = self._rungs.positions()
                self._refuse_broken(positions, (time + 1) * INTERVAL_PS)
                self._rungs.exchange(positions, ())
            self.positions_nm = self._space.project(self._rungs.positions())
            frames.append(self.positions_nm[0])
            if stop.is_set():
                return None
        return np.stack(frames)

    def _refuse_broken(self, positions_nm: np.ndarray, time_ps: float) -> None:
        for temperature_k, each in zip(self._ladder_k, positions_nm, strict=True):
            broken = self._limits.broken(self._space.project(each))
            if broken:
                remedy = (
                    "lower calibration.timestep_fs"
                    if temperature_k == self._ladder_k[0]
                    else f"lower calibration.top_temperature_k: it is on the rung of {temperature_k:g} K"
                )
                raise InputError(
                    f"calibration: replica {next(iter(broken))} broke after {time_ps:g} ps "
                    f"({next(iter(broken.values()))}); "
                    f"train further, or {remedy}"
                )
