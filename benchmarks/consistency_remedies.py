"""What was tried against a simulation that disagrees with its own model's samples, each at the same processor time.

python benchmarks/consistency_remedies.py VARIANT CASE [--tau FOLDER] [--minutes 4.5] [--seed 0] [--picoseconds 400]

VARIANT is one of VARIANTS, CASE one of those of strangers.py, trained on all its frames. The loop is that of fpforce-train, with other
draws: from a part of the training on, frames are noised to t = 0.35 and brought back down by the reverse process of the averaged weights, and
such own frames replace a share of the points of the Fokker-Planck term, of the denoising frames below t = 0.35, or of both. Writes
runs/consistency_remedies/CASE_VARIANT_SEED with model.ckpt, model.pt and result.json, and prints the latter.
"""

import argparse
import copy
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from strangers import CASES, ROOT, _samples, _simulations, compare

from fpforce.trajectory import read_bead_frames
from fpforce.training.callbacks import exponential_average
from fpforce.training.checkpoint import EXTRA_KEY, read_checkpoint
from fpforce.training.compiled_step import CompiledStep
from fpforce.training.dataset import NoisedBatch, TrainingSet, conformation_weights
from fpforce.training.diffusion import ResidualTimes, centred, centred_noise, diffuse
from fpforce.training.expert_training import ExpertTraining, learning_rate
from fpforce.training.export import export
from fpforce.training.losses.fokker_planck import perturb
from fpforce.training.recipe import load_recipe
from fpforce.training.sampling import multistep, time_grid
from fpforce.training.step import StepDraws
from fpforce.training.watch import Watched

T_TOP, EVERY, BATCH = 0.35, 100, 256  # where own frames begin; steps between renewals, frames a renewal


@dataclass(frozen=True)
class Variant:
    """denoising, residual: shares of own frames. begin: part of the training from when on; frozen: drawn by the weights of that time."""

    denoising: float = 0.0
    residual: float = 0.0
    begin: float = 2.0
    frozen: bool = False
    steps: int = 20
    pool: int = 2048
    overrides: tuple[str, ...] = ()


