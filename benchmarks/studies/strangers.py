"""Molecules that no default was chosen on: does the simulation of a force field have the distribution of its data?

python benchmarks/studies/strangers.py CASE... [--variants default] [--steps 8000] [--seeds 0] [--tau FOLDER]

The recipe of a CASE has files, beads, temperature and output, and nothing else. Every variant of it is trained for the
same number of steps, exported, sampled, and simulated from two states of the data, as fpforce-fit finds them.
Compared with frames that none was trained on: mean first Wasserstein distance over all pair distances;
Jensen-Shannon divergence of the end-to-end distance and of the radius of gyration in 50 bins, and of dihedrals of
consecutive beads in 36 (mean); where a molecule has a plane of two dihedrals, theirs in it. The floor is the same
between the training frames and the reference. Where the exact forces of the reference are known, the relative root
mean square error of the model's on it (the saved positions are rounded to 0.001 nm, the forces are those before).

worked_on() says on which molecules the method is developed; the others are to be looked at once, when all is settled.
What is done lies in runs/strangers and is not made again; docs/results/strangers.json keeps a row for each, from which
the tables strangers*.md beside it are made. Longer than other files for its list of molecules.
"""

import argparse
import json
import os
import random
import sys
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.exact_forces import force_error
from workbench.frames_compared import FRAMES, PLANE_FRAMES, compare, features, thinned
from workbench.hardware import describe_hardware
from workbench.places import ALANINE, EXAMPLES
from workbench.tiny import SMALL

from fpforce.analysis.causes import NOT_SAMPLED

_WITHOUT = ("calibration.rounds=0", "calibration.denoising_fit=false")
VARIANTS = {
    "default": (),
    "without calibration": _WITHOUT,
    "without a denoising fit": ("calibration.denoising_fit=false",),
    "last layer alone": ("calibration.series=false",),
    "small noise unseen": ("model.unseen=0.125",),
    "small noise unseen, rounds at four temperatures": ("model.unseen=0.125", "calibration.rungs=4"),
    "six more rounds": (),
    "six more rounds, at four temperatures": (),
    "without a wall": ("model.wall=false",),
    "without windows": ("model.window=0",),
    "without flow": ("loss.flow_weight=0",),
    "without flow, alpha 4.4e-3": ("loss.flow_weight=0", "loss.fokker_planck_weight=0.0044"),
    "with flow, without calibration": ("loss.flow_weight=0.05", *_WITHOUT),
    "time seen at small noise, without calibration": ("diffusion.v_min=0.001", *_WITHOUT),
    "without Fokker-Planck": ("loss.fokker_planck_weight=0",),
}
MORE = 6  # rounds, with --resume, when those by default are done
THEN = {  # and how
    "six more rounds": (),
    "six more rounds, at four temperatures": ("calibration.rungs=4", "calibration.top_temperature_k=500"),
}
_SMALL = (*SMALL, "run.compile=false")
INDEPENDENT, LONGEST = 1000, 16  # frames; times --picoseconds
JUDGED = {"js_ends": "end-to-end", "js_radius": "Rg", "js_dihedrals": "dihedrals", "js_plane": "plane"}
AGAINST_SAMPLES = {name: label for name, label in JUDGED.items() if name != "js_plane"}
WITHIN = 0.01  # of the floor, and of the model's own samples
RUNGS, TOP = 5, 1.7  # of the exchange, where replicas stay in their state; times the temperature


@dataclass(frozen=True)
class Case:
    """A molecule: files to train on and to judge by, its beads and temperature.

    folder: where the files lie; `tau` and `systems` stand for what the command line gives. plane: two dihedrals by
    their beads. stride, stop: of the frames of the training files, every so-many-th and as many are kept.
    """

    folder: Path | str
    training: tuple[str, ...]
    reference: tuple[str, ...]
    topology: str
    beads: Any
    temperature_k: float | None
    plane: tuple[tuple[int, ...], ...] = ()
    stride: int = 1
    stop: int | None = None

    def fewer(self, stride: int = 1, stop: int | None = None) -> "Case":
        return replace(self, stride=stride, stop=stop)


