"""What many workers gain for a simulation in shards: measured with one and two, and for more by a simulated scheduler.

python benchmarks/speed/scaling_out.py [--steps 200000] [--rounds 3] [--quick]. The small model of all quick runs,
eight shards of eight replicas, by this process and by one and two of Dask's workers; medians of rounds, which
alternate. Efficiency is the rate per worker over that of this process. What a task costs besides its work is measured,
too: what the scheduler takes for one that does nothing, and what a shard of one frame takes a worker. The simulated
scheduler hands out one task after the other, each for as long as measured, to workers whose tasks take as long as
asked and vary as the measured shards do. Its efficiency with one and two workers stands beside the measured one.
Writes docs/results/scaling_out.json and .md.
"""

import argparse
import heapq
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fpforce
from fpforce.distributed.parts import Part, Where

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.empty_task import nothing
from workbench.hardware import describe_hardware
from workbench.tiny import tiny_model

SHARDS, REPLICAS = 8, 8
MANY = (1, 2, 10, 100, 1_000, 10_000)
TASK_S = (60.0, 600.0, 3600.0)  # of a shard
TASKS_PER_WORKER = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=400, help="that do nothing")
    chosen = options.parse(parser, steps=5_000, rounds=1, tasks=20)
    model = tiny_model(chosen.runs)
    walls = measure(model, chosen.steps, chosen.rounds, ("here", "1", "2"))
    scheduler_s, process_s = overheads(model, chosen.tasks)
    spread = statistics.median(np.std(w["shards_s"]) / np.mean(w["shards_s"]) for w in walls["here"])
    task_s = statistics.median(np.mean(w["shards_s"]) for w in walls["here"])
    here_s = statistics.median(w["wall_s"] for w in walls["here"])
    measured = {
        workers: here_s / (workers * statistics.median(w["wall_s"] for w in walls[str(workers)])) for workers in (1, 2)
    }
    simulated = {workers: efficiency(workers, SHARDS, task_s, spread, scheduler_s, process_s) for workers in (1, 2)}
    table = [
        {
            "task_s": seconds,
            "workers": workers,
            "efficiency": efficiency(workers, TASKS_PER_WORKER * workers, seconds, spread, scheduler_s, process_s),
        }
        for seconds in TASK_S
        for workers in MANY
    ]
    result = {
        "hardware": describe_hardware(),
        "load_average": os.getloadavg()[0],
        "steps": chosen.steps,
        "rounds": chosen.rounds,
        "walls": walls,
        "task_s": task_s,
        "spread": spread,
        "scheduler_s": scheduler_s,
        "process_s": process_s,
        "measured": measured,
        "simulated": simulated,
        "many": table,
        "workers_that_saturate": {seconds: seconds / scheduler_s for seconds in TASK_S},
    }
    (chosen.results / "scaling_out.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "scaling_out.md").write_text(written(result))
    print(written(result))


def measure(model: Path, steps: int, rounds: int, names: Sequence[str]) -> dict[str, list[dict]]:
    """Wall time, without the start of the cluster, and the time of each shard; by `here` or the number of workers."""
    found: dict[str, list[dict]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, each in found.items():
                settings = fpforce.SimulationSettings(
                    steps=steps,
                    replicas=SHARDS * REPLICAS,
                    shard_replicas=REPLICAS,
                    report_interval_ps=10.0,
                    overwrite=True,
                    workers=None if name == "here" else int(name),
                )
                output = Path(folder) / f"{name}.xtc"
                result = fpforce.simulate(model, output, settings)
                sidecars = sorted(Path(f"{output}.shards").glob("*.json"))
                shards_s = [json.loads(path.read_text())["seconds"] for path in sidecars]
                each.append({"wall_s": result.steps / result.steps_per_second, "shards_s": shards_s})
                print(name, each[-1], flush=True)
    return found


def overheads(model: Path, tasks: int) -> tuple[float, float]:
    """Seconds of the scheduler for a task, and of a worker for a shard that has next to no steps."""
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])  # where workers find the empty task
    with Where(workers=1).pool() as pool:
        parts = [Part(f"task {k}", nothing, {}, own_process=False) for k in range(tasks)]
        pool.run(iter(parts[:2]), lambda *_: None, lambda *_: None)  # what is imported once
        began = time.monotonic()
        pool.run(iter(parts), lambda *_: None, lambda *_: None)
        scheduler_s = (time.monotonic() - began) / tasks
    shortest = measure(model, 5_000, 1, ("1",))["1"][0]
    return scheduler_s, (shortest["wall_s"] - sum(shortest["shards_s"])) / SHARDS - scheduler_s


def efficiency(
    workers: int, tasks: int, task_s: float, spread: float, scheduler_s: float, process_s: float, seed: int = 0
) -> float:
    """Work done over the time of all workers, of a scheduler that hands out one task after the other."""
    rng = np.random.default_rng(seed)
    work = task_s * np.maximum(rng.normal(1.0, spread, tasks), 0.1)
    free = [0.0] * workers
    clock = end = 0.0
    for seconds in work:
        clock = max(clock, heapq.heappop(free)) + scheduler_s
        heapq.heappush(free, clock + process_s + seconds)
        end = max(end, clock + process_s + seconds)
    return float(work.sum() / (workers * end))


def written(result: dict) -> str:
    """The tables."""
    lines = [
        f"{SHARDS} shards of {REPLICAS} replicas of the small model, {result['steps']:,} steps, {result['rounds']} "
        f"round(s); {result['hardware']}, load average {result['load_average']:.1f} at the end, of which this makes 1 "
        f"or 2. A shard takes {result['task_s']:.1f} s on average, with a spread of {100 * result['spread']:.0f}%. "
        f"For a task the scheduler takes {1e3 * result['scheduler_s']:.1f} ms, and a shard takes a worker "
        f"{result['process_s']:.2f} s besides its steps.",
        "",
        "| workers | efficiency, measured | by the simulated scheduler |",
        "|---|---|---|",
    ]
    for workers in (1, 2):
        lines.append(f"| {workers} | {result['measured'][workers]:.2f} | {result['simulated'][workers]:.2f} |")
    header = ["a shard takes", *(f"{workers:,} workers" for workers in MANY), "the scheduler is the limit from"]
    lines += ["", f"Simulated, with {TASKS_PER_WORKER} shards a worker:", "", _row(header), "|---" * len(header) + "|"]
    for seconds in TASK_S:
        values = [f"{each['efficiency']:.2f}" for each in result["many"] if each["task_s"] == seconds]
        limit = f"{result['workers_that_saturate'][seconds]:,.0f} workers"
        lines.append(_row([f"{seconds / 60:.0f} min", *values, limit]))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
