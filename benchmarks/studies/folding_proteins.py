"""Proteins that fold, of which the exact energy is known: forces, folding free energy and planes of a learned one.

python benchmarks/studies/folding_proteins.py [villin] [--systems FOLDER] [--labels forces]
[--fokker-planck with without] [--seeds 3] [--simulated 1] [--steps 8000] [--quick]

The data are what examples/structure_based/README.md makes, in FOLDER/PROTEIN (made when missing): a training set from
the native structure, a reference from a random chain, and exact forces of both. Each training has the recipe of that
example with or without forces and Fokker-Planck term. Its forces at frames of the reference, which no training saw,
are held against the exact ones. For the first seeds (--simulated) of trainings with the term the denoising fit and
eight rounds of calibration follow, and a simulation from the folded and from an unfolded structure is evaluated as
`fpforce-evaluate --folded native.pdb` does, in the TICA plane, and in that of native contacts and RMSD; the floor is
the training set's distance from the reference. What is done lies in runs/folding_proteins and is not made again; writes
docs/results/folding_proteins.json and .md.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.exact_forces import force_error
from workbench.frames_compared import divergence, thinned
from workbench.hardware import describe_hardware
from workbench.places import EXAMPLES
from workbench.tiny import SMALL

NATIVE = EXAMPLES / "structure_based" / "native"
TEMPERATURES_K = {"cln025": 218.0, "trp_cage": 313.0, "villin": 310.0}
UNCALIBRATED = ("calibration.rounds=0", "calibration.denoising_fit=false")
CALIBRATED = ("calibration.rounds=8", "calibration.denoising_fit=true")  # a recipe that leaves both open may go on
TERMS = {"with": (), "without": ("loss.fokker_planck_weight=0",)}
STARTS = ("folded", "unfolded")
BINS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proteins", nargs="*", metavar="PROTEIN", help=f"of {', '.join(TEMPERATURES_K)}")
    parser.add_argument("--systems", type=Path, help="folder of the data; by default beside the runs")
    parser.add_argument("--labels", nargs="*", choices=("none", "forces"), default=["forces"])
    parser.add_argument("--fokker-planck", nargs="*", choices=TERMS, default=list(TERMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--simulated", type=int, default=1, help="of the seeds, how many are simulated")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--replicas", type=int, default=32, help="from each start")
    parser.add_argument("--picoseconds", type=float, default=800.0)
    parser.add_argument("--ns", type=float, help="of each run of the data; by default the program's")
    chosen = options.parse(
        parser, seeds=1, steps=20, replicas=2, picoseconds=4.0, ns=0.5, fokker_planck=["with"], proteins=["cln025"]
    )
    proteins = chosen.proteins or ["villin"]
    for name in proteins:
        if name not in TEMPERATURES_K:
            parser.error(f"{name} is none of {', '.join(TEMPERATURES_K)}")
    rows = []
    for name, seed, label, term in itertools.product(
        proteins, range(chosen.seeds), chosen.labels, chosen.fokker_planck
    ):
        rows.append(run(name, label, term, seed, chosen))
        print(json.dumps(rows[-1]), flush=True)
    result = {"hardware": describe_hardware(), "steps": chosen.steps, "rows": rows}
    (chosen.results / "folding_proteins.json").write_text(json.dumps(result, indent=1) + "\n")
    (chosen.results / "folding_proteins.md").write_text(table(result))
    print(table(result))


def data_of(name: str, chosen: argparse.Namespace) -> Path:
    """The folder of a protein's data, made when missing."""
    folder = (chosen.systems or chosen.runs / "systems") / name
    if not (folder / "data.json").exists():
        program = Path(sys.executable).parent / "fpforce-reference"
        made = [program, "--model", "structure-based", NATIVE / f"{name}.pdb", folder]
        made += ["--temperature-k", str(TEMPERATURES_K[name]), "--resume"]
        if chosen.ns:
            made += ["--ns", str(chosen.ns), "--discard-ps", "10"]
        status = subprocess.run(made, check=False).returncode
        if status not in (0, 1):  # 1: runs of so few frames disagree
            raise SystemExit(f"fpforce-reference ended with status {status}; {folder} has no data")
    return folder


