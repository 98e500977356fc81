"""What the Fokker-Planck term costs: milliseconds of a training step with and without it, side by side, as a ratio.

python benchmarks/training_cost.py [--steps 100] [--rounds 5] [--threads 1]. The two kinds of step alternate in
rounds, and the median over rounds is taken, so that a noisy machine burdens both alike. Writes
docs/results/training_cost.md.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from alanine import EXAMPLE
from hardware import describe_hardware

from fpforce.trajectory import read_bead_frames
from fpforce.training.dataset import TrainingSet
from fpforce.training.expert_training import ExpertTraining
from fpforce.training.recipe import load_recipe

FRACTIONS = (0.0, 0.125, 0.25, 0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    recipe = load_recipe(EXAMPLE / "recipe.yaml")
    data = recipe.data
    training_set = TrainingSet.of(read_bead_frames(data.trajectories, data.topology, beads=data.beads))
    steps = {fraction: _stepper(fraction, training_set) for fraction in FRACTIONS}
    times = {fraction: [] for fraction in FRACTIONS}
    for _ in range(chosen.rounds):
        for fraction, step in steps.items():
            began = time.perf_counter()
            for number in range(chosen.steps):
                step(number)
            times[fraction].append(1e3 * (time.perf_counter() - began) / chosen.steps)
    median = {fraction: statistics.median(values) for fraction, values in times.items()}
    lines = [f"Batch {recipe.optimizer.batch_size}, {chosen.threads} thread(s), median of {chosen.rounds} rounds of "
             f"{chosen.steps} steps; {describe_hardware()}.", "",
             "| part of the batch with the Fokker-Planck term | ms per step | against denoising alone |", "|---|---|---|"]
    lines += [f"| {fraction if fraction else 'none'} | {value:.1f} | {value / median[0.0]:.2f} |"
              for fraction, value in median.items()]
    text = "\n".join(lines) + "\n"
    output = Path(__file__).resolve().parent.parent / "docs" / "results"
    output.mkdir(parents=True, exist_ok=True)
    (output / "training_cost.md").write_text(text)
    print(text)


def _stepper(fraction: float, training_set: TrainingSet):
    """A whole training step (batch, losses, backward, optimizer) with the FP term on a part of the batch."""
    loss = ["loss.fokker_planck_weight=0"] if fraction == 0.0 else [f"loss.fokker_planck_fraction={fraction}"]
    module = ExpertTraining(load_recipe(EXAMPLE / "recipe.yaml", loss), training_set)
    module.begin(0)
    optimizer = module.configure_optimizers()

    def step(number: int) -> None:
        optimizer.zero_grad()
        losses = module(module.draw(number))
        (losses.denoising + module.plan.fokker_planck_weight * losses.fokker_planck).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()

    step(0)
    return step


if __name__ == "__main__":
    main()
