"""What the Fokker-Planck term buys on alanine dipeptide: the demo's recipe with and without it, several seeds.

python benchmarks/fokker_planck_ablation.py [--seeds 3] [--steps 12000] [--picoseconds 300] [--processes 2]
Both variants take the same number of steps; every simulation is judged like the demo's. Writes
docs/results/fokker_planck_ablation.json and .md; runs live in runs/fokker_planck_ablation and are resumed.
"""

import argparse
import json
import statistics
from pathlib import Path

from alanine import run_all
from hardware import describe_hardware

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = {"denoising only": ["loss.fokker_planck_weight=0"], "denoising + Fokker-Planck": []}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--picoseconds", type=float, default=300.0)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    runs = ROOT / "runs" / "fokker_planck_ablation"
    folders = {(name, seed): runs / f"{name.replace(' ', '_')}_{seed}"
               for seed in range(chosen.seeds) for name in VARIANTS}
    run_all([
        (folder, ["--steps", str(chosen.steps), "--picoseconds", str(chosen.picoseconds), "--seed", str(seed)],
         VARIANTS[name])
        for (name, seed), folder in folders.items()
    ], chosen.processes)
    rows = [_row(name, seed, json.loads((folder / "report.json").read_text())) for (name, seed), folder in folders.items()]
    result = {"hardware": describe_hardware(), "steps": chosen.steps, "picoseconds": chosen.picoseconds, "rows": rows}
    output = ROOT / "docs" / "results"
    output.mkdir(parents=True, exist_ok=True)
    (output / "fokker_planck_ablation.json").write_text(json.dumps(result, indent=1))
    (output / "fokker_planck_ablation.md").write_text(_table(result))
    print(_table(result))


def _row(name: str, seed: int, report: dict) -> dict:
    simulation = report["simulation"]
    keys = ("js", "js_floor", "excess_js", "pmf_error", "pmf_error_floor", "excess_pmf_error", "converged", "frames")
    return {"variant": name, "seed": seed, **{key: simulation[key] for key in keys},
            "bond_w1_nm": simulation["bond_w1_nm"]["max"], "free_energy_kt": simulation["free_energy_kt"],
            "non_finite_frames": simulation["non_finite_frames"], "failed_replicas": simulation["failed_replicas"],
            "training_seconds": report["training"]["seconds"]}


def _table(result: dict) -> str:
    lines = [
        f"{result['steps']} steps of training on one thread, {result['picoseconds']:g} ps x 256 replicas, the second half "
        f"counted; {result['hardware']}.", "",
        "| variant | seed | training (s) | JS excess | PMF error excess | F(phi > 0) - F(phi < 0), kT | worst bond W1 (nm) | converged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        value = row["free_energy_kt"]["value"]
        lines.append(f"| {row['variant']} | {row['seed']} | {row['training_seconds']:.0f} | {row['excess_js']:.4f} "
                     f"| {row['excess_pmf_error']:.3f} | {'-' if value is None else f'{value:.2f}'} "
                     f"| {row['bond_w1_nm']:.1e} | {'yes' if row['converged'] else 'no'} |")
    for name in VARIANTS:
        rows = [row for row in result["rows"] if row["variant"] == name]
        excess = [row["excess_js"] for row in rows]
        pmf = [row["excess_pmf_error"] for row in rows]
        spread = statistics.stdev(excess) if len(excess) > 1 else 0.0
        lines.append(f"| **{name}, mean** | | {statistics.mean(row['training_seconds'] for row in rows):.0f} "
                     f"| {statistics.mean(excess):.4f} ± {spread:.4f} | {statistics.mean(pmf):.3f} | | | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