def run(name: str, label: str, term: str, seed: int, chosen: argparse.Namespace) -> dict:
    """The row of one training, made or taken from what is there."""
    data = data_of(name, chosen)
    asked = {"protein": name, "label": label, "fokker_planck": term, "seed": seed, "steps": chosen.steps}
    folder = chosen.runs / "folding_proteins" / f"{name}_{label}_{term}_{seed}"
    done = folder / "row.json"
    row = json.loads(done.read_text()) if done.exists() else None
    if row is not None and {key: row[key] for key in asked} != asked:
        raise SystemExit(f"{done} was made with other settings than {asked}; remove its folder")
    if row is None:
        row = asked | trained(name, label, term, seed, data, folder, chosen)
        done.write_text(json.dumps(row, indent=1))
    if term == "with" and seed < chosen.simulated:
        settings = {"replicas": chosen.replicas, "picoseconds": chosen.picoseconds}
        if any(row.get("simulation", settings)[key] != value for key, value in settings.items()):
            raise SystemExit(f"{done} has a simulation with other settings than {settings}; remove its folder")
        if "simulation" not in row:
            found = calibrated(name, data, folder, chosen) | simulated(name, seed, data, folder, chosen)
            row["simulation"] = settings | found
        done.write_text(json.dumps(row, indent=1))
    return row


def trained(name: str, label: str, term: str, seed: int, data: Path, folder: Path, chosen: argparse.Namespace) -> dict:
    """Train and export; how long it took, its losses, and the error of its forces."""
    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.export import export
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train
    from fpforce.trajectories.bead_frames import read_bead_frames

    folder.mkdir(parents=True, exist_ok=True)
    topology = data / f"{name}.pdb"
    files = {"trajectories": str(data / "train.xtc"), "topology": str(topology), "beads": "ca"}
    if label == "forces":
        files |= {"forces": str(data / "train_forces.npz"), "constraints": "none"}
    temperature = json.loads((data / "data.json").read_text())["made"]["temperature_k"]
    recipe = folder / "asked.yaml"
    recipe.write_text(json.dumps({"data": files, "temperature_k": temperature, "output": str(folder)}))
    overrides = [f"run.max_steps={chosen.steps}", "run.threads=1", f"run.seed={seed}", *UNCALIBRATED, *TERMS[term]]
    overrides += [*SMALL, "run.compile=false"] if chosen.quick else []
    train(load_recipe(recipe, overrides), resume=(folder / "model.ckpt").exists(), show_progress=False)
    expert = read_checkpoint(folder / "model.ckpt").record.expert
    if not (folder / "model.pt").exists():
        export(folder / "model.ckpt", folder / "model.pt")
    known = read_bead_frames([str(data / "train.xtc")], str(topology), beads="ca").positions_nm
    return {
        "beads": known.shape[1],
        "frames": len(known),
        "seconds": expert.seconds,
        "denoising": expert.watched["denoising"][-1:],
        "held_out": expert.watched["held_out_denoising"][-1:],
        "force_error": off(name, data, folder / "model.pt"),
    }


def off(name: str, data: Path, model: Path) -> float:
    """The force error of a model at frames of the reference."""
    from fpforce.trajectories.bead_frames import read_bead_frames

    reference = read_bead_frames([str(data / "reference.xtc")], str(data / f"{name}.pdb"), beads="ca").positions_nm
    return force_error(model, reference, np.load(data / "reference_forces.npz")["forces"])


def calibrated(name: str, data: Path, folder: Path, chosen: argparse.Namespace) -> dict:
    """Calibrate; the rounds' relative entropies in nats, and the error of forces."""
    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.export import export
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train

    asked = () if chosen.quick else CALIBRATED
    train(load_recipe(folder / "recipe.yaml", list(asked)), resume=True, show_progress=False)
    export(folder / "model.ckpt", folder / "calibrated.pt", overwrite=True)
    record = read_checkpoint(folder / "model.ckpt").record.calibration
    return {
        "nats": [] if record is None else record.relative_entropy,
        "force_error": off(name, data, folder / "calibrated.pt"),
    }


