"""Which measure tells frames that are wrong by construction from right ones, and how well.

python benchmarks/studies/support.py [CASE ...] [--tau FOLDER] [--systems FOLDER] [--steps 8000] [--frames 1000]

Of every CASE a model is taken, as strangers.py trains it (runs/strangers/CASE_default_0), or trained: of `muller_brown`
without the analytic prior, with the Fokker-Planck term and without. Measured are frames of a reference that nothing was
trained on, and frames that are wrong: mirror images, clashes, beads moved by 0.05 nm, the force field's own simulation,
at 2 times the temperature, and with an attraction under which it collapses; of the potential places of more than 10 kT.

Measures: those of fpforce.support, one by one and together, and others that are known: the denoising error at noise of
variance 0.1, the norm of the score there without noise, the nearest neighbour in standardised pair distances among
1,000 frames of the training and in RMSD among 250, and of 40 frames of one case |E + ln q|, the energy against the
likelihood by the probability flow. A measure flags what is beyond 99% of the frames held out of the training.

docs/results/support.json keeps a row for each case and kind, from which docs/results/support.md is made.
Longer than other files for its list of measures.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from studies.strangers import CASES as STRANGERS
from studies.strangers import VARIANTS, brought, replace_text
from workbench import options, wrong_frames
from workbench.frames_compared import thinned
from workbench.hardware import describe_hardware
from workbench.places import EXAMPLES
from workbench.tiny import SMALL

PLANE = "muller_brown"
OURS = "all of fpforce.support"
FALSE = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 61)])  # rates of false alarms at which the curves are kept
LIKELIHOODS = 40  # frames, since each is followed along the flow
FITTED = 250  # frames of the training, of the 1,000 that are known, on which others are laid
FLOW_CASE, FLOW = "tau", "energy against the flow"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{PLANE}, or one of {', '.join(STRANGERS)}")
    parser.add_argument("--steps", type=int, default=8000, help="of trainings that are not there yet")
    parser.add_argument("--frames", type=int, default=1000, help="of every kind")
    parser.add_argument("--tau", type=Path, help="folder of tau.pdb, train.xtc and held.xtc")
    parser.add_argument("--systems", type=Path, help="folder of the sets that fpforce-reference --model makes")
    parser.add_argument("--no-likelihoods", action="store_true", help="leave out what takes the longest")
    parser.add_argument("--kinds", nargs="*", default=[], help="of frames, these alone")
    chosen = options.parse(parser, steps=30, frames=50)
    for name in chosen.cases or ["alanine", PLANE]:
        began = time.monotonic()
        rows = (on_plane if name == PLANE else on_molecule)(name, chosen)
        keep(rows, chosen.results)
        print(f"{name}: {time.monotonic() - began:.0f} s\n{table(rows)}", flush=True)


def on_molecule(name: str, chosen: argparse.Namespace) -> list[dict]:
    """Rows of one of the molecules of strangers.py."""
    from fpforce.trajectories.bead_frames import read_bead_frames

    case = STRANGERS[name]
    files = brought(case, chosen.runs / "strangers" / f"{name}_default_0" / "data", chosen)
    data = {"trajectories": files.training, "topology": files.topology, "beads": case.beads}
    models = {}
    for variant in ("default", "without Fokker-Planck"):
        folder = chosen.runs / "strangers" / f"{name}_{variant.replace(' ', '_')}_0"
        if variant == "default" or (folder / "model.ckpt").exists():
            models[variant] = model_of(folder, data, files.temperature_k, chosen, VARIANTS[variant])
    measure, rng = models["default"], np.random.default_rng(0)
    reference = read_bead_frames(files.reference, files.topology, beads=case.beads).positions_nm.astype(float)
    right, base = thinned(reference, chosen.frames), thinned(reference[1:], chosen.frames)
    wrong = {
        "mirror images": (measure, lambda: wrong_frames.mirrored(base)),
        "clashes": (measure, lambda: wrong_frames.clashing(base, rng)),
        "a bead moved by 0.05 nm": (measure, lambda: wrong_frames.displaced(base, 0.05, rng)),
        "twice the temperature": (measure, lambda: wrong_frames.simulated(measure.field, base, heat=2.0)),
        "collapsed": (measure, lambda: wrong_frames.simulated(measure.field, base, squeezed=True)),
        "own simulation": (measure, lambda: wrong_frames.simulated(measure.field, base)),
    }
    if "without Fokker-Planck" in models:
        other = models["without Fokker-Planck"]
        wrong["own simulation, without Fokker-Planck"] = (other, lambda: wrong_frames.simulated(other.field, base))
    return rows_of(name, measure, right, wrong, chosen)


def on_plane(name: str, chosen: argparse.Namespace) -> list[dict]:
    """Rows of the Mueller-Brown potential: of models without the analytic prior, which would hide what is wrong."""
    from fpforce.potentials.muller_brown import MULLER_BROWN
    from fpforce.trajectories.arrays import read_array

    example, models = EXAMPLES / "muller_brown", {}
    content = {"data": {"trajectories": [str(example / "train.npz")], "length_unit": "nm"}}
    content["data"]["beads"] = [{"name": "P", "residue": "PAR", "mass_da": 1.0}]
    for variant, weight in (("default", []), ("without Fokker-Planck", ["loss.fokker_planck_weight=0"])):
        folder = chosen.runs / "support" / f"{name}_{variant.replace(' ', '_')}_0"
        changes = ["model={kind: mlp, prior: false}", "loss.flow_weight=0", "optimizer.batch_size=256", *weight]
        models[variant] = model_of(folder, content["data"], 300.0, chosen, changes)
    reference = read_array(example / "reference.npz", "nm", 1).astype(float)
    right, rng = thinned(reference, chosen.frames), np.random.default_rng(0)
    anywhere = np.zeros((50 * chosen.frames, 1, 3))
    anywhere[:, 0, :2] = rng.uniform(*np.array(MULLER_BROWN.box_nm).T, size=(len(anywhere), 2))
    energies = MULLER_BROWN.energy(anywhere[:, 0, 0], anywhere[:, 0, 1]) / MULLER_BROWN.kt_kj_per_mol
    low = (MULLER_BROWN.energy(*reference[:, 0, :2].T) / MULLER_BROWN.kt_kj_per_mol).min()
    high = anywhere[energies > low + 10.0][: chosen.frames]
    wrong = {"places of more than 10 kT": (models["default"], lambda: high)}
    for variant, measure in models.items():
        label = "own simulation" + ("" if variant == "default" else f", {variant}")
        wrong[label] = (measure, partial(wrong_frames.simulated, measure.field, right))
    return rows_of(name, models["default"], right, wrong, chosen)


class Measures:
    """All measures of one model, each of frames (frames, beads, 3) in nm, and the edge of each."""

    def __init__(self, checkpoint, path: Path):
        import fpforce
        from fpforce.system.support import SupportMeter

        self.field, self.checkpoint = fpforce.load(path), checkpoint
        self.meter = SupportMeter.of(self.field)
        kept, self.normalisation = checkpoint.record.support, checkpoint.record.normalisation
        known, held_out = (self.normalisation.to_nm(kept[name].double()).numpy() for name in ("frames", "held_out"))
        self.known = known
        pairs = np.triu_indices(known.shape[1], 1)
        self._distances = lambda x: np.linalg.norm(x[:, pairs[0]] - x[:, pairs[1]], axis=-1)
        self.molecule = known.shape[1] > 1
        self.edges = {name: float(np.quantile(values, 0.99)) for name, values in self(held_out).items()} | {OURS: 1.0}

    def __call__(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        found = dict(self.meter.measures(frames))
        found[OURS] = self.meter.edges.distances(found).distances
        found |= self._by_the_score(frames)
        if self.molecule:
            known, ours = self._distances(self.known), self._distances(frames)
            mean, spread = known.mean(0), known.std(0)
            found["neighbour, pair distances"] = _nearest((ours - mean) / spread, (known - mean) / spread)
            found["neighbour, RMSD"] = _nearest_rmsd(frames, thinned(self.known, FITTED))
        return found

    def _by_the_score(self, frames: np.ndarray, variance: float = 0.1, draws: int = 4) -> dict[str, np.ndarray]:
        """Denoising error, mean over draws and their negatives, and norm of the score without noise, a degree of
        freedom each.
        """
        import torch

        from fpforce.training.diffusion import alpha, centred, degrees_of_freedom, time_of_variance

        t = time_of_variance(torch.tensor([variance], dtype=torch.float64)).float()
        model = self.checkpoint.model(self.checkpoint.covering(float(t)))
        x = alpha(t) * self.normalisation.from_nm(torch.from_numpy(np.asarray(frames, dtype=np.float64))).float()
        sigma, dimension = variance**0.5, degrees_of_freedom(x.shape[1])
        generator, errors = torch.Generator().manual_seed(0), []
        for _ in range(draws):
            z = centred(torch.randn(x.shape, generator=generator))
            for sign in (1.0, -1.0):
                error = sigma * model.score(x + sign * sigma * z, t).detach() + sign * z
                errors.append(error.square().sum((1, 2)) / dimension)
        bare = (sigma * model.score(x, t).detach()).square().sum((1, 2)) / dimension
        return {"denoising error": torch.stack(errors).mean(0).numpy(), "norm of the score": bare.numpy()}

    def against_the_flow(self, frames: np.ndarray) -> np.ndarray:
        """|E + ln q - its median over training frames| of LIKELIHOODS frames, ln q by the probability flow."""
        import torch

        from fpforce.training.loop.flow_pool import T_TOP, UP
        from fpforce.training.sampling.likelihood import exact_divergence
        from fpforce.training.sampling.solvers import probability_flow, time_grid

        model, t_min = self.checkpoint.model(), 1e-5
        both = np.concatenate([thinned(self.known, LIKELIHOODS), thinned(frames, LIKELIHOODS)])
        x = self.normalisation.from_nm(torch.from_numpy(both)).float()
        end, gained = x, x.new_zeros(len(x))
        grid = time_grid(T_TOP, t_min, UP).flip(0)
        for state, gain in probability_flow(exact_divergence(model), grid, x, gained):
            end, gained = state.detach(), gain.detach()
        with torch.no_grad():
            low, high = (model(at, at.new_full((1,), t)) for at, t in ((x, t_min), (end, T_TOP)))
        difference = (low - high - gained).double().numpy()
        count = min(LIKELIHOODS, len(self.known))
        return np.abs(difference[count:] - np.median(difference[:count]))


def rows_of(
    name: str,
    measure: Measures,
    right: np.ndarray,
    wrong: dict[str, tuple[Measures, Callable[[], np.ndarray]]],
    chosen: argparse.Namespace,
) -> list[dict]:
    """A row for the reference, and one for each kind of wrong frames, with what makes and what measures them."""
    kinds = {"reference": (measure, lambda: right)} | wrong
    known, rows = measure(right), []
    for kind in chosen.kinds or kinds:
        own, made = kinds[kind]
        frames, of_right = made(), known if own is measure else own(right)
        if not len(frames):  # of five beads no turn about a bond makes others overlap
            continue
        one = row(name, kind, of_right, own(frames), own.edges)
        if name == FLOW_CASE and own is measure and not chosen.no_likelihoods:
            of_right, values = (measure.against_the_flow(each) for each in (right, frames))
            one["auc"][FLOW] = area(of_right, values)
            one["flagged"][FLOW] = float((values > np.quantile(of_right, 0.99)).mean())
        began = time.perf_counter()
        own.meter(right)
        seconds = (time.perf_counter() - began) / len(right)
        steps = own.checkpoint.record.experts[0].steps
        one |= {"beads": right.shape[1], "steps": steps, "seconds_a_frame": seconds}
        rows.append(one | {"edge_from": own.meter.edges.frames})
    return rows


def row(name: str, kind: str, right: dict, wrong: dict, edges: dict) -> dict:
    """What every measure makes of frames of one kind: part flagged, area under the curve, and our curve."""
    ordered = np.sort(right[OURS])
    limits = np.quantile(ordered, 1.0 - FALSE)
    return {
        "case": name,
        "kind": kind,
        "frames": len(wrong[OURS]),
        "flagged": {one: float((values > edges[one]).mean()) for one, values in wrong.items()},
        "auc": {one: area(right[one], values) for one, values in wrong.items()},
        "false": FALSE.tolist(),
        "true": [float((wrong[OURS] > limit).mean()) for limit in limits],
        "hardware": describe_hardware(),
    }


def area(right: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the receiver operating characteristic: how often a wrong frame is stranger than a right one."""
    ordered = np.sort(right)
    below = np.searchsorted(ordered, wrong, side="left") + np.searchsorted(ordered, wrong, side="right")
    return float(below.mean() / (2 * len(right)))


