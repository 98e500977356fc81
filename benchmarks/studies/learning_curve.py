"""How many frames are enough, and what forces and mean forces save of them: alanine dipeptide.

python benchmarks/studies/learning_curve.py [--frames 100 300 536 1000 3000 20000] [--labels none forces mean]
[--seeds 3] [--steps 8000] [--runs-of-all-atoms run1.npz run2.npz all_atoms.pdb] [--quick]

Frames are taken evenly from the first run of examples/alanine_dipeptide, and are trained on without forces, with the
forces of the run, or with mean forces made here; each with and without the Fokker-Planck term, with the same number of
steps, whatever the number of frames. The repository has forces on 536 frames: up to there all three have the same
frames, beyond it those without forces go on. Longer runs with forces may be given: .npz files with `positions` (nm) and
`forces` (kJ/mol/nm) of all atoms, the second of which is the reference. Judged is a simulation from both basins, in the
(phi, psi) plane, against the second run, with the whole first run as the floor. What is done lies in
runs/learning_curve and is not made again; writes docs/results/learning_curve.json and .md.
"""

import argparse
import itertools
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.places import ALANINE
from workbench.tiny import SMALL

HEAVY, BEADS = ALANINE / "alanine_dipeptide.pdb", ALANINE / "start_negative.pdb"
EXCERPT = 536  # frames with forces in the repository
LABELS = ("none", "forces", "mean")
TERMS = {"with": (), "without": ("loss.fokker_planck_weight=0",)}
TEMPERATURE_K = 300.0
STARTS = ("negative", "positive")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-of-all-atoms", dest="files", nargs=3, type=Path, metavar="FILE")
    parser.add_argument("--frames", type=int, nargs="*", default=[100, 300, 536, 1000, 3000, 20_000])
    parser.add_argument("--labels", nargs="*", choices=LABELS, default=list(LABELS))
    parser.add_argument("--fokker-planck", nargs="*", choices=TERMS, default=list(TERMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--averaged", type=float, default=10.0, help="picoseconds of a mean force")
    parser.add_argument("--replicas", type=int, default=128, help="from each start")
    parser.add_argument("--picoseconds", type=float, default=400.0, help="of the simulation")
    chosen = options.parse(
        parser, frames=[120], seeds=1, steps=20, averaged=0.5, replicas=2, picoseconds=2.0, fokker_planck=["with"]
    )
    rows = []
    for seed, frames, label, term in itertools.product(
        range(chosen.seeds), chosen.frames, chosen.labels, chosen.fokker_planck
    ):
        if label != "none" and frames > EXCERPT and not chosen.files:
            continue
        rows.append(run(frames, label, term, seed, chosen))
        print(json.dumps(rows[-1]), flush=True)
    result = {"hardware": describe_hardware(), "steps": chosen.steps, "averaged_ps": chosen.averaged, "rows": rows}
    (chosen.results / "learning_curve.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "learning_curve.md").write_text(table(result))
    print(table(result))


def run(frames: int, label: str, term: str, seed: int, chosen: argparse.Namespace) -> dict:
    """The row of one training, made or taken from what is there."""
    asked = {
        "frames": frames,
        "label": label,
        "fokker_planck": term,
        "seed": seed,
        "steps": chosen.steps,
        "picoseconds": chosen.picoseconds,
    }
    folder = chosen.runs / "learning_curve" / f"{label}_{frames}_{term}_{seed}"
    done = folder / "row.json"
    if done.exists():
        row = json.loads(done.read_text())
        if {name: row[name] for name in asked} != asked:
            raise SystemExit(f"{done} was made with other settings than {asked}; remove its folder")
        return row
    from fpforce.analysis import evaluate
    from fpforce.training.export import export
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train

    folder.mkdir(parents=True, exist_ok=True)
    data, topology = training_file(frames, label == "mean", chosen)
    recipe = {
        "data": {
            "trajectories": str(data),
            "topology": str(topology),
            "beads": "backbone5",
        }
        | ({"length_unit": "nm"} if data.suffix == ".npz" else {})
        | ({} if label == "none" else {"forces": str(data)}),
        "temperature_k": TEMPERATURE_K,
        "output": str(folder),
        "run": {"max_steps": chosen.steps, "threads": 1, "seed": seed},
    }
    (folder / "asked.yaml").write_text(json.dumps(recipe))
    small = (*SMALL, "run.compile=false") if chosen.quick else ()
    began = time.monotonic()
    train(
        load_recipe(folder / "asked.yaml", [*small, *TERMS[term]]),
        resume=(folder / "model.ckpt").exists(),
        show_progress=False,
    )
    seconds = time.monotonic() - began
    if not (folder / "model.pt").exists():
        export(folder / "model.ckpt", folder / "model.pt")
    simulations = [simulated(folder, start, 2 * seed + number, chosen) for number, start in enumerate(STARTS)]
    first, second, judged_by = chosen.files or (*_beads_of_runs(chosen), BEADS)
    evaluate(
        folder / "model.pt",
        second,
        simulations,
        topology=judged_by,
        training=first,
        output=folder,
        overwrite=True,
    )
    report = json.loads((folder / "report.json").read_text())
    found = report["simulation"]
    row = asked | {
        "seconds": seconds,
        "js": found["js"],
        "js_floor": found["js_floor"],
        "excess_js": found["excess_js"],
        "free_energy_kt": found["free_energy_kt"],
        "reference_kt": report["reference"]["free_energy_kt"],
        "converged": found["converged"],
    }
    done.write_text(json.dumps(row, indent=1))
    return row


def training_file(frames: int, averaged: bool, chosen: argparse.Namespace) -> tuple[Path, Path]:
    """So many frames of the first run and their topology, with the run's forces or mean forces where it has forces;
    made when missing.
    """
    import mdtraj

    folder = chosen.runs / "learning_curve"
    folder.mkdir(parents=True, exist_ok=True)
    if not chosen.files and frames > EXCERPT:
        path = folder / f"heavy_{frames}.xtc"
        if not path.exists():
            run = mdtraj.load(ALANINE / "train.xtc", top=HEAVY)
            run[_evenly(len(run), frames, "train.xtc")].save_xtc(path)
        return path, HEAVY
    run, _, topology = chosen.files or (ALANINE / "forces_excerpt.npz", None, ALANINE / "forces_excerpt.pdb")
    path = folder / f"{'mean' if averaged else 'single'}_{frames}.npz"
    if path.exists():
        return path, topology
    with np.load(run) as content:
        taken = _evenly(len(content["positions"]), frames, run)
        positions_nm, forces = content["positions"][taken], content["forces"][taken]
    if not averaged:
        np.savez(path, positions=positions_nm, forces=forces)
        return path, topology
    from openmm import app

    from fpforce.molecule.mapping import map_beads
    from fpforce.reference.mean_forces import MeanForceSettings, mean_forces
    from fpforce.reference.protocol import Protocol

    protocol = Protocol(temperatures_k=(TEMPERATURE_K,), timestep_fs=2.0, hydrogen_mass_da=None)
    system = protocol.make_system(app.PDBFile(str(topology)).topology)
    beads = map_beads(mdtraj.load_topology(str(topology)), "backbone5")
    settings = MeanForceSettings(temperature_k=TEMPERATURE_K, picoseconds=chosen.averaged, every_steps=10)
    mean_forces(system, positions_nm, beads, settings).write(path, positions_nm)
    return path, topology


def _beads_of_runs(chosen: argparse.Namespace) -> list[Path]:
    """Both runs of the repository as beads, which models of any topology have in common; made when missing."""
    import mdtraj

    from fpforce.trajectories.bead_frames import read_bead_frames

    paths = []
    for name in ("train.xtc", "reference.xtc"):
        paths.append(chosen.runs / "learning_curve" / f"beads_{name}")
        if not paths[-1].exists():
            found = read_bead_frames(ALANINE / name, HEAVY, beads="backbone5").positions_nm
            mdtraj.Trajectory(found, mdtraj.load_topology(str(BEADS))).save_xtc(str(paths[-1]))
    return paths


def _evenly(count: int, frames: int, run: object) -> np.ndarray:
    if frames > count:
        raise SystemExit(f"{run} has {count} frames, and {frames} are wanted; give fewer with --frames")
    return np.linspace(0, count - 1, frames).round().astype(int)


def simulated(folder: Path, start: str, seed: int, chosen: argparse.Namespace) -> Path:
    """A simulation from one basin, made when missing."""
    from fpforce.simulation.simulate import SimulationSettings, simulate

    output = folder / f"from_{start}.xtc"
    simulate(
        folder / "model.pt",
        output,
        SimulationSettings(
            steps=round(250 * chosen.picoseconds),
            replicas=chosen.replicas,
            timestep_fs=4.0,
            seed=seed,
            start=ALANINE / f"start_{start}.pdb",
            report_interval_ps=min(2.0, 0.1 * chosen.picoseconds),
            overwrite=True,
        ),
    )
    return output


def table(result: dict) -> str:
    """Means over the seeds for every number of frames, with standard errors, a row for each kind of label."""
    rows = result["rows"]
    counts = sorted({row["frames"] for row in rows})
    seeds = len({row["seed"] for row in rows})
    averaged = f", mean forces over {result['averaged_ps']:g} ps" if any(row["label"] == "mean" for row in rows) else ""
    lines = [
        f"{seeds} seed{'s' if seeds > 1 else ''}, {result['steps']} steps of training{averaged}; {result['hardware']}.",
        "",
        "| | labels | Fokker-Planck term | " + " | ".join(f"{count:,} frames" for count in counts) + " |",
        "|---|---|---|" + "---|" * len(counts),
    ]
    for name, figure in (("excess JS", excess), ("basins off by, kT", basins_off)):
        for label, term in itertools.product(LABELS, TERMS):
            own = [row for row in rows if (row["label"], row["fokker_planck"]) == (label, term)]
            cells = [_mean([figure(row) for row in own if row["frames"] == count]) for count in counts]
            if own:
                lines.append(f"| {name} | {label} | {term} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def excess(row: dict) -> float:
    """JS divergence of the simulation less the floor, which is high where few replicas last."""
    return row["js"] - row["js_floor"]


def basins_off(row: dict) -> float | None:
    """How far the simulation's free-energy difference of the basins is off, kT; None where it never saw one."""
    value, right = row["free_energy_kt"]["value"], row["reference_kt"]["value"]
    return None if value is None or right is None else abs(value - right)


def _mean(values: list) -> str:
    found = [value for value in values if value is not None]
    if not found:
        return "-"
    error = "" if len(found) < 2 else f" ± {np.std(found, ddof=1) / len(found) ** 0.5:.4f}"
    return f"{np.mean(found):.4f}{error}"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
