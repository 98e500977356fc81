"""The loop of a simulation: step to the next saved time, set broken replicas aside, save, checkpoint now and then."""

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.progress import SimulationProgress, aggregate_ns_per_day
from fpforce.foundation.seeds import seeds
from fpforce.foundation.signals import stop_signals
from fpforce.simulation.exchange import ladder_text
from fpforce.simulation.files import SimulationFiles
from fpforce.simulation.replicas import BondLimits
from fpforce.simulation.rungs import Rungs
from fpforce.simulation.settings import SimulationSettings
from fpforce.system.fastest import fastest_way
from fpforce.system.make_system import make_system

logger = logging.getLogger("fpforce")

# A stop signal is noticed between calls of integrator.step, each made to last at most about this long: an exception
# raised by a signal inside OpenMM would surface as an empty OpenMMException, in the middle of a step.
_STEP_CALL_SECONDS = 0.5
# Replicas that drift further than this, along what no energy depends on, are put back: the centre of a molecule to the
# origin, a particle in the plane to z = 0. Positions in single precision stay exact to 2e-7 nm.
_LARGEST_DRIFT_NM = 2.0


class LangevinRun:
    """A simulation in progress; `start` or `resume` it, then `advance` it.

    before: (backend, platform) of the part that it goes on from.

    Attributes: step, saved_times, saved_step (of the last checkpoint), failed, interrupted, backend, platform.
    """

    def __init__(
        self,
        force_field: ForceField,
        settings: SimulationSettings,
        files: SimulationFiles,
        description: dict,
        before: tuple[str, str] | None = None,
    ) -> None:
        self._files, self._description = files, description
        self._replicas, self._report_steps = settings.replicas, settings.report_steps
        self._timestep_fs, self._seed = settings.timestep_fs, description["seed"]
        self._limits, self._space = BondLimits.of(force_field), force_field.space
        self._shape = (settings.replicas, len(force_field.beads), 3)
        self._ladder_k = description["ladder_k"] or [description["temperature_k"]]
        self.backend, self.platform = fastest_way(
            force_field,
            settings.replicas,
            backend=settings.backend,
            platform=settings.platform,
            threads=settings.threads,
            before=before,
        )
        options: dict[str, Any] = {
            "backend": self.backend,
            "threads": settings.threads,
            "override_not_conservative": settings.override_not_conservative,
        }
        self._system = make_system(force_field, replicas=settings.replicas, **options)
        self._molecule = None
        if len(self._ladder_k) > 1:
            logger.info(
                "replica exchange between %s; the energies for it are those of one molecule at a time:",
                ladder_text(self._ladder_k),
            )
            self._molecule = make_system(force_field, **options)
        self._minimise = settings.minimise
        self._rungs: Rungs  # and _last_good_nm (K, R, n, 3): from `start` or `resume` on
        self._last_good_nm: np.ndarray
        self._seconds = 0.0
        self.step = self.saved_times = self.saved_step = 0
        self.failed: dict[int, dict] = {}
        self.interrupted = False

    def start(self, start_nm: np.ndarray) -> None:
        """Put every replica at the start frame (n, 3) nm with velocities of its own; write the first checkpoint."""
        self._make_rungs()
        self._rungs.start(np.tile(start_nm, (self._replicas, 1, 1)), self._seeds("velocities"), self._minimise)
        self._last_good_nm = self._rungs.positions()
        self._files.start(start_nm)
        self._save()

    def resume(self, arrays: dict, metadata: dict) -> None:
        """Go back to a checkpoint of `SimulationFiles.save`."""
        self.step = self.saved_step = metadata["steps"]
        self.saved_times, self._seconds = metadata["saved_times"], metadata["seconds"]
        self.failed = {int(replica): info for replica, info in metadata["failed"].items()}
        self._last_good_nm = arrays["last_good_nm"].reshape(-1, *self._shape)
        n = self._shape[1]
        for replica in self.failed:
            for particle in range(replica * n, (replica + 1) * n):
                self._system.setParticleMass(particle, 0.0)
        self._make_rungs()
        self._rungs.restore(arrays, metadata["platform"])
        self._files.continue_from(arrays["extents"])

    def advance(self, settings: SimulationSettings, show_progress: bool | Callable[[int, int], None]) -> None:
        """Go on to the last step, the end of the time, a stop signal, or until every replica has failed.

        Then write a checkpoint.
        """
        last_step, longest = settings.steps, 60.0 * (settings.max_minutes or float("inf"))
        checkpointed_at = time.monotonic()
        steps_per_call = 10
        progress = SimulationProgress(
            last_step, self.step, self._replicas, self._timestep_fs, show_progress, longest - self._seconds
        )
        with stop_signals() as stop, progress:
            while self.step < last_step and len(self.failed) < self._replicas and not stop.is_set():
                if self._seconds >= longest:
                    logger.info("stopped at step %d of %d, since max_minutes are over", self.step, last_step)
                    break
                began = time.monotonic()
                steps = min(self._report_steps - self.step % self._report_steps, last_step - self.step, steps_per_call)
                self._rungs.step(steps)
                self.step += steps
                seconds_per_step = (time.monotonic() - began) / steps
                steps_per_call = int(np.clip(_STEP_CALL_SECONDS / max(seconds_per_step, 1e-9), 1, 4 * steps_per_call))
                if self.step % self._report_steps == 0:
                    self._report()
                self._seconds += time.monotonic() - began
                if time.monotonic() - checkpointed_at > 60.0 * settings.checkpoint_minutes:
                    self._save()
                    checkpointed_at = time.monotonic()
                progress.update(self.step, len(self.failed))
            if self.step > self.saved_step:
                self._save()
            self.interrupted = stop.is_set() and self.step < last_step

    def metadata(self) -> dict:
        """The sidecar's contents at this moment."""
        rate = self.step / self._seconds if self._seconds else 0.0
        return (
            self._description
            | {
                "steps": self.step,
                "saved_times": self.saved_times,
                "backend": self.backend,
                "platform": self.platform,
                "trajectories": [path.name for path in self._files.trajectories],
                "topology": self._files.topology.name,
                "seconds": self._seconds,
                "steps_per_second": rate,
                "ns_per_day": aggregate_ns_per_day(rate, self._replicas, self._timestep_fs),
                "failed": {str(replica): info for replica, info in self.failed.items()},
            }
            | self._swaps()
        )

    def _swaps(self) -> dict:
        if self._molecule is None:
            return {}
        swaps = self._rungs.swaps
        return {"swaps": {"attempts": swaps.attempts.tolist(), "accepted": swaps.accepted.tolist()}}

    def _seeds(self, purpose: str) -> list[int]:
        """One for every rung, from the present step on."""
        return [seeds(self._seed, purpose, rung, self.step)[0] for rung in range(len(self._ladder_k))]

    def _make_rungs(self) -> None:
        self._rungs = Rungs(
            self._system,
            self._molecule,
            self._ladder_k,
            self._shape,
            timestep_fs=self._timestep_fs,
            friction_per_ps=self._description["friction_per_ps"],
            noise_seeds=self._seeds("noise"),
            swap_seed=seeds(self._seed, "swaps")[0],
            platform=self.platform,
        )
        logger.info("platform %s", self.platform)

    def _report(self) -> None:
        """Look at every replica, freeze those that broke since the last report, and save a frame of each."""
        positions_nm = self._rungs.positions()
        broken = self._broken(positions_nm)
        if broken:
            for replica, failure in broken.items():
                positions_nm[:, replica] = self._last_good_nm[:, replica]
                self.failed[replica] = {"step": self.step, "frame": self.saved_times} | failure
                logger.warning(
                    "replica %d failed at step %d: %s%s; it is frozen, the others go on",
                    replica,
                    self.step,
                    failure["reason"],
                    f" (on the rung of {failure['temperature_k']:g} K)" if failure["rung"] else "",
                )
            self._rungs.freeze(broken, positions_nm)
        projected_nm = self._space.project(positions_nm)
        if np.abs(positions_nm - projected_nm).max() > _LARGEST_DRIFT_NM:
            positions_nm = projected_nm
            self._rungs.set_positions(positions_nm)
        self._last_good_nm = positions_nm
        self._files.append(projected_nm[0], self.step * self._timestep_fs * 1e-3, self.step)
        self.saved_times += 1
        self._rungs.exchange(positions_nm, self.failed)

    def _broken(self, positions_nm: np.ndarray) -> dict[int, dict]:
        """Which replicas broke since the last report, why, and on which rung, the coldest of several."""
        broken: dict[int, dict] = {}
        for rung, (temperature_k, each) in enumerate(zip(self._ladder_k, positions_nm, strict=True)):
            for replica, reason in self._limits.broken(each).items():
                if replica not in self.failed:
                    broken.setdefault(replica, {"reason": reason, "rung": rung, "temperature_k": temperature_k})
        return broken

    def _save(self) -> None:
        self._files.save(self._rungs.state() | {"last_good_nm": self._last_good_nm}, self.metadata())
        self.saved_step = self.step
