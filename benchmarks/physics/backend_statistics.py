"""Whether native and TorchForce simulate the same distribution: one frozen force field, both backends, phi/psi compared
directly.

python benchmarks/physics/backend_statistics.py [--model runs/demo/model.pt] [--steps 60000] [--replicas 128]
[--processes 2] [--quick]. Three samples of equal settings and different seeds, each of two simulations, one from
either basin: torchforce, native, and native again. The second half of every simulation counts. Reported are JS
divergence and PMF error of native against torchforce, and of native against native at as many frames, which is the
floor. Since all start alike, the laws are equal at any time, converged or not. One thread a simulation; interrupted
simulations are resumed. Runs live in runs/backend_statistics. Writes docs/results/backend_statistics.json and .md.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import fpforce
from fpforce.analysis.comparison import Floor, compare
from fpforce.analysis.convergence import free_energy_difference, replica_population
from fpforce.analysis.divergences import bin_indices
from fpforce.analysis.planes import choose_planes
from fpforce.analysis.sample import Sample

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.places import ALANINE, RUNS
from workbench.rows import TIMESTEP_FS
from workbench.tiny import tiny_model

BASINS = ("negative", "positive")
# Name of the sample -> (backend, seed of the simulation from the first basin; the other has the next).
SAMPLES = {"torchforce": ("torchforce", 400), "native": ("native", 200), "native again": ("native", 300)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=RUNS / "demo" / "model.pt")
    parser.add_argument("--steps", type=int, default=60_000, help="of each replica")
    parser.add_argument("--replicas", type=int, default=128, help="for each simulation")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--report-interval-ps", type=float, default=1.0)
    chosen = options.parse(parser, steps=40, replicas=64, report_interval_ps=0.004)
    if chosen.quick:
        chosen.model = tiny_model(chosen.runs)
    runs = chosen.runs / "backend_statistics"
    runs.mkdir(exist_ok=True)
    jobs = [(chosen, runs, name, number) for name in SAMPLES for number in range(len(BASINS))]
    with ThreadPoolExecutor(chosen.processes) as pool:
        list(pool.map(lambda job: _simulate(*job), jobs))
    result = {
        "hardware": describe_hardware(),
        "steps": chosen.steps,
        "replicas": chosen.replicas,
        "timestep_fs": TIMESTEP_FS,
        "report_interval_ps": chosen.report_interval_ps,
        **_compare(runs, fpforce.load(chosen.model).beads),
    }
    (chosen.results / "backend_statistics.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "backend_statistics.md").write_text(_table(result))
    print(_table(result))


def _path(runs: Path, name: str, number: int) -> Path:
    return runs / f"{name.replace(' ', '_')}_from_{BASINS[number]}.xtc"


def _simulate(chosen, runs: Path, name: str, number: int) -> None:
    backend, seed = SAMPLES[name]
    output = _path(runs, name, number)
    resume = ["--resume"] if Path(f"{output}.checkpoint").exists() else []
    with open(output.with_suffix(".log"), "a") as log:
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "fpforce-simulate"),
                str(chosen.model),
                "--output",
                str(output),
                "--backend",
                backend,
                "--start",
                str(ALANINE / f"start_{BASINS[number]}.pdb"),
                "--replicas",
                str(chosen.replicas),
                "--seed",
                str(seed + number),
                "--timestep-fs",
                str(TIMESTEP_FS),
                "--steps",
                str(chosen.steps),
                "--report-interval-ps",
                str(chosen.report_interval_ps),
                *resume,
            ],
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENMM_CPU_THREADS": "1"},
        )
    if done.returncode:
        sys.exit(f"{output} has failed; see {output.with_suffix('.log')}")
    print(f"{output} is done", flush=True)


def _compare(runs: Path, beads) -> dict:
    """The figures of every sample and of the two comparisons, by the code of fpforce-evaluate."""
    samples, rows = {}, []
    for name, (backend, seed) in SAMPLES.items():
        simulations = [fpforce.read_simulation(_path(runs, name, number), beads) for number in range(len(BASINS))]
        late = [s.positions_nm[len(s.positions_nm) // 2 :] for s in simulations]
        plane, *_ = choose_planes(beads, [late[0][:, 0]])
        coordinates = [plane.coordinates(positions) for positions in late]
        samples[name] = sample_of(plane, coordinates)
        inside = [phi_psi[..., 0] > plane.split for phi_psi in coordinates]
        population = replica_population(
            inside, [np.ones(mask.shape, bool) for mask in inside], np.random.default_rng(0)
        )
        free = free_energy_difference(population)
        rows.append(
            {
                "sample": name,
                "backend": backend,
                "seeds": [seed, seed + 1],
                "frames": len(samples[name]),
                "seconds": [s.metadata["seconds"] for s in simulations],
                "steps_per_second": [s.metadata["steps_per_second"] for s in simulations],
                "failed_replicas": sum(len(s.metadata["failed"]) for s in simulations),
                "non_finite_frames": sum(
                    int(np.sum(~np.isfinite(s.positions_nm).all(axis=(2, 3)))) for s in simulations
                ),
                "free_energy_kt": [free.value, free.standard_error],
            }
        )
    native, again = samples["native"], samples["native again"]
    floor = Floor("training", min(len(native), len(again)), "native against native")
    found, *_ = compare(samples["torchforce"], native, again, floor, floor.frames, np.random.default_rng(0))
    figures = {
        name: [getattr(found, name).value, getattr(found, name).standard_error]
        for name in ("js", "js_floor", "excess_js", "pmf_error", "pmf_error_floor", "excess_pmf_error")
    }
    return {"samples": rows, "frames_compared": found.frames, "native_against_torchforce": figures}


def sample_of(plane, coordinates) -> Sample:
    """All frames of simulations [(times, replicas, 2)], replica by replica."""
    bins = np.concatenate([bin_indices(c.swapaxes(0, 1).reshape(-1, 2), plane.edges) for c in coordinates])
    times = len(coordinates[0])
    return Sample.from_replicas(bins[:, None], np.arange(len(bins)) // times)


def _table(result: dict) -> str:
    lines = [
        f"Each sample: {len(BASINS)} x {result['replicas']} replicas, {result['steps']} steps of "
        f"{result['timestep_fs']:g} fs, a frame every "
        f"{result['report_interval_ps']:g} ps, the second half counted; {result['hardware']}, one thread a simulation, "
        "other programs running.",
        "",
        "| sample | seeds | frames | seconds | steps/s | failed replicas | non-finite frames | F(phi > 0) - F(phi < "
        "0), kT |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["samples"]:
        value, error = row["free_energy_kt"]
        lines.append(
            f"| {row['sample']} | {', '.join(map(str, row['seeds']))} | {row['frames']} | "
            f"{', '.join(f'{s:.0f}' for s in row['seconds'])} "
            f"| {', '.join(f'{s:.0f}' for s in row['steps_per_second'])} | {row['failed_replicas']} | "
            f"{row['non_finite_frames']} | {value:.2f} ± {error:.2f} |"
        )
    figures = {
        name: f"{value:.4f} ± {error:.4f}" for name, (value, error) in result["native_against_torchforce"].items()
    }
    lines += [
        "",
        f"At {result['frames_compared']} frames of each:",
        "",
        "| | native against torchforce | native against native (floor) | excess |",
        "|---|---|---|---|",
        f"| JS divergence | {figures['js']} | {figures['js_floor']} | {figures['excess_js']} |",
        f"| PMF error, (kT)^2 | {figures['pmf_error']} | {figures['pmf_error_floor']} | "
        f"{figures['excess_pmf_error']} |",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
