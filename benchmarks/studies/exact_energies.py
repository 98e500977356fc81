"""A trained energy, and the likelihood of its probability flow, against an exact energy, frame by frame.

python benchmarks/studies/exact_energies.py CHECKPOINT FOLDER [--frames 400] [--likelihoods 100]

CHECKPOINT: model.ckpt of the kind that a recipe makes. FOLDER: what fpforce-reference --model wrote. Over frames of the
reference, which no training saw: the standard deviation of E(x, t) / kT - U / kT, in kT, at several t, and the same of
-ln q(x) from the flow up to t = 0.6, above which E itself stands for it; both robust as well (median absolute
deviation). By thirds of the radius of gyration, the median of the difference: a tilt between compact and extended
frames is a free energy that a simulation has wrong. Uncalibrated: the energy as trained. The saved positions are
rounded to 0.001 nm, the energies are those before.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.tiny import SMALL

TIMES = (1e-5, 3e-3, 1e-2, 3e-2)
STEPS, TOP = 24, 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--likelihoods", type=int, default=100)
    chosen = options.parse(parser, frames=8, likelihoods=4)
    if chosen.quick and chosen.checkpoint is None:
        chosen.checkpoint, chosen.folder = pentane(chosen.runs / "pentane")
    if chosen.checkpoint is None or chosen.folder is None:
        parser.error("a checkpoint and the folder of its exact reference are needed")
    print(table(*differences(chosen.checkpoint, chosen.folder, chosen.frames, chosen.likelihoods)))


def pentane(folder: Path) -> tuple[Path, Path]:
    """A small training on a small set of five united atoms."""
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train

    data = folder / "pentane"
    if not (data / "data.json").exists():
        program = Path(sys.executable).parent / "fpforce-reference"
        made = [program, "--model", "alkane", "C5", data, "--ns", "0.1", "--discard-ps", "10"]
        subprocess.run(made, check=False)  # status 1: runs of so few frames disagree
    asked = {
        "data": {"trajectories": [str(data / "train.xtc")], "topology": str(data / "pentane.pdb"), "beads": "all"},
        "temperature_k": json.loads((data / "data.json").read_text())["made"]["temperature_k"],
        "output": str(folder / "run"),
    }
    recipe = folder / "asked.yaml"
    recipe.write_text(json.dumps(asked))
    overrides = [*SMALL, "run.max_steps=20", "run.compile=false", "run.threads=1"]
    return train(load_recipe(recipe, overrides), overwrite=True, show_progress=False), data


def differences(
    checkpoint: Path, folder: Path, frames: int, likelihoods: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Radii of gyration (frames,) in nm, and by name the differences from the exact energy in kT.

    Those of the likelihood are of the first `likelihoods` frames.
    """
    import torch

    from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.sampling.likelihood import exact_divergence
    from fpforce.training.sampling.solvers import probability_flow, time_grid
    from fpforce.trajectories.bead_frames import read_bead_frames

    read = read_checkpoint(checkpoint)
    made = json.loads((folder / "data.json").read_text())["made"]
    topology = folder / f"{folder.resolve().name}.pdb"
    positions = read_bead_frames([str(folder / "reference.xtc")], str(topology), beads="all").positions_nm
    drawn = np.sort(np.random.default_rng(0).permutation(len(positions))[:frames])
    with np.load(folder / "reference_forces.npz") as saved:
        exact = saved["energies_kj_per_mol"][drawn] / (BOLTZMANN_KJ_PER_MOL_K * made["temperature_k"])
    energy, centred = read.model(), positions[drawn] - positions[drawn].mean(1, keepdims=True)
    x = torch.tensor(centred / read.record.scale_nm, dtype=torch.float32)

    def energies(at: torch.Tensor, t: float) -> np.ndarray:
        with torch.no_grad():
            return torch.cat([energy(part, part.new_full((1,), t)) for part in at.split(200)]).double().numpy()

    found = {f"E at t = {t:g}": energies(x, t) - exact for t in TIMES}
    gains, ends = [], []
    for part in x[:likelihoods].split(100):
        for state, gain in probability_flow(
            exact_divergence(energy), time_grid(TOP, TIMES[0], STEPS).flip(0), part, part.new_zeros(len(part))
        ):
            end, gained = state.detach(), gain.detach()
        ends.append(energies(end, TOP))
        gains.append(gained.double().numpy())
    if likelihoods:
        found["-ln q"] = np.concatenate(ends) + np.concatenate(gains) - exact[:likelihoods]
    return np.sqrt((centred**2).sum(-1).mean(1)), found


def table(radius: np.ndarray, found: dict[str, np.ndarray]) -> str:
    lines = ["| | frames | standard deviation, kT | robust | compact | middle | extended |", "|---|" + "---|" * 6]
    for name, values in found.items():
        off = values - np.median(values)
        edges = np.quantile(radius[: len(off)], [0, 1 / 3, 2 / 3, 1])
        thirds = [
            np.median(off[(radius[: len(off)] >= low) & (radius[: len(off)] <= high)])
            for low, high in zip(edges, edges[1:], strict=False)
        ]
        robust = 1.4826 * np.median(np.abs(off))
        figures = [f"{len(off)}", f"{off.std():.2f}", f"{robust:.2f}", *(f"{third:+.2f}" for third in thirds)]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
