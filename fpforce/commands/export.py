"""fpforce-export: model.ckpt -> model.pt."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fpforce.commands.entry import command

_TOPOLOGY = (
    "of a transferable checkpoint: PDB of the molecule, all atoms or the beads, that the force field is to be of alone"
)
_LIKELIHOODS = (
    "with --topology: calibrate by the log likelihoods of so many samples that the model draws of this molecule; 0: not"
)

_ROUNDS = (
    "with --topology: then calibrate by so many rounds of simulation, each with a step to the averages of these "
    "samples; 0: none"
)


@command
def main(
    checkpoint: Annotated[Path, Argument(help="checkpoint that fpforce-train wrote", show_default=False)],
    model: Annotated[Path, Argument(help="force field to write, such as model.pt", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        Argument(help="changes to how --rounds simulate, such as calibration.rungs=4", show_default=False),
    ] = None,
    t_eval: Annotated[
        float | None, Option(help="diffusion time of the force field; the recipe's by default", show_default=False)
    ] = None,
    uncalibrated: Annotated[bool, Option("--uncalibrated", help="leave a calibration out")] = False,
    topology: Annotated[Path | None, Option(help=_TOPOLOGY, show_default=False)] = None,
    likelihood_frames: Annotated[int, Option(min=0, help=_LIKELIHOODS)] = 0,
    rounds: Annotated[int, Option(min=0, help=_ROUNDS)] = 0,
    workers: Annotated[
        int | None,
        Option(help="processes of this machine, by Dask, that simulate the rounds; without it one", show_default=False),
    ] = None,
    scheduler: Annotated[
        str | None,
        Option(help="address of a Dask scheduler, or its scheduler.json, for the same", show_default=False),
    ] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="replace an existing file")] = False,
) -> None:
    """Turn a training checkpoint into a force field for OpenMM.

    The exported energy and forces are compared with the checkpoint's, and their symmetries checked, before anything is
    written.
    """
    from fpforce.commands.train import need_training

    need_training()
    from fpforce.training.export import export

    measured = export(
        checkpoint,
        model,
        t_eval=t_eval,
        uncalibrated=uncalibrated,
        topology=topology,
        likelihood_frames=likelihood_frames,
        rounds=rounds,
        overrides=overrides or (),
        workers=workers,
        scheduler=scheduler,
        overwrite=overwrite,
    )
    mirror = (
        f", mirror images {measured['mirror_difference_kt']:.2g} kT apart" if measured["mirror_difference_kt"] else ""
    )
    frames = "1 frame" if measured["frames"] == 1 else f"{measured['frames']} frames"
    print(
        f"{model}: verified on {frames}, energy within {measured['energy_error_kt']:.1e} kT, "
        f"forces within {measured['force_error']:.1e} of their size{mirror}"
    )