def model_of(folder: Path, data: dict, temperature_k: float, chosen, changes) -> Measures:
    """The measures of a model that lies in the folder, or is trained there; with frames of its data to go by."""
    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.data.read import read_training_set
    from fpforce.training.modelfile.write import write_force_field
    from fpforce.training.recipe.read import load_recipe

    train_one(folder, data, temperature_k, chosen, changes)
    checkpoint = read_checkpoint(folder / "model.ckpt")
    if checkpoint.record.support is None:  # of an earlier version
        recipe = load_recipe(asked(folder, data, temperature_k))
        training_set = read_training_set(
            recipe.data, temperature_k=temperature_k, batch_size=1, earlier=checkpoint.data
        )
        checkpoint.record.support = training_set.support_frames()
    path = folder / "with_support.pt"
    write_force_field(checkpoint, path, checkpoint.recipe.diffusion.evaluated_at, overwrite=True)
    return Measures(checkpoint, path)


def train_one(folder: Path, data: dict, temperature_k: float, chosen, changes) -> None:
    """Train where there is no checkpoint yet."""
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "model.ckpt").exists():
        return
    program = [f"run.max_steps={chosen.steps}", "run.threads=1", "run.compile=false", *changes]
    small = SMALL if chosen.quick else ()
    if data.get("length_unit"):  # a particle in the plane has a network of its own
        small = small[2:]
    train(load_recipe(asked(folder, data, temperature_k), [*program, *small]), show_progress=False)


