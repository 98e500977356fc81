"""Dipeptides never trained on: one transferable model, with and without the Fokker-Planck term, against each sequence's
own MD.

python benchmarks/studies/dipeptides.py [VARIANT ...] [--recipe recipe.yaml] [--data runs/dipeptides] [--seeds 1]
    [--steps 20000] [--processes 2] [--quick]
Each variant is trained on all training sequences of the data (examples/dipeptides/generate.py makes them); then every
test sequence is simulated by replica exchange from a phi < 0 and from a phi > 0 frame, and compared in the plane of psi
and phi around its peptide bond with its two independent reference runs, whose distance from each other is the floor.
`calibrated` is `both`, of which each sequence's own samples have calibrated the force field (fpforce-export --topology
SEQUENCE.pdb --likelihood-frames --rounds). --quick takes three training sequences and one test sequence from
examples/dipeptides/data.tar.xz, and does not calibrate: so short a training makes no force field that bears it.
--recipe is one of examples/dipeptides. Writes docs/results/dipeptides.json and .md, of another recipe dipeptides_NAME;
runs live in runs/dipeptides_table and are resumed stage by stage.
Longer than other files, since a study is one script, from the training to its table.
"""

import argparse
import json
import math
import statistics
import sys
import tarfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.jobs import run_jobs
from workbench.places import EXAMPLES, RUNS
from workbench.rows import with_error
from workbench.tiny import SMALL

EXAMPLE = EXAMPLES / "dipeptides"
_SHARES = {0.1: 1 / 2, 0.6: 1 / 3, 1.0: 1 / 6}  # of the steps, by t_max: as the recipes of the other examples have it
_EXCERPT = ("NK", "VN", "AR")  # sequences of the quick run
VARIANTS = ("diffusion", "fokker_planck", "mixture", "both", "calibrated")
TIMESTEP_FS, FOLLOWED_PS = 4.0, 0.5
RUNGS = 4  # without exchange molecules stay where phi > 0 for nanoseconds; with it, for some 100 ps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="*", choices=[*VARIANTS, []], default=[])
    parser.add_argument("--data", type=Path, default=RUNS / "dipeptides")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--recipe", default="recipe.yaml", choices=["recipe.yaml", "graph_transformer.yaml"])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--picoseconds", type=float, default=800.0)
    parser.add_argument("--replicas", type=int, default=8, help="from each start")
    parser.add_argument("--likelihood-frames", type=int, default=300, help="of `calibrated`")
    parser.add_argument("--rounds", type=int, default=4, help="of `calibrated`")
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "SEED"), help="do this one in this process")
    small = dict(steps=600, picoseconds=2.0, replicas=2, likelihood_frames=200, rounds=1)
    chosen = options.parse(parser, **small, processes=1)
    if chosen.quick:
        chosen.data, chosen.variants = excerpt(chosen.runs), chosen.variants or ["both"]
    if chosen.one:
        run(chosen.one[0], int(chosen.one[1]), chosen)
        return
    jobs = [(variant, seed) for variant in chosen.variants or VARIANTS for seed in range(chosen.seeds)]
    sizes = [f"--{name.replace('_', '-')}={getattr(chosen, name)}" for name in small]
    common = [f"--data={chosen.data.resolve()}", f"--recipe={chosen.recipe}", *sizes, *options.handed_on(chosen)]
    run_jobs(
        __file__,
        {_folder(chosen, *job): [*common, "--one", job[0], str(job[1])] for job in jobs},
        chosen.processes,
    )
    results = [json.loads((_folder(chosen, *job) / "result.json").read_text()) for job in jobs]
    output = chosen.results
    name = "dipeptides" if chosen.recipe == "recipe.yaml" else f"dipeptides_{Path(chosen.recipe).stem}"
    (output / f"{name}.json").write_text(json.dumps(results, indent=1))
    (output / f"{name}.md").write_text(table(results))
    print(table(results), flush=True)


def excerpt(runs: Path) -> Path:
    """Folder with a few sequences of the example's data."""
    folder = runs / "dipeptides"
    wanted = [f"dipeptides/train/{name}" for name in _EXCERPT] + ["dipeptides/test/NN"]
    if not folder.exists():
        with tarfile.open(EXAMPLE / "data.tar.xz") as archive:
            for member in archive:
                if member.isfile() and any(
                    member.name.startswith((f"{start}.", f"{start}_run")) and member.name.endswith((".pdb", ".xtc"))
                    for start in wanted
                ):
                    archive.extract(member, runs, filter="data")
    return folder


