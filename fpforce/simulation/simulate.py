"""simulate: many replicas of one force field by Langevin dynamics, with checkpoints and failed replicas set aside.

In: a force field, an output name, SimulationSettings. Out: the files of fpforce.simulation.files and a
SimulationResult. The loop itself is fpforce.simulation.langevin.
"""

import errno
import logging
from dataclasses import dataclass
from pathlib import Path

from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.load import AnyForceField, loaded
from fpforce.foundation.errors import InputError
from fpforce.simulation.exchange import accepted_swaps, ladder_text, warn_of_ladder
from fpforce.simulation.files import SimulatedFrames, SimulationFiles, read_simulation
from fpforce.simulation.langevin import LangevinRun
from fpforce.simulation.settings import SimulationSettings
from fpforce.simulation.start_frame import read_start_frame
from fpforce.system.add_force import require_energy
from fpforce.system.platforms import require_platform

logger = logging.getLogger("fpforce")

__all__ = ["SimulatedFrames", "SimulationResult", "SimulationSettings", "read_simulation", "simulate"]

# What a resumed run must have in common with the run it continues.
_FIXED_ON_RESUME = (
    "model_sha256",
    "replicas",
    "timestep_fs",
    "friction_per_ps",
    "temperature_k",
    "ladder_k",
    "report_steps",
    "per_replica",
    "molecule",
    "beads",
)


@dataclass(frozen=True)
class SimulationResult:
    """What a simulation reached.

    frames: saved_times * replicas. Speeds are of the whole run, resumed parts included; ns_per_day is summed over
    replicas, of their coldest rungs. accepted_swaps: part of those offered, between neighbouring rungs, None where none
    was; empty without exchange. failed: replica -> dict of `step`, `frame` (first saved time that is not valid),
    `reason`, `rung` (0 is the coldest) and its `temperature_k`.
    """

    output: Path
    trajectories: list[Path]
    topology: Path
    steps: int
    saved_times: int
    frames: int
    steps_per_second: float
    ns_per_day: float
    backend: str
    platform: str
    failed: dict[int, dict]
    accepted_swaps: tuple[float | None, ...] = ()


def simulate(
    force_field: AnyForceField, output: str | Path, settings: SimulationSettings, *, show_progress: bool = False
) -> SimulationResult:
    """Run `settings.replicas` independent replicas and write their trajectory to `output` (.xtc, .dcd or .h5).

    force_field: a ForceField, a TransferableForceField, or the path of model.pt.

    A replica whose coordinates become non-finite or whose bond breaks is frozen at its last good frame, counted in
    `failed` and reported, while the others go on. Ctrl-C or SIGTERM ends the run at the next pause (half a second)
    with a checkpoint, then raises KeyboardInterrupt; the same settings with resume=True continue. On the same
    platform a resumed run repeats the uninterrupted one up to rounding; on another one it goes on with fresh noise.
    Saved frames are centred on each replica's mean position; a particle in the plane is saved where it is, at z = 0.
    Raises InputError for anything a user can mend, a full disk included; what was written stays readable.
    """
    settings.check()
    force_field = loaded(force_field).bound(settings.topology)
    _require_energy(force_field, settings)
    temperature_k = _temperature(force_field, settings)
    require_platform(settings.platform)
    files = SimulationFiles(output, force_field.beads, settings.replicas, settings.per_replica)
    files.check_folder()
    if not (settings.resume or settings.overwrite):
        files.require_absent()
    description = _describe(force_field, settings, temperature_k)
    if not settings.resume:
        start_nm, source = read_start_frame(force_field, settings.start, settings.start_topology)
        description["start"] = source | {"positions_nm": start_nm.tolist()}
        files.make_folder()
    else:
        files.require_checkpoint()
    files.lock()
    try:
        if not (settings.resume or settings.overwrite):
            files.require_absent()  # again: another run may have come and gone
        if settings.resume:
            arrays, stored = files.read_checkpoint()
            _require_same_run(files, stored, description)
            if stored["steps"] >= settings.steps:
                logger.info(
                    "nothing left to do: %s is at step %d already; raise steps to go on", files.output, stored["steps"]
                )
            description |= {name: stored[name] for name in ("seed", "start")}
        run = LangevinRun(force_field, settings, files, description)
        try:
            if settings.resume:
                run.resume(arrays, stored)
            else:
                run.start(start_nm)
            run.advance(settings, show_progress)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            if not files.checkpoint.exists():
                raise InputError(
                    f"no space left for {files.output}; free some and start again with --overwrite"
                ) from error
            raise InputError(
                f"no space left for {files.output} at step {run.step}; what was written and the checkpoint of "
                f"step {run.saved_step} are intact: free space and continue with --resume"
            ) from error
    finally:
        files.close()
    if run.interrupted:
        raise KeyboardInterrupt(
            f"stopped at step {run.step} of {settings.steps}; {files.output} and its checkpoint are "
            "complete up to there: continue with --resume"
        )
    summary = run.metadata()
    warn_of_ladder(summary)
    return SimulationResult(
        output=files.output,
        trajectories=files.trajectories,
        topology=files.topology,
        steps=run.step,
        saved_times=run.saved_times,
        frames=run.saved_times * settings.replicas,
        steps_per_second=summary["steps_per_second"],
        ns_per_day=summary["ns_per_day"],
        backend=run.backend,
        platform=run.platform,
        failed=run.failed,
        accepted_swaps=accepted_swaps(summary),
    )


