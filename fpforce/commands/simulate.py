"""fpforce-simulate: model.pt -> trajectory of independent replicas."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from fpforce.commands.entry import command
from fpforce.commands.model_argument import PREFIX, ModelArgument, model_file, pretrained_name
from fpforce.commands.settings_options import options_from
from fpforce.simulation.settings import SimulationSettings

if TYPE_CHECKING:
    from fpforce.forcefield.load import AnyForceField

_SEQUENCE = (
    f"one-letter codes of amino acids, for a {PREFIX}NAME of many molecules: the molecule, and coordinates to start "
    "from, in place of --topology"
)


@command
@options_from(SimulationSettings)
def main(
    model: ModelArgument,
    output: Annotated[Path, Option("--output", "-o", help="trajectory: .xtc, .dcd or .h5", show_default=False)],
    settings: SimulationSettings,
    sequence: Annotated[str | None, Option(help=_SEQUENCE, show_default=False)] = None,
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
    result = simulate(_force_field(model, sequence, settings), output, settings, show_progress=True)
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


def _force_field(model: Path, sequence: str | None, settings: SimulationSettings) -> "AnyForceField":
    """What to simulate: a file, or a force field that is bound to a sequence."""
    from fpforce.foundation.errors import InputError
    from fpforce.shipped.pretrained import card, pretrained

    name = pretrained_name(model)
    if sequence is None:
        if name is not None and settings.topology is None and card(name).chain is not None:
            raise InputError(f"{model} is of many molecules: say which, by --sequence or --topology FILE.pdb")
        return model_file(model)
    if name is None:
        raise InputError(
            f"--sequence {sequence} is for a {PREFIX}NAME; give {model} its molecule by --topology FILE.pdb"
        )
    if settings.topology is not None:
        raise InputError(f"--sequence {sequence} and --topology {settings.topology} both name a molecule; give one")
    return pretrained(name, sequence, seed=settings.seed)
