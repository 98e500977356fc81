"""What an energy with its forces and a training step cost from 5 to 300 beads, over all pairs and over the radius
graph.

python benchmarks/speed/scaling.py [--rounds 3] [--threads 1] [--quick]. The graph transformer of the recipe's default
size on a chain that fills a cube at the density of a protein's CA beads, with a cutoff. Single evaluations are of the
exported TorchScript form; training steps are those of fpforce-train at a batch of as many frames as give about 1200
beads, without compilation. Dense and radius alternate in every round; medians are taken. Peak memory is the growth of a
process of its own for each case. Exponents are fitted to the sizes from 80 beads on. Writes docs/results/scaling.json,
.md and .png.
Longer than other files, since a measurement is one script, from the model to its figure.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from fpforce.training.data.dataset import TrainingSet
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.loop.step_gradient import PlainStep, in_parts, parts_of
from fpforce.training.models.neighbours import pairs_within
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import parse_recipe
from fpforce.trajectories.bead_frames import read_bead_frames

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware

SIZES, QUICK_SIZES = (5, 10, 20, 40, 80, 160, 300), (5, 10, 20)
SMALLEST = SIZES[0]
FITTED_FROM, QUICK_FITTED_FROM = 80, 5
BATCH_BEADS = 1200
CUTOFF_NM = 1.0
SPACING_NM = 0.51  # a residue of 110 Da at 1.35 g/cm^3 has a cube of this edge
KINDS = ("dense", "radius")
WORK = {
    "force": "energy and forces of one molecule",
    "denoising": "training step, denoising alone",
    "fokker_planck": "training step, with Fokker-Planck on a quarter of the batch",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    chosen = options.parse(parser, rounds=1)
    sizes = QUICK_SIZES if chosen.quick else SIZES
    torch.set_num_threads(chosen.threads)
    # First of all: what this process frees, a fork of it could take without growing.
    memory = {
        (work, kind, beads): _in_a_process_of_its_own(work, kind, beads)
        for beads in sizes
        for kind in KINDS
        for work in WORK
    }
    rows = []
    for beads in sizes:
        for row in measure(beads, chosen.rounds):
            rows.append(row | {"memory_mb": {work: memory[work, row["kind"], beads] for work in WORK}})
        print(*rows[-len(KINDS) :], sep="\n", flush=True)
    result = {
        "hardware": describe_hardware(),
        "rounds": chosen.rounds,
        "threads": chosen.threads,
        "cutoff_nm": CUTOFF_NM,
        "fitted_from": QUICK_FITTED_FROM if chosen.quick else FITTED_FROM,
        "rows": rows,
        "search": search_times(sizes),
    }
    (chosen.results / "scaling.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "scaling.md").write_text(table(result))
    draw(result, chosen.results / "scaling.png")
    print(table(result))


def measure(beads: int, rounds: int) -> list[dict]:
    """A row for each kind of neighbours."""
    tasks = {kind: {work: task(work, kind, beads) for work in WORK} for kind in KINDS}
    times: dict = {kind: {work: [] for work in WORK} for kind in KINDS}
    for work in WORK:
        for _ in range(rounds):
            for kind in KINDS:
                began, repeats = time.perf_counter(), 0
                while repeats == 0 or (repeats < 20 and time.perf_counter() - began < 0.2):
                    tasks[kind][work]()
                    repeats += 1
                times[kind][work].append(1e3 * (time.perf_counter() - began) / repeats)
    return [
        {
            "beads": beads,
            "kind": kind,
            "batch": batch_size(beads),
            "neighbours": neighbours(beads),
            "ms": {work: statistics.median(times[kind][work]) for work in WORK},
        }
        for kind in KINDS
    ]


def batch_size(beads: int) -> int:
    """A multiple of 4, so that the Fokker-Planck term has a quarter of it."""
    return max(4, 4 * round(BATCH_BEADS / beads / 4))


def task(work: str, kind: str, beads: int):
    """A function without arguments that does the work once; it has been run already, until no run is a first one."""
    training = _training(work, kind, beads)
    if work == "force":
        program = torch.jit.freeze(torch.jit.script(training.expert.eval().requires_grad_(False)))
        frame, t = training.record.check_frames[:1].clone().requires_grad_(), torch.full((1,), 1e-5)

        def run() -> None:
            torch.autograd.grad(program(frame, t).sum(), frame)
    else:
        optimizer, steps, step = training.configure_optimizers(), iter(range(1_000_000)), PlainStep(training)

        def run() -> None:
            draws = training.draw(next(steps))
            optimizer.zero_grad()
            in_parts(step, parts_of(training, draws))(draws)[1].backward()
            optimizer.step()

    for _ in range(3 if work == "force" else 1):  # TorchScript optimises in its first two runs
        run()
    return run


def peak_growth_mb(work: str, kind: str, beads: int) -> float:
    """By how much the process's peak memory grows over that of the same work on 5 beads."""
    task(work, kind, SMALLEST)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    task(work, kind, beads)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def search_times(sizes) -> list[dict]:
    """Milliseconds to find the pairs of a training batch."""
    rows = []
    for beads in sizes:
        x, durations = torch.from_numpy(chain(beads, batch_size(beads))), []
        for _ in range(20):
            began = time.perf_counter()
            pairs_within(x, CUTOFF_NM)
            durations.append(1e3 * (time.perf_counter() - began))
        rows.append({"beads": beads, "batch": len(x), "ms": statistics.median(durations)})
    return rows