def simulated(name: str, seed: int, data: Path, folder: Path, chosen: argparse.Namespace) -> dict:
    """What the simulations from both starts are like, by the report and in native contacts and RMSD."""
    import mdtraj

    import fpforce
    from fpforce.analysis import evaluate
    from fpforce.analysis.folding import FoldedStructure
    from fpforce.simulation.simulate import SimulationSettings, read_simulation, simulate
    from fpforce.trajectories.bead_frames import read_bead_frames

    field, topology = fpforce.load(folder / "calibrated.pt"), data / f"{name}.pdb"
    paths, frames = [], []
    for number, start in enumerate(STARTS):
        output = folder / f"{start}.xtc"
        settings = SimulationSettings(
            steps=round(250 * chosen.picoseconds),
            replicas=chosen.replicas,
            timestep_fs=4.0,
            report_interval_ps=2.0,
            start=mdtraj.load(str(data / f"start_{start}.pdb")).xyz[0].astype(float),
            seed=2 * seed + number,
            resume=output.with_name(f"{output.name}.checkpoint").exists(),
        )
        if not output.exists() or settings.resume:
            simulate(field, output, settings)
        found = read_simulation(output, field.beads)
        sound = found.positions_nm[:, found.valid.all(0)]
        frames.append(sound[len(sound) // 4 :].reshape(-1, *sound.shape[2:]))
        paths.append(output)
    report = evaluate(
        folder / "calibrated.pt",
        [str(data / "reference.xtc")],
        paths,
        topology=str(topology),
        training=[str(data / "train.xtc")],
        folded=str(data / "native.pdb"),
        output=folder / "report",
        discard=0.25,
        floor="training",
        overwrite=True,
    )
    figures = report.figures
    native = FoldedStructure.read(data / "native.pdb", field.beads)
    known, reference = (
        read_bead_frames([str(data / f"{part}.xtc")], str(topology), beads="ca").positions_nm
        for part in ("train", "reference")
    )
    count = min(len(known), len(reference), sum(map(len, frames)))
    sets = {"simulation": np.concatenate(frames), "training": known, "reference": reference}
    planes = {one: in_contacts_and_rmsd(native, thinned(x, count)) for one, x in sets.items()}
    farthest = max(planes[one][:, 1].max() for one in ("training", "reference"))
    for found in planes.values():
        found[:, 1] = np.minimum(found[:, 1], farthest)  # what is farther counts in the last bin
    ranges = [(0.0, 1.0), (0.0, float(farthest))]
    folding = {one: found["folding_free_energy_kt"] for one, found in figures["protein"]["folding"]["sets"].items()}
    return {
        "status": report.assessment.status,
        "causes": [one.cause for one in report.assessment.diagnosis],
        "converged": figures["simulation"]["converged"],
        "tica": {key: figures["simulation"][key] for key in ("js", "js_floor")},
        "contacts_and_rmsd": {
            key: divergence(planes[one], planes["reference"], BINS, ranges)
            for key, one in (("js", "simulation"), ("js_floor", "training"))
        },
        "folding_kt": folding,
        "wall": figures["simulation"]["wall"]["acted"] if figures["simulation"].get("wall") else None,
        "failed_replicas": figures["simulation"]["failed_replicas"],
    }


def in_contacts_and_rmsd(native, x: np.ndarray) -> np.ndarray:
    """(frames, 2): the part of the native contacts that is formed, and the RMSD in nm."""
    return np.stack([native.contact_fraction(x), native.rmsd_nm(x)], -1)


def table(result: dict) -> str:
    head = ["protein", "beads", "trained on", "Fokker-Planck term", "seed", "training (s)", "denoising, held out"]
    head += [
        "force error",
        "calibrated, nats",
        "force error then",
        "TICA plane, excess JS",
        "native contacts and RMSD, excess JS",
        "folding, kT",
        "exact, kT",
    ]
    head += ["starts agree", "wall acted in", "verdict"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in result["rows"]:
        held = f"{row['held_out'][0]:.4f}" if row["held_out"] else ""
        line = [
            row["protein"],
            str(row["beads"]),
            f"{row['frames']} frames" + (", forces" * (row["label"] == "forces")),
        ]
        line += [
            row["fokker_planck"],
            str(row["seed"]),
            f"{row['seconds']:.0f}",
            held,
            f"{100 * row['force_error']:.1f}%",
        ]
        found = row.get("simulation")
        if found is None:
            lines.append(f"| {' | '.join([*line, *[''] * 9])} |")
            continue
        plane, nats = found["contacts_and_rmsd"], found["nats"]
        line += [f"{nats[0]:.2f} to {nats[-1]:.2f}" if nats else "", f"{100 * found['force_error']:.1f}%"]
        line += [f"{one['js'] - one['js_floor']:.4f}" for one in (found["tica"], plane)]
        line += [in_kt(found["folding_kt"][one]) for one in ("simulation", "reference")]
        line += ["yes" if found["converged"] else "no", "" if found["wall"] is None else f"{100 * found['wall']:.1f}%"]
        line.append(": ".join(filter(None, (found["status"], ", ".join(found["causes"])))))
        lines.append(f"| {' | '.join(line)} |")
    return f"{result['steps']} steps of training on one thread; {result['hardware']}.\n\n" + "\n".join(lines) + "\n"


def in_kt(estimate: dict | None) -> str:
    if estimate is None or estimate["value"] is None:
        return ""
    error = estimate["standard_error"]
    return f"{estimate['value']:.2f}" + ("" if error is None else f" ± {error:.2f}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
