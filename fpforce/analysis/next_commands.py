"""The command lines that a diagnosis ends in.

In: the facts of the runs, and what is to be changed. Out: one line for a shell.
"""

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Iterable, Sequence

from fpforce.analysis.run_facts import GROWING, RunFacts, SimulationFacts

LADDER = 4  # rungs of a first replica exchange, as docs/how-to/enhanced-sampling.md takes
# What is added to the lists of a recipe's data.
_MORE = {key: f"MORE_{'FRAMES' if key == 'trajectories' else key.upper()}" for key in GROWING}
_PLAIN = re.compile(r"[\w./][\w./ +=@-]*[\w./]")  # text that YAML reads as itself


def simulate_longer(facts: RunFacts, factor: float) -> str:
    """Go on with every simulation to `factor` times its steps."""
    return _joined(
        _simulate(facts, one, "--resume", steps=math.ceil(one.steps * factor), start=None) for one in facts.simulations
    )


def simulate_with_exchange(facts: RunFacts) -> str:
    """Every simulation anew, under another name, with temperatures that exchange: twice as many as before."""
    rungs = {one: LADDER if one.rungs == 1 else 2 * one.rungs for one in facts.simulations}
    return _joined(
        _simulate(facts, one, output=_beside(one.output, f"{rungs[one]}-rungs"), rungs=rungs[one])
        for one in facts.simulations
    )


def simulate_with_shorter_step(facts: RunFacts) -> str:
    """Every simulation anew, under another name, with half its time step and twice its steps."""
    return _joined(
        _simulate(
            facts,
            one,
            output=_beside(one.output, f"{one.timestep_fs / 2:g}fs"),
            timestep_fs=one.timestep_fs / 2,
            steps=2 * one.steps,
        )
        for one in facts.simulations
    )


def simulate_several(facts: RunFacts) -> str:
    """Every simulation anew, under another name, of the usual number of replicas."""
    replicas = SimulationFacts().replicas
    return _joined(
        _simulate(facts, one, output=_beside(one.output, f"{replicas}-replicas"), replicas=replicas)
        for one in facts.simulations
    )


def simulate_at_the_models_temperature(facts: RunFacts) -> str:
    """Every simulation anew, under another name, at the temperature of the model."""
    name = "own" if facts.temperature_k is None else f"{facts.temperature_k:g}K"
    return _joined(_simulate(facts, one, output=_beside(one.output, name)) for one in facts.simulations)


def simulate_from(facts: RunFacts, start: str) -> str:
    """A simulation like the first from another start, of the reference's files."""
    first = facts.simulations[0]
    topology = [] if facts.topology is None else ["--start-topology", facts.topology]
    return _simulate(facts, first, *topology, output=_beside(first.output, "other-start"), start=start)


def train_longer(facts: RunFacts) -> str:
    """Go on with the training to twice its length."""
    training = facts.training
    length = "run.max_steps=40000" if training.steps is None else f"run.max_steps={2 * training.steps}"
    minutes = [] if training.max_minutes is None else [f"run.max_minutes={2 * training.max_minutes:g}"]
    return shlex.join(["fpforce-train", training.recipe, "--resume", length, *minutes])


def train_on(facts: RunFacts, *changes: str) -> str:
    """Go on with a finished training for a calibration, say."""
    return shlex.join(["fpforce-train", facts.training.recipe, "--resume", *changes])


def train_anew(facts: RunFacts, name: str, *changes: str) -> str:
    """Train in a folder beside the run's, with changes to its recipe."""
    return shlex.join(
        ["fpforce-train", facts.training.recipe, f"output={facts.training.output.rstrip('/')}-{name}", *changes]
    )


def train_on_more(facts: RunFacts) -> str:
    """Train in a folder beside the run's on more trajectories, or molecules, than its recipe has.

    Where that is not known, on more than the evaluation was given.
    """
    weights = dict(facts.options).get("--training-weights", ())
    files = facts.training.data or {"trajectories": facts.trained_on, "weights": weights}
    changes = [
        f"data.{key}={_yaml([*files.get(key, ()), more])}"
        for key, more in _MORE.items()
        if files.get(key) or (key == "trajectories" and not files.get("molecules"))
    ]
    return train_anew(facts, "more", *changes)


def sample_and_evaluate(facts: RunFacts, samples: int = 10_000) -> str:
    """Draw the model's own samples and evaluate with them."""
    output = f"{facts.training.output.rstrip('/')}/iid.xtc"
    checkpoint = f"{facts.training.output.rstrip('/')}/model.ckpt"
    molecule = _molecule(facts)
    return _joined(
        [
            shlex.join(["fpforce-sample", checkpoint, "--samples", str(samples), "-o", output, *molecule]),
            evaluate(dataclasses.replace(facts, iid=output)),
        ]
    )


def evaluate(facts: RunFacts) -> str:
    """The evaluation again with all that it was given, over its report."""
    words = ["fpforce-evaluate", facts.model]
    for name, values in (
        ("--reference", facts.reference),
        ("--topology", () if facts.topology is None else (facts.topology,)),
        ("--training", facts.trained_on),
        ("--simulation", tuple(one.output for one in facts.simulations)),
        ("--iid", () if facts.iid is None else (facts.iid,)),
        *facts.options,
    ):
        for value in values:
            words += [name, value]
    return shlex.join([*words, "--output", facts.report, "--overwrite"])


def _simulate(facts: RunFacts, simulation: SimulationFacts, *flags: str, **changes: object) -> str:
    one = dataclasses.replace(simulation, **changes)  # type: ignore[arg-type]
    words = ["fpforce-simulate", facts.model, "-o", one.output, "--steps", str(one.steps)]
    words += ["--replicas", str(one.replicas), "--timestep-fs", f"{one.timestep_fs:g}"]
    usual = SimulationFacts()
    for name, value, default in (
        ("--report-interval-ps", one.report_interval_ps, usual.report_interval_ps),
        ("--friction", one.friction_per_ps, usual.friction_per_ps),
        ("--rungs", one.rungs, usual.rungs),
    ):
        if value != default:
            words += [name, f"{value:g}"]
    if one.start is not None:
        words += ["--start", one.start]
    return shlex.join([*words, *_molecule(facts), *flags])


def _molecule(facts: RunFacts) -> list[str]:
    """The molecule of a model of many, as simulations and samples are told of it."""
    return ["--topology", facts.topology] if facts.bound and facts.topology is not None else []


def _yaml(paths: Sequence[str]) -> str:
    """A list of paths as a recipe takes it, in quotes those that would be read as something else."""
    return f"[{', '.join(path if _PLAIN.fullmatch(path) else json.dumps(path, ensure_ascii=False) for path in paths)}]"


def _beside(output: str, name: str) -> str:
    stem, dot, extension = output.rpartition(".")
    return f"{stem}-{name}{dot}{extension}" if dot else f"{output}-{name}"


def _joined(commands: Iterable[str]) -> str:
    return " && ".join(commands)
