"""How stiff a calibration should be: what each stiffness closes of the basins' difference, and what it costs of the
shape.

python benchmarks/studies/calibration_stiffness.py FOLDER, where FOLDER holds a row of rows.py (model.ckpt, model.pt,
from_*.xtc), such as runs/alanine/fokker_planck_0; --quick makes a small one. The last layer is fitted to the log
likelihoods of 1000 frames with several stiffnesses, and the frames simulated without calibration are reweighted by
each fit and compared with the held-out reference. Prints a table (docs/method.md, Calibration).
"""

import argparse
import sys
import threading
from pathlib import Path

import numpy as np
import torch

import fpforce
from fpforce.analysis.divergences import js_divergence
from fpforce.analysis.observables import dihedrals
from fpforce.analysis.reweighting import Weights
from fpforce.training.calibration import last_layer
from fpforce.training.calibration.likelihood_fit import log_likelihoods, smooth_shift
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.data.dataset import TrainingSet, conformation_weights
from fpforce.training.diffusion import alpha, centred, centred_noise, diffuse
from fpforce.trajectories.bead_frames import read_bead_frames

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.places import ALANINE
from workbench.rows import Row, run

STIFFNESSES = (1e-3, 1e-2, 2e-2, 3e-2, 1e-1, 1.0)
EDGES = np.linspace(-np.pi, np.pi, 65)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--frames", type=int, default=1000)
    chosen = options.parse(parser, frames=20)
    if chosen.folder is None and not chosen.quick:
        parser.error("a folder with a row of the alanine tables is needed, such as runs/alanine/fokker_planck_0")
    folder = chosen.folder or _small_row(chosen.runs)
    torch.set_num_threads(1)
    checkpoint, beads = read_checkpoint(folder / "model.ckpt"), fpforce.load(folder / "model.pt").beads
    t, energy, generator = (
        checkpoint.recipe.diffusion.evaluated_at,
        checkpoint.model(),
        torch.Generator().manual_seed(0),
    )
    reading = {"topology": ALANINE / "alanine_dipeptide.pdb", "table": beads}
    data = TrainingSet.of(read_bead_frames(ALANINE / "train.xtc", **reading))
    weights = conformation_weights(data.frames, 1.0)
    frames = data.frames[torch.multinomial(weights, chosen.frames, replacement=True, generator=generator)]
    x = diffuse(frames, torch.full((chosen.frames,), t), centred_noise(frames.shape, generator, frames))
    log_density = log_likelihoods(checkpoint.experts(), x, t, generator, threading.Event())
    excess = energy(x, torch.full((1,), t)).double() + log_density
    inputs, slopes = (of(energy, x, t) for of in (last_layer.last_layer_inputs, last_layer.last_layer_slopes))

    runs = [
        fpforce.read_simulation(folder / f"from_{basin}.xtc", beads).positions_nm for basin in ("negative", "positive")
    ]
    simulated = np.concatenate([run[len(run) // 2 :].reshape(-1, len(beads), 3) for run in runs])
    scaled = centred(torch.tensor(simulated)) * float(alpha(torch.tensor(t))) / checkpoint.record.scale_nm
    theirs = last_layer.last_layer_inputs(energy, scaled.float(), t)
    reference = _plane(read_bead_frames(ALANINE / "reference.xtc", **reading).positions_nm, beads)
    plane, upper = _plane(simulated, beads), _plane(x.double().numpy(), beads)[:, 0] > 0.0

    print(
        "| stiffness | difference of the basins left, kT | F by reweighting, kT | JS | frames that count "
        "|\n|---|---|---|---|---|"
    )
    shifts = {"none": torch.zeros(inputs.shape[1], dtype=torch.float64)}
    for last_layer.STIFFNESS in STIFFNESSES:
        shifts[f"{last_layer.STIFFNESS:g}"] = smooth_shift(inputs, excess, slopes)
    for name, shift in shifts.items():
        left = (excess + inputs @ shift).numpy()
        found = Weights.of(-(theirs @ shift).numpy())
        population = found.population(plane[:, 0] > 0.0).value
        js = js_divergence(_histogram(plane, found.values), _histogram(reference))
        print(
            f"| {name} | {left[upper].mean() - left[~upper].mean():+.2f} | {np.log(1.0 / population - 1.0):.2f} | "
            f"{float(js):.4f} | {found.effective / len(plane):.0%} |"
        )


def _small_row(runs: Path) -> Path:
    folder = runs / "small_row"
    folder.mkdir(exist_ok=True)
    run(folder, Row(samples=0).in_miniature())
    return folder


def _plane(positions, beads) -> np.ndarray:
    """(frames, 2): phi and psi."""
    torsions = beads.phi_psi[0]
    return dihedrals(positions, [torsions["phi"], torsions["psi"]])


def _histogram(plane: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    counts = np.histogram2d(*plane.T, bins=[EDGES, EDGES], weights=weights)[0].ravel()
    return counts / counts.sum()


if __name__ == "__main__":
    main()
