"""Langevin steps per second of every backend on the same force field, side by side, as ratios.

python benchmarks/langevin_speed.py [--model runs/demo/model.pt] [--replicas 1 64 256] [--rounds 5] [--threads 1].
The backends alternate in rounds, and the median is taken. Writes docs/results/langevin_speed.md.
"""

import argparse
import statistics
import time
from pathlib import Path

import openmm
import torch
from hardware import describe_hardware

import fpforce
from fpforce import backends
from fpforce.platforms import make_context

ROOT = Path(__file__).resolve().parent.parent
STEPS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "runs" / "demo" / "model.pt")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    force_field = fpforce.load(chosen.model)
    lines = [f"{force_field.kind} model, {len(force_field.beads)} beads, {chosen.threads} thread(s), 2 fs, median of "
             f"{chosen.rounds} rounds of {STEPS} steps; {describe_hardware()}.", "",
             "| replicas | backend | steps/s | us per replica-step | against torchforce |", "|---|---|---|---|---|"]
    for replicas in chosen.replicas:
        contexts = {name: _context(force_field, name, replicas, chosen.threads) for name in backends.names()
                    if name != "auto"}
        rates = {name: [] for name in contexts}
        for _ in range(chosen.rounds):
            for name, context in contexts.items():
                began = time.perf_counter()
                context.getIntegrator().step(STEPS)
                rates[name].append(STEPS / (time.perf_counter() - began))
        median = {name: statistics.median(values) for name, values in rates.items()}
        lines += [f"| {replicas} | {name} | {rate:.0f} | {1e6 / rate / replicas:.1f} | {rate / median['torchforce']:.2f} |"
                  for name, rate in median.items()]
    text = "\n".join(lines) + "\n"
    output = ROOT / "docs" / "results"
    output.mkdir(parents=True, exist_ok=True)
    (output / "langevin_speed.md").write_text(text)
    print(text)


def _context(force_field, backend: str, replicas: int, threads: int):
    system = fpforce.make_system(force_field, backend=backend, replicas=replicas, threads=threads)
    context, _ = make_context(
        system, lambda: openmm.LangevinMiddleIntegrator(force_field.temperature_k, 1.0, 0.002), "auto")
    context.setPositions([tuple(p) for _ in range(replicas) for p in force_field.positions_nm])
    context.setVelocitiesToTemperature(force_field.temperature_k, 1)
    context.getIntegrator().step(20)
    return context


if __name__ == "__main__":
    main()