def chain(beads: int, frames: int = 40) -> np.ndarray:
    """(frames, beads, 3) positions in nm, float32: a chain that runs to and fro through a cube, row by row, and
    jitters.
    """
    edge = int(np.ceil(np.cbrt(beads)))
    sites, row = [], 0
    for k in range(edge):
        for j in range(edge) if k % 2 == 0 else reversed(range(edge)):
            sites += [(i, j, k) for i in (range(edge) if row % 2 == 0 else reversed(range(edge)))]
            row += 1
    generator = np.random.default_rng(0)
    jitter = generator.normal(scale=0.04, size=(frames, beads, 3))
    return (SPACING_NM * np.array(sites[:beads], dtype=float) + jitter).astype(np.float32)


def neighbours(beads: int) -> float:
    """Mean number of other beads within the cutoff."""
    positions = chain(beads)
    distances = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    return float((distances < CUTOFF_NM).sum(-1).mean() - 1)


def _training(work: str, kind: str, beads: int):
    """The recipe's own training of one expert, before its first step."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trajectory, topology = Path(folder) / "chain.npy", Path(folder) / "chain.pdb"
        np.save(trajectory, chain(beads))
        topology.write_text(
            "\n".join(
                f"ATOM  {i + 1:5d}  BB  ALA A{i + 1:4d}    {0:8.3f}{0:8.3f}{3.8 * i:8.3f}  1.00  0.00           C"
                for i in range(beads)
            )
            + "".join(f"\nCONECT{i:5d}{i + 1:5d}" for i in range(1, beads))  # longer bonds than those of CA
            + "\nEND\n"
        )
        data = {"trajectories": [trajectory], "topology": topology, "beads": "name BB", "length_unit": "nm"}
        training_set = TrainingSet.of(read_bead_frames([trajectory], topology, beads="name BB", length_unit="nm"))
    recipe = parse_recipe(
        {
            "data": data,
            "temperature_k": 300,
            "output": "unused",
            "optimizer": {"batch_size": batch_size(beads)},
            "model": {"kind": "graph_transformer", "cutoff_nm": CUTOFF_NM, "neighbours": kind},
            "loss": {"fokker_planck_evenness": 0, "fokker_planck_fraction": 0.25}
            | ({} if work == "fokker_planck" else {"fokker_planck_weight": 0}),
        }
    )
    training = ExpertTraining(recipe, plan_experts(recipe), training_set)
    training.begin(0)
    return training


def _in_a_process_of_its_own(work: str, kind: str, beads: int) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(peak_growth_mb, work, kind, beads).result()


def exponent(result: dict, kind: str, work: str, batched: bool) -> float:
    """Of the time for one molecule against the number of beads, from result["fitted_from"] beads on."""
    rows = [row for row in result["rows"] if row["kind"] == kind and row["beads"] >= result["fitted_from"]]
    times = [row["ms"][work] / (row["batch"] if batched else 1) for row in rows]
    return float(np.polyfit(np.log([row["beads"] for row in rows]), np.log(times), 1)[0])


def crossing(result: dict, work: str) -> float | None:
    """Beads at which the two kinds take the same time, interpolated in logarithms; None where they do not cross."""
    dense, radius = ([row for row in result["rows"] if row["kind"] == kind] for kind in KINDS)
    ratios = [np.log(r["ms"][work] / d["ms"][work]) for d, r in zip(dense, radius, strict=True)]
    sizes = np.log([row["beads"] for row in dense])
    for k in reversed(range(len(ratios) - 1)):
        if ratios[k] > 0 >= ratios[k + 1]:
            return float(np.exp(np.interp(0.0, [-ratios[k], -ratios[k + 1]], [sizes[k], sizes[k + 1]])))
    return None


def table(result: dict) -> str:
    lines = [
        f"{result['threads']} thread(s), cutoff {result['cutoff_nm']:g} nm, medians of {result['rounds']} rounds; "
        f"{result['hardware']}. Milliseconds; in brackets MB by which the peak memory grows over that of "
        f"{SMALLEST} beads.",
        "",
        "| beads | neighbours of a bead | batch of a step | "
        + " | ".join(f"{text}: {kind}" for text in WORK.values() for kind in KINDS)
        + " |",
        "|---" * (3 + len(WORK) * len(KINDS)) + "|",
    ]
    for beads in dict.fromkeys(row["beads"] for row in result["rows"]):
        measured = [row for row in result["rows"] if row["beads"] == beads]
        cells = [f"{row['ms'][work]:,.1f} ({row['memory_mb'][work]:,.0f})" for work in WORK for row in measured]
        lines.append(f"| {beads} | {measured[0]['neighbours']:.1f} | {measured[0]['batch']} | {' | '.join(cells)} |")
    exponents = [f"{exponent(result, kind, work, work != 'force'):.2f}" for work in WORK for kind in KINDS]
    lines += [f"| exponent from {result['fitted_from']} beads, per molecule | | | {' | '.join(exponents)} |", ""]
    crossings = "; ".join(f"{text}: {_beads(crossing(result, work))}" for work, text in WORK.items())
    lines += [
        f"The radius graph is the faster from: {crossings}.",
        "",
        "| beads | batch | finding the pairs, ms |",
        "|---|---|---|",
    ]
    lines += [f"| {row['beads']} | {row['batch']} | {row['ms']:.2f} |" for row in result["search"]]
    return "\n".join(lines) + "\n"


def _beads(count: float | None) -> str:
    return "no size measured" if count is None else f"{count:.0f} beads"


def draw(result: dict, path: Path) -> None:
    """Time and memory for one molecule against the number of beads, one panel for each kind of work."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 6.2), layout="constrained")
    axes = figure.subplots(2, len(WORK), sharex=True)
    colours = {"dense": "#D55E00", "radius": "#0072B2"}
    for column, (work, title) in enumerate(WORK.items()):
        for kind in KINDS:
            rows = [row for row in result["rows"] if row["kind"] == kind]
            beads, batch = ([row[name] for row in rows] for name in ("beads", "batch"))
            share = [1 if work == "force" else count for count in batch]
            slope = exponent(result, kind, work, work != "force")
            axes[0, column].loglog(
                beads,
                [row["ms"][work] / n for row, n in zip(rows, share, strict=True)],
                "o-",
                ms=4,
                lw=1.4,
                color=colours[kind],
                label=f"{kind}, n^{slope:.2f}",
            )
            memory = [max(row["memory_mb"][work], 0.1) / n for row, n in zip(rows, share, strict=True)]
            axes[1, column].loglog(beads[1:], memory[1:], "o-", ms=4, lw=1.4, color=colours[kind])
        axes[0, column].set_title(title.replace(", with ", ",\nwith ").replace("of one", "\nof one"), fontsize=9)
        axes[0, column].legend(fontsize=8, frameon=False)
        axes[1, column].set_xlabel("beads", fontsize=9)
        axes[1, column].set_xticks(beads, [str(count) for count in beads], minor=False)
        axes[1, column].minorticks_off()
        for axis in axes[:, column]:
            axis.grid(True, which="major", color="#EEEEEE")
            axis.tick_params(labelsize=8)
    axes[0, 0].set_ylabel("ms per molecule", fontsize=9)
    axes[1, 0].set_ylabel("peak memory per molecule / MB", fontsize=9)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
