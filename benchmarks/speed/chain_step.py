"""A training step over many chains: `chain` beside `graph_transformer`, and how its cost grows with the beads.

python benchmarks/speed/chain_step.py [--rounds 5] [--batch 64] [--beads 35 70 150 300] [--quick]. Both are the recipe's
defaults, with the Fokker-Planck term on an eighth of the batch, on eight self-avoiding chains of so many beads, of 20
types. They take turns in every round; the processor's own time is measured, and ratios are medians over the rounds.
Nothing is compiled. Writes docs/results/chain_step.json and .md.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np

from fpforce.reference.models import build_model
from fpforce.reference.models.start import start_positions
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.loop.step_gradient import PlainStep, in_parts, parts_of
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import parse_recipe
from fpforce.trajectories.bead_frames import BeadFrames

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.processor_time import measured

KINDS = {"chain": {}, "graph_transformer": {"identity": False}}
CHAINS, FRAMES, SHAKEN_NM = 8, 40, 0.05
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--beads", type=int, nargs="*", default=[35, 70, 150, 300])
    chosen = options.parse(parser, rounds=1, batch=8, beads=[12, 20])
    rows = []
    for beads in chosen.beads:
        molecules = chains(beads)
        steps = {kind: step_of(kind, settings, molecules, chosen.batch) for kind, settings in KINDS.items()}
        ms = measured(steps, chosen.rounds)
        ratios = [slow / fast for slow, fast in zip(ms["graph_transformer"], ms["chain"], strict=True)]
        rows.append(
            {"beads": beads, "times_as_fast": statistics.median(ratios)}
            | {f"{kind}_ms": statistics.median(values) for kind, values in ms.items()}
        )
        print(rows[-1], flush=True)
    result = {"rounds": chosen.rounds, "batch": chosen.batch, "hardware": describe_hardware(), "rows": rows}
    (chosen.results / "chain_step.json").write_text(json.dumps(result, indent=1) + "\n")
    (chosen.results / "chain_step.md").write_text(table(result))


def chains(beads: int) -> MoleculeSet:
    """Some, of random sequences and conformations."""
    generator = np.random.default_rng(0)
    found = {}
    for number in range(CHAINS):
        sequence = "".join(generator.choice(list(LETTERS), beads))
        model = build_model("disordered", sequence)
        walk = start_positions(model, "random", number)
        noise = generator.normal(scale=SHAKEN_NM, size=(FRAMES, *walk.shape))
        found[sequence] = BeadFrames((walk + noise).astype(np.float32), model.beads, (FRAMES,), (sequence,), "", None)
    return MoleculeSet.of(found, "ca")


def step_of(kind: str, settings: dict, molecules: MoleculeSet, batch: int):
    """A function that makes the gradient of one step, the same every time."""
    recipe = parse_recipe(
        {
            "data": {"molecules": ["unused"], "beads": "ca"},
            "temperature_k": 298.15,
            "output": "unused",
            "optimizer": {"batch_size": batch},
            "model": {"kind": kind, **settings},
        }
    )
    training = ExpertTraining(recipe, plan_experts(recipe), molecules)
    training.begin(0)
    draws = training.draw(0)
    whole = in_parts(PlainStep(training), parts_of(training, draws))
    return lambda: whole(draws)[1].backward()


def table(result: dict) -> str:
    lines = [
        f"One thread, not compiled, {result['batch']} frames, and an eighth as many with the Fokker-Planck term, "
        f"medians of {result['rounds']} rounds, milliseconds of the processor; {result['hardware']}.",
        "",
        "| beads | graph_transformer | chain | times as fast |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['beads']} | {row['graph_transformer_ms']:.0f} | {row['chain_ms']:.0f} | {row['times_as_fast']:.1f} |"
        for row in result["rows"]
    ]
    first, last = result["rows"][0], result["rows"][-1]
    if first is not last:
        power = np.log(last["chain_ms"] / first["chain_ms"]) / np.log(last["beads"] / first["beads"])
        lines += ["", f"The time of a step of `chain` grows as the beads to the power {power:.2f}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
