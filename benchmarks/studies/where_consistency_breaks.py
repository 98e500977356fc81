"""Where in diffusion time, and on which frames, a trained energy ceases to be the log density of its own samples.

python benchmarks/studies/where_consistency_breaks.py CHECKPOINT CASE [--tau FOLDER] [--frames 120]

CHECKPOINT is a model.ckpt of one conservative expert up to t = 1, CASE one of those of strangers.py. Everything is
measured on training frames, on frames of the reference, which the training did not see, and on samples of the model:

- the denoising loss at several t;
- the Fokker-Planck residual R at several t: root mean square over frames per degree of freedom, and the mean of R /
  beta over the most
  compact, middle and most open third of the frames;
- what E(x_t, t) + ln q_t(x_t) still gains along the probability flow from t to 1, where both agree: its standard
  deviation over frames, and
  its mean over each third less the mean over all, in kT. A third with a positive value has too much weight in a
  simulation at t.

Writes docs/results/where_consistency_breaks_CASE.md.
"""

import argparse
import copy
import os
import sys
from pathlib import Path

import numpy as np
import torch

from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.diffusion import beta, centred, centred_noise, degrees_of_freedom, diffuse
from fpforce.training.loop.held_out_losses import spread_evenly
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.residual import exact_residual
from fpforce.training.sampling.likelihood import field_of, standard_log_density
from fpforce.training.sampling.solvers import multistep, probability_flow, time_grid
from fpforce.trajectories.bead_frames import read_bead_frames

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from studies.strangers import CASES, brought
from workbench import options
from workbench.tiny import tiny_checkpoint

DENOISING_TIMES = (0.003, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5)
RESIDUAL_TIMES = (1e-3, 0.003, 0.01, 0.03, 0.1, 0.2, 0.5)
SAMPLE_STEPS, FLOW_STEPS, FLOW_ROWS = 100, 40, (0, 10, 15, 20, 25, 28, 31)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("case", choices=CASES, nargs="?")
    parser.add_argument("--tau", type=Path, help="folder of tau.pdb, train.xtc and held.xtc")
    parser.add_argument("--systems", type=Path, help="folder of the sets that fpforce-reference --model makes")
    parser.add_argument(
        "--frames", type=int, default=120, help="for residuals and flow; the losses take eight times as many"
    )
    chosen = options.parse(parser, frames=8, case="alanine_1000")
    if chosen.quick and chosen.checkpoint is None:
        chosen.checkpoint = tiny_checkpoint(chosen.runs)
    if chosen.checkpoint is None or chosen.case is None:
        parser.error("a checkpoint and the case that it was trained on are needed")
    torch.set_num_threads(1)
    case = CASES[chosen.case]
    files = brought(case, chosen.runs / "where_consistency_breaks" / chosen.case, chosen)
    checkpoint = read_checkpoint(chosen.checkpoint)
    stride = checkpoint.recipe.data.stride
    sets = {
        name: TrainingSet.of(
            read_bead_frames(paths, files.topology, beads=case.beads, stride=every),
            checkpoint.record.normalisation,
        ).frames
        for name, paths, every in (("training", files.training, stride), ("reference", files.reference, 1))
    }
    energy, generator, t_min = (
        checkpoint.model(),
        torch.Generator().manual_seed(1),
        checkpoint.recipe.diffusion.smallest,
    )
    sets["samples"] = drawn(energy, 8 * chosen.frames, sets["training"].shape[1], t_min, generator)
    edges = np.quantile(radii(sets["reference"]), [1 / 3, 2 / 3])
    lines = [
        f"`{chosen.case}`, {len(sets['training'])} training frames, {checkpoint.record.experts[0].steps} steps.",
        "",
        "Denoising loss at t:",
        "",
        head(["frames", *map(str, DENOISING_TIMES)]),
    ]
    for name, frames in sets.items():
        lines.append(
            row(
                [
                    name,
                    *(
                        f"{denoising(energy, spread_evenly(frames, 8 * chosen.frames), t, generator):.3f}"
                        for t in DENOISING_TIMES
                    ),
                ]
            )
        )
    lines += [
        "",
        "Fokker-Planck residual: root mean square per degree of freedom (mean of R / beta over compact, middle and "
        "open thirds):",
        "",
        head(["frames", *map(str, RESIDUAL_TIMES)]),
    ]
    double = copy.deepcopy(energy).double()
    for name, frames in sets.items():
        x0 = spread_evenly(frames, chosen.frames).double()
        lines.append(row([name, *(residual(double, x0, t, edges, generator) for t in RESIDUAL_TIMES)]))
    lines += [
        "",
        "E + ln q, what it gains from t to 1, kT: standard deviation (mean over compact, middle and open thirds, less "
        "that of all):",
        "",
    ]
    for number, (name, frames) in enumerate(sets.items()):
        times, gains = gained(energy, spread_evenly(frames, chosen.frames), t_min, generator)
        if not number:
            lines.append(head(["frames", *(f"{times[k]:.2g}" for k in FLOW_ROWS)]))
        thirds = np.digitize(radii(spread_evenly(frames, chosen.frames)), edges)
        lines.append(
            row(
                [
                    name,
                    *(
                        f"{gain.std():.1f} "
                        f"({', '.join(f'{gain[thirds == part].mean() - gain.mean():+.1f}' for part in range(3))})"
                        for gain in (gains[k] for k in FLOW_ROWS)
                    ),
                ]
            )
        )
    text = "\n".join(lines) + "\n"
    (chosen.results / f"where_consistency_breaks_{chosen.case}.md").write_text(text)
    print(text)


