"""fpforce-simulate: model.pt -> trajectory of independent replicas."""

import logging
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fpforce.commands.entry import command
from fpforce.commands.settings_options import options_from
from fpforce.simulation.settings import SimulationSettings


@command
@options_from(SimulationSettings)
def main(
    model: Annotated[Path, Argument(help="force field, model.pt", show_default=False)],
    output: Annotated[Path, Option("--output", "-o", help="trajectory: .xtc, .dcd or .h5", show_default=False)],
    settings: SimulationSettings,
    log: Annotated[Path | None, Option(help="also write messages to this file", show_default=False)] = None,
) -> int:
    """Simulate a coarse-grained force field by Langevin dynamics in OpenMM.

    Writes the trajectory (for every saved time one frame per replica, in replica order), and beside it OUTPUT.pdb (its
    topology), OUTPUT.json and OUTPUT.checkpoint. Ctrl-C stops with a checkpoint.

    Exit status: 0 done; 2 wrong input or disk full; 3 done, but replicas failed (non-finite or a broken bond) and were
    frozen; 130 interrupted.
    """
    from fpforce.foundation.errors import InputError
    from fpforce.foundation.progress import describe_rate
    from fpforce.simulation.simulate import simulate

    if log is not None:
        try:
            handler = logging.FileHandler(log)
        except OSError as error:
            raise InputError(f"log file {log} cannot be written: {error.strerror}; give another --log") from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logging.getLogger("fpforce").addHandler(handler)
    result = simulate(model, output, settings, show_progress=True)
    speed = describe_rate(result.steps_per_second, settings.replicas, settings.timestep_fs)
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
            f"{len(result.failed)} of {settings.replicas} replicas failed (the first by step {first}); "
            f"{result.output}.json says which and why"
        )
        return 3
    return 0
