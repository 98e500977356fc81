"""Molecules that no default was chosen on: does the simulation of a force field have the distribution of its data?

python benchmarks/studies/strangers.py CASE [--minutes 5 | --steps 10000] [--seeds 0 1] [--tau FOLDER]

CASE is one of CASES. Every variant of the recipe is trained for the same time (on a machine that does something else
meanwhile, better for the same number of steps), exported, sampled, and simulated from the most open and the most closed
frame of the data. Compared with frames that none was trained on: mean first Wasserstein distance over all pair
distances; Jensen-Shannon divergence of the end-to-end distance and of the radius of gyration in 50 bins, and of
dihedrals of consecutive beads in 36 (mean); of two dihedrals that of their plane in 64 x 64 bins. The floor is the same
between the training frames and the reference. What is done lies in runs/strangers and is not made again; writes
docs/results/strangers_CASE.md.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.places import ALANINE, EXAMPLES
from workbench.tiny import SMALL

CHIGNOLIN = EXAMPLES / "chignolin" / "data"
VARIANTS = {
    "default": (),
    "before": ("data.held_out=0",),
    "flow": ("loss.flow_weight=0.05",),
}
_SMALL = (*SMALL, "run.compile=false")
FRAMES, PLANE_FRAMES = 3000, 20_000


@dataclass(frozen=True)
class Case:
    """A molecule: files to train on and to judge by, its beads and temperature, and what else its recipe says."""

    training: tuple[str, ...]
    reference: tuple[str, ...]
    topology: str
    beads: str
    temperature_k: float
    overrides: tuple[str, ...] = ()

    def at(self, folder: Path) -> "Case":
        """With its files in a folder."""
        return Case(
            tuple(str(folder / name) for name in self.training),
            tuple(str(folder / name) for name in self.reference),
            str(folder / self.topology),
            self.beads,
            self.temperature_k,
            self.overrides,
        )


_ALANINE = (("train.xtc",), ("reference.xtc",), "alanine_dipeptide.pdb", "backbone5", 300.0)
_CHIGNOLIN = (("train/*.xtc",), ("reference/*.xtc",), "data.pdb", "ca", 400.0)
_LONGER = ("model.wall=true", "loss.fokker_planck_weight=2e-3")
CASES = {
    "tau": Case(("train.xtc",), ("held.xtc",), "tau.pdb", "name CA", 300.0, _LONGER),
    "alanine": Case(*_ALANINE).at(ALANINE),
    "alanine_1000": Case(*_ALANINE, ("data.stride=20",)).at(ALANINE),
    "alanine_300": Case(*_ALANINE, ("data.stride=67", "optimizer.batch_size=256")).at(ALANINE),
    "chignolin": Case(*_CHIGNOLIN, _LONGER).at(CHIGNOLIN),
    "chignolin_1000": Case(*_CHIGNOLIN, (*_LONGER, "data.stride=10")).at(CHIGNOLIN),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=CASES)
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=["before", "default"])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--picoseconds", type=float, default=800.0)
    parser.add_argument("--replicas", type=int, default=32, help="from each start")
    parser.add_argument("--samples", type=int, default=FRAMES)
    parser.add_argument("--tau", type=Path, help="folder of tau.pdb, train.xtc and held.xtc")
    chosen = options.parse(parser, steps=30, picoseconds=4.0, replicas=2, samples=100)
    if chosen.case is None and not chosen.quick:
        parser.error(f"a case is needed: {', '.join(CASES)}")
    chosen.case = chosen.case or "alanine_300"
    case = CASES[chosen.case]
    if chosen.case == "tau":
        if chosen.tau is None:
            parser.error("tau lies in no example; give its folder with --tau")
        case = case.at(chosen.tau)
    rows = []
    for seed in chosen.seeds:
        for variant in chosen.variants:
            folder = chosen.runs / "strangers" / f"{chosen.case}_{variant.replace(' ', '_')}_{seed}"
            rows.append(run(folder, case, variant, seed, chosen))
            print(json.dumps(rows[-1]), flush=True)
    text = table(rows)
    (chosen.results / f"strangers_{chosen.case}.md").write_text(text)
    print(text)


def run(folder: Path, case: Case, variant: str, seed: int, chosen) -> dict:
    """The row of one variant and seed, made or taken from what is there."""
    asked = {
        "variant": variant,
        "seed": seed,
        "minutes": None if chosen.steps else chosen.minutes,
        "asked_steps": chosen.steps,
        "picoseconds": chosen.picoseconds,
    }
    done = folder / "row.json"
    if done.exists():
        row = json.loads(done.read_text())
        if {name: row[name] for name in asked} != asked:
            raise SystemExit(f"{done} was made with other settings than {asked}; remove its folder")
        return row
    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.export import export
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train
    from fpforce.trajectories.bead_frames import read_bead_frames

    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "asked.yaml"
    recipe.write_text(
        json.dumps(
            {
                "data": {"trajectories": list(case.training), "topology": case.topology, "beads": case.beads},
                "temperature_k": case.temperature_k,
                "output": str(folder),
            }
        )
    )
    length = (
        [f"run.max_steps={chosen.steps}"]
        if chosen.steps
        else [f"run.max_minutes={chosen.minutes}", "run.max_steps=1000000"]
    )
    ours = load_recipe(
        recipe,
        [
            *length,
            "run.threads=1",
            f"run.seed={seed}",
            "run.compile=true",
            *(_SMALL if chosen.quick else ()),
            *case.overrides,
            *VARIANTS[variant],
        ],
    )
    began, processor = time.monotonic(), time.process_time()
    train(ours, resume=(folder / "model.ckpt").exists(), show_progress=False)
    row = asked | {"seconds": time.monotonic() - began, "processor_seconds": time.process_time() - processor}
    checkpoint = read_checkpoint(folder / "model.ckpt")
    if not (folder / "model.pt").exists():
        export(checkpoint.path, folder / "model.pt")
    known = read_bead_frames(list(case.training), case.topology, beads=case.beads, stride=ours.data.stride).positions_nm
    reference = read_bead_frames(list(case.reference), case.topology, beads=case.beads).positions_nm
    samples = _samples(checkpoint, folder, seed, chosen.samples)
    simulations = _simulations(folder, known, seed, chosen)
    expert = checkpoint.record.expert
    row |= {
        "steps": expert.steps,
        "frames": len(known),
        "hardware": describe_hardware(),
        "watched": {name: values[-1] for name, values in expert.watched.items() if values},
        "gap_kt": expert.gap["kt"][-1] if expert.gap["kt"] else None,
        "floor": compare(known, reference),
        "samples": compare(samples, reference),
        "from open": compare(simulations[0], reference),
        "from closed": compare(simulations[1], reference),
        "simulation": compare(np.concatenate(simulations), reference),
    }
    done.write_text(json.dumps(row, indent=1))
    return row


def _samples(checkpoint, folder: Path, seed: int, count: int) -> np.ndarray:
    import mdtraj

    from fpforce.training.sample import SampleSettings, sample

    sample(checkpoint, folder / "iid.xtc", SampleSettings(samples=count, seed=seed, overwrite=True))
    return mdtraj.load(str(folder / "iid.xtc"), top=str(folder / "iid.xtc.pdb")).xyz


def _simulations(folder: Path, known: np.ndarray, seed: int, chosen) -> list[np.ndarray]:
    """Frames (frames, beads, 3) of the simulations from the most open and the most closed frame, without their
    first quarter.
    """
    import fpforce
    from fpforce.simulation.simulate import SimulationSettings, read_simulation, simulate

    found, radius, field = [], features(known)["radius"], fpforce.load(folder / "model.pt")
    for number, (name, frame) in enumerate((("open", radius.argmax()), ("closed", radius.argmin()))):
        output = folder / f"{name}.xtc"
        simulate(
            folder / "model.pt",
            output,
            SimulationSettings(
                steps=round(250 * chosen.picoseconds),
                replicas=chosen.replicas,
                timestep_fs=4.0,
                report_interval_ps=2.0,
                start=known[frame].astype(float),
                seed=2 * seed + number,
                overwrite=True,
            ),
        )
        frames = read_simulation(output, field.beads)
        sound = frames.positions_nm[:, frames.valid.all(0)]
        found.append(sound[len(sound) // 4 :].reshape(-1, *sound.shape[-2:]))
    fewest = min(map(len, found))
    return [thinned(one, fewest) for one in found]


def features(x: np.ndarray) -> dict[str, np.ndarray]:
    """Pair distances, end-to-end distance, radius of gyration (nm) and dihedrals of consecutive beads (rad) of
    x (frames, beads, 3).
    """
    i, j = np.triu_indices(x.shape[1], 1)
    bonds = x[:, 1:] - x[:, :-1]
    planes = np.cross(bonds[:, :-1], bonds[:, 1:])
    sine = (bonds[:, :-2] * planes[:, 1:]).sum(-1) * np.linalg.norm(bonds[:, 1:-1], axis=-1)
    centred = x - x.mean(1, keepdims=True)
    return {
        "distances": np.linalg.norm(x[:, i] - x[:, j], axis=-1),
        "ends": np.linalg.norm(x[:, 0] - x[:, -1], axis=-1),
        "radius": np.sqrt(np.square(centred).sum(-1).mean(1)),
        "dihedrals": np.arctan2(sine, (planes[:, :-1] * planes[:, 1:]).sum(-1)),
    }


def compare(x: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """How far frames x are from the reference, both thinned to the same number of frames."""
    count = min(len(x), len(reference), FRAMES)
    ours, theirs = features(thinned(x, count)), features(thinned(reference, count))
    levels = (np.arange(2000) + 0.5) / 2000
    quantiles = [np.quantile(one["distances"], levels, axis=0) for one in (ours, theirs)]
    found = {"w1_nm": float(np.abs(quantiles[0] - quantiles[1]).mean()), "radius_nm": float(ours["radius"].mean())}
    for name in ("ends", "radius"):
        both = np.concatenate([ours[name], theirs[name]])
        found[f"js_{name}"] = divergence(ours[name][:, None], theirs[name][:, None], 50, [(both.min(), both.max())])
    angles = ours["dihedrals"].shape[1]
    found["js_dihedrals"] = float(
        np.mean(
            [
                divergence(ours["dihedrals"][:, [k]], theirs["dihedrals"][:, [k]], 36, [(-np.pi, np.pi)])
                for k in range(angles)
            ]
        )
    )
    if angles == 2:
        count = min(len(x), len(reference), PLANE_FRAMES)
        planes = [features(thinned(one, count))["dihedrals"] for one in (x, reference)]
        found["js_plane"] = divergence(*planes, 64, [(-np.pi, np.pi)] * 2)
    return found


def divergence(x: np.ndarray, y: np.ndarray, bins: int, ranges: list) -> float:
    """Jensen-Shannon divergence of two samples (frames, dimensions), natural logarithm."""
    p, q = (np.histogramdd(one, bins, ranges)[0].ravel() / len(one) for one in (x, y))
    middle = 0.5 * (p + q)
    return float(sum(0.5 * (one[one > 0] * np.log(one[one > 0] / middle[one > 0])).sum() for one in (p, q)))


def thinned(x: np.ndarray, count: int) -> np.ndarray:
    return x[np.linspace(0, len(x) - 1, count).round().astype(int)]


def table(rows: list[dict]) -> str:
    """A row for each floor, set of samples and simulation."""
    plane = "js_plane" in rows[0]["floor"]
    names = ["w1_nm", "js_ends", "js_radius", "js_dihedrals", *(["js_plane"] if plane else []), "radius_nm"]
    head = [
        "variant",
        "seed",
        "steps",
        "of",
        "W1, nm",
        "JS end-to-end",
        "JS Rg",
        "JS dihedrals",
        *(["JS plane"] if plane else []),
        "Rg, nm",
        "denoising, training / held out",
        "gap, kT",
    ]
    length = f"{rows[0]['minutes']:g} minutes" if rows[0]["minutes"] else f"{rows[0]['asked_steps']} steps"
    lines = [
        f"{rows[0]['frames']} frames, {length} of training, {rows[0]['hardware']}. Processor time of the trainings: "
        f"{', '.join(format(row['processor_seconds'], '.0f') for row in rows)} s.",
        "",
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
    ]

    def line(first: list[str], found: dict, last: list[str]) -> None:
        lines.append(f"| {' | '.join([*first, *(f'{found[name]:.4f}' for name in names), *last])} |")

    line(["", "", "", "training frames"], rows[0]["floor"], ["", ""])
    for row in rows:
        watched, gap = row["watched"], row["gap_kt"]
        losses = f"{watched['denoising']:.4f} / {watched['held_out_denoising']:.4f}" if watched else ""
        for of in ("samples", "from open", "from closed", "simulation"):
            line(
                [row["variant"], str(row["seed"]), str(row["steps"]), of],
                row[of],
                [losses, "" if gap is None else f"{gap:.1f}"],
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
