"""The paper's variants on the Müller-Brown potential, whose density is known exactly.

python benchmarks/studies/muller_brown.py [--seeds 1] [--fraction 1.0] [--picoseconds 200] [--processes 2] [--quick]
Each recipe of examples/muller_brown/recipes is trained, sampled, simulated from both starts and compared with the exact
density; `two_for_one` is the model of `diffusion` at a larger t, and two variants do without the analytic prior, as the
paper's models do. --fraction shortens every training. Writes docs/results/muller_brown.json, .md and .png; runs live in
runs/muller_brown and are resumed stage by stage.
Longer than other files, since a study is one script, from the training to its table.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.jobs import run_jobs
from workbench.muller_brown_figure import draw
from workbench.places import EXAMPLES
from workbench.plane_density import density_of_model

EXAMPLE = EXAMPLES / "muller_brown"
NO_PRIOR = ("model.prior=false",)
VARIANTS = {  # recipe and overrides
    "diffusion": ("diffusion", ()),
    "two_for_one": ("two_for_one", ()),
    "mixture": ("mixture", ()),
    "fokker_planck": ("fokker_planck", ()),
    "both": ("both", ()),
    "diffusion_no_prior": ("diffusion", NO_PRIOR),
    "fokker_planck_no_prior": ("fokker_planck", NO_PRIOR),
}
SHARED_TRAINING = {"two_for_one": "diffusion"}
SCANNED_TIMES = (1e-5, 1e-3, 3e-3, 1e-2, 3e-2)
TIMESTEP_FS = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--picoseconds", type=float, default=200.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--replicas", type=int, default=64, help="for each start")
    parser.add_argument("--interval-ps", type=float, default=1.0)
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "SEED"), help="do this one in this process")
    small = dict(fraction=0.0005, picoseconds=2.0, samples=100, replicas=4, interval_ps=0.1)
    chosen = options.parse(parser, **small, processes=1, variants=["diffusion", "two_for_one"])
    runs = chosen.runs / "muller_brown"
    if chosen.one:
        run(chosen.one[0], int(chosen.one[1]), runs, chosen)
        return
    jobs = [(variant, seed) for seed in range(chosen.seeds) for variant in chosen.variants]
    sizes = [f"--{name.replace('_', '-')}={getattr(chosen, name)}" for name in small]
    # Those that share a training come after it.
    for wave in ([j for j in jobs if j[0] not in SHARED_TRAINING], [j for j in jobs if j[0] in SHARED_TRAINING]):
        arguments = {
            _folder(runs, *job): ["--one", job[0], str(job[1]), *sizes, *options.handed_on(chosen)] for job in wave
        }
        run_jobs(__file__, arguments, chosen.processes)
    _write([json.loads((_folder(runs, *job) / "result.json").read_text()) for job in jobs], chosen)


def run(variant: str, seed: int, runs: Path, chosen) -> None:
    """Do whatever of one variant is not yet done."""
    folder = _folder(runs, variant, seed)
    if (folder / "result.json").exists():
        return
    from fpforce.analysis import evaluate
    from fpforce.simulation.simulate import SimulationSettings, simulate
    from fpforce.training.export import export
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.sample import SampleSettings, sample

    recipe = _recipe(variant)
    trained = _trained(SHARED_TRAINING.get(variant, variant), seed, runs, chosen)
    model, iid = folder / "model.pt", folder / "iid.xtc"
    t_eval = load_recipe(recipe).diffusion.evaluated_at
    if not model.exists():
        export(trained, model, t_eval=t_eval)
    record = Path(f"{iid}.json")
    if not record.exists() or json.loads(record.read_text())["drawn"] < chosen.samples:
        sample(trained, iid, SampleSettings(samples=chosen.samples, t_end=t_eval, seed=seed, resume=record.exists()))
    simulations = []
    for number, start in enumerate(("upper", "lower")):
        output = folder / f"from_{start}.xtc"
        simulate(
            model,
            output,
            SimulationSettings(
                steps=round(1000 * chosen.picoseconds / TIMESTEP_FS),
                replicas=chosen.replicas,
                timestep_fs=TIMESTEP_FS,
                report_interval_ps=chosen.interval_ps,
                seed=2 * seed + number,
                start=EXAMPLE / f"start_{start}.pdb",
                backend="torchforce",
                resume=Path(f"{output}.checkpoint").exists(),
            ),
        )
        simulations.append(output)
    report = evaluate(
        model,
        EXAMPLE / "reference.npz",
        simulations,
        training=EXAMPLE / "train.npz",
        iid=iid,
        output=folder,
        overwrite=True,
    )
    result = {
        "variant": variant,
        "seed": seed,
        "t_eval": t_eval,
        **_measure(trained, model, iid, simulations, t_eval),
        "converged": report.assessment.convergence_verdict,
        "failed_replicas": report.assessment.failed_replicas,
    }
    (folder / "result.json").write_text(json.dumps(result))


def _trained(variant: str, seed: int, runs: Path, chosen) -> Path:
    """Checkpoint of a variant, trained as far as it is not yet."""
    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train

    folder, path, overrides = _folder(runs, variant, seed), _recipe(variant), VARIANTS[variant][1]
    whole, fraction = load_recipe(path), chosen.fraction
    steps = [f"run.compile={'false' if chosen.quick else 'true'}"]
    steps += [f"run.max_steps={round(fraction * whole.run.max_steps)}"]
    steps += [f"experts.{k}.max_steps={round(fraction * expert.max_steps)}" for k, expert in enumerate(whole.experts)]
    recipe = load_recipe(path, [*overrides, f"output={folder}", f"run.seed={seed}", *steps])
    checkpoint = folder / "model.ckpt"
    if checkpoint.exists():
        done = read_checkpoint(checkpoint)
        if all(record.steps >= plan.max_steps for record, plan in zip(done.record.experts, done.plans, strict=True)):
            return checkpoint
    return train(recipe, resume=checkpoint.exists(), show_progress=False)


def _measure(trained: Path, model: Path, iid: Path, simulations: list[Path], t_eval: float) -> dict:
    """Distances from the exact density of samples, of the simulations' second half and of exp(-E), with bin counts."""
    import fpforce
    from fpforce.potentials import MULLER_BROWN, ExactDensity
    from fpforce.simulation.simulate import read_simulation
    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.losses.residual import residual_curve
    from fpforce.training.models.contract import DiffusionEnergy
    from fpforce.trajectories.files import read_atoms

    density, beads, checkpoint = ExactDensity.of(MULLER_BROWN), fpforce.load(model).beads, read_checkpoint(trained)
    topology = beads.to_mdtraj()
    sampled = read_atoms(iid, topology, [0], topology, 1).xyz
    read = [read_simulation(path, beads) for path in simulations]
    halves = [frames.positions_nm[len(frames.positions_nm) // 2 :] for frames in read]
    simulated = np.concatenate([half.reshape(-1, 1, 3) for half in halves])
    residual = {"t": [], "residual": []}
    for number, plan in enumerate(checkpoint.plans):
        expert = checkpoint.model(number)
        if isinstance(expert, DiffusionEnergy):
            sigma_w = checkpoint.recipe.loss.fokker_planck_sigma
            curve = residual_curve(expert, checkpoint.record.check_frames, plan.t_min, plan.t_max, sigma_w=sigma_w)
            residual = {name: residual[name] + curve[name] for name in residual}
    energies = {
        f"{t:g}": density_of_model(
            checkpoint.model(checkpoint.covering(t)), checkpoint.record, t, density.edges, MULLER_BROWN.in_basin
        ).probabilities
        for t in SCANNED_TIMES
    }
    records = checkpoint.record.experts
    return {
        "iid": _compared(sampled, density),
        "simulation": _compared(simulated, density),
        "energy": {t: _against(p, density) for t, p in energies.items()},
        "exact_free_energy_kt": density.free_energy_kt,
        "residual": residual,
        "steps": [record.steps for record in records],
        "training_seconds": sum(record.seconds for record in records),
        "counts": {
            "iid": density.counts(sampled).tolist(),
            "simulation": density.counts(simulated).tolist(),
            "energy": np.round(energies[f"{t_eval:g}"], 9).tolist(),
        },
    }


def _against(probabilities: np.ndarray, density) -> dict:
    from fpforce.analysis.divergences import js_divergence

    return {"js": float(js_divergence(probabilities.ravel(), density.probabilities.ravel()))}


def _compared(positions, density) -> dict:
    from fpforce.potentials import MULLER_BROWN, compare_with_exact
    from fpforce.potentials.exact_density import free_energy_kt

    found = compare_with_exact(positions, density)
    points = np.asarray(positions, dtype=float).reshape(-1, 3)
    weight = float(MULLER_BROWN.in_basin(points[:, 0], points[:, 1]).mean())
    return vars(found) | {"excess_js": found.excess_js, "free_energy_kt": free_energy_kt(weight)}


def _recipe(variant: str) -> Path:
    return EXAMPLE / "recipes" / f"{VARIANTS[variant][0]}.yaml"


def _folder(runs: Path, variant: str, seed: int) -> Path:
    return runs / f"{variant}_{seed}"


def _write(results: list[dict], chosen) -> None:
    output = chosen.results
    draw([result for result in results if result["seed"] == 0], output / "muller_brown.png")
    rows = [{name: value for name, value in result.items() if name != "counts"} for result in results]
    summary = {
        "hardware": describe_hardware(),
        "fraction": chosen.fraction,
        "picoseconds": chosen.picoseconds,
        "replicas": chosen.replicas,
        "rows": rows,
    }
    (output / "muller_brown.json").write_text(json.dumps(summary, indent=1))
    (output / "muller_brown.md").write_text(_table(summary))
    print(_table(summary))


def _table(summary: dict) -> str:
    rows = summary["rows"]
    exact = rows[0]["exact_free_energy_kt"]
    part = (
        "of the recipes' length" if summary["fraction"] == 1.0 else f"of {summary['fraction']:g} of the recipes' steps"
    )
    lines = [
        f"Trainings {part} on one thread; {rows[0]['iid']['frames']} samples; "
        f"simulations of 2 x {summary['replicas']} replicas x {summary['picoseconds']:g} ps, {TIMESTEP_FS:g} fs, "
        f"the second half counted ({rows[0]['simulation']['frames']} frames); {summary['hardware']}. "
        f"The exact F(lower) - F(upper) is {exact:.2f} kT.",
        "",
        "| variant | seed | t | steps | training (s) | iid JS | floor | simulation JS | floor | JS of exp(-E) | F from "
        "iid, kT | F from simulation, kT | starts agree |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for variant in VARIANTS:
        same = [row for row in rows if row["variant"] == variant]
        lines += [_line(row) for row in same]
        if len(same) > 1:
            lines.append(_mean_line(variant, same))
    times = list(rows[0]["energy"])
    lines += [
        "",
        "JS of exp(-E(x, t)) from the exact density, by quadrature, against the t at which the force field is taken, "
        "and the Fokker-Planck residual (root mean square per degree of freedom) of the conservative experts:",
        "",
        "| variant | seed | " + " | ".join(f"t = {t}" for t in times) + " | residual at t = 1e-5 | largest |",
        "|---|---|" + "---|" * (len(times) + 2),
    ]
    lines += [
        f"| {row['variant']} | {row['seed']} | "
        + " | ".join(f"{row['energy'][t]['js']:.4f}" for t in times)
        + f" | {row['residual']['residual'][0]:.3g} | {max(row['residual']['residual']):.3g} |"
        for variant in VARIANTS
        for row in rows
        if row["variant"] == variant and variant not in SHARED_TRAINING
    ]
    return "\n".join(lines) + "\n"


def _line(row: dict) -> str:
    iid, simulation, energy = row["iid"], row["simulation"], row["energy"][f"{row['t_eval']:g}"]
    return (
        f"| {row['variant']} | {row['seed']} | {row['t_eval']:g} | {' + '.join(map(str, row['steps']))} "
        f"| {row['training_seconds']:.0f} | {iid['js']:.4f} | {iid['js_floor']:.4f} | {simulation['js']:.4f} "
        f"| {simulation['js_floor']:.4f} | {energy['js']:.4f} | {iid['free_energy_kt']:.2f} "
        f"| {simulation['free_energy_kt']:.2f} | {row['converged']} |"
    )


def _mean_line(variant: str, rows: list[dict]) -> str:
    """Means with standard deviations over the seeds."""

    def mean(digits: int, value) -> str:
        values = [value(row) for row in rows]
        return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"

    return (
        f"| **{variant}, mean** | | | | {statistics.mean(row['training_seconds'] for row in rows):.0f} | "
        f"{mean(4, lambda r: r['iid']['js'])} "
        f"| | {mean(4, lambda r: r['simulation']['js'])} | | "
        f"{mean(4, lambda r: r['energy'][format(r['t_eval'], 'g')]['js'])} "
        f"| {mean(2, lambda r: r['iid']['free_energy_kt'])} | {mean(2, lambda r: r['simulation']['free_energy_kt'])} "
        f"| {sum(r['converged'] == 'converged' for r in rows)} of {len(rows)} |"
    )


if __name__ == "__main__":
    main()