def overrides_of(variant: str, steps: int) -> list[str]:
    """What the recipe becomes for one of VARIANTS: experts and Fokker-Planck term are the paper's ingredients, alone
    and together.
    """
    if variant in ("mixture", "both"):
        experts = [{"t_max": t_max, "max_steps": round(share * steps)} for t_max, share in _SHARES.items()]
        for expert in experts if variant == "mixture" else experts[2:]:
            expert["fokker_planck_weight"] = 0.0
        if variant == "both":
            experts[0]["anchor_weight"] = 0.01
        return [f"experts={json.dumps(experts)}"]
    return [
        "experts=[]",
        f"run.max_steps={steps}",
        *(["loss.fokker_planck_weight=0"] if variant == "diffusion" else []),
    ]


def run(variant: str, seed: int, chosen) -> None:
    """Do whatever of one variant is not yet done."""
    import fpforce

    folder = _folder(chosen, variant, seed)
    settings = {"steps": chosen.steps, "picoseconds": chosen.picoseconds, "replicas": chosen.replicas}
    begun = folder / "settings.json"
    if begun.exists() and json.loads(begun.read_text()) != settings:
        raise SystemExit(
            f"{folder} was begun with {json.loads(begun.read_text())}, not {settings}; remove it, or put it elsewhere"
        )
    begun.write_text(json.dumps(settings))
    if (folder / "result.json").exists():
        return
    topologies = sorted((chosen.data / "test").glob("*.pdb"))
    if variant == "calibrated":
        checkpoint = _folder(chosen, "both", seed) / "model.ckpt"
        if not checkpoint.exists():
            raise SystemExit(f"{checkpoint} is missing, which is calibrated; make the variant both first")
        models = {
            topology: _calibrated(checkpoint, folder / topology.stem / "model.pt", topology, chosen)
            for topology in topologies
        }
    else:
        models = dict.fromkeys(topologies, _trained(variant, seed, folder, chosen))
    rows = [judge(model, folder / topology.stem, topology, seed, chosen) for topology, model in models.items()]
    seconds = [fpforce.load(model).metadata["training"] for model in models.values()]
    (folder / "result.json").write_text(
        json.dumps(
            {
                "variant": variant,
                "seed": seed,
                "training_seconds": seconds[0]["seconds"],
                "calibration_seconds": statistics.mean(_calibration_seconds(one) for one in seconds),
                "hardware": describe_hardware(),
                "sequences": rows,
            }
            | settings,
            indent=1,
        )
    )


def _trained(variant: str, seed: int, folder: Path, chosen) -> Path:
    """The force field of a variant for all sequences."""
    from fpforce.training.export import export
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train

    own = [
        f"data.molecules={chosen.data / 'train'}",
        f"output={folder}",
        f"run.seed={seed}",
        "run.max_minutes=null",
        "run.threads=1",
    ]
    checkpoint, model = folder / "model.ckpt", folder / "model.pt"
    small = [*SMALL, "run.compile=false"] if chosen.quick else []
    recipe = load_recipe(EXAMPLE / chosen.recipe, [*own, *small, *overrides_of(variant, chosen.steps)])
    train(recipe, resume=checkpoint.exists(), show_progress=False)
    if not model.exists():
        export(checkpoint, model)
    return model


def _calibrated(checkpoint: Path, model: Path, topology: Path, chosen) -> Path:
    """The force field of one sequence, calibrated by its own samples."""
    import torch

    from fpforce.training.export import export

    torch.set_num_threads(1)
    if not model.exists():
        settings = {"likelihood_frames": chosen.likelihood_frames, "rounds": chosen.rounds}
        export(checkpoint, model, topology=topology, **settings)
    return model


def _calibration_seconds(training: dict) -> float:
    calibration = training.get("calibration")
    return calibration["likelihood"]["seconds"] + calibration["seconds"] if calibration else 0.0


def judge(model: Path, folder: Path, topology: Path, seed: int, chosen) -> dict:
    """Simulate one sequence from two starts and compare it with its own MD."""
    import mdtraj

    import fpforce
    from fpforce.analysis import evaluate
    from fpforce.analysis.planes import choose_planes, upper_basin
    from fpforce.simulation.simulate import SimulationSettings, simulate

    found = folder / "row.json"
    if found.exists():
        return json.loads(found.read_text())
    force_field = fpforce.load(model)
    if isinstance(force_field, fpforce.TransferableForceField):
        force_field = force_field.bind(topology)
    runs = sorted(topology.parent.glob(f"{topology.stem}_run*.xtc"))
    frames = [mdtraj.load(str(path), top=str(topology)).xyz for path in runs]
    pooled = np.concatenate(frames)
    (plane,) = choose_planes(force_field.beads, frames)
    upper = upper_basin(plane, plane.coordinates(pooled))
    starts = {"negative": int(np.flatnonzero(~upper)[0])} | (
        {"positive": int(np.flatnonzero(upper)[0])} if upper.any() else {}
    )
    simulations = []
    for number, (name, frame) in enumerate(starts.items()):
        output = folder / f"from_{name}.xtc"
        simulate(
            force_field,
            output,
            SimulationSettings(
                steps=round(1000 * chosen.picoseconds / TIMESTEP_FS),
                replicas=chosen.replicas,
                timestep_fs=TIMESTEP_FS,
                report_interval_ps=FOLLOWED_PS,
                rungs=RUNGS,
                seed=2 * seed + number,
                start=pooled[frame].astype(float),
                resume=Path(f"{output}.checkpoint").exists(),
            ),
        )
        simulations.append(output)
    report = evaluate(force_field, runs, simulations, topology=topology, output=folder, overwrite=True).figures
    simulation = report["simulation"]
    row = {
        "sequence": topology.stem,
        "converged": simulation["converged"],
        "failed_replicas": simulation["failed_replicas"],
        "bond_w1_nm": simulation["bond_w1_nm"]["max"],
        "reference_kt": report["reference"]["free_energy_kt"],
    }
    row |= {
        name: simulation[name]
        for name in (
            "js",
            "js_floor",
            "excess_js",
            "pmf_error",
            "pmf_error_floor",
            "excess_pmf_error",
            "free_energy_kt",
            "frames_compared",
        )
    }
    found.write_text(json.dumps(row, indent=1))
    return row