VARIANTS = {
    "default": Variant(),
    "own_points": Variant(residual=0.9, begin=0.25),
    "own_frames": Variant(denoising=0.9, residual=0.9, begin=0.3),
    "teacher": Variant(denoising=1.0, residual=1.0, begin=0.5, frozen=True, steps=30, pool=4096),
    "v_min": Variant(overrides=("diffusion.v_min=0.02",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--tau", type=Path, help="folder of tau.pdb, train.xtc and held.xtc")
    parser.add_argument("--minutes", type=float, default=4.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picoseconds", type=float, default=400.0)
    parser.add_argument("--replicas", type=int, default=32, help="from each start")
    parser.add_argument("--samples", type=int, default=1000)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    case, variant = CASES[chosen.case], VARIANTS[chosen.variant]
    case = case.at(chosen.tau) if chosen.case == "tau" else case
    folder = ROOT / "runs" / "consistency_remedies" / f"{chosen.case}_{chosen.variant}_{chosen.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    asked = folder / "asked.yaml"
    asked.write_text(json.dumps({"data": {"trajectories": list(case.training), "topology": case.topology, "beads": case.beads},
                                 "temperature_k": case.temperature_k, "output": str(folder)}))
    recipe = load_recipe(asked, [f"run.seed={chosen.seed}", *case.overrides, *variant.overrides])
    known = read_bead_frames(list(case.training), case.topology, beads=case.beads, stride=recipe.data.stride)
    reference = read_bead_frames(list(case.reference), case.topology, beads=case.beads)
    training_set = TrainingSet.of(known)
    steps = train(recipe, training_set, variant, chosen.minutes, folder)
    checkpoint = read_checkpoint(folder / "model.ckpt")
    export(checkpoint.path, folder / "model.pt", overwrite=True)
    held = TrainingSet.of(reference, training_set.scale_nm, training_set.origin_nm).frames
    known_losses, losses = (Watched(frames, checkpoint.plans[0], 1e-4) for frames in (training_set.frames, held))
    simulations = _simulations(folder, known.positions_nm, chosen.seed, chosen)
    result = {"steps": steps, "denoising": known_losses.losses(checkpoint.model()).denoising,
              "reference_denoising": losses.losses(checkpoint.model()).denoising, "gap_kt": losses.gap_kt(checkpoint.model()),
              "floor": compare(known.positions_nm, reference.positions_nm),
              "samples": compare(_samples(checkpoint, folder, chosen.seed, chosen.samples), reference.positions_nm)}
    for name, frames in (("open", simulations[0]), ("closed", simulations[1]), ("simulation", np.concatenate(simulations))):
        result[name] = compare(frames, reference.positions_nm)
    (folder / "result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


def train(recipe, training_set: TrainingSet, variant: Variant, minutes: float, folder: Path) -> int:
    """Train for so many minutes of processor time, write model.ckpt, and return how many steps that were."""
    torch.manual_seed(recipe.run.seed)
    module, step, compiled = ExpertTraining(recipe, training_set), 0, None
    module.begin(0)
    optimizer, average = module.configure_optimizers(), copy.deepcopy(module.expert)
    mean_of, own, began = exponential_average(recipe.optimizer.ema_decay), OwnFrames(variant), time.process_time()
    while (progress := (time.process_time() - began) / (60.0 * minutes)) < 1.0:
        draws = own.draws(module, average, step, progress)
        compiled = compiled or CompiledStep(module, draws)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, progress)
        optimizer.zero_grad()
        compiled(draws)[1].backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.optimizer.gradient_clip)
        optimizer.step()
        with torch.no_grad():
            mean_of(list(average.parameters()), list(module.expert.parameters()), step)
        step += 1
    module.record.expert.steps, module.record.expert.seconds = step, 60.0 * minutes
    torch.save({"state_dict": {f"experts.0.{name}": value for name, value in average.state_dict().items()},
                EXTRA_KEY: module.record.to_dict()}, folder / "model.ckpt")
    return step


class OwnFrames:
    """The draws of a step, a share of them from a pool of own frames that is renewed little by little."""

    def __init__(self, variant: Variant):
        self.variant, self.pool, self.teacher, self.cumulative = variant, None, None, None

    def draws(self, module: ExpertTraining, average, step: int, progress: float) -> StepDraws:
        batches, loss, variant = module._batches.value, module.recipe.loss, self.variant
        words = np.random.SeedSequence([*batches.seed, 0, step]).generate_state(2, np.uint32)
        generator = torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))
        if progress >= variant.begin and (self.pool is None or step % EVERY == 0):
            self._renew(average, batches.frames, generator)
        x0 = batches.frames[batches.any_frames(generator)]
        t = batches.times(batches.pairs, generator, x0)
        if self.pool is not None:
            own = (torch.rand(len(t), generator=generator) < variant.denoising) & (t < T_TOP)
            x0 = torch.where(own[:, None, None], self.pool[torch.randint(len(self.pool), (len(t),), generator=generator)], x0)
        x0, t, z = x0.repeat(2, 1, 1), t.repeat(2), centred_noise(x0.shape, generator, x0)
        z = torch.cat([z, -z])
        count = max(1, round(loss.fokker_planck_fraction * len(t)))
        times, weights = ResidualTimes(batches.times)(count, generator, x0)
        points, times, _ = batches.spread(count, generator, at=times)
        if self.pool is not None:
            uniform = torch.rand(count, generator=generator, dtype=torch.float64)
            x = self.pool[torch.searchsorted(self.cumulative, uniform).clamp_max(len(self.pool) - 1)]
            own = torch.rand(count, generator=generator) < variant.residual
            points = torch.where(own[:, None, None], diffuse(x, times, centred_noise(x.shape, generator, x)), points)
        return StepDraws(NoisedBatch(diffuse(x0, t, z), t, z), perturb(points, times, loss.fokker_planck_sigma, generator), weights, None)

    def _renew(self, average, frames: torch.Tensor, generator: torch.Generator) -> None:
        """Draw own frames, leave out those of far too high an energy (torn bonds), and forget the oldest."""
        if self.variant.frozen and self.teacher is None:
            self.teacher = copy.deepcopy(average).requires_grad_(False)
        energy, count = self.teacher or average, self.variant.pool if self.pool is None else BATCH
        x = frames[torch.randint(len(frames), (count,), generator=generator)]
        x = diffuse(x, torch.full((count,), T_TOP), centred_noise(x.shape, generator, x))
        path = multistep(energy.score, time_grid(T_TOP, 1e-5, self.variant.steps), x, lambda like: centred_noise(like.shape, generator, like))
        for state in path:
            x = centred(state.detach())
        x, time = x[torch.isfinite(x).all(dim=(1, 2))], torch.full((1,), 1e-5)
        known = energy(frames[torch.randint(len(frames), (512,), generator=generator)], time).detach()
        high = known.quantile(0.99)
        x = x[energy(x, time).detach() < high + 3.0 * (high - known.median())]
        self.pool = x if self.pool is None else torch.cat([self.pool, x])[-self.variant.pool :]
        weights = conformation_weights(self.pool, 1.0).double()
        self.cumulative = (weights / weights.sum()).cumsum(0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
