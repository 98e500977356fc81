"""What forces in the data buy: how noisy the denoising target is with and without them, and what a short training makes
of it.

python benchmarks/studies/forces_blending.py run1.npz run2.npz all_atoms.pdb [--steps 2000] [--temperature 300]
[--quick]. The .npz files hold `positions` (nm) and `forces` (kJ/mol/nm) of two independent runs of alanine dipeptide,
such as those that examples/alanine_dipeptide describes; the second is held out. These are not in the repository;
--quick takes the excerpt that is, for both. Every variant trains the `internal` model without the Fokker-Planck term
on the same batches. Writes docs/results/forces_blending.json and .md.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.training.data.dataset import NoisedBatches, TrainingSet
from fpforce.training.data.force_scores import ForceScores
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.diffusion import alpha, centred_noise, degrees_of_freedom, diffuse, sigma
from fpforce.training.loop.callbacks import exponential_average
from fpforce.training.loop.learning_rate import learning_rate
from fpforce.training.loop.outliers import scale_down
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.force_blending import ForceBlending
from fpforce.training.losses.force_loss import ForceLoss
from fpforce.training.losses.time_sampling import TimeSampler
from fpforce.training.models import build_model
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import parse_recipe
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.forces import ForceFiles

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.places import ALANINE

TIMES = (1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
BATCH = 256
BEST = "forces of more atoms, each mode and level by its precision"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="run1.npz run2.npz all_atoms.pdb")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--temperature", type=float, default=300.0)
    chosen = options.parse(parser, steps=2)
    if chosen.quick and not chosen.files:
        chosen.files = [ALANINE / name for name in ("forces_excerpt.npz", "forces_excerpt.npz", "forces_excerpt.pdb")]
    if len(chosen.files) != 3:
        parser.error("two runs with forces and their topology are needed")
    run, held_out, topology = chosen.files
    torch.set_num_threads(1)
    kt = BOLTZMANN_KJ_PER_MOL_K * chosen.temperature
    training_set, plain, best = _read(run, topology, kt)
    held_set, _, held_forces = _read(held_out, topology, kt, training_set.normalisation)
    recipe = parse_recipe(
        {
            "data": {"trajectories": str(run)},
            "temperature_k": chosen.temperature,
            "output": ".",
            "run": {"max_steps": chosen.steps},
            "optimizer": {"batch_size": BATCH, "learning_rate": 1e-3},
        }
    )
    rows = []
    for name, forces, loss in _variants(training_set, plain.values, best.values):
        began = time.perf_counter()
        model = _train(recipe, training_set, forces, loss)
        rows.append(
            {
                "variant": name,
                "seconds": time.perf_counter() - began,
                "force_error": [
                    _force_error(model, *data)
                    for data in ((training_set.frames, best.values), (held_set.frames, held_forces.values))
                ],
                "denoising": [_denoising(model, held_set.frames, t) for t in (0.01, 0.1)],
            }
        )
        print(rows[-1], flush=True)
        if name == BEST:
            spread = _target_spread(model, training_set.frames, plain.values, best.values)
    result = {
        "hardware": describe_hardware(),
        "steps": chosen.steps,
        "batch": BATCH,
        "training": rows,
        "target": spread,
        "virial_ratios": best.record["virial_ratios"],
        "mode_variances": {
            "sum": ForceBlending(plain.values).variances.tolist(),
            "optimal": ForceBlending(best.values).variances.tolist(),
        },
    }
    (chosen.results / "forces_blending.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "forces_blending.md").write_text(_table(result))
    print(_table(result))


def _read(
    run: Path, topology: Path, kt: float, normalisation: Normalisation | None = None
) -> tuple[TrainingSet, ForceScores, ForceScores]:
    """Frames, with their forces by the plain sum and by the least noisy map."""
    frames = [
        read_bead_frames(
            run, topology, beads="backbone5", length_unit="nm", forces=ForceFiles(paths=(run,), optimal=optimal)
        )
        for optimal in (False, True)
    ]
    training_set = TrainingSet.of(frames[0], normalisation)
    return training_set, *(ForceScores.of(each, training_set.scale_nm, kt) for each in frames)


def _variants(training_set: TrainingSet, plain: Tensor, best: Tensor):
    """(name, forces, loss(score, batch)) of every variant."""
    one, modes, best_modes = _one_weight(plain), ForceBlending(plain), ForceBlending(best)
    in_use = ForceLoss(training_set.frames, best, training_set.prior_pairs)

    def as_denoising(blending: ForceBlending):
        def loss(score, batch):
            error = sigma(batch.t)[:, None, None] * (score - blending.target(batch.t, batch.z, batch.force))
            return error.square().sum(dim=(1, 2)).mean() / degrees_of_freedom(score.shape[1])

        return loss

    return (
        ("no forces", None, lambda score, batch: denoising_loss(score, batch.t, batch.z)),
        ("forces, one weight for all modes, loss weighted by sigma^2", plain, as_denoising(one)),
        ("forces of more atoms, a weight for each mode, loss weighted by sigma^2", best, as_denoising(best_modes)),
        (
            "forces, each mode and level by its precision",
            plain,
            lambda score, batch: modes.loss(score, batch.t, batch.z, batch.force),
        ),
        (BEST, best, lambda score, batch: best_modes.loss(score, batch.t, batch.z, batch.force)),
        (
            "forces of more atoms, along bonds and angles (the loss in use)",
            best,
            lambda score, batch: in_use(score, batch.x, batch.t, batch.z, batch.force),
        ),
    )


def _one_weight(forces: Tensor) -> ForceBlending:
    """The blending with one v for all modes."""
    blending = ForceBlending(forces)
    blending.variances = torch.full_like(blending.variances, float(blending.variances.mean()))
    return blending


def _train(recipe, training_set: TrainingSet, forces: Tensor | None, loss):
    """A model trained for the recipe's steps, with averaged weights."""
    plan, optimizer = plan_experts(recipe)[0], recipe.optimizer
    torch.manual_seed(0)
    model = build_model(plan, training_set.frames, training_set.prior_pairs, training_set.beads, training_set.scale_nm)
    averaged, average = copy.deepcopy(model), exponential_average(optimizer.ema_decay)
    adam = torch.optim.AdamW(model.parameters(), lr=optimizer.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    batches = NoisedBatches(
        training_set.frames, TimeSampler(plan.t_min, plan.t_max, plan.v_min), BATCH, 0, forces=forces
    )
    usual = None
    for step in range(recipe.run.max_steps):
        for group in adam.param_groups:
            group["lr"] = learning_rate(recipe.optimizer, step, step / recipe.run.max_steps)
        batch, _ = batches.batch(step)
        adam.zero_grad()
        loss(model.score(batch.x, batch.t, create_graph=True), batch).backward()
        usual = scale_down(model.parameters(), usual, step, optimizer.gradient_clip, optimizer.outlier)
        adam.step()
        with torch.no_grad():
            average([p.data for p in averaged.parameters()], [p.data for p in model.parameters()], step)
    return averaged.eval()


def _scores(model, x: Tensor, t: Tensor) -> Tensor:
    return torch.cat([model.score(*part) for part in zip(x.split(1024), t.split(1024), strict=True)])


def _force_error(model, frames: Tensor, forces: Tensor) -> float:
    """Mean square of score less force at t = 1e-5, each mode in units of its forces' mean square: 1 for no score."""
    blending = ForceBlending(forces)
    error = torch.matmul(blending.modes, _scores(model, frames, frames.new_full((len(frames),), 1e-5)) - forces)
    return float((error.square().mean(dim=(0, 2)) / blending.variances).mean())


def _denoising(model, frames: Tensor, t_value: float) -> float:
    t = frames.new_full((len(frames),), t_value)
    z = centred_noise(frames.shape, torch.Generator().manual_seed(1), frames)
    return float(denoising_loss(_scores(model, diffuse(frames, t, z), t), t, z))


def _target_spread(model, frames: Tensor, plain: Tensor, best: Tensor) -> list[dict]:
    """Mean square distance of each target from the trained score, by degree of freedom: nearly its variance at
    given x.
    """
    one, modes, best_modes = _one_weight(plain), ForceBlending(plain), ForceBlending(best)
    generator, rows = torch.Generator().manual_seed(2), []
    for t_value in TIMES:
        t = frames.new_full((len(frames),), t_value)
        z = centred_noise(frames.shape, generator, frames)
        score = _scores(model, diffuse(frames, t, z), t)
        targets = {
            "noise": -z / sigma(t)[:, None, None],
            "forces": plain / alpha(t)[:, None, None],
            "one": one.target(t, z, plain),
            "modes": modes.target(t, z, plain),
            "best": best_modes.target(t, z, best),
        }
        count = degrees_of_freedom(frames.shape[1]) * len(frames)
        rows.append(
            {
                "t": t_value,
                "sigma": float(sigma(t[:1])),
                **{name: float((target - score).square().sum() / count) for name, target in targets.items()},
            }
        )
    return rows


def _table(result: dict) -> str:
    variances = {
        name: ", ".join(f"{value:.0f}" for value in values) for name, values in result["mode_variances"].items()
    }
    ratios = result["virial_ratios"]
    lines = [
        f"Virials along the bonds: {min(ratios):.3f} to {max(ratios):.3f} of the exact values. Mean squares v of the "
        f"four modes of F s / kT: {variances['sum']} for the sum over each bead's rigid group, {variances['optimal']} "
        "with the forces of further atoms.",
        "",
        "Variance of the target at given x_t for one degree of freedom, in normalised units, as its mean square "
        "distance from the score of the last model below:",
        "",
        "| t | sigma | -z/sigma | forces alone | both, one weight | both, a weight for each mode | the same, forces of "
        "more atoms | gain over -z/sigma |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['t']:g} | {row['sigma']:.2g} | "
        + " | ".join(f"{row[name]:.3g}" for name in ("noise", "forces", "one", "modes", "best"))
        + f" | {row['noise'] / row['best']:.3g} |"
        for row in result["target"]
    ]
    lines += [
        "",
        f"Training of `internal` (128 x 3), {result['steps']} steps of {result['batch']} frames on one thread, without "
        f"the Fokker-Planck term; {result['hardware']}. Force error: mean square of score less force at t = 1e-5 over "
        "that of the force, mode by mode, with the least noisy forces. Their noise is a floor that no model passes.",
        "",
        "| training | force error, held-out run | same, training run | denoising loss, held out, t = 0.01 | t = 0.1 |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['variant']} | {row['force_error'][1]:.4f} | {row['force_error'][0]:.4f} | "
        + " | ".join(f"{value:.4f}" for value in row["denoising"])
        + " |"
        for row in result["training"]
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
