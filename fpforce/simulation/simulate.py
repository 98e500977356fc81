"""simulate: many replicas of one force field by Langevin dynamics, with checkpoints and failed replicas set aside.

In: a force field, an output name, SimulationSettings. Out: the files of fpforce.simulation.files and a
SimulationResult. The loop itself is fpforce.simulation.langevin.
"""

import errno
import logging
from collections.abc import Callable
from pathlib import Path

from fpforce.forcefield.load import AnyForceField, loaded
from fpforce.foundation.errors import InputError
from fpforce.simulation import shards
from fpforce.simulation.description import describe, require_same_run, require_simulable, temperature_of
from fpforce.simulation.exchange import accepted_swaps, warn_of_ladder
from fpforce.simulation.files import SimulationFiles
from fpforce.simulation.langevin import LangevinRun
from fpforce.simulation.read import SimulatedFrames, read_simulation
from fpforce.simulation.result import SimulationResult
from fpforce.simulation.settings import SimulationSettings
from fpforce.simulation.start_frame import read_start_frame
from fpforce.system.platforms import require_platform

logger = logging.getLogger("fpforce")

__all__ = ["SimulatedFrames", "SimulationResult", "SimulationSettings", "read_simulation", "simulate"]


def simulate(
    force_field: AnyForceField,
    output: str | Path,
    settings: SimulationSettings,
    *,
    show_progress: bool | Callable[[int, int], None] = False,
) -> SimulationResult:
    """Run `settings.replicas` independent replicas and write their trajectory to `output` (.xtc, .dcd or .h5).

    force_field: a ForceField, a TransferableForceField, or the path of model.pt.
    show_progress: on stderr, or to a function of the step and the number of failed replicas, about twice a second.

    With settings.workers, scheduler or shard_replicas, and to resume what these made, the replicas are simulated in
    shards (fpforce.simulation.shards).
    A replica whose coordinates become non-finite or whose bond breaks is frozen at its last good frame, counted in
    `failed` and reported, while the others go on. Ctrl-C or SIGTERM ends the run at the next pause (half a second)
    with a checkpoint, then raises KeyboardInterrupt; the same settings with resume=True continue. On the same
    platform a resumed run repeats the uninterrupted one up to rounding; on another one it goes on with fresh noise.
    Saved frames are centred on each replica's mean position; a particle in the plane is saved where it is, at z = 0.
    Raises InputError for anything a user can mend, a full disk included; what was written stays readable.
    """
    settings.check()
    if shards.wanted(output, settings):
        return shards.simulate_shards(force_field, output, settings, show_progress=show_progress)
    force_field = loaded(force_field).bound(settings.topology)
    require_simulable(force_field, settings)
    temperature_k = temperature_of(force_field, settings)
    require_platform(settings.platform)
    files = SimulationFiles(output, force_field.beads, settings.replicas, settings.per_replica)
    files.check_folder()
    if not (settings.resume or settings.overwrite):
        files.require_absent()
    description = describe(force_field, settings, temperature_k)
    before = None
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
            require_same_run(files.output, stored, description)
            if stored["steps"] >= settings.steps:
                logger.info(
                    "nothing left to do: %s is at step %d already; raise steps to go on", files.output, stored["steps"]
                )
            description |= {name: stored[name] for name in ("seed", "start")}
            before = (stored["backend"], stored["platform"])
        run = LangevinRun(force_field, settings, files, description, before)
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