def _systems(name: str, beads: Any) -> Case:
    """A set that fpforce-reference --model made, at the temperature that its data.json says."""
    return Case(f"systems/{name}", ("train.xtc",), ("reference.xtc",), f"{name}.pdb", beads, None)


def _dipeptide(name: str, beads: str) -> Case:
    return Case("dipeptides", (f"test/{name}_run1.xtc",), (f"test/{name}_run2.xtc",), f"test/{name}.pdb", beads, 310.0)


_ALANINE = Case(ALANINE, ("train.xtc",), ("reference.xtc",), "alanine_dipeptide.pdb", "backbone5", 300.0)
_ALANINE = replace(_ALANINE, plane=((0, 1, 2, 3), (1, 2, 3, 4)))
_GROUPS = {
    "head": "resname ACE",
    "N": "name N and resname ALA",
    "CA": "name CA CB",
    "C": "name C O and resname ALA",
    "tail": "resname NME",
}
_TAU = Case("tau", ("train.xtc",), ("held.xtc",), "tau.pdb", "ca", 300.0)
_CHIGNOLIN = Case(EXAMPLES / "chignolin" / "data", ("train/*.xtc",), ("reference/*.xtc",), "data.pdb", "ca", 400.0)
CASES = {
    "tau": _TAU,
    "tau_backbone": replace(_TAU, beads="backbone"),
    "alanine": _ALANINE,
    "alanine_heavy": replace(_ALANINE, beads="heavy", plane=((1, 3, 4, 6), (3, 4, 6, 8))),
    "alanine_groups": replace(_ALANINE, beads=_GROUPS),
    "chignolin": _CHIGNOLIN,
    "alanine_1000": _ALANINE.fewer(stride=20),
    "alanine_300": _ALANINE.fewer(stride=67),
    "alanine_begin": _ALANINE.fewer(stop=2000),
    "tau_1000": _TAU.fewer(stride=3),
    "tau_begin": _TAU.fewer(stop=1000),
    "chignolin_1000": _CHIGNOLIN.fewer(stride=10),
    "chignolin_300": _CHIGNOLIN.fewer(stride=33),
    "dipeptide_backbone": _dipeptide("WW", "backbone"),
    "dipeptide_heavy": _dipeptide("MM", "name N CA CB C O"),
    "trp_cage": _systems("trp_cage", "ca"),
    "villin": _systems("villin", "ca"),
    "histatin5": _systems("histatin5", "ca"),
    "hexadecane": _systems("hexadecane", "all"),
    "hairpin": _systems("hairpin", "all"),
}
SPLIT_SEED = 20261128
KNOWN_BEFORE = ("tau", "alanine", "chignolin")  # the method was developed on them before there was a bench


def worked_on() -> list[str]:
    """The molecules to work on: those known before, and two drawn from the others."""
    whole = {name for name, case in CASES.items() if case.stride == 1 and case.stop is None}
    return [*KNOWN_BEFORE, *random.Random(SPLIT_SEED).sample(sorted(whole - set(KNOWN_BEFORE)), 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"one or more of {', '.join(CASES)}")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=["default"])
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--picoseconds", type=float, default=800.0)
    parser.add_argument("--replicas", type=int, default=32, help="from each start")
    parser.add_argument("--samples", type=int, default=FRAMES)
    parser.add_argument("--tau", type=Path, help="folder of tau.pdb, train.xtc and held.xtc")
    parser.add_argument("--systems", type=Path, help="folder of the sets that fpforce-reference --model makes")
    chosen = options.parse(parser, steps=30, picoseconds=4.0, replicas=2, samples=100)
    if not chosen.cases and not chosen.quick:
        parser.error(f"a case is needed: {', '.join(CASES)}")
    for name in chosen.cases or ["alanine_300"]:
        if name not in CASES:
            parser.error(f"{name} is none of {', '.join(CASES)}")
        for seed in chosen.seeds:
            for variant in chosen.variants:
                row = run(name, variant, seed, chosen)
                keep(row, chosen.results)
                print(table([row]), flush=True)


