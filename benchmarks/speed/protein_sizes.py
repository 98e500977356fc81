"""Larger proteins all the way, by the commands: short data, training, export and a long simulation of 35 and of 110 CA
beads.

python benchmarks/speed/protein_sizes.py [--steps 1000000] [--training-steps 1000] [--proteins villin barnase]
    [--models internal graph_transformer] [--quick]
By default `internal` alone, a step of which is far cheaper. Asks for stability and cost, not for quality: the data are
far too short to hold the fold, and the simulation leaves them. Writes docs/results/protein_sizes.json and .md; runs
live in runs/protein_sizes and are resumed stage by stage.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.tiny import SMALL

SEQUENCES = {  # villin headpiece HP35; barnase; of a quick run chignolin
    "villin": "LSDEDFKAVFGMTRSAFANLPLWKQQNLKKEKGLF",
    "barnase": "AQVINTFDGVADYLQTYHKLPDNYITKSEAQALGWVASKGNLADVAPGKSIGGDIF"
    "SNREGKLPGKSGRTWREADINYTSGFRNSDRILYSSDWLIYKTTDHYQTFTKIR",
    "chignolin": "GYDPETGTWG",
}
DATA_NS = {"villin": 0.1, "barnase": 0.03, "chignolin": 0.01}
DISCARD_PS = {"villin": 5, "barnase": 5, "chignolin": 0.4}
TIMESTEP_FS, REPORT_PS = 4.0, 4.0
MODELS = {
    "internal": ("optimizer.batch_size=128",),
    "graph_transformer": (
        "model.kind=graph_transformer",
        "model.width=32",
        "model.cutoff_nm=1.5",
        "model.neighbours=dense",
        "optimizer.batch_size=32",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--training-steps", type=int, default=1000)
    parser.add_argument("--proteins", nargs="*", choices=list(SEQUENCES), default=["villin", "barnase"])
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=["internal"])
    chosen = options.parse(parser, steps=1000, training_steps=300, proteins=["chignolin"])
    results = [run(name, model, chosen) for model in chosen.models for name in chosen.proteins]
    output = chosen.results
    summary = {"hardware": describe_hardware(), "training_steps": chosen.training_steps, "rows": results}
    (output / "protein_sizes.json").write_text(json.dumps(summary, indent=1))
    (output / "protein_sizes.md").write_text(table(summary))
    print(table(summary))


def run(name: str, kind: str, chosen) -> dict:
    """Whatever of one protein and model is not yet done, and its figures."""
    protein = chosen.runs / "protein_sizes" / name
    data, folder = protein / "data", protein / kind
    model, trajectory = folder / "model.pt", folder / "simulation.xtc"
    if not (data / "data.json").exists():
        command(
            "fpforce-reference",
            SEQUENCES[name],
            data,
            "--uncapped",
            "--rungs",
            "1",
            "--runs",
            "1",
            "--ns",
            DATA_NS[name],
            "--discard-ps",
            DISCARD_PS[name],
            "--interval-ps",
            "0.1",
            "--start",
            "extended",
            *(["--resume"] if data.exists() else []),
            accepted=(0, 1),
        )
    if not model.exists():
        recipe = protein / f"{kind}.yaml"
        recipe.write_text(
            "data: {trajectories: data/train.xtc, topology: data/data.pdb, beads: ca}\n"
            f"temperature_k: 300\noutput: {folder}\n"
        )
        checkpoint = folder / "model.ckpt"
        command(
            "fpforce-train",
            recipe,
            *MODELS[kind],
            *(SMALL if chosen.quick else ()),
            "model.wall=true",
            f"run.max_steps={chosen.training_steps}",
            "calibration.rounds=0",
            "run.threads=1",
            "run.compile=false",
            *(["--resume"] if checkpoint.exists() else []),
        )
        command("fpforce-export", checkpoint, model)
    command(
        "fpforce-simulate",
        model,
        "--steps",
        chosen.steps,
        "--timestep-fs",
        TIMESTEP_FS,
        "--report-interval-ps",
        REPORT_PS,
        "-o",
        trajectory,
        *(["--resume"] if Path(f"{trajectory}.checkpoint").exists() else []),
        accepted=(0, 3),
    )
    return measure(model, trajectory)


def command(program: str, *arguments, accepted: tuple[int, ...] = (0,)) -> None:
    """A command of this environment, on one thread; raises for an exit status that is not accepted."""
    line = [str(Path(sys.executable).parent / program), *map(str, arguments)]
    done = subprocess.run(line, env=os.environ | {"OMP_NUM_THREADS": "1", "OPENMM_CPU_THREADS": "1"})
    if done.returncode not in accepted:
        raise subprocess.CalledProcessError(done.returncode, line)


def measure(model: Path, trajectory: Path) -> dict:
    """Speed, failures, and whether the chain kept its bonds and its volume, from the simulation's files."""
    import fpforce
    from fpforce.analysis.observables import bond_lengths
    from fpforce.simulation.simulate import read_simulation

    force_field = fpforce.load(model)
    beads, frames = force_field.beads, read_simulation(trajectory, force_field.beads)
    positions = frames.positions_nm[:, 0]
    lengths = bond_lengths(positions, np.array(beads.bonds))
    action = force_field.wall.action(positions)
    training = force_field.metadata["training"]
    speed = frames.metadata["steps_per_second"]
    return {
        "protein": trajectory.parents[1].name,
        "model": force_field.kind,
        "beads": len(beads),
        "frames": len(positions),
        "steps": frames.metadata["steps"],
        "failed": len(frames.failed),
        "non_finite_frames": int((~np.isfinite(positions).all(axis=(1, 2))).sum()),
        "ms_per_step": 1000.0 / speed,
        "bond_nm": [float(lengths.min()), float(lengths.max())],
        "wall_acted": action.acted,
        "wall_largest_kt": action.largest_kt,
        "training_seconds": training["seconds"],
    }


def table(summary: dict) -> str:
    lines = [
        "CA beads, with the wall; `internal` 128 wide, batches of 128; `graph_transformer` 32 wide, 2 layers, cutoff "
        f"1.5 nm, batches of 32; {summary['training_steps']} steps of training; one replica, native backend, "
        f"{TIMESTEP_FS:g} fs, one thread; {summary['hardware']}.",
        "",
        "| protein | model | beads | training (s) | steps simulated | ms per step | failed | non-finite frames | "
        "bonds, nm | wall acted in | its largest energy, kT |",
        "|" + "---|" * 11,
    ]
    for row in summary["rows"]:
        low, high = row["bond_nm"]
        lines.append(
            f"| {row['protein']} | `{row['model']}` | {row['beads']} | {row['training_seconds']:.0f} | {row['steps']} "
            f"| {row['ms_per_step']:.3f} | {row['failed']} "
            f"| {row['non_finite_frames']} | {low:.3f} to {high:.3f} | {row['wall_acted']:.1%} | "
            f"{row['wall_largest_kt']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