def drawn(energy, count: int, beads: int, t_min: float, generator: torch.Generator) -> torch.Tensor:
    """Normalised samples of the model."""
    x = centred_noise((count, beads, 3), generator, torch.zeros(()))
    for state in multistep(
        energy.score, time_grid(1.0, t_min, SAMPLE_STEPS), x, lambda like: centred_noise(like.shape, generator, like)
    ):
        x = centred(state)
    return x[torch.isfinite(x).all(dim=(1, 2))]


def radii(x: torch.Tensor) -> np.ndarray:
    """Radius of gyration of normalised frames (frames, beads, 3)."""
    return x.square().sum(-1).mean(1).sqrt().numpy()


def denoising(energy, x0: torch.Tensor, t: float, generator: torch.Generator) -> float:
    times, z = torch.full((len(x0),), t), centred_noise(x0.shape, generator, x0)
    return float(
        np.mean(
            [
                float(denoising_loss(energy.score(diffuse(x0, times, sign * z), times), times, sign * z))
                for sign in (1, -1)
            ]
        )
    )


def residual(energy, x0: torch.Tensor, t: float, edges: np.ndarray, generator: torch.Generator) -> str:
    times = torch.full((len(x0),), t, dtype=x0.dtype)
    found = exact_residual(energy, diffuse(x0, times, centred_noise(x0.shape, generator, x0)), times).numpy()
    size, thirds = np.sqrt(np.square(found).mean()) / degrees_of_freedom(x0.shape[1]), np.digitize(radii(x0), edges)
    means = (found[thirds == part].mean() / float(beta(times[0])) for part in range(3))
    return f"{size:.2g} ({', '.join(f'{mean:+.0f}' for mean in means)})"


def gained(energy, x0: torch.Tensor, t_min: float, generator: torch.Generator) -> tuple[list[float], np.ndarray]:
    """Times, and (times, frames) by how much E + ln q grows along the flow from each of them to t = 1."""
    time = torch.full((len(x0),), t_min)
    x, grid = diffuse(x0, time, centred_noise(x0.shape, generator, x0)), time_grid(1.0, t_min, FLOW_STEPS).flip(0)
    field = field_of(energy, x, lambda like: centred_noise(like.shape, generator, like))
    states = [(x, x.new_zeros(len(x))), *probability_flow(field, grid, x, x.new_zeros(len(x)))]
    values = [
        energy(x, x.new_full((1,), float(t))).detach().double() + density
        for (x, density), t in zip(states, grid, strict=True)
    ]
    end = -standard_log_density(states[-1][0]).double() + states[-1][1]
    return grid.tolist(), torch.stack([end - value for value in values]).numpy()


def head(cells: list[str]) -> str:
    return f"{row(cells)}\n{'|---' * len(cells)}|"


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
