"""A force field simulated for long: from both starts, by default until 10^9 replica-steps are done, then judged.

python benchmarks/physics/long_run.py [--case alanine_dipeptide] [--model runs/demo/model.pt] [--steps 3910000]
[--replicas 128] [--backend auto] [--quick]. --case is one of rows.CASES. The two simulations run side by side, one
thread each, and are resumed if interrupted; energies of all frames are those of the System. Writes
runs/long_run/report.html and docs/results/long_run.md, of another case with _CASE behind the names.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import fpforce
from fpforce.analysis import evaluate
from fpforce.simulation.simulate import read_simulation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.places import RUNS
from workbench.rows import CASES, TIMESTEP_FS, with_error
from workbench.tiny import tiny_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=list(CASES), default="alanine_dipeptide")
    parser.add_argument("--model", type=Path, default=RUNS / "demo" / "model.pt")
    parser.add_argument("--steps", type=int, default=3_910_000, help="of each replica")
    parser.add_argument("--replicas", type=int, default=128, help="for each of the two simulations")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--report-interval-ps", type=float, default=10.0)
    chosen = options.parse(parser, steps=100, replicas=64, report_interval_ps=0.02)
    if chosen.quick:
        chosen.model = tiny_model(chosen.runs)
    case, suffix = CASES[chosen.case], "" if chosen.case == "alanine_dipeptide" else f"_{chosen.case}"
    folder = chosen.runs / f"long_run{suffix}"
    outputs = [folder / f"from_{start}.xtc" for start in case.starts]
    running = [
        subprocess.Popen(
            _command(chosen, output, case.folder / start, seed),
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENMM_CPU_THREADS": "1"},
        )
        for seed, (start, output) in enumerate(zip(case.starts.values(), outputs, strict=True), start=100)
    ]
    if any(process.wait() not in (0, 3) for process in running):
        sys.exit(1)
    report = evaluate(
        chosen.model,
        case.files(case.reference),
        outputs,
        topology=case.folder / case.topology,
        training=case.files(case.training),
        folded=case.folded and case.folder / case.folded,
        floor=case.floor,
        output=folder,
        overwrite=True,
    )
    text = _summary(report.figures, chosen, energies_kt(chosen.model, outputs))
    (chosen.results / f"long_run{suffix}.md").write_text(text)
    print(text)


def energies_kt(model: Path, outputs: list[Path]) -> np.ndarray:
    """Potential energies of all finite frames, in kT, as OpenMM has them."""
    import openmm

    force_field = fpforce.load(model)
    context = openmm.Context(
        fpforce.make_system(force_field), openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    energies = []
    for output in outputs:
        frames = read_simulation(output, force_field.beads).positions_nm
        for positions in frames.reshape(-1, *frames.shape[-2:]):
            if np.isfinite(positions).all():
                context.setPositions(positions)
                energies.append(context.getState(energy=True).getPotentialEnergy()._value / force_field.kt_kj_per_mol)
    return np.array(energies)


def _command(chosen, output: Path, start: Path, seed: int) -> list[str]:
    resume = ["--resume"] if Path(f"{output}.checkpoint").exists() else []
    return [
        str(Path(sys.executable).parent / "fpforce-simulate"),
        str(chosen.model),
        "--output",
        str(output),
        "--start",
        str(start),
        "--replicas",
        str(chosen.replicas),
        "--timestep-fs",
        str(TIMESTEP_FS),
        "--steps",
        str(chosen.steps),
        "--seed",
        str(seed),
        "--backend",
        chosen.backend,
        "--report-interval-ps",
        str(chosen.report_interval_ps),
        *resume,
    ]


def _summary(figures: dict, chosen, energies: np.ndarray) -> str:
    simulation, reference = figures["simulation"], figures["reference"]["free_energy_kt"]
    basins = figures["planes"][0]["basins"]["names"]
    total = 2 * chosen.replicas * chosen.steps
    rows = [
        ("replica-steps", f"{total:.3g} ({2 * chosen.replicas} replicas x {chosen.steps} steps of {TIMESTEP_FS:g} fs)"),
        ("converged", "yes" if simulation["converged"] else "no"),
        ("JS, floor, excess", f"{simulation['js']:.4f}, {simulation['js_floor']:.4f}, {simulation['excess_js']:.4f}"),
        (
            "PMF error, floor, excess",
            f"{simulation['pmf_error']:.3f}, {simulation['pmf_error_floor']:.3f}, {simulation['excess_pmf_error']:.3f}",
        ),
        (
            f"F({basins[1]}) - F({basins[0]}), kT",
            f"{with_error(simulation['free_energy_kt'])} (reference {with_error(reference)})",
        ),
        ("worst bond W1, nm", f"{simulation['bond_w1_nm']['max']:.1e}"),
        ("non-finite frames", str(simulation["non_finite_frames"])),
        (
            "energies of frames, kT: mean, smallest, largest",
            f"{energies.mean():.1f}, {energies.min():.1f}, {energies.max():.1f}",
        ),
        ("failed replicas", str(simulation["failed_replicas"])),
        ("steps per second, one simulation", f"{figures['speed']['steps_per_second']:.0f}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"{describe_hardware()}; seeds 100 and 101.\n\n| | |\n|---|---|\n{table}\n"


if __name__ == "__main__":
    main()
