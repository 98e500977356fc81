"""A simulation in shards: replicas in batches, each a simulation of its own, by this process or by Dask's workers.

In: a force field, an output name, SimulationSettings. Out: the folder `<output>.shards` with a simulation for every
shard, and `<output>.json`, which lists them, so that all are read as one (fpforce.simulation.read.read_simulation).

How replicas are cut follows from their number and from settings.shard_replicas, and a shard's noise from the seed and
its first replica. The batch is the unit, since OpenMM draws one stream of random numbers for a Context, and torch
rounds the same molecule differently in batches of different size: so the same settings give the same frames whoever
simulates the shards, and in which order. A ladder of rungs is one replica, and never cut.

A shard that is begun again goes on from its own checkpoint. All that is needed for that lies in the folder.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.distributed.parts import Part, Pool
from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.load import AnyForceField, loaded
from fpforce.forcefield.transferable.bound import BoundForceField
from fpforce.foundation.errors import InputError
from fpforce.foundation.locking import wait_until_free
from fpforce.foundation.progress import SimulationProgress, aggregate_ns_per_day
from fpforce.foundation.seeds import seeds
from fpforce.simulation.description import describe, require_same_run, require_simulable, temperature_of
from fpforce.simulation.exchange import accepted_swaps, warn_of_ladder
from fpforce.simulation.files import SimulationFiles, sidecar_of
from fpforce.simulation.result import SimulationResult
from fpforce.simulation.settings import SimulationSettings
from fpforce.simulation.shard_summary import summary_of_shards
from fpforce.simulation.start_frame import read_start_frame
from fpforce.system.fastest import first_way

MOST_SHARDS = 16  # where the user does not say how many replicas one has
# In which the earlier process of a shard, whose worker was lost, notices that and writes its checkpoint.
_GIVE_WAY_SECONDS = 60.0


@dataclass(frozen=True)
class Shard:
    """Replicas first to first + replicas - 1 of a simulation, with the trajectory of their own."""

    number: int
    first: int
    replicas: int
    output: Path

    @property
    def name(self) -> str:
        return f"shard {self.number}"

    def metadata(self) -> dict | None:
        """Its sidecar; None where it was not begun."""
        try:
            return json.loads(sidecar_of(self.output).read_text())
        except FileNotFoundError:
            return None


def wanted(output: str | Path, settings: SimulationSettings) -> bool:
    """Whether a simulation is to be cut into shards: it says so, or it goes on with one that is.

    Raises InputError where it says so, and goes on with one that is not.
    """
    asked = settings.where.many or settings.shard_replicas is not None
    if not settings.resume:
        return asked
    try:
        stored = json.loads(sidecar_of(output).read_text())
    except (OSError, ValueError):
        return asked
    if asked and "shards" not in stored:
        raise InputError(
            f"cannot resume {output} in shards: it was simulated in one piece; leave --workers, --scheduler and "
            "--shard-replicas out, or --overwrite to start anew"
        )
    return "shards" in stored


def cut(output: Path, replicas: int, shard_replicas: int) -> list[Shard]:
    """The shards of a simulation, all of the same number of replicas but the last."""
    firsts = range(0, replicas, shard_replicas)
    digits = len(str(len(firsts) - 1))
    folder = output.with_name(output.name + ".shards")
    return [
        Shard(k, first, min(shard_replicas, replicas - first), folder / f"{k:0{digits}d}{output.suffix}")
        for k, first in enumerate(firsts)
    ]


def simulate_shards(
    force_field: AnyForceField,
    output: str | Path,
    settings: SimulationSettings,
    *,
    show_progress: bool | Callable[[int, int], None] = False,
) -> SimulationResult:
    """`simulate` for settings that cut the replicas into shards. Raises what it raises."""
    bound = loaded(force_field).bound(settings.topology)
    require_simulable(bound, settings)
    files = SimulationFiles(output, bound.beads, settings.replicas, per_replica=False)
    files.check_folder()
    if not (settings.resume or settings.overwrite):
        files.require_absent()
    per_shard = settings.shard_replicas or -(-settings.replicas // MOST_SHARDS)
    description = describe(bound, settings, temperature_of(bound, settings))
    if settings.resume:
        stored = json.loads(files.sidecar.read_text())
        require_same_run(files.output, stored, description)
        if settings.shard_replicas not in (None, stored["shard_replicas"]):
            raise InputError(
                f"cannot resume {files.output}: shard_replicas is {settings.shard_replicas}, the run to continue has "
                f"{stored['shard_replicas']}; use the same, or --overwrite to start anew"
            )
        per_shard = stored["shard_replicas"]
        description |= {name: stored[name] for name in ("seed", "start")}
    else:
        start_nm, source = read_start_frame(bound, settings.start, settings.start_topology)
        description["start"] = source | {"positions_nm": start_nm.tolist()}
        files.make_folder()
    shards = cut(files.output.absolute(), settings.replicas, per_shard)
    description["shard_replicas"] = per_shard
    description["shards"] = [
        {"output": f"{files.shards.name}/{shard.output.name}", "replicas": shard.replicas} for shard in shards
    ]
    with settings.where.pool() as pool:
        files.lock()
        try:
            if not settings.resume:
                if not settings.overwrite:
                    files.require_absent()  # again: another run may have come and gone
                files.remove_earlier()
                bound.beads.write_structure(files.topology, np.array(description["start"]["positions_nm"]))
                files.shards.mkdir()
                files.write_sidecar(description)
            run = _Run(force_field, bound, settings, description, shards, pool)
            stopped = run.to_the_end(show_progress)
            return _conclude(files, description, shards, run, stopped, settings)
        finally:
            files.close()


class _Run:
    """The shards that are not finished, and how far all are."""

    def __init__(
        self,
        force_field: AnyForceField,
        bound: ForceField,
        settings: SimulationSettings,
        description: dict,
        shards: Sequence[Shard],
        pool: Pool,
    ) -> None:
        self._settings, self._shards, self._pool = settings, shards, pool
        self._model = bound if isinstance(force_field, BoundForceField) else bound.path.absolute()
        self._sha256, self._seed = bound.sha256, description["seed"]
        self._start_nm = np.array(description["start"]["positions_nm"])
        self._steps = np.zeros(len(shards))
        self._failed = np.zeros(len(shards), dtype=int)
        for shard in shards:
            if (metadata := shard.metadata()) is not None:
                self._steps[shard.number], self._failed[shard.number] = metadata["steps"], len(metadata["failed"])
        self._weights = np.array([shard.replicas for shard in shards]) / settings.replicas
        self.steps_per_second = 0.0

    @property
    def _mean_step(self) -> float:
        return float(self._weights @ self._steps)

    def to_the_end(self, show_progress: bool | Callable[[int, int], None]) -> bool:
        """Simulate all shards; True where a signal stopped that."""
        first, began, settings = self._mean_step, time.monotonic(), self._settings
        numbers = {shard.name: shard.number for shard in self._shards}
        progress = SimulationProgress(
            settings.steps, round(first), settings.replicas, settings.timestep_fs, show_progress
        )

        def told(name: str, state: tuple[int, int]) -> None:
            self._steps[numbers[name]], self._failed[numbers[name]] = state
            progress.update(int(self._mean_step), int(self._failed.sum()))

        with progress:
            stopped = self._pool.run(self._parts(), told, told)
        self.steps_per_second = (self._mean_step - first) / (time.monotonic() - began)
        return stopped

    def _parts(self) -> Iterator[Part]:
        for shard in self._shards:
            if self._steps[shard.number] < self._settings.steps:
                arguments = {
                    "model": self._model,
                    "sha256": self._sha256,
                    "output": shard.output,
                    "settings": self._settings_of(shard),
                }
                yield Part(shard.name, simulate_shard, arguments)

    def _settings_of(self, shard: Shard) -> SimulationSettings:
        settings = self._settings
        topology = settings.topology
        if isinstance(topology, str | Path):
            topology = Path(topology).absolute()
        minutes = settings.max_minutes
        if minutes is not None:
            minutes *= min(1.0, max(1, self._pool.slots) / len(self._shards))
        return replace(
            settings,
            replicas=shard.replicas,
            seed=seeds(self._seed, "shard", shard.first)[0],
            start=self._start_nm,
            start_topology=None,
            topology=topology,
            max_minutes=minutes,
            workers=None,
            scheduler=None,
            shard_replicas=None,
            resume=False,
            overwrite=False,
        )


def simulate_shard(
    model: AnyForceField,
    sha256: str,
    output: Path,
    settings: SimulationSettings,
    told: Callable[[Any], None],
) -> tuple[int, int]:
    """Simulate one shard, from its checkpoint where it has one; its last step and the number of its failed replicas.

    told: of the same. Raises InputError where the model is another one here, and KeyboardInterrupt on a signal.
    """
    from fpforce.simulation.simulate import simulate  # which leads here

    if not output.parent.is_dir():
        raise InputError(
            f"{output.parent} is not there on this machine; give an --output on a disk that all workers share"
        )
    force_field = loaded(model)
    if force_field.sha256 != sha256:
        raise InputError(f"{force_field.path} is another file on this machine; put the model on a disk that all share")
    wait_until_free(output.with_name(output.name + ".lock"), output, _GIVE_WAY_SECONDS)
    begun = output.with_name(output.name + ".checkpoint").exists()
    settings = replace(settings, resume=begun, overwrite=not begun)
    if not begun:  # a measurement might end differently on each worker
        backend, platform = first_way(
            force_field.bound(settings.topology), backend=settings.backend, platform=settings.platform
        )
        settings = replace(settings, backend=backend, platform=platform)
    result = simulate(force_field, output, settings, show_progress=lambda step, failed: told((step, failed)))
    return result.steps, len(result.failed)


def _conclude(
    files: SimulationFiles,
    description: dict,
    shards: Sequence[Shard],
    run: _Run,
    stopped: bool,
    settings: SimulationSettings,
) -> SimulationResult:
    """Bring the sidecar up to date; KeyboardInterrupt where the run was stopped."""
    sidecars = [shard.metadata() for shard in shards]
    begun = [(shard, each) for shard, each in zip(shards, sidecars, strict=True) if each is not None]
    summary = summary_of_shards(description["shards"], sidecars) | {
        "steps_per_second": run.steps_per_second,
        "ns_per_day": aggregate_ns_per_day(run.steps_per_second, settings.replicas, settings.timestep_fs),
        "topology": files.topology.name,
    }
    files.write_sidecar(description | summary)
    if stopped:
        raise KeyboardInterrupt(
            f"stopped with {sum(m['steps'] >= settings.steps for _, m in begun)} of {len(shards)} shards of "
            f"{files.output} at step {settings.steps}; all others have checkpoints: continue with --resume"
        )
    warn_of_ladder(description | summary)
    return SimulationResult(
        output=files.output,
        trajectories=[files.output.parent / name for name in summary["trajectories"]],
        topology=files.topology,
        steps=summary["steps"],
        saved_times=min(metadata["saved_times"] for _, metadata in begun),
        frames=sum(shard.replicas * metadata["saved_times"] for shard, metadata in begun),
        steps_per_second=summary["steps_per_second"],
        ns_per_day=summary["ns_per_day"],
        backend=summary["backend"],
        platform=summary["platform"],
        failed={int(replica): info for replica, info in summary["failed"].items()},
        accepted_swaps=accepted_swaps(summary),
    )
