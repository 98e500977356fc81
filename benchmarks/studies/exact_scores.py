"""A trained score against the exact one at each noise level, where the model that made the data is known.

python benchmarks/studies/exact_scores.py CHECKPOINT FOLDER [--label default] [--frames 48]

CHECKPOINT: model.ckpt. FOLDER: what fpforce-reference --model alkane or structure-based wrote. At x = alpha x0 +
sigma z the exact score is (alpha <x0> - x) / sigma^2, with the mean over what x leaves of x0: exp(-U(x0) / kT) times a
Gaussian of width sigma / alpha about x / alpha. Langevin dynamics in both makes it, four runs for each frame of the
training set, so that the noise of the mean is known and taken off. For the analytic prior alone, the energy without its
denoising fit and the one with it: mean of sigma^2 |s - s_exact|^2 / D, which is what a denoising loss is above the
least that any score can have. Half of D times its integral over ln(alpha^2 / sigma^2) is an upper bound of the
relative entropy of the data from samples, in nats (Song et al., arXiv 2101.09258, theorem 1). Then the relative error
of forces at t_eval without rounds of calibration, along bonds, along 1-3 distances and perpendicular to both.

docs/results/exact_scores.json keeps a row for each molecule and label, from which docs/results/exact_scores.md is made.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from studies.exact_energies import pentane
from workbench import options

NOISE = (0.02, 0.04, 0.08, 0.16, 0.32)
RUNS, SETTLING, EVERY = 4, 500, 50  # of each frame; steps of TIMESTEP_PS before the first and between positions
TIMESTEP_PS, FRICTION_PER_PS = 0.002, 2.0
FORCE_FRAMES = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--label", default="default", help="what the training is called in the table")
    parser.add_argument("--frames", type=int, default=48, help="of the training set, at each noise level")
    parser.add_argument("--positions", type=int, default=300, help="of each run")
    chosen = options.parse(parser, frames=2, positions=5)
    if chosen.quick and chosen.checkpoint is None:
        chosen.checkpoint, chosen.folder = pentane(chosen.runs / "pentane")
    if chosen.checkpoint is None or chosen.folder is None:
        parser.error("a checkpoint and the folder of its exact reference are needed")
    row = measured(chosen.checkpoint, chosen.folder, chosen.frames, chosen.positions)
    row = {"molecule": chosen.folder.resolve().name, "label": chosen.label} | row
    kept = chosen.results / "exact_scores.json"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    same = ("molecule", "label")
    rows = [one for one in rows if any(one[name] != row[name] for name in same)] + [row]
    rows.sort(key=lambda one: (one["molecule"], one["label"]))
    kept.write_text(json.dumps(rows, indent=1) + "\n")
    (chosen.results / "exact_scores.md").write_text(table(rows))
    print(table([row]))


def measured(checkpoint: Path, folder: Path, frames: int, positions: int) -> dict[str, Any]:
    """By name, figures at each of NOISE, and errors of forces."""
    import torch

    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.diffusion import alpha, centred_noise, degrees_of_freedom, time_of_variance
    from fpforce.trajectories.bead_frames import read_bead_frames

    torch.set_num_threads(1)
    read = read_checkpoint(checkpoint)
    made = json.loads((folder / "data.json").read_text())["made"]
    topology = str(folder / f"{folder.resolve().name}.pdb")
    known = read_bead_frames([str(folder / "train.xtc")], topology, beads="all").positions_nm
    normalisation, temperature_k = read.record.normalisation, made["temperature_k"]
    fitted, plain = read.model(0), read.model(0)
    plain.network.levels = None
    dimensions = int(degrees_of_freedom(known.shape[1]))
    generator, draws = torch.Generator().manual_seed(0), np.random.default_rng(0)
    exact = RestrainedDynamics(_model(made, folder).system, temperature_k)
    found: dict[str, list[float]] = {"least": [], "prior": [], "unfitted": [], "fitted": []}
    for sigma in NOISE:
        t = time_of_variance(torch.tensor([sigma**2], dtype=torch.float64))
        signal = float(alpha(t))
        x0 = normalisation.from_nm(torch.from_numpy(known[draws.choice(len(known), frames)]).double(), 0.0)
        x = signal * x0 + sigma * centred_noise(x0.shape, generator, x0)
        centres_nm, x0_nm = (normalisation.to_nm(one, 0.0).numpy() for one in (x / signal, x0))
        means, variance = exact.means(centres_nm, x0_nm, sigma * normalisation.scale_nm / signal, positions)
        noise = float(means.var(0, ddof=1).sum((1, 2)).mean()) / RUNS
        least = variance + float(means.var(0).sum((1, 2)).mean())
        unit = (signal / (sigma * float(normalisation.scale_nm))) ** 2 / dimensions
        found["least"].append(unit * least)
        ends = normalisation.from_nm(torch.from_numpy(means.mean(0)), 0.0)
        score = (signal * ends - x) / sigma**2
        for name, energy in (("prior", plain.prior), ("unfitted", plain), ("fitted", fitted)):
            at = x.float().requires_grad_()
            ours = -torch.autograd.grad(energy(at, t.float()).sum(), at)[0].double()
            excess = sigma**2 * float((ours - score).square().sum((1, 2)).mean()) / dimensions
            found[name].append(excess - unit * noise)
    return found | {"force_errors": _force_errors(read, folder, topology, temperature_k)}


class RestrainedDynamics:
    """Langevin dynamics of a system (which is changed) whose particles are drawn to given places."""

    def __init__(self, system: Any, temperature_k: float):
        import openmm

        from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K

        self._kt, self._temperature_k = BOLTZMANN_KJ_PER_MOL_K * temperature_k, temperature_k
        self._force = openmm.CustomExternalForce("0.5 * held * ((x - x0)^2 + (y - y0)^2 + (z - z0)^2)")
        self._force.addGlobalParameter("held", 0.0)
        for name in ("x0", "y0", "z0"):
            self._force.addPerParticleParameter(name)
        for k in range(system.getNumParticles()):
            self._force.addParticle(k, [0.0, 0.0, 0.0])
        system.addForce(self._force)
        self._integrator = openmm.LangevinMiddleIntegrator(temperature_k, FRICTION_PER_PS, TIMESTEP_PS)
        self._integrator.setRandomNumberSeed(1)
        self._context = openmm.Context(system, self._integrator, openmm.Platform.getPlatformByName("Reference"))

    def means(
        self, centres_nm: np.ndarray, starts_nm: np.ndarray, width_nm: float, positions: int
    ) -> tuple[np.ndarray, float]:
        """Means (RUNS, frames, beads, 3) of so many positions in nm about their centroid, and the sum of their
        variances within a run, over all coordinates; centres_nm, starts_nm (frames, beads, 3).
        """
        means, variance = np.zeros((RUNS, *centres_nm.shape)), 0.0
        self._context.setParameter("held", self._kt / width_nm**2)
        for frame, (centres, start) in enumerate(zip(centres_nm, starts_nm, strict=True)):
            for k, centre in enumerate(centres):
                self._force.setParticleParameters(k, k, centre.tolist())
            self._force.updateParametersInContext(self._context)
            for run in range(RUNS):
                self._context.setPositions(start)
                self._context.setVelocitiesToTemperature(self._temperature_k, RUNS * frame + run + 1)
                self._integrator.step(SETTLING)
                taken = np.empty((positions, *start.shape))
                for k in range(positions):
                    self._integrator.step(EVERY)
                    taken[k] = self._context.getState(getPositions=True).getPositions(asNumpy=True)._value
                taken -= taken.mean(1, keepdims=True)
                means[run, frame] = taken.mean(0)
                variance += float(taken.var(0).sum()) / (RUNS * len(centres_nm))
        return means, variance


def _model(made: dict[str, Any], folder: Path) -> Any:
    """The model of the data, as fpforce-reference built it."""
    from fpforce.reference.models import alkane, structure_based

    if made["model"] == "alkane":
        return alkane.build(made["molecule"].split("H")[0])
    if made["model"] == "structure-based":
        return structure_based.build(str(folder / "native.pdb"))
    raise SystemExit(f"{folder} was made by --model {made['model']}; give one of alkane or structure-based")


def _force_errors(read: Any, folder: Path, topology: str, temperature_k: float) -> dict[str, float]:
    """Relative root mean square errors of the forces at t_eval, on frames of the reference."""
    import torch

    from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
    from fpforce.trajectories.bead_frames import read_bead_frames

    known = read_bead_frames([str(folder / "reference.xtc")], topology, beads="all").positions_nm
    every = max(1, len(known) // FORCE_FRAMES)
    with np.load(folder / "reference_forces.npz") as saved:
        exact = saved["forces"][::every]
    exact = exact - exact.mean(1, keepdims=True)
    positions_nm, normalisation, t = known[::every].astype(float), read.record.normalisation, read.recipe.diffusion
    x = normalisation.from_nm(torch.from_numpy(positions_nm), t.evaluated_at).float()
    score = read.model(0).score(x, x.new_full((1,), t.evaluated_at)).double().numpy()
    off = score * BOLTZMANN_KJ_PER_MOL_K * temperature_k / float(normalisation.scale_nm) - exact
    bonds, angles = (_directions(positions_nm, apart) for apart in (1, 2))
    frame = np.linalg.qr(np.concatenate([bonds, angles], 2))[0]

    def parts(values: np.ndarray) -> np.ndarray:
        along = np.square(np.einsum("fik,fi->fk", frame, values.reshape(len(values), -1)))
        stiff = [along[:, : bonds.shape[2]].sum(1).mean(), along[:, bonds.shape[2] :].sum(1).mean()]
        whole = np.square(values).sum((1, 2)).mean()
        return np.array([whole, *stiff, whole - sum(stiff)])

    errors = np.sqrt(parts(off) / parts(exact))
    return dict(zip(("all", "bonds", "1-3 distances", "others"), errors.tolist(), strict=True))


def _directions(x: np.ndarray, apart: int) -> np.ndarray:
    """Gradients (frames, 3 beads, pairs) of the distances of beads so far apart along the chain."""
    along = x[:, apart:] - x[:, :-apart]
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    number = np.arange(along.shape[1])
    found = np.zeros((len(x), len(number), *x.shape[1:]))
    found[:, number, number] = -along
    found[:, number, number + apart] = along
    return found.reshape(*found.shape[:2], -1).transpose(0, 2, 1)


def table(rows: list[dict]) -> str:
    names = {
        "least": "least denoising loss",
        "prior": "excess of the prior",
        "unfitted": "excess, no denoising fit",
        "fitted": "excess",
    }
    lines = [
        "| molecule | training | figure | " + " | ".join(f"{noise:g}" for noise in NOISE) + " | force error: all "
        "| bonds | 1-3 distances | others |",
        "|---|---|---|" + "---|" * (len(NOISE) + 4),
    ]
    for row in rows:
        for name, words in names.items():
            figures = " | ".join(f"{value:.4f}" for value in row[name])
            errors = [f"{value:.3f}" if name == "fitted" else "" for value in row["force_errors"].values()]
            lines.append(f"| {row['molecule']} | {row['label']} | {words} | {figures} | {' | '.join(errors)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
