"""Replicas that a training simulates with the force field it has so far, in OpenMM.

In: a force field and positions of the replicas. Out: their frames, and where the next simulation goes on from.
"""

from threading import Event

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError
from fpforce.foundation.seeds import seeds
from fpforce.simulation.exchange import geometric_ladder
from fpforce.simulation.replicas import BondLimits
from fpforce.simulation.rungs import Rungs
from fpforce.system.make_system import make_system
from fpforce.training.recipe.sections import CalibrationRecipe

# Of the Langevin thermostat; that of fpforce-simulate by default. The averages that calibration needs do not depend on
# it, only how soon they settle.
FRICTION_PER_PS = 1.0
# Between two frames. A velocity is forgotten in 1 / FRICTION_PER_PS, so frames closer than that repeat each other.
INTERVAL_PS = 1.0
SWAPS_PER_INTERVAL = 2  # attempts of the rungs to exchange: every 0.5 ps, as fpforce-simulate does by default


class PersistentReplicas:
    """Langevin dynamics of R replicas at K temperatures, which exchange.

    They start from positions (K, R, n, 3) in nm with fresh velocities. first: by which number messages call the first
    of them. Attributes: positions_nm (K, R, n, 3), where they are now.
    """

    def __init__(
        self,
        force_field: ForceField,
        positions_nm: np.ndarray,
        settings: CalibrationRecipe,
        threads: int | None,
        seed: int,
        *,
        first: int = 0,
    ):
        shape, self._first = positions_nm.shape, first
        self._ladder_k = geometric_ladder(force_field.temperature_k, settings.top_temperature_k, shape[0])
        self._limits, self._space = BondLimits.of(force_field), force_field.space
        assert settings.timestep_fs is not None and settings.picoseconds is not None  # calibrate_in_rounds has chosen
        self._pauses = 1 if shape[0] == 1 else SWAPS_PER_INTERVAL
        self._steps = max(1, round(1000.0 * INTERVAL_PS / self._pauses / settings.timestep_fs))
        self._times = max(2, round(settings.picoseconds / INTERVAL_PS))
        system = make_system(force_field, replicas=shape[1], threads=threads)
        molecule = make_system(force_field, threads=threads) if shape[0] > 1 else None
        self._rungs = Rungs(
            system,
            molecule,
            self._ladder_k,
            shape[1:],
            timestep_fs=settings.timestep_fs,
            friction_per_ps=FRICTION_PER_PS,
            noise_seeds=seeds(seed, "noise", count=shape[0]),
            swap_seed=seeds(seed, "swaps")[0],
            platform="auto",
        )
        self._rungs.start(positions_nm[0], seeds(seed, "velocities", count=shape[0]), minimise=False)
        self._rungs.set_positions(positions_nm)
        self.positions_nm = positions_nm

    def simulate(self, stop: Event) -> np.ndarray | None:
        """Frames (times, R, n, 3) in nm of the coldest rung, one every INTERVAL_PS.

        None when the event `stop` is set meanwhile. Raises InputError when a replica breaks.
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
                    f"calibration: replica {self._first + next(iter(broken))} broke after {time_ps:g} ps "
                    f"({next(iter(broken.values()))}); "
                    f"train further, or {remedy}"
                )
