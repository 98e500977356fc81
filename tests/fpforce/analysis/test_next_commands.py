"""Commands that a diagnosis prints do what was asked for before, but for what they change."""

import dataclasses
import inspect
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

import fpforce
from fpforce.analysis import next_commands, report
from fpforce.analysis.run_facts import RunFacts, SimulationFacts, further_options, training_facts
from fpforce.commands import evaluate as command
from fpforce.training.recipe.read import load_recipe
from fpforce.training.recipe.yaml_text import read_yaml

SAMPLED = "data of mine/iid.xtc"
# Every argument of an evaluation that is an option, other than by default.
ASKED = {
    "reference": [Path("data of mine/held; out.xtc"), Path("held_2.xtc")],
    "simulation": [Path("from 1.xtc"), Path("from_2.xtc")],
    "output": Path("my report"),
    "topology": Path("data of mine/it's.pdb"),
    "training": [Path("train 1.xtc"), Path("train_2.xtc")],
    "training_weights": [Path("weights 1.dat"), Path("weights_2.dat")],
    "iid": Path(SAMPLED),
    "discard": 0.25,
    "seed": 7,
    "plane": "tica",
    "tica_lag": 3,
    "folded": Path("folded state.pdb"),
    "floor": "training",
    "overwrite": True,
}


def facts_of(asked):
    """As an evaluation makes them."""
    return RunFacts(
        model="my model.pt",
        reference=tuple(map(str, asked["reference"])),
        trained_on=tuple(map(str, asked["training"])),
        topology=str(asked["topology"]),
        iid=str(asked["iid"]),
        report=str(asked["output"]),
        options=further_options(report.evaluate, asked | {"force_field": "my model.pt", "note": "of mine"}),
        simulations=tuple(SimulationFacts(output=str(one)) for one in asked["simulation"]),
    )


def read_back(line, monkeypatch):
    """What the command line asks an evaluation for."""
    name, *words = shlex.split(line)
    assert name == "fpforce-evaluate"
    asked = []

    def stand_in(model, reference, simulation, **others):
        asked.append(others | {"model": model, "reference": reference, "simulation": simulation})

    monkeypatch.setattr("fpforce.analysis.evaluate", stand_in)
    monkeypatch.setattr(command, "_show", lambda report: None)
    with pytest.raises(SystemExit) as end:
        command.main(words)
    assert end.value.code == 0
    return asked[0]


def test_every_argument_is_an_option_and_is_asked_for_here():
    options = set(inspect.signature(command.main.command).parameters)
    assert options - {"model"} == set(ASKED)
    assert set(inspect.signature(report.evaluate).parameters) - {"force_field", "note"} == set(ASKED)
    defaults = {name: one.default for name, one in inspect.signature(report.evaluate).parameters.items()}
    assert not [name for name, value in ASKED.items() if value == defaults[name]]


def test_an_evaluation_is_printed_as_it_was_asked_for(monkeypatch):
    found = read_back(next_commands.evaluate(facts_of(ASKED)), monkeypatch)
    assert found == ASKED | {"model": Path("my model.pt")}
    plain = ASKED | {"training_weights": None, "discard": 0.5, "seed": 0, "plane": "auto", "tica_lag": 10}
    plain |= {"folded": None, "floor": "auto"}
    assert facts_of(plain).options == ()
    assert read_back(next_commands.evaluate(facts_of(plain)), monkeypatch) == plain | {"model": Path("my model.pt")}


def test_a_change_is_all_that_changes(monkeypatch):
    sampling, evaluating = next_commands.sample_and_evaluate(facts_of(ASKED)).split(" && ")
    found = read_back(evaluating, monkeypatch)
    assert found == ASKED | {"model": Path("my model.pt"), "iid": Path("runs/mine/iid.xtc")}
    more = dataclasses.replace(facts_of(ASKED), reference=("held_2.xtc", "MORE_FRAMES"))
    found = read_back(next_commands.evaluate(more), monkeypatch)
    assert found == ASKED | {"model": Path("my model.pt"), "reference": [Path("held_2.xtc"), Path("MORE_FRAMES")]}


