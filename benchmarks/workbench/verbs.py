"""The program's verbs in miniature, each with what it leaves behind: what the torture campaigns disturb.

In: a folder with a small model (workbench.tiny). Out: Verbs, each of which can be run anew or gone on with, says how
far its files have come, and what its result is, to be compared with that of an undisturbed run.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from workbench.places import ALANINE
from workbench.tiny import SMALL


@dataclass(frozen=True)
class Verb:
    """run(folder, resume): do it into a folder. marker: the file whose presence means that one can go on; None where
    it is begun anew each time. came(folder): how far its files have come, a number that must not fall. result(folder):
    what must be as without a disturbance.
    """

    name: str
    run: Callable[[Path, bool], Any]
    marker: str | None
    came: Callable[[Path], float]
    result: Callable[[Path], str]

    def go_on(self, folder: Path) -> None:
        """Resume where there is something to resume, else begin anew, over what was left."""
        self.run(folder, self.marker is not None and (folder / self.marker).exists())


def verbs(model: Path) -> dict[str, Verb]:
    checkpoint = model.with_name("model.ckpt")
    simulated = partial(_simulate, model)
    found = (
        Verb("train", _train, "model.ckpt", _steps_of_training, _weights),
        Verb("calibrate", partial(_calibrate, checkpoint), "model.ckpt", _rounds, _shift),
        Verb("export", partial(_export, checkpoint), None, _nothing, _model),
        Verb(
            "sample",
            partial(_sample, checkpoint),
            "s.xtc.json",
            _of_json("s.xtc.json", "drawn"),
            _files("s.xtc", "s.xtc.npz"),
        ),
        Verb(
            "simulate",
            partial(simulated, rungs=1),
            "s.xtc.checkpoint",
            _of_json("s.xtc.json", "steps"),
            _files("s.xtc"),
        ),
        Verb(
            "simulate, 2 rungs",
            partial(simulated, rungs=2),
            "s.xtc.checkpoint",
            _of_json("s.xtc.json", "steps"),
            _files("s.xtc"),
        ),
        Verb("reference", _reference, "run1/checkpoint.npz", _frames_of_reference, _files("train.xtc")),
        Verb("map", _map, None, _nothing, _files("out/beads.npz", "out/beads.xtc", "out/mapping.txt")),
        Verb("evaluate", partial(_evaluate, model), None, _nothing, _report),
    )
    return {verb.name: verb for verb in found}


def prepare(model: Path) -> None:
    """The simulation that is evaluated, and all imports, which forks then have."""
    from fpforce.analysis import evaluate  # noqa: F401
    from fpforce.reference.make import make_reference  # noqa: F401
    from fpforce.simulation.simulate import SimulationSettings, simulate
    from fpforce.training.export import export  # noqa: F401
    from fpforce.training.sample import sample  # noqa: F401
    from fpforce.training.train import train  # noqa: F401

    simulation = model.with_name("evaluated.xtc")
    if not simulation.exists():
        settings = SimulationSettings(steps=2000, replicas=4, report_interval_ps=0.02, threads=1, platform="Reference")
        simulate(model, simulation, settings)


def _recipe(folder: Path, *overrides: str) -> Any:
    from fpforce.training.recipe.read import load_recipe

    own = ("data.stride=50", "run.max_minutes=null", "run.threads=1", "run.accelerator=cpu", "run.compile=false")
    return load_recipe(ALANINE / "recipe.yaml", [*SMALL, *own, f"output={folder}", *overrides])


def _train(folder: Path, resume: bool) -> None:
    from fpforce.training.train import train

    recipe = _recipe(folder, "run.max_steps=60", "run.checkpoint_minutes=0.0005", "run.log_every_steps=10")
    train(recipe, resume=resume, overwrite=not resume, show_progress=False)


def _calibrate(checkpoint: Path, folder: Path, resume: bool) -> None:
    from fpforce.training.train import train

    target = folder / "model.ckpt"
    if not resume:
        folder.mkdir(parents=True, exist_ok=True)
        partial_copy = folder / "copy"
        partial_copy.write_bytes(checkpoint.read_bytes())
        partial_copy.rename(target)
    overrides = (
        "calibration.rounds=3",
        "calibration.replicas=4",
        "calibration.picoseconds=0.2",
        "data.stride=10",
        "run.max_steps=150",
    )
    train(_recipe(folder, *overrides), resume=True, show_progress=False)


def _export(checkpoint: Path, folder: Path, resume: bool) -> None:
    from fpforce.training.export import export

    export(checkpoint, folder / "model.pt", overwrite=True)


def _sample(checkpoint: Path, folder: Path, resume: bool) -> None:
    from fpforce.training.sample import SampleSettings, sample

    settings = SampleSettings(
        samples=48,
        batch_size=8,
        steps=6,
        solver="ode",
        log_likelihood=True,
        threads=1,
        resume=resume,
        overwrite=not resume,
    )
    sample(checkpoint, folder / "s.xtc", settings)


def _simulate(model: Path, folder: Path, resume: bool, *, rungs: int) -> None:
    from fpforce.simulation.simulate import SimulationSettings, simulate

    settings = SimulationSettings(
        steps=1200,
        replicas=3,
        rungs=rungs,
        report_interval_ps=0.02,
        platform="Reference",
        threads=1,
        checkpoint_minutes=0.0005,
        resume=resume,
        overwrite=not resume,
    )
    simulate(model, folder / "s.xtc", settings)


def _reference(folder: Path, resume: bool) -> None:
    from fpforce.reference.make import ReferenceSettings, make_reference
    from fpforce.reference.protocol import Protocol

    protocol = Protocol(interval_ps=0.1)
    settings = ReferenceSettings(
        protocol=protocol, ns=0.004, discard_ps=0.2, runs=1, platform="Reference", checkpoint_minutes=0.001, resume=True
    )
    make_reference("A", folder, settings, show_progress=False)


def _map(folder: Path, resume: bool) -> None:
    from fpforce.commands import map as command

    shutil.rmtree(folder / "out", ignore_errors=True)  # of an earlier run that came to its end
    try:
        command.main([str(ALANINE / "recipe.yaml"), "data.stride=200", "--output", str(folder / "out")])
    except SystemExit as end:
        if end.code:
            raise


def _evaluate(model: Path, folder: Path, resume: bool) -> None:
    from fpforce.analysis import evaluate

    simulation = model.with_name("evaluated.xtc")
    evaluate(
        model,
        [ALANINE / "reference.xtc"],
        [simulation],
        topology=ALANINE / "alanine_dipeptide.pdb",
        output=folder / "report",
        overwrite=True,
    )


def _nothing(folder: Path) -> float:
    return 0.0


def _of_json(name: str, key: str) -> Callable[[Path], float]:
    return lambda folder: float(json.loads((folder / name).read_text())[key]) if (folder / name).exists() else 0.0


def _steps_of_training(folder: Path) -> float:
    path = folder / "model.ckpt"
    return float(_record(path).experts[0].steps) if path.exists() else 0.0


def _rounds(folder: Path) -> float:
    path = folder / "model.ckpt"
    had = _record(path).calibration if path.exists() else None
    return 0.0 if had is None else float(had.done)


def _frames_of_reference(folder: Path) -> float:
    path = folder / "run1" / "checkpoint.npz"
    if not path.exists():
        return 0.0
    with np.load(path) as stored:
        return float(stored["progress"][0])


def _record(path: Path) -> Any:
    from fpforce.training.checkpoint.checkpoint import read_checkpoint

    return read_checkpoint(path).record


def _weights(folder: Path) -> str:
    from fpforce.training.checkpoint.checkpoint import read_checkpoint

    weights = read_checkpoint(folder / "model.ckpt").weights
    return _hash(b"".join(name.encode() + weights[name].numpy().tobytes() for name in sorted(weights)))


def _shift(folder: Path) -> str:
    return _hash(_record(folder / "model.ckpt").calibration.shift.numpy().tobytes())


def _model(folder: Path) -> str:
    import fpforce

    force_field = fpforce.load(folder / "model.pt")
    return _hash(force_field.weights_bytes() + json.dumps(force_field.metadata["beads"]).encode())


def _report(folder: Path) -> str:
    text = (folder / "report" / "report.json").read_text()
    return _hash(text.replace(str(folder), "").encode())


def _files(*names: str) -> Callable[[Path], str]:
    """Of arrays what they hold, since an .npz has the time of writing in it; of other files their bytes."""

    def content(path: Path) -> bytes:
        if path.suffix != ".npz":
            return path.read_bytes()
        with np.load(path) as arrays:
            return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays.files))

    return lambda folder: _hash(b"".join(content(folder / name) for name in names))


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]
