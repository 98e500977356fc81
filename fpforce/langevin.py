"""The loop of a simulation: step to the next saved time, set broken replicas aside, save, checkpoint now and then."""

import logging
import time

import numpy as np

from fpforce import backends
from fpforce.platforms import make_context
from fpforce.progress import SimulationProgress, aggregate_ns_per_day
from fpforce.replicas import BondLimits, freeze
from fpforce.stop_signals import stop_signals
from fpforce.system import make_system

logger = logging.getLogger("fpforce")

# A stop signal is noticed between calls of integrator.step, each made to last at most about this long: an exception
# raised by a signal inside OpenMM would surface as an empty OpenMMException, in the middle of a step.
_STEP_CALL_SECONDS = 0.5
# Replicas that drift further than this, along what no energy depends on, are put back: the centre of a molecule to the
# origin, a particle in the plane to z = 0. Positions in single precision stay exact to 2e-7 nm.
_LARGEST_DRIFT_NM = 2.0


class LangevinRun:
    """A simulation in progress; `start` or `resume` it, then `advance` it.

    Attributes: step, saved_times, saved_step (of the last checkpoint), failed, interrupted, backend, platform.
    """

    def __init__(self, force_field, settings, files, description: dict):
        self._files, self._description = files, description
        self._replicas, self._report_steps = settings.replicas, settings.report_steps
        self._timestep_fs, self._seed = settings.timestep_fs, description["seed"]
        self._limits, self._space = BondLimits.of(force_field), force_field.space
        self._shape = (settings.replicas, len(force_field.beads), 3)
        self._wanted_platform = settings.platform
        self.backend, _ = backends.choose(force_field, settings.backend)
        self._system = make_system(
            force_field, backend=self.backend, replicas=settings.replicas, threads=settings.threads,
            override_not_conservative=settings.override_not_conservative,
        )  # fmt: skip
        self._minimise = settings.minimise
        self._context = self._last_good_nm = None
        self._seconds = 0.0
        self.platform = None
        self.step = self.saved_times = self.saved_step = 0
        self.failed: dict[int, dict] = {}
        self.interrupted = False

    def start(self, start_nm) -> None:
        """Put every replica at the start frame (n, 3) nm with velocities of its own; write the first checkpoint."""
        from openmm import LocalEnergyMinimizer

        noise_seed, velocity_seed = _seeds(self._seed)
        self._make_context(noise_seed)
        self._last_good_nm = np.tile(start_nm, (self._replicas, 1, 1))
        self._context.setPositions(self._last_good_nm.reshape(-1, 3))
        if self._minimise:
            LocalEnergyMinimizer.minimize(self._context)
            self._last_good_nm = self._positions()
        self._context.setVelocitiesToTemperature(self._description["temperature_k"], velocity_seed)
        self._files.start(start_nm)
        self._save()

    def resume(self, arrays: dict, metadata: dict) -> None:
        """Go back to a checkpoint of `SimulationFiles.save`."""
        import openmm

        self.step = self.saved_step = metadata["steps"]
        self.saved_times, self._seconds = metadata["saved_times"], metadata["seconds"]
        self.failed = {int(replica): info for replica, info in metadata["failed"].items()}
        self._last_good_nm = arrays["last_good_nm"]
        n = self._shape[1]
        for replica in self.failed:
            for particle in range(replica * n, (replica + 1) * n):
                self._system.setParticleMass(particle, 0.0)
        self._make_context(_seeds(self._seed, self.step)[0])
        try:
            if metadata["platform"] != self.platform:
                raise openmm.OpenMMException(f"it is of platform {metadata['platform']}")
            self._context.loadCheckpoint(arrays["openmm_checkpoint"].tobytes())
        except openmm.OpenMMException as error:
            logger.info(
                "OpenMM's checkpoint cannot be used here (%s): positions and velocities go on, with fresh noise", error
            )
            self._context.setPositions(arrays["positions_nm"].reshape(-1, 3))
            self._context.setVelocities(arrays["velocities_nm_per_ps"].reshape(-1, 3))
        self._files.continue_from(arrays["extents"])

    def advance(self, settings, show_progress: bool) -> None:
        """Go on to the last step, the end of the time, a stop signal, or until every replica has failed.

        Then write a checkpoint.
        """
        last_step, longest = settings.steps, 60.0 * (settings.max_minutes or float("inf"))
        integrator = self._context.getIntegrator()
        checkpointed_at = time.monotonic()
        steps_per_call = 10
        progress = SimulationProgress(last_step, self.step, self._replicas, self._timestep_fs, show_progress)
        with stop_signals() as stop, progress:
            while self.step < last_step and len(self.failed) < self._replicas and not stop.is_set():
                if self._seconds >= longest:
                    logger.info("stopped at step %d of %d, since max_minutes are over", self.step, last_step)
                    break
                began = time.monotonic()
                steps = min(self._report_steps - self.step % self._report_steps, last_step - self.step, steps_per_call)
                integrator.step(steps)
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
        return self._description | {
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

    def _make_context(self, noise_seed: int) -> None:
        import openmm
        from openmm import unit

        def make_integrator():
            integrator = openmm.LangevinMiddleIntegrator(
                self._description["temperature_k"] * unit.kelvin,
                self._description["friction_per_ps"] / unit.picosecond,
                self._timestep_fs * unit.femtosecond,
            )
            integrator.setRandomNumberSeed(noise_seed)
            return integrator

        self._context, self.platform = make_context(self._system, make_integrator, self._wanted_platform)
        logger.info("platform %s", self.platform)

    def _report(self) -> None:
        """Look at every replica, freeze those that broke since the last report, and save a frame of each."""
        positions_nm = self._positions()
        broken = {
            replica: reason
            for replica, reason in self._limits.broken(positions_nm).items()
            if replica not in self.failed
        }
        if broken:
            for replica, reason in broken.items():
                positions_nm[replica] = self._last_good_nm[replica]
                self.failed[replica] = {"step": self.step, "frame": self.saved_times, "reason": reason}
                logger.warning(
                    "replica %d failed at step %d: %s; it is frozen, the others go on", replica, self.step, reason
                )
            freeze(self._context, self._system, broken, positions_nm)
        projected_nm = self._space.project(positions_nm)
        if np.abs(positions_nm - projected_nm).max() > _LARGEST_DRIFT_NM:
            positions_nm = projected_nm
            self._context.setPositions(positions_nm.reshape(-1, 3))
        self._last_good_nm = positions_nm
        self._files.append(self._space.project(positions_nm), self.step * self._timestep_fs * 1e-3, self.step)
        self.saved_times += 1

    def _positions(self):
        """(R, n, 3) nm, a copy."""
        state = self._context.getState(positions=True)
        return np.array(state.getPositions(asNumpy=True)._value).reshape(self._shape)

    def _save(self) -> None:
        velocities = self._context.getState(velocities=True).getVelocities(asNumpy=True)._value
        self._files.save(
            {
                "positions_nm": self._positions(),
                "velocities_nm_per_ps": np.array(velocities).reshape(self._shape),
                "last_good_nm": self._last_good_nm,
                "openmm_checkpoint": np.frombuffer(self._context.createCheckpoint(), dtype=np.uint8),
            },
            self.metadata(),
        )
        self.saved_step = self.step


def _seeds(*entropy: int) -> list[int]:
    """Two seeds in OpenMM's range; 0 is left out, since OpenMM takes it for "choose at random"."""
    return [int(word % (2**31 - 2)) + 1 for word in np.random.SeedSequence(entropy).generate_state(2)]