def test_an_evaluation_hands_its_options_to_the_diagnosis(model_writer, modules, tmp_path, monkeypatch):
    example = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"
    topology = example / "alanine_dipeptide.pdb"
    frames = fpforce.read_bead_frames(example / "train.xtc", topology, beads="backbone5")
    start_nm = frames.positions_nm[0].astype(float)
    model = model_writer(tmp_path / "my model.pt", modules(5, 20000.0, 0.15), frames.beads, start_nm)
    monkeypatch.setattr(report, "open_simulation_of", lambda path, field: (None, {}))
    monkeypatch.setattr(report, "named_by_start", list)
    weights = tmp_path / "weights of mine.dat"
    np.savetxt(weights, np.ones(len(frames.positions_nm)))
    seen = []

    def stand_in(*_, settings, **__):
        seen.append(settings.facts)
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "assess", stand_in)
    with pytest.raises(KeyboardInterrupt):
        report.evaluate(
            model,
            example / "reference.xtc",
            tmp_path / "from 1.xtc",
            topology=topology,
            training=example / "train.xtc",
            training_weights=weights,
            output=tmp_path / "my report",
            discard=0.25,
            floor="training",
            plane="phi-psi",
        )
    found = read_back(next_commands.evaluate(seen[0]), monkeypatch)
    assert (found["discard"], found["floor"], found["plane"]) == (0.25, "training", "phi-psi")
    assert found["training_weights"] == [weights] and found["model"] == model and not seen[0].bound


def test_more_frames_of_a_weighted_training_need_their_weights():
    _, _, *changes = shlex.split(next_commands.train_on_more(facts_of(ASKED)))
    values = {key: read_yaml(text) for key, _, text in (change.partition("=") for change in changes)}
    assert values["data.trajectories"] == ["train 1.xtc", "train_2.xtc", "MORE_FRAMES"]
    assert values["data.weights"] == ["weights 1.dat", "weights_2.dat", "MORE_WEIGHTS"]


@pytest.mark.parametrize(
    ("data", "more"),
    [
        ({"trajectories": ["/1.xtc", "/2.xtc"]}, {"trajectories": "MORE_FRAMES"}),
        (
            {"trajectories": ["/1.xtc"], "weights": ["/1.npy"], "forces": ["/1.npz"]},
            {"trajectories": "MORE_FRAMES", "weights": "MORE_WEIGHTS", "forces": "MORE_FORCES"},
        ),
        ({"molecules": ["/many molecules"]}, {"molecules": "MORE_MOLECULES"}),
    ],
    ids=["frames", "weights and forces", "molecules"],
)
@pytest.mark.parametrize("given", [(), ("train.xtc",)], ids=["no training", "training"])
def test_more_is_added_to_what_the_recipe_has(data, more, given, tmp_path):
    (tmp_path / "recipe.yaml").write_text(json.dumps({"output": "runs/a", "temperature_k": 300, "data": data}))
    recipe = load_recipe(tmp_path / "recipe.yaml").model_dump(mode="json")
    facts = RunFacts(trained_on=given, training=training_facts({"recipe": recipe}))
    _, path, *changes = shlex.split(next_commands.train_on_more(facts))
    assert path == "runs/a/recipe.yaml"
    changed = load_recipe(tmp_path / "recipe.yaml", changes).model_dump(mode="json")
    assert changed["output"] == "runs/a-more"
    for key, files in recipe["data"].items():
        assert changed["data"][key] == ([*files, more[key]] if key in more else files), key


@pytest.mark.parametrize(
    "name", ["a, b.xtc", "[1].xtc", "a: b.xtc", "a #1.xtc", "it's.xtc", 'a "b".xtc', "süß.xtc", "🧬.xtc"]
)
def test_paths_of_training_frames_are_read_as_they_are(name):
    line = next_commands.train_on_more(RunFacts(trained_on=(name,)))
    assert read_yaml(shlex.split(line)[-1].partition("=")[2]) == [name, "MORE_FRAMES"]


def test_a_model_of_many_molecules_is_told_its_molecule():
    facts = dataclasses.replace(facts_of(ASKED), bound=True)
    sampling = next_commands.sample_and_evaluate(facts).split(" && ")[0]
    for line in (next_commands.simulate_longer(facts, 2.0).split(" && ")[0], sampling):
        words = shlex.split(line)
        assert words[words.index("--topology") + 1] == "data of mine/it's.pdb"
    assert "--topology" not in next_commands.simulate_longer(facts_of(ASKED), 2.0)