def _require_energy(force_field: ForceField, settings: SimulationSettings) -> None:
    if not settings.override_not_conservative:
        require_energy(force_field, "--override-not-conservative")
    if not force_field.conservative and settings.minimise:
        raise InputError(f"{force_field.path} has no energy to minimise; leave --minimise out")
    if not force_field.conservative and settings.rungs > 1:
        raise InputError(
            f"{force_field.path} has no energy, by which {settings.rungs} rungs would exchange; leave --rungs out"
        )


def _temperature(force_field: ForceField, settings: SimulationSettings) -> float:
    temperature_k = settings.temperature_k or force_field.temperature_k
    if abs(temperature_k - force_field.temperature_k) > 1e-3 and not settings.override_temperature:
        raise InputError(
            f"temperature {temperature_k:g} K differs from the {force_field.temperature_k:g} K of "
            f"{force_field.path}, whose free energy holds at that temperature only; leave it out, or give "
            "--override-temperature"
        )
    return temperature_k


def _describe(force_field: ForceField, settings: SimulationSettings, temperature_k: float) -> dict:
    """The part of the sidecar that is known before the first step."""
    return {
        "replicas": settings.replicas,
        "timestep_fs": settings.timestep_fs,
        "friction_per_ps": settings.friction_per_ps,
        "temperature_k": temperature_k,
        "ladder_k": settings.ladder_k(temperature_k),
        "report_steps": settings.report_steps,
        "frame_interval_ps": settings.report_steps * settings.timestep_fs / 1000.0,
        "per_replica": settings.per_replica,
        "seed": settings.seed,
        "model": str(force_field.path),
        "model_sha256": force_field.sha256,
        "molecule": force_field.molecule,
        "beads": list(force_field.beads.labels),
    }


def _require_same_run(files: SimulationFiles, stored: dict, wanted: dict) -> None:
    for name in _FIXED_ON_RESUME:
        if stored.get(name) != wanted[name] and not (
            name == "beads" and name not in stored
        ):  # runs from before it was recorded
            now, then = wanted[name], stored.get(name)
            if name == "ladder_k":
                name, now, then = "the ladder of --rungs and --top-temperature-k", ladder_text(now), ladder_text(then)
            raise InputError(
                f"cannot resume {files.output}: {name} is {now}, the run to continue has {then}; use the same "
                f"settings, or "
                "--overwrite to start anew"
            )