def keep(row: dict, results: Path) -> None:
    """Put a row in the place of the one of the same case, variant and seed, and make the table anew."""
    kept = results / "strangers.json"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    same = ("case", "variant", "seed", "steps")
    rows = [one for one in rows if any(one[name] != row[name] for name in same)] + [row]
    rows.sort(key=lambda one: (list(CASES).index(one["case"]), one["variant"], one["seed"], one["steps"]))
    replace_text(kept, json.dumps(rows, indent=1) + "\n")
    write_tables(rows, results)


def write_tables(rows: list[dict], results: Path) -> None:
    """What the rows say of each molecule, the rows of the default, and those of other variants."""
    ours = [row for row in rows if row["variant"] == "default"]
    others = [row for row in rows if row["variant"] != "default"]
    for name, of, made in (("", ours, verdicts), ("_runs", ours, table), ("_parts", others, table)):
        if of:
            replace_text(results / f"strangers{name}.md", made(of))


def replace_text(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(path)


def run(name: str, variant: str, seed: int, chosen: argparse.Namespace) -> dict:
    """The row of one case, variant and seed, made or taken from what is there."""
    case, folder = CASES[name], chosen.runs / "strangers" / f"{name}_{variant.replace(' ', '_')}_{seed}"
    asked = {"case": name, "variant": variant, "seed": seed, "steps": chosen.steps, "picoseconds": chosen.picoseconds}
    done = folder / "row.json"
    if done.exists():
        row = json.loads(done.read_text())
        if {key: row[key] for key in asked} != asked:
            raise SystemExit(f"{done} was made with other settings than {asked}; remove its folder")
        return row
    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.export import export
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train
    from fpforce.trajectories.bead_frames import read_bead_frames

    folder.mkdir(parents=True, exist_ok=True)
    files = brought(case, folder / "data", chosen)
    recipe = folder / "asked.yaml"
    recipe.write_text(
        json.dumps(
            {
                "data": {"trajectories": files.training, "topology": files.topology, "beads": case.beads},
                "temperature_k": files.temperature_k,
                "output": str(folder),
            }
        )
    )
    program = [f"run.max_steps={chosen.steps}", "run.threads=1", f"run.seed={seed}", "run.compile=true"]
    ours = load_recipe(recipe, [*program, *(_SMALL if chosen.quick else ()), *VARIANTS[variant]])
    train(ours, resume=(folder / "model.ckpt").exists(), show_progress=False)
    if variant in THEN:
        had = read_checkpoint(folder / "model.ckpt").record.calibration.done
        more = [f"calibration.rounds={had + MORE}", "calibration.most_rounds=0", *THEN[variant]]
        train(load_recipe(folder / "recipe.yaml", more), resume=True, show_progress=False)
    checkpoint = read_checkpoint(folder / "model.ckpt")
    if not (folder / "model.pt").exists():
        export(checkpoint.path, folder / "model.pt")
    known = read_bead_frames(files.training, files.topology, beads=case.beads).positions_nm
    reference = read_bead_frames(files.reference, files.topology, beads=case.beads).positions_nm
    enough = PLANE_FRAMES if case.plane and not chosen.quick else 0  # of fewer frames a plane has a far higher floor
    samples = _samples(checkpoint, folder, seed, max(chosen.samples, enough))
    simulations, rungs, report = _simulations(folder, known, files, case, seed, chosen)
    both = np.concatenate(simulations)
    expert = checkpoint.record.expert
    row = asked | {
        "seconds": expert.seconds,
        "trained_steps": expert.steps,
        "rungs": rungs,
        "frames": len(known),
        "beads": known.shape[1],
        "hardware": describe_hardware(),
        "watched": {key: values[-1] for key, values in expert.watched.items() if values},
        "gap_kt": expert.gap["kt"][-1] if expert.gap["kt"] else None,
        "floor": compare(known, reference, case.plane),
        "samples": compare(samples, reference, case.plane),
        "from one state": compare(simulations[0], reference, case.plane),
        "from another": compare(simulations[1], reference, case.plane),
        "simulation": compare(both, reference, case.plane),
        "simulation against samples": compare(both, samples, case.plane),
        "from one against from another": compare(*simulations, case.plane),
        "report": report,
    }
    if files.exact_forces is not None:
        row["force_error"] = force_error(folder / "model.pt", reference, np.load(files.exact_forces)["forces"])
    done.write_text(json.dumps(row, indent=1))
    return row


class Files(NamedTuple):
    training: list[str]
    reference: list[str]
    topology: str
    temperature_k: float
    exact_forces: Path | None


def brought(case: Case, folder: Path, chosen: argparse.Namespace) -> Files:
    """The files of a case as a user would bring them: unpacked, and cut where it is one of fewer frames."""
    place = _place(case, folder, chosen)
    training, reference = (
        [path for name in names for path in sorted(place.glob(name))] for names in (case.training, case.reference)
    )
    topology = place / case.topology
    if not (training and reference and topology.exists()):
        raise SystemExit(f"{place} lacks {', '.join((*case.training, *case.reference, case.topology))}")
    if case.stride > 1 or case.stop is not None:
        import mdtraj

        frames = mdtraj.load([str(path) for path in training], top=str(topology))[:: case.stride][: case.stop]
        folder.mkdir(parents=True, exist_ok=True)
        training = [folder / "fewer.xtc"]
        frames.save(str(training[0]))
    temperature = case.temperature_k or json.loads((place / "data.json").read_text())["made"]["temperature_k"]
    exact = place / "reference_forces.npz"
    paths = ([str(path) for path in training], [str(path) for path in reference], str(topology))
    return Files(*paths, temperature, exact if exact.exists() else None)


def _place(case: Case, folder: Path, chosen: argparse.Namespace) -> Path:
    if isinstance(case.folder, Path):
        return case.folder
    given, _, name = case.folder.partition("/")
    if given == "dipeptides":
        with tarfile.open(EXAMPLES / "dipeptides" / "data.tar.xz") as packed:
            wanted = {f"dipeptides/{path}" for path in (*case.training, *case.reference, case.topology)}
            packed.extractall(folder, [one for one in packed if one.name in wanted], filter="data")
        return folder / "dipeptides"
    place = getattr(chosen, given)
    if place is None:
        raise SystemExit(f"{case.topology} lies in no example; give its folder with --{given}")
    return place / name


def _samples(checkpoint, folder: Path, seed: int, count: int) -> np.ndarray:
    import mdtraj

    from fpforce.training.sample import SampleSettings, sample

    sample(checkpoint, folder / "iid.xtc", SampleSettings(samples=count, seed=seed, overwrite=True))
    return mdtraj.load(str(folder / "iid.xtc"), top=str(folder / "iid.xtc.pdb")).xyz


def _simulations(
    folder: Path, known: np.ndarray, files: Files, case: Case, seed: int, chosen: argparse.Namespace
) -> tuple[list[np.ndarray], int, dict]:
    """Frames (frames, beads, 3) of the simulations from two states of the data without their first quarter, of as many
    frames both; at how many temperatures; and what fpforce-evaluate says of them.

    As fpforce-fit does, they go on, twice as long, four times ... up to LONGEST, while the report calls them not
    sampled or their radii of gyration are not worth INDEPENDENT frames; and where replicas stay in the state that they
    start in, or that is not enough, temperatures are exchanged, for as long.
    """
    import fpforce
    from fpforce.analysis.planes import choose_planes
    from fpforce.fitting.judged_by import TICA_LAG_FRAMES
    from fpforce.fitting.states import find_states
    from fpforce.trajectories.bead_frames import read_bead_frames

    field = fpforce.load(folder / "model.pt")
    reference = read_bead_frames(files.reference, files.topology, beads=case.beads).positions_nm
    states = find_states(field.beads, known, choose_planes(field.beads, [reference], TICA_LAG_FRAMES), 2)
    base = round(250 * chosen.picoseconds)
    steps, rungs = base, 1
    while True:
        found = [
            _simulated(field, _trajectory(folder, k, rungs), known[state], 2 * seed + k, rungs, steps, base, chosen)
            for k, state in enumerate(states)
        ]
        report = reported(folder, files, rungs, seed)
        sampled, independent = report["causes"][:1] != [NOT_SAMPLED], all(enough for _, enough in found)
        if chosen.quick or (sampled and independent):
            break
        if steps < LONGEST * base and (rungs > 1 or not report["stuck"]):
            steps *= 2
        elif rungs == 1 and not sampled:
            steps, rungs = base, RUNGS
        else:
            break
    fewest = min(len(frames) for frames, _ in found)
    return [thinned(frames, fewest) for frames, _ in found], rungs, report


def _simulated(
    field, output: Path, start: np.ndarray, seed: int, rungs: int, steps: int, base: int, chosen
) -> tuple[np.ndarray, bool]:
    """Frames without the first quarter of a simulation that goes on where it is there already, and whether its radii
    of gyration are worth INDEPENDENT frames.
    """
    from fpforce.analysis.correlation import effective_sample_size
    from fpforce.simulation.simulate import SimulationSettings, read_simulation, simulate

    settings = SimulationSettings(
        steps=steps,
        replicas=chosen.replicas,
        rungs=rungs,
        top_temperature_k=None if rungs == 1 else TOP * field.temperature_k,
        timestep_fs=4.0,
        report_interval_ps=2.0,
        start=start.astype(float),
        seed=seed,
        resume=steps > base,
        overwrite=steps == base,
    )
    simulate(field, output, settings)
    frames = read_simulation(output, field.beads)
    sound = frames.positions_nm[:, frames.valid.all(0)]
    kept = sound[len(sound) // 4 :]
    together = kept.reshape(-1, *kept.shape[-2:])
    radii = features(together)["radius"].reshape(kept.shape[:2])
    return together, not effective_sample_size(radii) < INDEPENDENT


def reported(folder: Path, files: Files, rungs: int, seed: int) -> dict:
    """What fpforce-evaluate says of the simulations that _simulations left in the folder. stuck: it asks for an
    exchange of temperatures.
    """
    from fpforce.analysis import evaluate

    report = evaluate(
        folder / "model.pt",
        files.reference,
        [_trajectory(folder, k, rungs) for k in range(2)],
        topology=files.topology,
        training=files.training,
        iid=folder / "iid.xtc",
        output=folder / "report",
        discard=0.25,
        seed=seed,
        floor="training",
        overwrite=True,
    )
    checks = report.figures["verdict"]["checks"]
    found = report.assessment.diagnosis
    return {
        "status": report.assessment.status,
        "causes": [one.cause for one in found],
        "stuck": bool(found) and found[0].cause == NOT_SAMPLED and "--rungs" in found[0].command,
        "free_energy_error_kt": checks["free_energy_error_kt"]["value"],
        "outside_support": checks["outside_support"]["value"] if "outside_support" in checks else None,
        "failed": [name for name, check in checks.items() if check["pass"] is False],
    }


def _trajectory(folder: Path, state: int, rungs: int) -> Path:
    return folder / f"state_{state + 1}{'' if rungs == 1 else '_exchanged'}.xtc"


def excess(row: dict, judged: str) -> float:
    """JS divergence of a row's simulation from the reference, less the floor."""
    return row["simulation"][judged] - row["floor"][judged]


def verdicts(rows: list[dict]) -> str:
    """A line for each molecule: the worst of its seeds."""
    head = ["molecule", "beads", "frames", "seeds", *(f"simulation, {name}" for name in JUDGED.values())]
    head += [f"against samples, {name}" for name in AGAINST_SAMPLES.values()] + ["starts apart"]
    head += ["basins, kT beyond the reference's error", "frames outside the support", "the report's verdict and causes"]
    head.append(f"within {WITHIN:g}")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for case in dict.fromkeys(row["case"] for row in rows):
        of_it = [row for row in rows if row["case"] == case]
        over = {name: max(excess(row, name) for row in of_it) for name in JUDGED if name in of_it[0]["simulation"]}
        own = {name: max(row["simulation against samples"][name] for row in of_it) for name in AGAINST_SAMPLES}
        apart = [row["from one against from another"][name] for row in of_it for name in AGAINST_SAMPLES]
        outside = [name for name, value in over.items() if value > WITHIN]
        outside += [f"samples: {name}" for name, value in own.items() if value > WITHIN]
        found = [f"{over[name]:.4f}" if name in over else "" for name in JUDGED]
        found += [*(f"{value:.4f}" for value in own.values()), f"{max(apart):.4f}"]
        errors = [row["report"]["free_energy_error_kt"] for row in of_it]
        found.append("" if None in errors else f"{max(errors):.2f}")
        outside_of = [row["report"]["outside_support"] for row in of_it]
        found.append("" if None in outside_of else f"{max(outside_of):.3f}")
        said = {": ".join(filter(None, (row["report"]["status"], ", ".join(row["report"]["causes"])))) for row in of_it}
        found.append("; ".join(sorted(said)))
        named = {**JUDGED, **{f"samples: {name}": f"samples, {label}" for name, label in AGAINST_SAMPLES.items()}}
        verdict = "yes" if not outside else "no: " + "; ".join(named[name] for name in outside)
        first = [case, str(of_it[0]["beads"]), str(of_it[0]["frames"]), str(len(of_it))]
        lines.append(f"| {' | '.join([*first, *found, verdict])} |")
    return "\n".join(lines) + "\n"


def table(rows: list[dict]) -> str:
    """A row for the floor, the samples and the simulation of each."""
    names = ["w1_nm", "js_ends", "js_radius", "js_dihedrals", "js_plane", "radius_nm"]
    head = ["molecule", "beads", "frames", "variant", "seed", "steps", "of", "W1, nm", "JS end-to-end", "JS Rg"]
    head += ["JS dihedrals", "JS plane", "Rg, nm", "denoising, training / held out", "force error"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    floors = set()
    for row in rows:
        first = [row["case"], str(row["beads"]), str(row["frames"])]
        watched = row["watched"]
        losses = f"{watched['denoising']:.4f} / {watched['held_out_denoising']:.4f}" if watched else ""
        starts = [one for one in row if one.startswith("from ")]  # earlier versions had other ones
        of = ["samples", *(one for one in starts if " against " not in one), "simulation"]
        of += ["simulation against samples", *(one for one in starts if " against " in one)]
        floor = (row["case"], row["floor"]["w1_nm"])  # data that were made anew have another
        if floor not in floors:
            of.insert(0, "floor")
            floors.add(floor)
        for one in of:
            run = ["", "", ""] if one == "floor" else [row["variant"], str(row["seed"]), str(row["trained_steps"])]
            found = [f"{row[one][name]:.4f}" if name in row[one] else "" for name in names]
            by_exchange = row.get("rungs", 1) > 1 and one not in ("floor", "samples")
            what = f"{one}, {row['rungs']} temperatures" if by_exchange else one
            of_forces = f"{row['force_error']:.3f}" if one == "simulation" and "force_error" in row else ""
            lines.append(f"| {' | '.join([*first, *run, what, *found, '' if one == 'floor' else losses, of_forces])} |")
    hardware = ", ".join(sorted({row["hardware"] for row in rows}))
    minutes = [row["seconds"] / 60 for row in rows]
    return (
        f"{hardware}; trainings of {min(minutes):.0f} to {max(minutes):.0f} minutes by the clock, one thread each, "
        "beside other programs.\n\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
