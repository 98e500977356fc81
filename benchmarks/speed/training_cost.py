"""What the Fokker-Planck term costs and what is got for it, for several ways to compute it.

python benchmarks/speed/training_cost.py [--steps 40] [--rounds 5] [--training-steps 2500] [--seeds 2] [--threads 1]
[--quick]

Two parts. Steps: milliseconds of a whole training step of every variant, in rounds in which all variants take turns, so
that a noisy machine burdens all alike; ratios are medians over the rounds. Trainings: every variant for the same number
of steps, judged on frames that were never trained on, by the Fokker-Planck residual, the denoising loss, and the gap
between the density of iid samples (by the probability-flow ODE) and exp(-E) of the force field. Results of each part
lie in runs/training_cost and are not made again; writes docs/results/training_cost.md from what is there.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch

from fpforce.training.data.dataset import NoisedBatches, TrainingSet
from fpforce.training.diffusion import beta, centred_noise, degrees_of_freedom, diffuse
from fpforce.training.loop.callbacks import exponential_average
from fpforce.training.loop.compiled_step import CompiledStep
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.loop.learning_rate import learning_rate
from fpforce.training.loop.step import StepDraws, StepLosses
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.fokker_planck import Perturbed, fokker_planck_loss
from fpforce.training.losses.residual import residual_curve
from fpforce.training.losses.time_sampling import TimeSampler
from fpforce.training.models.experts import Expert, Experts
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import load_recipe
from fpforce.training.sampling.likelihood import log_likelihood
from fpforce.trajectories.bead_frames import read_bead_frames

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.places import ALANINE
from workbench.tiny import SMALL


class CentralDifferences(ExpertTraining):
    """Four evaluations a point, x +- v1 and x +- v2, at the times of the denoising loss."""

    def draw(self, step: int) -> StepDraws:
        noised, generator = self._batches.value.batch(step)
        settings = self.recipe.loss
        x, t, _ = self._batches.value.spread(round(settings.fokker_planck_fraction * len(noised.x)), generator)
        v = settings.fokker_planck_sigma * centred_noise((2, *x.shape), generator, x)
        points = torch.cat([x + v[0], x - v[0], x + v[1], x - v[1]])
        return StepDraws(noised, Perturbed(points, t.repeat(4), v, settings.fokker_planck_sigma), None, None)

    def forward(self, draws: StepDraws) -> StepLosses:
        (x, t, z, *_), (points, times, v, width, _) = draws.noised, draws.perturbed
        density = self.expert.log_density(torch.cat([x, points]), torch.cat([t, times]))
        around, beads, count = density.after(len(x)), x.shape[1], v.shape[1]
        known = (
            degrees_of_freedom(beads)
            + ((points + around.score) * around.score).sum((1, 2))
            + self.expert.prior_divergence(points, times)
        )
        ahead, behind = around.network_score.view(2, 2, count, beads, 3).unbind(1)
        divergence = (v * (ahead - behind)).sum((2, 3)) / (2.0 * width**2)
        residual = (0.5 * beta(times) * known - around.time_derivative).view(2, 2, count).mean(1) + 0.5 * beta(
            times[:count]
        ) * divergence
        return StepLosses(
            denoising_loss(density.score[: len(x)], t, z), fokker_planck_loss(residual, beads), *2 * [x.new_zeros(())]
        )


@dataclass(frozen=True)
class Variant:
    name: str
    overrides: tuple[str, ...]
    kind: type[ExpertTraining] = ExpertTraining


def _variant(part: str, every: int, kind: type[ExpertTraining] = ExpertTraining, name: str = "") -> Variant:
    """The term at `part` of the batch in every so many steps."""
    points = f"loss.fokker_planck_fraction={float(Fraction(part))}"
    name += f"{part} of the batch" + ("" if every == 1 else f", every {every}{'nd' if every == 2 else 'th'} step")
    return Variant(name, (points, f"loss.fokker_planck_every={every}"), kind)


NONE = Variant("denoising alone", ("loss.fokker_planck_weight=0",))
DEFAULT, SECOND = _variant("1/8", 1), _variant("1/8", 2)
FOUR = _variant("1/4", 1, CentralDifferences, "central differences, ")
VARIANTS = (NONE, DEFAULT, SECOND, _variant("1/8", 4), _variant("1/4", 2), _variant("1/2", 4), _variant("1/2", 1), FOUR)
MODELS = {"internal": VARIANTS, "graph_transformer": (NONE, DEFAULT, SECOND, FOUR)}
COMPILED = (NONE, DEFAULT, SECOND)
QUICK = (NONE, SECOND, FOUR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--training-steps", type=int, default=2500)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--held-out", type=int, default=256, help="frames of the reference for residual and gap")
    chosen = options.parse(parser, steps=4, rounds=1, training_steps=4, seeds=1, held_out=8)
    torch.set_num_threads(chosen.threads)
    runs = chosen.runs / "training_cost"
    runs.mkdir(exist_ok=True)
    models, compiled = ({"internal": QUICK}, QUICK[:1]) if chosen.quick else (MODELS, COMPILED)
    small = SMALL if chosen.quick else ()
    data = load_recipe(ALANINE / "recipe.yaml").data
    training_set = TrainingSet.of(read_bead_frames(data.trajectories, data.topology, beads=data.beads))
    for model, variants in models.items():
        settings = {
            "rounds": chosen.rounds,
            "steps": chosen.steps,
            "threads": chosen.threads,
            "variants": [variant.name for variant in variants],
        }
        make = partial(_time_steps, variants, compiled, training_set, chosen, f"model.kind={model}", *small)
        _kept(runs / f"steps_{model}.json", settings, make)
    held_out = TrainingSet.of(
        read_bead_frames([ALANINE / "reference.xtc"], data.topology, beads=data.beads),
        training_set.normalisation,
    ).frames
    for seed in range(chosen.seeds):
        for number, variant in enumerate(models["internal"]):
            _kept(
                runs / f"training_{number}_{seed}.json",
                {"variant": variant.name, "steps": chosen.training_steps, "seed": seed},
                partial(_train, variant, seed, chosen, training_set, held_out, *small),
            )
    text = _table(runs, models, chosen)
    (chosen.results / "training_cost.md").write_text(text)
    print(text)


def _kept(path: Path, settings: dict, make) -> None:
    """Make a file of results unless it is there with the same settings."""
    if path.exists() and json.loads(path.read_text())["settings"] == settings:
        return
    result = {"settings": settings, "hardware": describe_hardware(), **make()}
    path.write_text(json.dumps(result, indent=1))
    print(f"{path.stem} is done", flush=True)


def _module(variant: Variant, training_set: TrainingSet, *overrides: str) -> ExpertTraining:
    recipe = load_recipe(ALANINE / "recipe.yaml", ["loss.flow_weight=0", *variant.overrides, *overrides])
    torch.manual_seed(recipe.run.seed)
    module = variant.kind(recipe, plan_experts(recipe), training_set)
    module.begin(0)
    return module


def _update(module: ExpertTraining, optimizer, step: int, draws: StepDraws, loss) -> None:
    optimizer.zero_grad()
    loss.backward()
    module.scale_down(step, draws.perturbed is not None)
    optimizer.step()


def _time_steps(variants, compiled_variants, training_set: TrainingSet, chosen, model: str, *overrides: str) -> dict:
    """{"compile_seconds", "ms": {variant: one value a round}}; the compiled variants' names end in ", compiled"."""
    steps, compile_seconds = {}, []
    for variant in variants:
        module = _module(variant, training_set, model, *overrides)
        optimizer = module.configure_optimizers()

        def plain(number, module=module, optimizer=optimizer):
            draws = module.draw(number)
            _update(module, optimizer, number, draws, module.weighted(module(draws)))

        steps[variant.name] = plain
        if variant in compiled_variants:
            began = time.monotonic()
            kinds = {draws.perturbed is None: draws for draws in (module.draw(1), module.draw(0))}
            compiled = {kind: CompiledStep(module, draws) for kind, draws in kinds.items()}
            compile_seconds.append(time.monotonic() - began)

            def fast(number, module=module, optimizer=optimizer, compiled=compiled):
                draws = module.draw(number)
                _update(module, optimizer, number, draws, compiled[draws.perturbed is None](draws)[1])

            steps[f"{variant.name}, compiled"] = fast
    count = chosen.steps if model == "model.kind=internal" else max(4, chosen.steps // 5)
    count += -count % 4  # whole periods of all variants
    times = {name: [] for name in steps}
    for round in range(chosen.rounds + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            for number in range(count):
                step(number)
            if round:  # the first warms up
                times[name].append(1e3 * (time.perf_counter() - began) / count)
    return {"compile_seconds": compile_seconds, "ms": times}


def _train(variant: Variant, seed: int, chosen, training_set: TrainingSet, held_out, *overrides: str) -> dict:
    """Train as fpforce-train does, and judge the averaged weights on frames of the reference."""
    steps = chosen.training_steps
    module = _module(variant, training_set, *overrides, f"run.seed={seed}", f"run.max_steps={steps}")
    optimizer, average = module.configure_optimizers(), copy.deepcopy(module.expert)
    mean_of = exponential_average(module.recipe.optimizer.ema_decay)
    began = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(module.recipe.optimizer, step, step / steps)
        draws = module.draw(step)
        _update(module, optimizer, step, draws, module.weighted(module(draws)))
        with torch.no_grad():
            mean_of(list(average.parameters()), list(module.expert.parameters()), step)
    seconds = time.monotonic() - began
    energy, plan = average.requires_grad_(False), module.plan
    batches = NoisedBatches(held_out, TimeSampler(plan.t_min, plan.t_max, plan.v_min), 1024, seed=99)
    losses = []
    for number in range(20):
        noised, _ = batches.batch(number)
        losses.append(float(denoising_loss(energy.score(noised.x, noised.t), noised.t, noised.z)))
    spread = held_out[torch.linspace(0, len(held_out) - 1, chosen.held_out).long()]
    residual = residual_curve(energy, spread, plan.t_min, plan.t_max, sigma_w=module.recipe.loss.fokker_planck_sigma)
    return {
        "seconds": seconds,
        "denoising": statistics.mean(losses),
        "residual": residual,
        "gap_kt": _consistency_gap(energy, spread[::2], plan.t_min),
    }


def _consistency_gap(energy, frames, t: float) -> float:
    """Standard deviation over frames of ln q + E in kT, with ln q by the probability-flow ODE: zero if both agree."""
    generator = torch.Generator().manual_seed(0)
    times = torch.full((len(frames),), t)
    x = diffuse(frames, times, centred_noise(frames.shape, generator, frames))
    log_density = log_likelihood(Experts((Expert(energy, t, 1.0),)), x, t, 60, generator)
    return float((log_density + energy(x, times)).std())


def _table(folder: Path, models: dict, chosen) -> str:
    lines, ratios = [], {}
    for model, variants in models.items():
        found = json.loads((folder / f"steps_{model}.json").read_text())
        ms = found["ms"]
        lines += [
            f"`{model}`, batch 512, {chosen.threads} thread(s), medians over {chosen.rounds} rounds, of the times and "
            "of the ratios within a round, which suffer less from other programs; compiling took "
            f"{min(found['compile_seconds']):.0f} to {max(found['compile_seconds']):.0f} s; {found['hardware']}.",
            "",
            "| Fokker-Planck term | ms per step | against denoising alone | compiled, ms | against denoising alone |",
            "|---|---|---|---|---|",
        ]
        for variant in variants:
            ratios[model, variant.name] = _ratio(ms[variant.name], ms[NONE.name])
            row = f"| {variant.name} | {statistics.median(ms[variant.name]):.1f} | {ratios[model, variant.name]:.2f} |"
            if f"{variant.name}, compiled" in ms:
                fast = ms[f"{variant.name}, compiled"]
                row += f" {statistics.median(fast):.1f} | {_ratio(fast, ms[f'{NONE.name}, compiled']):.2f} |"
            else:
                row += " | |"
            lines.append(row)
        lines.append("")
    lines += [
        f"`internal`, {chosen.training_steps} steps of every variant, {chosen.seeds} seeds (all values given), judged "
        "on frames never trained on. Residual: root mean square per degree of freedom in units of d/dt ln q, over "
        "times spaced evenly in ln t from 1e-5 to 1, and over those above 0.05. Gap: standard deviation over frames "
        "of ln q (by the probability-flow ODE) + E at t = 1e-5.",
        "",
        "| Fokker-Planck term | cost of a step | residual | residual, t > 0.05 | denoising loss | gap, kT |",
        "|---|---|---|---|---|---|",
    ]
    for number, variant in enumerate(models["internal"]):
        runs = [json.loads((folder / f"training_{number}_{seed}.json").read_text()) for seed in range(chosen.seeds)]
        columns = [f"{ratios['internal', variant.name]:.2f}"]
        columns += [", ".join(f"{_mean_square(run['residual'], above):.3g}" for run in runs) for above in (0.0, 0.05)]
        columns += [_listed(runs, "denoising", ".4f"), _listed(runs, "gap_kt", ".2f")]
        lines.append(f"| {variant.name} | {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def _mean_square(curve: dict, above: float) -> float:
    """Root of the mean square residual over the times above a given one."""
    return statistics.mean(r * r for t, r in zip(curve["t"], curve["residual"], strict=True) if t > above) ** 0.5


def _listed(runs: list[dict], name: str, form: str) -> str:
    return ", ".join(format(run[name], form) for run in runs)


def _ratio(times: list[float], reference: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(times, reference, strict=True))


if __name__ == "__main__":
    main()
