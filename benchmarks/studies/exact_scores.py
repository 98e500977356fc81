"""Trained scores against the exact one at each noise level, where the model that made the data is known.

python benchmarks/studies/exact_scores.py FOLDER LABEL=CHECKPOINT... [--frames 48]

FOLDER: what fpforce-reference --model alkane or structure-based wrote. CHECKPOINT: model.ckpt of an energy with its
prior, trained on it; LABEL: what the table calls it. At x = alpha x0 + sigma z the exact score is (alpha <x0> - x) /
sigma^2, with the mean over what x leaves of x0: exp(-U(x0) / kT) times a Gaussian of width sigma / alpha about
x / alpha. Langevin dynamics in both makes it, four runs for each frame of the reference, from that frame; the
variance between them is taken off. From sigma = 0.16 on dihedrals turn, the runs are five times as long, and what they
have in common is still in all figures alike, some 0.01 of sigma^2 |s - s_exact|^2 / D: there only differences between
trainings count. That mean, which is what a denoising loss is above the least that any score can have, is given for the
analytic prior alone, for the energy without its denoising fit and for the one with it. Half of D times its integral
over ln(alpha^2 / sigma^2) bounds the relative entropy of the data from samples, in nats, as far as it arises at these
noise levels (Song et al., arXiv 2101.09258, theorem 1). Then the relative error of forces at t_eval without rounds of
calibration, along the distances of beads k and k + 1, of k and k + 2, and perpendicular to both.

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
RUNS, SETTLING = 4, 500  # of each frame; steps of TIMESTEP_PS before the first position
EVERY = {0.02: 50, 0.04: 50, 0.08: 50, 0.16: 250, 0.32: 250}  # and between positions
TIMESTEP_PS, FRICTION_PER_PS = 0.002, 2.0
FORCE_FRAMES = 300
NAMES = {
    "least": "least denoising loss",
    "prior": "excess of the prior",
    "unfitted": "excess, no denoising fit",
    "fitted": "excess",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("trainings", nargs="*", metavar="LABEL=CHECKPOINT")
    parser.add_argument("--frames", type=int, default=48, help="of the reference, at each noise level")
    parser.add_argument("--positions", type=int, default=300, help="of each run")
    chosen = options.parse(parser, frames=2, positions=5)
    if chosen.quick and chosen.folder is None:
        checkpoint, chosen.folder = pentane(chosen.runs / "pentane")
        chosen.trainings = [f"default={checkpoint}"]
    if chosen.folder is None or not chosen.trainings or not all("=" in one for one in chosen.trainings):
        parser.error("the folder of an exact reference and one or more LABEL=CHECKPOINT are needed")
    trainings = dict(one.split("=", 1) for one in chosen.trainings)
    found = measured({label: Path(path) for label, path in trainings.items()}, chosen)
    kept = chosen.results / "exact_scores.json"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    new = {(one["molecule"], one["label"]) for one in found}
    rows = [one for one in rows if (one["molecule"], one["label"]) not in new] + found
    rows.sort(key=lambda one: (one["molecule"], one["label"]))
    kept.write_text(json.dumps(rows, indent=1) + "\n")
    (chosen.results / "exact_scores.md").write_text(table(rows))
    print(table(found))


def measured(trainings: dict[str, Path], chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each training: figures at each of NOISE, and errors of forces, by name."""
    import torch

    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.diffusion import alpha, centred_noise, degrees_of_freedom, time_of_variance
    from fpforce.trajectories.bead_frames import read_bead_frames

    torch.set_num_threads(1)
    folder, frames = chosen.folder, chosen.frames
    reads = {label: read_checkpoint(path) for label, path in trainings.items()}
    made = json.loads((folder / "data.json").read_text())["made"]
    topology = str(folder / f"{folder.resolve().name}.pdb")
    known = read_bead_frames([str(folder / "reference.xtc")], topology, beads="all").positions_nm
    normalisation, temperature_k = next(iter(reads.values())).record.normalisation, made["temperature_k"]
    if any(read.record.scale_nm != normalisation.scale_nm for read in reads.values()):
        raise SystemExit("these checkpoints were trained on different data: their units of length differ")
    if any(read.model(0).prior is None for read in reads.values()):
        raise SystemExit("an energy without its analytic prior has no row of it; leave that checkpoint out")
    dimensions = int(degrees_of_freedom(known.shape[1]))
    generator, draws = torch.Generator().manual_seed(0), np.random.default_rng(0)
    exact = RestrainedDynamics(_model(made, folder).system, temperature_k)
    found: dict[str, dict[str, list[float]]] = {label: {name: [] for name in NAMES} for label in reads}
    for sigma in NOISE:
        t = time_of_variance(torch.tensor([sigma**2], dtype=torch.float64))
        signal = float(alpha(t))
        x0 = normalisation.from_nm(torch.from_numpy(known[draws.choice(len(known), frames)]).double(), 0.0)
        x = signal * x0 + sigma * centred_noise(x0.shape, generator, x0)
        centres_nm, x0_nm = (normalisation.to_nm(one, 0.0).numpy() for one in (x / signal, x0))
        width_nm = sigma * float(normalisation.scale_nm) / signal
        means, variance = exact.means(centres_nm, x0_nm, width_nm, chosen.positions, EVERY[sigma])
        between, unit = float(means.var(0, ddof=1).sum((1, 2)).mean()), 1.0 / (width_nm**2 * dimensions)
        ends = normalisation.from_nm(torch.from_numpy(means.mean(0)), 0.0)
        score = (signal * ends - x) / sigma**2
        for label, read in reads.items():
            plain = read.model(0)
            plain.network.levels = None
            found[label]["least"].append(unit * (variance + between))
            for name, energy in (("prior", plain.prior), ("unfitted", plain), ("fitted", read.model(0))):
                at = x.float().requires_grad_()
                ours = -torch.autograd.grad(energy(at, t.float()).sum(), at)[0].double()
                excess = sigma**2 * float((ours - score).square().sum((1, 2)).mean()) / dimensions
                found[label][name].append(excess - unit * between / RUNS)
    return [
        {"molecule": folder.resolve().name, "label": label}
        | found[label]
        | {"force_errors": _force_errors(read, folder, topology, temperature_k)}
        for label, read in reads.items()
    ]


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
        self, centres_nm: np.ndarray, starts_nm: np.ndarray, width_nm: float, positions: int, every: int
    ) -> tuple[np.ndarray, float]:
        """Means (RUNS, frames, beads, 3) of so many positions in nm about their centroid, one every so many steps, and
        the sum of their variances within a run, over all coordinates; centres_nm, starts_nm (frames, beads, 3).
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
                    self._integrator.step(every)
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
    lines = [
        "| molecule | training | figure | " + " | ".join(f"{noise:g}" for noise in NOISE) + " | force error: all "
        "| bonds | 1-3 distances | others |",
        "|---|---|---|" + "---|" * (len(NOISE) + 4),
    ]
    for row in rows:
        for name, words in NAMES.items():
            figures = " | ".join(f"{value:.4f}" for value in row[name])
            errors = [f"{value:.3f}" if name == "fitted" else "" for value in row["force_errors"].values()]
            lines.append(f"| {row['molecule']} | {row['label']} | {words} | {figures} | {' | '.join(errors)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
