"""Whether a training knows the weights of two basins that are not joined at small t: Gaussians 10 sigma apart, 0.9 and
0.1.

python benchmarks/studies/two_gaussians.py [--steps 3000] [--seeds 1] [--processes 2] [--quick]. For several t_max of
the expert that becomes the force field, with and without the anchor to the next expert, and calibrated by likelihoods:
the free-energy difference of exp(-E), by quadrature, and that of samples. Simulations could not tell: no particle
crosses. Writes docs/results/two_gaussians.json and .md; runs live in runs/two_gaussians and are resumed.
"""

import argparse
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.jobs import run_jobs
from workbench.places import EXAMPLES
from workbench.plane_density import density_of_model

WEIGHTS, SIGMA_NM = (0.9, 0.1), 0.1
EXACT_KT = math.log(WEIGHTS[0] / WEIGHTS[1])
EXPERTS = {
    **{f"t_max {t:g}": f"[{{t_max: {t:g}}}, {{t_max: 1.0}}]" for t in (0.1, 0.3, 0.6)},
    **{f"t_max {t:g}, anchor": f"[{{t_max: {t:g}, anchor_weight: 0.01}}, {{t_max: 1.0}}]" for t in (0.1, 0.3, 0.6)},
    "t_max 1": "[]",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--frames", type=int, default=20_000, help="of the data")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--likelihood-frames", type=int, default=1000, help="of the calibration")
    parser.add_argument("--names", nargs="*", choices=list(EXPERTS), default=list(EXPERTS))
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SEED"), help="do this one in this process")
    chosen = options.parse(
        parser, steps=20, frames=2000, samples=100, likelihood_frames=20, names=["t_max 0.3, anchor"], processes=1
    )
    runs = chosen.runs / "two_gaussians"
    if chosen.one:
        run(chosen.one[0], int(chosen.one[1]), runs, chosen)
        return
    _write_data(runs, chosen.frames)
    jobs = {
        _folder(runs, name, seed): ["--one", name, str(seed)] for name in chosen.names for seed in range(chosen.seeds)
    }
    sizes = [
        f"--{name.replace('_', '-')}={getattr(chosen, name)}" for name in ("steps", "samples", "likelihood_frames")
    ]
    run_jobs(
        __file__,
        {folder: [*job, *sizes, *options.handed_on(chosen)] for folder, job in jobs.items()},
        chosen.processes,
    )
    _write([json.loads((folder / "result.json").read_text()) for folder in jobs], chosen)


def run(name: str, seed: int, runs: Path, chosen) -> None:
    """Train, calibrate a copy, and measure both."""
    folder = _folder(runs, name, seed)
    if (folder / "result.json").exists():
        return
    import mdtraj

    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.sample import SampleSettings, sample
    from fpforce.training.train import train

    def recipe(into: Path, *more: str):
        return load_recipe(
            EXAMPLES / "double_well" / "recipe.yaml",
            [
                f"data.trajectories={runs / 'data.npz'}",
                f"output={into}",
                f"run.seed={seed}",
                f"run.max_steps={chosen.steps}",
                f"experts={EXPERTS[name]}",
                "loss.flow_weight=0",
                *more,
            ],
        )

    trained = train(recipe(folder), resume=(folder / "model.ckpt").exists(), show_progress=False)
    samples = folder / "iid.dcd"
    sample(trained, samples, SampleSettings(samples=chosen.samples, seed=seed, overwrite=True))
    x = mdtraj.load(str(samples), top=f"{samples}.pdb").xyz[:, 0, 0]
    calibrated = folder / "calibrated"
    if not (calibrated / "model.ckpt").exists():
        calibrated.mkdir(exist_ok=True)
        shutil.copy(trained, calibrated)
    fitted = recipe(calibrated, f"calibration.likelihood_frames={chosen.likelihood_frames}")
    train(fitted, resume=True, show_progress=False)
    records = read_checkpoint(trained).record.experts
    (folder / "result.json").write_text(
        json.dumps(
            {
                "name": name,
                "seed": seed,
                "steps": [record.steps for record in records],
                "training_seconds": sum(record.seconds for record in records),
                "iid_kt": float(np.log((x < 0).mean() / (x >= 0).mean())),
                "energy_kt": _difference_kt(trained),
                "calibrated_kt": _difference_kt(calibrated / "model.ckpt"),
            }
        )
    )


def _difference_kt(path: Path) -> float:
    """F(right) - F(left) of exp(-E) at t_eval."""
    from fpforce.training.checkpoint.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(path)
    t = checkpoint.recipe.diffusion.evaluated_at
    edges = np.linspace(-1.0, 1.0, 65), np.linspace(-0.6, 0.6, 65)
    model = checkpoint.calibrated_model(checkpoint.covering(t), t)
    return density_of_model(model, checkpoint.record, t, edges, lambda x, y: x < 0).free_energy_kt


def _write_data(runs: Path, frames: int) -> None:
    """Independent samples, their seed fixed."""
    rng = np.random.default_rng(0)
    positions = np.zeros((frames, 1, 3))
    positions[:, 0, :2] = SIGMA_NM * rng.standard_normal((frames, 2))
    positions[:, 0, 0] += np.where(np.arange(frames) < WEIGHTS[0] * frames, -5.0, 5.0) * SIGMA_NM
    runs.mkdir(parents=True, exist_ok=True)
    np.savez(runs / "data.npz", positions=rng.permutation(positions))


def _folder(runs: Path, name: str, seed: int) -> Path:
    return runs / f"{name.replace(' ', '_').replace(',', '')}_{seed}"


def _write(rows: list[dict], chosen) -> None:
    lines = [
        f"{chosen.steps} steps of training an expert, on one thread; {describe_hardware()}. Exact: {EXACT_KT:.2f} kT.",
        "",
        "| expert that is simulated | seed | training (s) | F(0.1) - F(0.9) of exp(-E), kT | after calibration by "
        "likelihoods | of samples |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['seed']} | {row['training_seconds']:.0f} | {row['energy_kt']:.2f} "
        f"| {row['calibrated_kt']:.2f} | {row['iid_kt']:.2f} |"
        for row in rows
    ]
    (chosen.results / "two_gaussians.json").write_text(
        json.dumps({"hardware": describe_hardware(), "steps": chosen.steps, "rows": rows}, indent=1)
    )
    (chosen.results / "two_gaussians.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
