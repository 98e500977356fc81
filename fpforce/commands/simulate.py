"""fpforce-simulate: model.pt -> trajectory of independent replicas."""

import logging
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fpforce.commands.entry import command

_OVERRIDE = "run at another temperature than the model's, although its free energy does not hold there"
_NOT_CONSERVATIVE = (
    "simulate forces that are not the gradient of an energy, although they have no Boltzmann distribution"
)
_RUNGS = (
    "temperatures of a replica exchange, for barriers that a plain simulation does not cross: saved is the coldest, "
    "the model's, "
    "with the same distribution but no dynamics; costs about so many times as much"
)
_TOPOLOGY = (
    "PDB of the molecule, all atoms or the beads alone, for a transferable force field; every replica starts there "
    "unless "
    "--start says otherwise"
)
_START = (
    "FILE[:index], the frame (from 0) where every replica starts, of the beads or of the source molecule; the model's "
    "own by default"
)


@command
def main(
    model: Annotated[Path, Argument(help="force field, model.pt", show_default=False)],
    output: Annotated[Path, Option("--output", "-o", help="trajectory: .xtc, .dcd or .h5", show_default=False)],
    steps: Annotated[int, Option(help="time steps in total", show_default=False)],
    max_minutes: Annotated[float | None, Option(help="stop earlier after so many minutes", show_default=False)] = None,
    replicas: Annotated[int, Option(help="independent copies, evaluated as one batch")] = 1,
    timestep_fs: Annotated[float, Option(help="time step in fs")] = 2.0,
    friction_per_ps: Annotated[float, Option("--friction-per-ps", "--friction", help="in 1/ps")] = 1.0,
    temperature_k: Annotated[float | None, Option(help="K; the model's by default", show_default=False)] = None,
    override_temperature: Annotated[bool, Option("--override-temperature", help=_OVERRIDE)] = False,
    override_not_conservative: Annotated[bool, Option("--override-not-conservative", help=_NOT_CONSERVATIVE)] = False,
    rungs: Annotated[int, Option(help=_RUNGS)] = 1,
    top_temperature_k: Annotated[
        float | None, Option(help="of the hottest rung, K; twice the coldest by default", show_default=False)
    ] = None,
    report_interval_ps: Annotated[
        float, Option(help="time between saved frames in ps, and between offers of exchange")
    ] = 0.5,
    topology: Annotated[Path | None, Option(help=_TOPOLOGY, show_default=False)] = None,
    start: Annotated[str | None, Option(help=_START, show_default=False)] = None,
    start_topology: Annotated[
        Path | None, Option(help="topology of --start, where it has none", show_default=False)
    ] = None,
    seed: Annotated[int, Option(help="of velocities and noise; a resumed run keeps its own")] = 0,
    platform: Annotated[str, Option(help="OpenMM platform; auto: CUDA, HIP, OpenCL on a GPU, else Reference")] = "auto",
    backend: Annotated[str, Option(help="auto, native, torchforce or python")] = "auto",
    threads: Annotated[int, Option(help="CPU threads that evaluate the energy")] = 1,
    minimise: Annotated[
        bool, Option("--minimise", help="go to the nearest energy minimum before the first step")
    ] = False,
    per_replica: Annotated[bool, Option("--per-replica", help="one trajectory file per replica")] = False,
    checkpoint_minutes: Annotated[float, Option(help="time between checkpoints in minutes")] = 5.0,
    resume: Annotated[bool, Option("--resume", help="go on from the checkpoint, to a larger --steps too")] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="replace an earlier simulation")] = False,
    log: Annotated[Path | None, Option(help="also write messages to this file", show_default=False)] = None,
):
    """Simulate a coarse-grained force field by Langevin dynamics in OpenMM.

    Writes the trajectory (for every saved time one frame per replica, in replica order), and beside it OUTPUT.pdb (its
    topology), OUTPUT.json and OUTPUT.checkpoint. Ctrl-C stops with a checkpoint.

    Exit status: 0 done; 2 wrong input or disk full; 3 done, but replicas failed (non-finite or a broken bond) and were
    frozen; 130 interrupted.
    """
    from fpforce.foundation.errors import InputError
    from fpforce.foundation.progress import describe_rate
    from fpforce.simulation.simulate import SimulationSettings, simulate

    if log is not None:
        try:
            handler = logging.FileHandler(log)
        except OSError as error:
            raise InputError(f"log file {log} cannot be written: {error.strerror}; give another --log") from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logging.getLogger("fpforce").addHandler(handler)
    settings = SimulationSettings(
        steps=steps,
        max_minutes=max_minutes,
        replicas=replicas,
        timestep_fs=timestep_fs,
        friction_per_ps=friction_per_ps,
        temperature_k=temperature_k,
        override_temperature=override_temperature,
        override_not_conservative=override_not_conservative,
        rungs=rungs,
        top_temperature_k=top_temperature_k,
        report_interval_ps=report_interval_ps,
        checkpoint_minutes=checkpoint_minutes,
        seed=seed,
        platform=platform,
        backend=backend,
        threads=threads,
        topology=topology,
        start=start,
        start_topology=start_topology,
        minimise=minimise,
        per_replica=per_replica,
        overwrite=overwrite,
        resume=resume,
    )
    result = simulate(model, output, settings, show_progress=True)
    speed = describe_rate(result.steps_per_second, replicas, timestep_fs)
    print(
        f"{result.output}: {result.frames} frames, {result.steps} steps, {speed}, "
        f"backend {result.backend} on {result.platform}"
    )
    if result.accepted_swaps:
        parts = ("none offered" if part is None else f"{part:.0%}" for part in result.accepted_swaps)
        print(f"swaps accepted between rungs: {', '.join(parts)}")
    if result.failed:
        first = min(info["step"] for info in result.failed.values())
        print(
            f"{len(result.failed)} of {replicas} replicas failed (the first by step {first}); "
            f"{result.output}.json says which and why"
        )
        return 3
    return 0