def asked(folder: Path, data: dict, temperature_k: float) -> Path:
    recipe = folder / "asked.yaml"
    recipe.write_text(json.dumps({"data": data, "temperature_k": temperature_k, "output": str(folder)}))
    return recipe


def _nearest(ours: np.ndarray, known: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import cdist

    return cdist(ours, known).min(axis=1)


def _nearest_rmsd(ours: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Smallest root mean square deviation (frames,) from any known frame, each laid on it by the best rotation."""
    ours, known = (x - x.mean(axis=1, keepdims=True) for x in (ours, known))
    squares, found = np.square(known).sum(axis=(1, 2)), []
    for frame in ours:
        product = np.einsum("ni,fnj->fij", frame, known)
        values = np.linalg.svd(product, compute_uv=False)
        values[:, 2] *= np.sign(np.linalg.det(product))
        found.append((np.square(frame).sum() + squares - 2.0 * values.sum(axis=1)).min())
    return np.sqrt(np.maximum(found, 0.0) / ours.shape[1])


def keep(rows: list[dict], results: Path) -> None:
    """Put the rows of a case in the place of earlier ones, and make the table anew."""
    kept = results / "support.json"
    made = {(one["case"], one["kind"]): one for one in (json.loads(kept.read_text()) if kept.exists() else [])}
    made |= {(one["case"], one["kind"]): one for one in rows}  # in the place of earlier ones
    together = sorted(made.values(), key=lambda one: one["case"])
    replace_text(kept, json.dumps(together, indent=1) + "\n")
    replace_text(results / "support.md", table(together))


def table(rows: list[dict]) -> str:
    """Parts flagged, a row for each kind of frames, with the area under the curve in brackets."""
    names = list(dict.fromkeys(name for one in rows for name in one["flagged"]))
    names = [OURS, *(name for name in names if name != OURS)]
    lines = [f"| case | beads | frames | how many | {' | '.join(names)} |", "|" + "---|" * (len(names) + 4)]
    for one in rows:
        flagged, auc = one["flagged"], one["auc"]
        cells = [f"{100 * flagged[name]:.1f} ({auc[name]:.2f})" if name in flagged else "" for name in names]
        first = [one["case"], str(one["beads"]), one["kind"], str(one["frames"])]
        lines.append(f"| {' | '.join([*first, *cells])} |")
    hardware = ", ".join(sorted({one["hardware"] for one in rows}))
    trained = [f"{one['case']} {one['steps']:,}" for one in rows if one["kind"] == "own simulation" and "steps" in one]
    steps = f" Steps of training: {', '.join(trained)}." if trained else ""
    costed = [one for one in rows if one["kind"] == "reference" and "seconds_a_frame" in one]
    costs = [f"{one['case']} {1e6 * one['seconds_a_frame']:.0f}" for one in costed]
    cost = f" Microseconds a frame, one thread, beside other programs: {', '.join(costs)}." if costs else ""
    return (
        f"{hardware}. Part flagged in %, area under the curve in brackets.{steps}{cost}\n\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