def table(results: list[dict]) -> str:
    """Means, worst cases, and every sequence."""
    first = results[0]
    lines = [
        f"{len(first['sequences'])} sequences never trained on; {first['steps']} steps of training on one thread; per "
        f"sequence {first['replicas']} replica exchanges of {RUNGS} temperatures x {first['picoseconds']:g} ps from "
        f"each start, the second half counted; {first['hardware']}.",
        "",
        "| variant | seed | training (s) | calibration of a sequence (s) | JS excess, mean | PMF excess, mean | PMF "
        "excess, worst | converged | replicas failed |",
        "|" + "---|" * 9,
        *map(_line, results),
        "",
        *_paired(results),
        "Excess of the PMF error (and F(phi > 0) - F(phi < 0) in kT) of every sequence, first seed; floor and "
        "reference are of its own MD:",
        "",
    ]
    of_variant = {result["variant"]: result["sequences"] for result in results if result["seed"] == first["seed"]}
    lines += [
        "| sequence | floor | reference F | " + " | ".join(of_variant) + " |",
        "|---|---|---|" + "---|" * len(of_variant),
    ]
    for rows in zip(*of_variant.values(), strict=True):
        cells = [f"{_number(row['excess_pmf_error'])} ({with_error(row['free_energy_kt'])})" for row in rows]
        lines.append(
            f"| {rows[0]['sequence']} | {_number(rows[0]['pmf_error_floor'])} | {with_error(rows[0]['reference_kt'])} "
            "| " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def _line(result: dict) -> str:
    rows = result["sequences"]
    js, pmf = ([row[key] for row in rows if row[key] is not None] for key in ("excess_js", "excess_pmf_error"))
    worst = max(rows, key=lambda row: row["excess_pmf_error"] or 0.0)
    figures = (
        f"{statistics.mean(js):.4f} | {statistics.mean(pmf):.3f} | {max(pmf):.3f} ({worst['sequence']})"
        if pmf
        else "- | - | -"
    )
    return (
        f"| {result['variant']} | {result['seed']} | {result['training_seconds']:.0f} | "
        f"{result.get('calibration_seconds', 0.0):.0f} | {figures} "
        f"| {sum(row['converged'] for row in rows)} of {len(rows)} | {sum(row['failed_replicas'] for row in rows)} |"
    )


def _paired(results: list[dict]) -> list[str]:
    """Each variant less the unregularised one, sequence by sequence: their common reference, and its sampling error,
    cancel.
    """
    plain = next((result["sequences"] for result in results if result["variant"] == "diffusion"), None)
    others = [result for result in results if result["variant"] != "diffusion"]
    if plain is None or not others:
        return []
    lines = [
        "Less the first seed of `diffusion`, sequence by sequence (mean ± standard error over the sequences; both have "
        "the same reference and floor):",
        "",
        "| variant | seed | JS | PMF error | smaller PMF error in |",
        "|" + "---|" * 5,
    ]
    for result in others:
        js, pmf = (
            np.array([row[key] - base[key] for row, base in zip(result["sequences"], plain, strict=True)])
            for key in ("js", "pmf_error")
        )
        figures = [
            f"{each.mean():+.{digits}f} ± {each.std(ddof=1) / math.sqrt(len(each)):.{digits}f}"
            for each, digits in ((js, 4), (pmf, 2))
        ]
        lines.append(
            f"| {result['variant']} | {result['seed']} | {' | '.join(figures)} | {int((pmf < 0).sum())} of {len(pmf)} |"
        )
    return [*lines, ""]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _folder(chosen, variant: str, seed: int) -> Path:
    prefix = "" if chosen.recipe == "recipe.yaml" else f"{Path(chosen.recipe).stem}_"
    return chosen.runs / "dipeptides_table" / f"{prefix}{variant}_{seed}"


if __name__ == "__main__":
    main()
