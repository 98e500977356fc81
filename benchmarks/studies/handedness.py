"""How well models tell a noisy frame from its mirror image, against the exact log odds of the training data.

python benchmarks/studies/handedness.py [--steps 8000] [--frames 400] [--data 2000] [--quick] Alanine dipeptide as five
beads, `internal` with signed volumes and without, trained as benchmarks/studies/alanine_tables.py does (trainings in
runs/alanine are taken). Writes docs/results/handedness.md.

The diffused density of the data is a mean over data frames y and rotations R of Gaussians around alpha R y, whose
integral over R is one over the angles of a matrix Fisher distribution: with the singular values s1 >= s2 >= |s3| of
alpha x^T y / sigma^2, s3 with the sign of the determinant, it is the integral over u in [-1, 1] of 1/2 I0((s1 - s2)(1 -
u)/2) I0((s1 + s2)(1 + u)/2) exp(s3 u) (Lee 2018, Bayesian attitude estimation with the matrix Fisher distribution on
SO(3)). A mirror image turns the sign of s3.
"""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from studies.alanine_tables import STUDY
from workbench import options
from workbench.hardware import describe_hardware
from workbench.places import ALANINE
from workbench.rows import Row, trained

MODELS = {
    "with volumes": ("variants", "fokker_planck"),
    "without volumes": ("volumes", "without volumes, fokker_planck"),
}
TIMES = (0.1, 0.2, 0.3, 0.4)  # below, so few frames make no exact density


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--frames", type=int, default=400, help="noisy frames, of the held-out reference")
    parser.add_argument("--data", type=int, default=2000, help="training frames that make the exact density")
    chosen = options.parse(parser, steps=60, frames=10, data=20)
    study = replace(STUDY, all_runs=chosen.runs)
    from fpforce.training.checkpoint.checkpoint import read_checkpoint

    torch.set_num_threads(1)
    checkpoints = {
        name: read_checkpoint(trained(study.folder_of(row, 0), _row(study.tables[table].rows[row], chosen)))
        for name, (table, row) in MODELS.items()
    }
    models = {name: checkpoint.model() for name, checkpoint in checkpoints.items()}
    (scale_nm,) = {checkpoint.record.scale_nm for checkpoint in checkpoints.values()}
    frames, data = (
        _frames(ALANINE / f"{name}.xtc", count, scale_nm)
        for name, count in (("reference", chosen.frames), ("train", chosen.data))
    )
    rows = [row for t in TIMES for row in _compare(models, frames, data, t)]
    output = chosen.results / "handedness.md"
    output.write_text(_table(rows, chosen))
    print(output.read_text())


def _row(row: Row, chosen) -> Row:
    return row.in_miniature() if chosen.quick else replace(row, steps=chosen.steps)


def exact_log_odds(x: torch.Tensor, data: torch.Tensor, t: float) -> torch.Tensor:
    """ln p_t(x) - ln p_t(mirrored x) of centred frames x (F, n, 3), for the mean over data frames (N, n, 3) and all
    rotations.
    """
    from fpforce.training.diffusion import alpha, sigma_squared

    signal, noise = (float(f(torch.tensor(t, dtype=torch.float64))) for f in (alpha, sigma_squared))
    weight = -(signal**2) * data.square().sum((1, 2)) / (2.0 * noise)
    odds = []
    for one in x:
        product = signal / noise * torch.einsum("ia,nib->nab", one, data)
        values, side = torch.linalg.svdvals(product), torch.linalg.det(product).sign()
        this, mirrored = (
            torch.logsumexp(weight + _log_mean(values[:, 0], values[:, 1], sign * side * values[:, 2]), 0)
            for sign in (1, -1)
        )
        odds.append(this - mirrored)
    return torch.stack(odds)


def _log_mean(first: torch.Tensor, second: torch.Tensor, third: torch.Tensor) -> torch.Tensor:
    """ln of the mean over rotations of exp(tr(S R)), S diagonal (N,) each."""
    u, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(80))
    across, along = (first - second)[:, None] * (1.0 - u) / 2.0, (first + second)[:, None] * (1.0 + u) / 2.0
    terms = (
        torch.log(torch.special.i0e(across)) + across + torch.log(torch.special.i0e(along)) + along + third[:, None] * u
    )
    return torch.logsumexp(terms + torch.log(weights / 2.0), -1)


def _frames(path, count: int, scale_nm: float) -> torch.Tensor:
    """(count, n, 3) normalised centred frames, evenly spaced over the trajectory."""
    from fpforce.trajectories.bead_frames import read_bead_frames

    found = read_bead_frames(path, ALANINE / "alanine_dipeptide.pdb", beads="backbone5").positions_nm
    chosen = torch.from_numpy(found[np.linspace(0, len(found) - 1, count).astype(int)]).double()
    return (chosen - chosen.mean(1, keepdim=True)) / scale_nm


def _compare(models: dict, frames: torch.Tensor, data: torch.Tensor, t: float) -> list[dict]:
    from fpforce.training.diffusion import centred_noise, diffuse, sigma_squared

    time = torch.full((len(frames),), t, dtype=torch.float64)
    x = diffuse(frames, time, centred_noise(frames.shape, torch.Generator().manual_seed(1), frames))
    exact = exact_log_odds(x, data, t)
    mirrored = x * torch.tensor([-1.0, 1.0, 1.0], dtype=x.dtype)
    rows = []
    for name, model in models.items():
        with torch.no_grad():
            found = (model(mirrored.float(), time.float()) - model(x.float(), time.float())).double()
        rows.append(
            {
                "t": t,
                "sigma": math.sqrt(float(sigma_squared(time[:1]))),
                "model": name,
                "exact": float(exact.mean()),
                "slope": float((found * exact).sum() / exact.square().sum()),
                "correlation": float(torch.corrcoef(torch.stack([found, exact]))[0, 1]),
            }
        )
    return rows


def _table(rows: list[dict], chosen) -> str:
    lines = [
        f"{chosen.frames} noisy frames of the reference, exact odds by {chosen.data} training frames; {chosen.steps} "
        f"steps of training, seed 0; {describe_hardware()}.",
        "",
        "| t | sigma | mean log odds, exact | model | slope of the model's against the exact | correlation |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['t']:g} | {r['sigma']:.2f} | {r['exact']:.2f} | {r['model']} | {r['slope']:.2f} | "
        f"{r['correlation']:.3f} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
