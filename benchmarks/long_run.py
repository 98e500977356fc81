"""The demo's force field simulated for long: from both basins, until 10^9 replica-steps are done, then judged.

python benchmarks/long_run.py [--model runs/demo/model.pt] [--steps 3910000] [--replicas 128] [--backend auto]. The two simulations run side
by side, one thread each, and are resumed if interrupted. Writes runs/long_run/report.html and docs/results/long_run.md.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from rows import EXAMPLE, TIMESTEP_FS
from hardware import describe_hardware

from fpforce.analysis import evaluate

ROOT = Path(__file__).resolve().parent.parent
BASINS = ("negative", "positive")
REPORT_INTERVAL_PS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "runs" / "demo" / "model.pt")
    parser.add_argument("--steps", type=int, default=3_910_000, help="of each replica")
    parser.add_argument("--replicas", type=int, default=128, help="for each of the two simulations")
    parser.add_argument("--backend", default="auto")
    chosen = parser.parse_args()
    folder = ROOT / "runs" / "long_run"
    outputs = [folder / f"from_{basin}.xtc" for basin in BASINS]
    running = [subprocess.Popen(_command(chosen, output, basin, seed), env=os.environ | {"OMP_NUM_THREADS": "1", "OPENMM_CPU_THREADS": "1"})
               for seed, (basin, output) in enumerate(zip(BASINS, outputs, strict=True), start=100)]
    if any([process.wait() not in (0, 3) for process in running]):
        sys.exit(1)
    report = evaluate(chosen.model, EXAMPLE / "reference.xtc", outputs, topology=EXAMPLE / "alanine_dipeptide.pdb",
                      training=EXAMPLE / "train.xtc", output=folder, overwrite=True)
    text = _summary(report.figures, chosen)
    output = ROOT / "docs" / "results"
    output.mkdir(parents=True, exist_ok=True)
    (output / "long_run.md").write_text(text)
    print(text)


def _command(chosen, output: Path, basin: str, seed: int) -> list[str]:
    resume = ["--resume"] if Path(f"{output}.checkpoint").exists() else []
    return [str(Path(sys.executable).parent / "fpforce-simulate"), str(chosen.model), "--output", str(output),
            "--start", str(EXAMPLE / f"start_{basin}.pdb"), "--replicas", str(chosen.replicas),
            "--timestep-fs", str(TIMESTEP_FS), "--steps", str(chosen.steps), "--seed", str(seed), "--backend", chosen.backend,
            "--report-interval-ps", str(REPORT_INTERVAL_PS), *resume]


def _summary(figures: dict, chosen) -> str:
    simulation, free = figures["simulation"], figures["simulation"]["free_energy_kt"]
    reference = figures["reference"]["free_energy_kt"]
    total = 2 * chosen.replicas * chosen.steps
    rows = [
        ("replica-steps", f"{total:.3g} ({2 * chosen.replicas} replicas x {chosen.steps} steps of {TIMESTEP_FS:g} fs)"),
        ("converged", "yes" if simulation["converged"] else "no"),
        ("JS, floor, excess", f"{simulation['js']:.4f}, {simulation['js_floor']:.4f}, {simulation['excess_js']:.4f}"),
        ("PMF error, floor, excess", f"{simulation['pmf_error']:.3f}, {simulation['pmf_error_floor']:.3f}, "
                                     f"{simulation['excess_pmf_error']:.3f}"),
        ("F(phi > 0) - F(phi < 0), kT", f"{free['value']:.2f} ± {free['standard_error']:.2f} (reference "
                                        f"{reference['value']:.2f} ± {reference['standard_error']:.2f})"),
        ("worst bond W1, nm", f"{simulation['bond_w1_nm']['max']:.1e}"),
        ("non-finite frames", str(simulation["non_finite_frames"])),
        ("failed replicas", str(simulation["failed_replicas"])),
        ("steps per second, one simulation", f"{figures['speed']['steps_per_second']:.0f}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"{describe_hardware()}; seeds 100 and 101.\n\n| | |\n|---|---|\n{table}\n"


if __name__ == "__main__":
    main()
