"""Trains, judges and describes the force fields that come with the package.

python benchmarks/studies/pretrained.py [NAME ...] [--steps 20000] [--picoseconds 200] [--replicas 8] [--unseen 20]
Each is trained by its example's recipe on one thread, exported, and judged against what it was not trained on:
`alanine_dipeptide` as `make demo` judges it, `dipeptides` on sequences never trained on, as studies/dipeptides.py does,
`disordered` by the sizes of sequences never trained on, which relax in hundreds of picoseconds: its card says the
options. Writes fpforce/shipped/NAME.pt and its card NAME.md, with every figure in it; runs live in runs/pretrained and
are resumed. With --quick or --into they are written to the results' folder instead.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from studies import dipeptides as dipeptides_study
from workbench import disordered_sizes, model_cards, options
from workbench.hardware import describe_hardware
from workbench.places import ALANINE, EXAMPLES, ROOT
from workbench.shipping import ship
from workbench.tiny import SMALL

SHIPPED = ROOT / "fpforce" / "shipped"


@dataclass(frozen=True)
class Made:
    """A force field, what was measured of it (JSON-able figures), and the options that this was done with."""

    model: Path
    figures: dict
    options: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    from fpforce.shipped.pretrained import names

    parser.add_argument("names", nargs="*", choices=[*MAKERS, []], default=[], help="those that are shipped by default")
    parser.add_argument("--minutes", type=float, default=20.0, help="of the fit of alanine dipeptide")
    parser.add_argument("--steps", type=int, default=20_000, help="of a training of many molecules")
    parser.add_argument("--unseen", type=int, default=20, help="sequences never trained on that are judged")
    parser.add_argument("--picoseconds", type=float, default=200.0, help="of each of their simulations")
    parser.add_argument("--replicas", type=int, default=8, help="in each of them")
    small = dict(minutes=0.5, steps=200, unseen=1, picoseconds=2.0, replicas=2)
    chosen = options.parse(parser, **small)
    target = SHIPPED if chosen.into is None else chosen.results
    for name in chosen.names or (["dipeptides"] if chosen.quick else names()):
        folder = chosen.runs / "pretrained" / name
        folder.mkdir(parents=True, exist_ok=True)
        made = MAKERS[name](folder, chosen)
        ship(made.model, target / f"{name}.pt")
        command = " ".join(["python benchmarks/studies/pretrained.py", name, *made.options])
        figures = {"command": command} | made.figures | facts_of(target / f"{name}.pt")
        model_cards.write(name, target, figures)
        print(f"{target / name}.md\n\n{(target / name).with_suffix('.md').read_text()}", flush=True)


def alanine_dipeptide(folder: Path, chosen: argparse.Namespace) -> Made:
    """By fpforce.fit, as `make demo` does it, with more time."""
    import fpforce

    if not (folder / "report.json").exists():
        recipe = fpforce.load_recipe(ALANINE / "recipe.yaml", [f"output={folder}", *_small(chosen)])
        settings = fpforce.FitSettings(
            reference=[ALANINE / "reference.xtc"], max_minutes=chosen.minutes, replicas=128, overwrite=True
        )
        fpforce.fit(recipe, settings, show_progress=False)
    report = json.loads((folder / "report.json").read_text())
    simulation, reference = report["simulation"], report["reference"]
    keys = ("js", "js_floor", "excess_js", "pmf_error", "pmf_error_floor", "excess_pmf_error", "free_energy_kt")
    figures = {name: simulation[name] for name in (*keys, "converged", "failed_replicas", "frames_compared")}
    figures |= {"verdict": report["verdict"]["status"], "reference_free_energy_kt": reference["free_energy_kt"]}
    figures |= {"outside_support": report["support"]["outside"]}
    return Made(folder / "model.pt", figures, (f"--minutes {chosen.minutes:g}",))


def dipeptides(folder: Path, chosen: argparse.Namespace) -> Made:
    """By examples/dipeptides/recipe.yaml, judged on sequences never trained on."""
    data = dipeptides_study.excerpt(chosen.runs) if chosen.quick else _unpacked(chosen.runs)
    lengths = [] if chosen.quick else dipeptides_study.overrides_of("both", chosen.steps)
    model = _trained(folder, EXAMPLES / "dipeptides" / "recipe.yaml", data / "train", chosen, lengths)
    topologies = sorted((data / "test").glob("*.pdb"))[: chosen.unseen]
    settings = SimpleNamespace(picoseconds=chosen.picoseconds, replicas=chosen.replicas)
    rows = [dipeptides_study.judge(model, folder / one.stem, one, 0, settings) for one in topologies]
    compared = [row for row in rows if row["excess_js"] is not None]
    means = {
        name: statistics.mean(row[name] for row in compared) if compared else None
        for name in ("js", "js_floor", "excess_js", "pmf_error", "pmf_error_floor", "excess_pmf_error")
    }
    free = [(row["free_energy_kt"]["value"], row["reference_kt"]["value"]) for row in rows]
    errors = [abs(ours - theirs) for ours, theirs in free if ours is not None and theirs is not None]
    means |= {"free_energy_error_kt": statistics.mean(errors) if errors else None}
    worst = {"free_energy_error_kt": max(errors, default=None), "free_energies_known": len(errors)}
    counts = {"converged": sum(row["converged"] for row in rows), "failed": sum(row["failed_replicas"] for row in rows)}
    protocol = {"picoseconds": chosen.picoseconds, "replicas": chosen.replicas, "rungs": dipeptides_study.RUNGS}
    return Made(model, {"mean": means, "worst": worst, **counts, **protocol, "sequences": rows}, _options(chosen))


def disordered(folder: Path, chosen: argparse.Namespace) -> Made:
    """By examples/disordered/recipe.yaml, judged by the sizes of sequences never trained on."""
    data = disordered_sizes.data(chosen.runs, chosen.quick)
    lengths = [f"run.max_steps={chosen.steps}"]
    model = _trained(folder, EXAMPLES / "disordered" / "recipe.yaml", data / "train", chosen, lengths)
    topologies = sorted((data / "unseen").glob("*.pdb"))[: chosen.unseen]
    rows = [disordered_sizes.judge(model, folder / one.stem, one, chosen) for one in topologies]
    protocol = {"picoseconds": chosen.picoseconds, "replicas": chosen.replicas}
    frames = {"frames_each": disordered_sizes.FRAMES["train"]}
    return Made(model, {**disordered_sizes.means(rows), **protocol, **frames, "sequences": rows}, _options(chosen))


MAKERS: dict[str, Callable[[Path, argparse.Namespace], Made]] = {
    "alanine_dipeptide": alanine_dipeptide,
    "dipeptides": dipeptides,
    "disordered": disordered,
}


def facts_of(model: Path) -> dict:
    """What the file says of its making, and the machine that judged it."""
    import fpforce

    force_field = fpforce.load(model)
    training = force_field.metadata["training"]
    facts = {name: training[name] for name in ("steps", "seconds", "commit", "data_sha256") if name in training}
    facts |= {"seed": training["recipe"]["run"]["seed"], "model": force_field.kind, "hardware": describe_hardware()}
    facts |= {"megabytes": model.stat().st_size / 1e6, "temperature_k": force_field.temperature_k}
    if isinstance(force_field, fpforce.TransferableForceField):
        transferable = force_field.metadata["transferable"]
        facts |= {
            "trained_on": len(transferable["trained_on"]),
            "residues": list(transferable["knowledge"]["residues"]),
        }
    return facts


def _trained(folder: Path, recipe: Path, molecules: Path, chosen: argparse.Namespace, lengths: list[str]) -> Path:
    """The force field of many molecules."""
    from fpforce.training.export import export
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train

    checkpoint, model = folder / "model.ckpt", folder / "model.pt"
    own = [f"data.molecules={molecules}", f"output={folder}", "run.threads=1", *lengths, *_small(chosen)]
    if not model.exists():
        train(load_recipe(recipe, own), resume=checkpoint.exists(), show_progress=False)
        export(checkpoint, model)
    return model


def _options(chosen: argparse.Namespace) -> tuple[str, ...]:
    """Those that a force field of many molecules is made and judged with."""
    return tuple(f"--{name} {getattr(chosen, name):g}" for name in ("steps", "unseen", "picoseconds", "replicas"))


def _small(chosen: argparse.Namespace) -> list[str]:
    """What the recipe becomes in a quick run."""
    return [*SMALL, "run.compile=false", "run.max_steps=200", "experts=[]"] if chosen.quick else []


def _unpacked(runs: Path) -> Path:
    """Folder of the example's data."""
    import tarfile

    if not (runs / "dipeptides" / "test").exists():
        with tarfile.open(EXAMPLES / "dipeptides" / "data.tar.xz") as archive:
            archive.extractall(runs, filter="data")
    return runs / "dipeptides"


if __name__ == "__main__":
    main()
