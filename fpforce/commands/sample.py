"""fpforce-sample: model.ckpt -> independent samples of its beads."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fpforce.commands.entry import command

_SOLVER = "multistep (reverse SDE, order 2), euler-maruyama (reverse SDE, order 1) or ode (probability flow, order 4)"


@command
def main(
    checkpoint: Annotated[Path, Argument(help="checkpoint that fpforce-train wrote", show_default=False)],
    samples: Annotated[int, Option("--samples", "-n", help="how many", show_default=False)],
    output: Annotated[Path, Option("--output", "-o", help="trajectory: .xtc, .dcd or .h5", show_default=False)],
    topology: Annotated[
        Path | None, Option(help="PDB of the molecule, for a transferable checkpoint", show_default=False)
    ] = None,
    solver: Annotated[str, Option(help=_SOLVER)] = "multistep",
    steps: Annotated[int, Option(help="steps from t = 1 to --t-end, over all experts")] = 200,
    t_end: Annotated[
        float | None, Option(help="stop at this diffusion time; the recipe's t_eval by default", show_default=False)
    ] = None,
    batch_size: Annotated[int, Option(help="samples drawn together; the noise depends on it as on the seed")] = 1024,
    seed: Annotated[int, Option(help="of the noise")] = 0,
    log_likelihood: Annotated[
        bool, Option("--log-likelihood", help="with --solver ode: log densities too, into OUTPUT.npz")
    ] = False,
    device: Annotated[str, Option(help="auto (a GPU if there is one), cpu, cuda")] = "auto",
    threads: Annotated[int, Option(help="CPU threads of torch")] = 1,
    workers: Annotated[
        int | None,
        Option(help="processes of this machine, by Dask, that draw the batches; without it one", show_default=False),
    ] = None,
    scheduler: Annotated[
        str | None,
        Option(help="address of a Dask scheduler, or its scheduler.json, whose workers draw", show_default=False),
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="go on to --samples, to the samples of an uninterrupted run")
    ] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="replace earlier samples")] = False,
) -> None:
    """Draw independent samples of a trained model, without simulating.

    Writes the samples as frames of the beads and beside them OUTPUT.pdb (topology) and OUTPUT.json (how they were
    drawn). Needs a model trained up to t = 1. Ctrl-C keeps all complete batches. A step of --solver ode with
    --log-likelihood costs 4 (D + 1) times one of multistep, for D = 3 (beads - 1) up to 64, beyond 8 times; 50 are
    enough.

    Exit status: 0 done; 2 wrong input or disk full; 130 interrupted.
    """
    from fpforce.commands.train import need_training

    need_training()
    from fpforce.training.sample import SampleSettings, sample

    settings = SampleSettings(
        samples=samples,
        solver=solver,
        steps=steps,
        t_end=t_end,
        batch_size=batch_size,
        seed=seed,
        log_likelihood=log_likelihood,
        device=device,
        threads=threads,
        workers=workers,
        scheduler=scheduler,
        resume=resume,
        overwrite=overwrite,
        topology=topology,
    )
    result = sample(checkpoint, output, settings, show_progress=True)
    lost = f", {result.non_finite} not finite and left out" if result.non_finite else ""
    print(f"{result.output}: {result.samples} samples{lost}, {result.seconds:.0f} s")
