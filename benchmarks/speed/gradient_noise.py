"""The noise of the Fokker-Planck loss and its gradient, for several ways to compute the loss, on a trained model.

python benchmarks/speed/gradient_noise.py MODEL.ckpt [--draws 120] [--quick]: a checkpoint of the example's recipe (one
expert), such as runs/demo/model.ckpt. Prints, for every way, the mean loss, and the mean and standard deviation of its
gradient in all weights over independent draws.
"""

import argparse
import sys
from pathlib import Path

import torch

from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.losses.fokker_planck import perturb
from fpforce.training.recipe.read import load_recipe
from fpforce.trajectories.bead_frames import read_bead_frames

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from speed.training_cost import CentralDifferences
from workbench import options
from workbench.places import ALANINE
from workbench.tiny import SMALL, tiny_checkpoint


class PlainTimes(ExpertTraining):
    """Three evaluations a point, at the times of the denoising loss."""

    def draw(self, step: int):
        draws, settings = super().draw(step), self.recipe.loss
        _, generator = self._batches.value.batch(step)
        x, t, _ = self._batches.value.spread(round(settings.fokker_planck_fraction * len(draws.noised.x)), generator)
        return draws._replace(perturbed=perturb(x, t, settings.fokker_planck_sigma, generator), weights=None)


WAYS = {
    "central differences, 1/4 of the batch": (CentralDifferences, 0.25),
    "three evaluations, 1/4 of the batch": (PlainTimes, 0.25),
    "three evaluations, drawn times, 1/4 of the batch": (ExpertTraining, 0.25),
    "three evaluations, drawn times, 1/8 of the batch": (ExpertTraining, 0.125),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--draws", type=int, default=120)
    chosen = options.parse(parser, draws=2)
    if chosen.checkpoint is None and not chosen.quick:
        parser.error("a checkpoint is needed, such as runs/demo/model.ckpt")
    torch.set_num_threads(1)
    checkpoint, small = (tiny_checkpoint(chosen.runs), SMALL) if chosen.quick else (chosen.checkpoint, ())
    weights, recipe = read_checkpoint(checkpoint).weights, ALANINE / "recipe.yaml"
    data = load_recipe(recipe).data
    training_set = TrainingSet.of(read_bead_frames(data.trajectories, data.topology, beads=data.beads))
    print(
        "| Fokker-Planck term | mean loss | length of the mean gradient | standard deviation of the gradient "
        "|\n|---|---|---|---|"
    )
    for name, (kind, fraction) in WAYS.items():
        module = kind(load_recipe(recipe, [*small, f"loss.fokker_planck_fraction={fraction}"]), training_set)
        module.begin(0)
        module.experts.load_state_dict(weights)
        losses, gradients = zip(*(_draw(module, step) for step in range(chosen.draws)), strict=True)
        gradients = torch.stack(gradients)
        print(
            f"| {name} | {sum(losses) / len(losses):.3g} | {gradients.mean(0).norm():.3g} | "
            f"{gradients.var(0).sum().sqrt():.3g} |",
            flush=True,
        )


def _draw(module: ExpertTraining, step: int) -> tuple[float, torch.Tensor]:
    loss = module(module.draw(step)).fokker_planck
    trained = [weight for weight in module.expert.parameters() if weight.requires_grad]
    slopes = torch.autograd.grad(loss, trained, allow_unused=True)
    return loss.item(), torch.cat([slope.flatten() for slope in slopes if slope is not None]).double()


if __name__ == "__main__":
    main()
