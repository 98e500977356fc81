"""What calibration does to the basins' weights and to the shape within them, on alanine dipeptide: one training, each stage after it.

python benchmarks/calibration.py [--seeds 1] [--steps 8000] [--picoseconds 200] [--processes 2]. The demo's recipe is trained once
for each seed, then calibrated in each way from that same checkpoint, and every force field is simulated from both basins
and judged like the demo's. Writes docs/results/calibration.json and .md; runs live in runs/calibration and are resumed.
"""

import argparse
import json
import shutil
from pathlib import Path

from alanine import run_all
from hardware import describe_hardware

ROOT = Path(__file__).resolve().parent.parent
PLAIN = "none"
VARIANTS = {
    PLAIN: [],
    "likelihoods of 1000 frames": ["calibration.likelihood_frames=1000"],
    "4 rounds of simulation": ["calibration.rounds=4"],
    "likelihoods, then 4 rounds": ["calibration.likelihood_frames=1000", "calibration.rounds=4"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--picoseconds", type=float, default=200.0)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    runs = ROOT / "runs" / "calibration"
    folders = {(name, seed): runs / f"{name.replace(' ', '_').replace(',', '')}_{seed}"
               for seed in range(chosen.seeds) for name in VARIANTS}

    def job(name: str, seed: int):
        options = ["--steps", str(chosen.steps), "--picoseconds", str(chosen.picoseconds), "--seed", str(seed)]
        return folders[name, seed], options, VARIANTS[name]

    run_all([job(name, seed) for name, seed in folders if name == PLAIN], chosen.processes)
    for (name, seed), folder in folders.items():
        if not (folder / "model.ckpt").exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(folders[PLAIN, seed] / "model.ckpt", folder)
    run_all([job(name, seed) for name, seed in folders if name != PLAIN], chosen.processes)
    reports = {key: json.loads((folder / "report.json").read_text()) for key, folder in folders.items()}
    result = {"hardware": describe_hardware(), "steps": chosen.steps, "picoseconds": chosen.picoseconds,
              "reference_kt": next(iter(reports.values()))["reference"]["free_energy_kt"],
              "rows": [_row(name, seed, report) for (name, seed), report in reports.items()]}
    output = ROOT / "docs" / "results"
    output.mkdir(parents=True, exist_ok=True)
    (output / "calibration.json").write_text(json.dumps(result, indent=1))
    (output / "calibration.md").write_text(_table(result))
    print(_table(result))


def _row(name: str, seed: int, report: dict) -> dict:
    simulation, calibration = report["simulation"], report["training"].get("calibration") or {}
    likelihood = calibration.get("likelihood") or {"seconds": 0.0}
    keys = ("excess_js", "excess_pmf_error", "free_energy_kt", "converged")
    return {"calibration": name, "seed": seed, **{key: simulation[key] for key in keys},
            "bond_w1_nm": simulation["bond_w1_nm"]["max"], "training_seconds": report["training"]["seconds"],
            "calibration_seconds": calibration.get("seconds", 0.0) + likelihood["seconds"]}


def _table(result: dict) -> str:
    lines = [
        f"{result['steps']} steps of training on one thread, {result['picoseconds']:g} ps x 256 replicas, the second half "
        f"counted; reference {_with_error(result['reference_kt'])} kT; {result['hardware']}.", "",
        "| calibration | seed | its time, s | JS excess | PMF error excess | F(phi > 0) - F(phi < 0), kT | worst bond W1, nm | converged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        lines.append(f"| {row['calibration']} | {row['seed']} | {row['calibration_seconds']:.0f} | {row['excess_js']:.4f} "
                     f"| {row['excess_pmf_error']:.3f} | {_with_error(row['free_energy_kt'])} | {row['bond_w1_nm']:.1e} "
                     f"| {'yes' if row['converged'] else 'no'} |")
    return "\n".join(lines) + "\n"


def _with_error(estimate: dict) -> str:
    value, error = estimate["value"], estimate["standard_error"]
    return "-" if value is None else f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"


if __name__ == "__main__":
    main()
