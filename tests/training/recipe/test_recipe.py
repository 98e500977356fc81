"""Recipes: defaults, overrides, paths, and every wrong entry named with its remedy.

Longer than other files, since it lists what can be wrong in a recipe.
"""

from pathlib import Path

import pytest
import yaml

from fpforce.analysis.model_causes import FEW_ROUNDS
from fpforce.foundation.errors import InputError
from fpforce.training.recipe.plan import MOST_ROUNDS, ROUNDS, plan_experts, settled
from fpforce.training.recipe.read import describe_recipe, load_recipe, parse_recipe
from fpforce.training.recipe.resumption import refuse_other_recipe
from fpforce.training.recipe.sections import Recipe

SMALLEST = {"data": {"trajectories": "a.xtc"}, "temperature_k": 300, "output": "out"}


@pytest.fixture
def recipe_file(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


SMALLEST_YAML = "data: {trajectories: a.xtc, topology: a.pdb}\ntemperature_k: 300\noutput: out\n"
SCORE = SMALLEST_YAML + "experts: [{t_max: 1, conservative: false}]\n"


def test_only_data_temperature_and_output_are_required():
    recipe = parse_recipe(SMALLEST)
    required = {
        key
        for key, default, _ in describe_recipe()
        if default == "required" and not key.startswith(("experts.N.", "model."))
    }
    assert required == {"temperature_k", "output"}
    # Demanded by the method: evaluation at t = 1e-5, sigma_w = 1e-4, an alpha_FP that begins in the paper's
    # range of 5e-4 to 1e-3.
    assert recipe.diffusion.evaluated_at == 1e-5 and recipe.loss.fokker_planck_sigma == 1e-4
    assert 5e-4 <= settled(recipe, 12).loss.fokker_planck_weight <= 1e-3


@pytest.mark.parametrize("freedom", [2, 12, 48, None])
def test_alpha_is_the_same_however_many_degrees_of_freedom_there_are(freedom):
    assert settled(parse_recipe(SMALLEST), freedom).loss.fokker_planck_weight == 5e-4


@pytest.mark.parametrize(("freedom", "expected"), [(2, 1e-3), (12, 1e-3), (15, 0.05), (33, 0.05), (None, 1e-3)])
def test_networks_of_many_degrees_of_freedom_hardly_see_times_of_little_noise(freedom, expected):
    recipe = settled(parse_recipe(SMALLEST), freedom)
    assert recipe.diffusion.v_min == plan_experts(recipe)[0].v_min == expected
    other = parse_recipe(SMALLEST | {"model": {"kind": "graph_transformer"}})
    assert settled(other, freedom).diffusion.v_min == 1e-3


@pytest.mark.parametrize(("bond", "expected"), [(2.0, 0.05), (0.9, 0.05), (0.45, 0.0125), (0.01, 1e-3)])
def test_networks_of_long_chains_see_times_at_which_bonds_are_not_blurred(bond, expected):
    assert settled(parse_recipe(SMALLEST), 33, bond=bond).diffusion.v_min == pytest.approx(expected)


def test_a_diagnosis_takes_the_usual_number_of_rounds_for_few():
    assert FEW_ROUNDS == ROUNDS


@pytest.mark.parametrize(
    ("freedom", "given", "rounds"),
    [
        (33, {}, ROUNDS),
        (12, {}, 0),
        (None, {}, 0),
        (33, {"model": {"kind": "graph_transformer"}}, 0),
        (33, {"run": {"max_steps": 1999}}, 0),
        (33, {"run": {"max_minutes": 1.0}}, 0),
        (33, {"calibration": {"rounds": 0}}, 0),
        (33, {"calibration": {"rounds": 2}, "run": {"max_steps": 10}}, 2),
        (33, {"experts": [{"t_max": 0.1, "max_steps": 10}, {"t_max": 1.0}]}, 0),
        (33, {"experts": [{"t_max": 0.1}, {"t_max": 1.0, "max_steps": 10, "conservative": False}]}, ROUNDS),
    ],
)
def test_trainings_of_many_degrees_of_freedom_end_with_rounds_unless_they_are_trials(freedom, given, rounds):
    assert settled(parse_recipe(SMALLEST | given), freedom).calibration.rounds == rounds


def test_rounds_go_on_beyond_the_usual_number_only_where_nobody_gave_one():
    def most(given, begun=None):
        return settled(parse_recipe(SMALLEST | given), 33, begun).calibration.most_rounds

    counted = settled(parse_recipe(SMALLEST | {"calibration": {"rounds": ROUNDS}}), 33)
    assert most({}) == MOST_ROUNDS > ROUNDS
    assert counted.calibration.most_rounds is None
    assert most({}, counted) is None  # as runs of earlier versions, which had so many and no more
    assert most({"run": {"max_steps": 10}}) is None
    assert most({"calibration": {"most_rounds": 9}}, counted) == 9
    usual = settled(parse_recipe(SMALLEST), 33)
    assert most({}, usual) == MOST_ROUNDS and most({"calibration": {"rounds": 14}}, usual) is None


def test_a_training_that_was_begun_without_rounds_goes_on_without():
    begun = settled(parse_recipe(SMALLEST | {"calibration": {"rounds": 0}}), 33)
    assert settled(parse_recipe(SMALLEST), 33, begun).calibration.rounds == 0


@pytest.mark.parametrize(
    ("freedom", "given", "wall"),
    [
        (33, {}, "pairs"),
        (12, {}, False),
        (None, {}, False),
        (33, {"run": {"max_steps": 10}}, False),
        (33, {"model": {"wall": True}}, True),
        (33, {"model": {"kind": "graph_transformer"}}, False),
        (33, {"model": {"kind": "graph_transformer", "wall": "pairs"}}, "pairs"),
    ],
)
def test_trainings_that_end_with_rounds_have_a_wall_of_each_pair_unless_asked_for_another(freedom, given, wall):
    begun = settled(parse_recipe(SMALLEST | given), freedom)
    assert begun.model.wall == wall
    refuse_other_recipe(begun, parse_recipe(SMALLEST | given))  # goes on
    assert settled(parse_recipe(SMALLEST | given), 33, begun) == begun


@pytest.mark.parametrize(
    ("freedom", "given", "window"),
    [
        (18, {}, 6),
        (15, {}, 0),  # six beads are one stretch
        (None, {}, 0),
        (33, {"run": {"max_steps": 10}}, 6),
        (33, {"model": {"window": 0}}, 0),
        (33, {"model": {"window": 5}}, 5),
        (33, {"experts": [{"t_max": 0.1}, {"t_max": 1.0, "conservative": False}]}, 0),
    ],
)
def test_energies_of_molecules_longer_than_a_stretch_have_windows_unless_asked_otherwise(freedom, given, window):
    begun = settled(parse_recipe(SMALLEST | given), freedom)
    assert begun.model.window == window
    refuse_other_recipe(begun, parse_recipe(SMALLEST | given))  # goes on
    assert settled(parse_recipe(SMALLEST | given), 33, begun) == begun
    assert settled(parse_recipe(SMALLEST | given), 33, weights_of=begun).model.window == window


def test_walls_of_experts_are_settled_one_by_one():
    experts = [{"t_max": 0.1, "model": {"kind": "internal", "width": 32}}, {"t_max": 1.0}]
    begun = settled(parse_recipe(SMALLEST | {"experts": experts}), 33)
    assert begun.experts[0].model.window == begun.model.window == 6
    assert begun.experts[0].model.wall == "pairs" and begun.experts[1].model is None and len(begun.experts) == 2
    refuse_other_recipe(begun, parse_recipe(SMALLEST | {"experts": experts}))
    earlier = begun.model_copy(update={"experts": [begun.experts[0].model_copy(update={"model": None})]})
    assert len(settled(parse_recipe(SMALLEST | {"experts": experts}), 33, earlier).experts) == 2


def test_walls_of_pairs_are_for_one_molecule():
    many = {"data": {"molecules": ["folder"], "beads": "ca"}, "model": {"wall": "pairs"}}
    with pytest.raises(InputError, match=r"model\.wall = pairs has a distance for each pair of one molecule"):
        parse_recipe(SMALLEST | many)


def test_new_runs_keep_the_noise_that_their_first_weights_know():
    old = settled(parse_recipe(SMALLEST | {"diffusion": {"v_min": 1e-3}}), 33)
    assert settled(parse_recipe(SMALLEST), 33, weights_of=old).diffusion.v_min == 1e-3


def test_what_was_given_or_begun_with_stays():
    given = {
        "loss": {"fokker_planck_weight": 1e-4},
        "diffusion": {"v_min": 0.01, "t_eval": 3e-5},
        "calibration": {"rounds": 2, "denoising_fit": False},
        "model": {"wall": True, "window": 0},
    }
    given = parse_recipe(SMALLEST | given)
    assert settled(given, 33) == given
    begun = settled(parse_recipe(SMALLEST), 33)
    assert settled(parse_recipe(SMALLEST), 12, begun) == begun


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0.05),
        ({"loss": {"flow_weight": 0.2}}, 0.2),
        ({"loss": {"fokker_planck_weight": 0}}, 0.0),
        ({"loss": {"flow_weight": 0}}, 0.0),
        ({"data": {"molecules": ["folder"], "beads": "ca"}}, 0.0),
    ],
)
def test_integral_form_goes_with_the_fokker_planck_term_of_one_molecule(changes, expected):
    assert [plan.flow_weight for plan in plan_experts(parse_recipe(SMALLEST | changes))] == [expected]


def test_resolved_recipe_reads_back_as_itself(recipe_file):
    import yaml

    recipe = load_recipe(recipe_file(SMALLEST_YAML), ["loss.fokker_planck_weight=3e-4", "run.devices=[0]"])
    written = recipe_file(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(written) == recipe


def test_model_is_internal_unless_the_recipe_says_otherwise(recipe_file):
    assert load_recipe(recipe_file(SMALLEST_YAML), ["model.width=16"]).model.kind == "internal"
    recipe = load_recipe(recipe_file(SMALLEST_YAML), ["model.kind=graph_transformer", "model.cutoff_nm=1.2"])
    assert (recipe.model.kind, recipe.model.width, recipe.model.cutoff_nm) == ("graph_transformer", 64, 1.2)
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


def test_entries_that_differ_between_kinds_of_model_are_described_for_each():
    rows = [row for row in describe_recipe() if row[0].startswith("model.")]
    assert [default for key, default, _ in rows if key == "model.width"] == ["128", "64", "64", "64"]
    assert (
        len([row for row in rows if row[0] == "model.prior"])
        == len([row for row in rows if row[0] == "model.kind"])
        == 1
    )


def test_every_entry_is_described():
    for key, _, meaning in describe_recipe():
        assert meaning, key


@pytest.mark.parametrize(
    "override, section, key, value",
    [
        ("run.max_steps=1000", "run", "max_steps", 1000),
        ("loss.fokker_planck_weight=5e-4", "loss", "fokker_planck_weight", 5e-4),
        ("optimizer.learning_rate=1E-3", "optimizer", "learning_rate", 1e-3),
        ("model.prior=false", "model", "prior", False),
        ("run.max_minutes=null", "run", "max_minutes", None),
        ("run.devices=[0, 1]", "run", "devices", [0, 1]),
        ("data.beads={A: [C, N]}", "data", "beads", {"A": ["C", "N"]}),
    ],
)
def test_overrides_are_yaml_values(recipe_file, override, section, key, value):
    recipe = load_recipe(recipe_file(SMALLEST_YAML), [override])
    found = getattr(getattr(recipe, section), key)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text, key, lines",
    [
        ("data:\n  trajectories: a.xtc\n  beads:\n    head: [0, 1]\n    tail: [2]\n    head: [3]\n", "head", "4 and 6"),
        ("data: {trajectories: a.xtc}\noutput: a\noutput: b\n", "output", "2 and 3"),
    ],
    ids=["group", "section"],
)
def test_key_that_stands_twice_is_refused_with_its_lines(recipe_file, text, key, lines):
    with pytest.raises(InputError, match=f"recipe.yaml .*the key '{key}' stands twice, in lines {lines}"):
        load_recipe(recipe_file(text + "temperature_k: 300\n"))


@pytest.mark.parametrize("temperature_k", [27, 1e6])
def test_temperature_of_no_molecule_is_warned_of(recipe_file, temperature_k, caplog):
    load_recipe(recipe_file(SMALLEST_YAML))
    assert not caplog.records
    load_recipe(recipe_file(SMALLEST_YAML), [f"temperature_k={temperature_k}"])
    assert f"temperature_k = {temperature_k:g} is unusual for a molecule (200 to 700 K)" in caplog.text


def test_tilde_is_the_home_folder_in_every_path(recipe_file, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = "data: {trajectories: [~/a.xtc, b.xtc], topology: ~/a.pdb}\ntemperature_k: 300\noutput: ~/x/out\n"
    recipe = load_recipe(recipe_file(text))
    home = tmp_path / "home"
    assert recipe.output == home / "x" / "out"
    assert recipe.data.trajectories == [home / "a.xtc", tmp_path / "b.xtc"] and recipe.data.topology == home / "a.pdb"
    recipe = load_recipe(recipe_file(SMALLEST_YAML), ["output=~/y", "data.trajectories=~/c.xtc"])
    assert (recipe.output, recipe.data.trajectories) == (home / "y", [home / "c.xtc"])


def test_number_without_a_point_is_a_number_in_the_file_too(recipe_file):
    # YAML 1.1 reads 5e-4 as a string.
    recipe = load_recipe(recipe_file(SMALLEST_YAML + "loss: {fokker_planck_weight: 2e-3}\n"))
    assert recipe.loss.fokker_planck_weight == 2e-3


def test_data_paths_are_relative_to_the_recipe_and_the_output_to_the_working_folder(recipe_file, tmp_path):
    text = "data: {trajectories: [a.xtc, /abs/b.xtc], topology: sub/a.pdb}\ntemperature_k: 300\noutput: out\n"
    recipe = load_recipe(recipe_file(text))
    assert recipe.data.trajectories == [tmp_path.resolve() / "a.xtc", Path("/abs/b.xtc")]
    assert recipe.data.topology == tmp_path.resolve() / "sub/a.pdb"
    assert recipe.output == Path("out")


@pytest.mark.parametrize(
    "override, parts",
    [
        ("run.max_step=5", ["unknown key 'run.max_step'", "did you mean 'run.max_steps'"]),
        ("optimiser.batch_size=5", ["unknown key 'optimiser'", "did you mean 'optimizer'"]),
        ("max_steps=5", ["unknown key 'max_steps'", "did you mean 'run.max_steps'"]),
        ("temperature=300", ["unknown key 'temperature'", "did you mean 'temperature_k'"]),
        ("model.zzz=1", ["unknown key 'model.zzz'", "valid here: kind, width"]),
        ("run.max_steps=many", ["'run.max_steps' = 'many'", "integer"]),
        ("run.max_steps=1.5", ["'run.max_steps' = 1.5", "integer"]),
        ("model.prior=7", ["'model.prior' = 7", "boolean"]),
        ("model.kind=graph", ["'model.kind' = 'graph'", "'internal'"]),
        ("model.kind=null", ["'model.kind' = ", "'internal' or 'graph_transformer'"]),
        ("model=5", ["'model' = 5"]),
        ("model.head_width=8", ["unknown key 'model.head_width'", "belongs to model.kind=graph_transformer"]),
        ("model={kind: graph_transformer, head_widht: 8}", ["'model.head_widht'", "did you mean 'model.head_width'"]),
        ("model={kind: graph_transformer, width: 30}", ["width = 30 must be a multiple of head_width = 16"]),
        ("model={kind: graph_transformer, cutoff_nm: 0}", ["'model.cutoff_nm' = 0", "greater than 0"]),
        ("model={kind: graph_transformer, edges: all}", ["'model.edges' = 'all'", "'frames' or 'displacement'"]),
        ("temperature_k=0", ["'temperature_k' = 0", "greater than 0"]),
        ("temperature_k=-300", ["'temperature_k' = -300", "greater than 0"]),
        ("temperature_k=.nan", ["'temperature_k' = nan"]),
        ("diffusion.t_max=2", ["'diffusion.t_max' = 2", "less than or equal to 1"]),
        ("optimizer.batch_size=1", ["'optimizer.batch_size' = 1"]),
        ("run.precision=16-mixed", ["'run.precision' = '16-mixed'", "'32-true'"]),
        ("data.length_unit=pm", ["'data.length_unit' = 'pm'", "'nm' or 'angstrom'"]),
        ("data.trajectories=[]", ["trajectories = [] and molecules = []"]),
        ("data.trajectories=null", ["'data.trajectories' = None"]),
        ("run.max_steps", ["'run.max_steps' is not of the form key=value"]),
        ("temperature_k.unit=K", ["temperature_k is a value, not a section"]),
        ("data.beads=[unclosed", ["'[unclosed' is not a YAML value"]),
        ("run=5", ["'run' = 5"]),
        ("run.seed=99999999999999999999", ["'run.seed' = 9", "less than or equal to 4294967295"]),
        ("diffusion.t_max=1e-6", ["override 'diffusion.t_max=1e-6'", "t_eval = 1e-05 must be below t_max = 1e-06"]),
        ("data.trajectories=[a.xtc, 5]", ["'data.trajectories.1' = 5"]),
        ("run.devices=[0, x]", ["'run.devices' = "]),
        (
            "calibration.top_temperature_k=500",
            ["top_temperature_k = 500", "the hottest of calibration.rungs = 1; give 2 rungs or more"],
        ),
        ("calibration={rungs: 2, top_temperature_k: 200}", ["top_temperature_k = 200", "above temperature_k = 300"]),
    ],
)
def test_wrong_entry_is_named_with_its_remedy(recipe_file, override, parts):
    with pytest.raises(InputError) as caught:
        load_recipe(recipe_file(SMALLEST_YAML), [override])
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_entry_of_several_types_is_one_message_with_its_key(recipe_file):
    with pytest.raises(InputError) as caught:
        load_recipe(recipe_file(SMALLEST_YAML), ["data.beads=5"])
    text = str(caught.value)
    assert text.count("data.beads'") == 1 and "data.beads." not in text and "string or a valid list or" in text, text


def test_error_names_the_file_or_the_override_it_came_from(recipe_file):
    path = recipe_file(SMALLEST_YAML + "run: {threads: 0}\n")
    with pytest.raises(InputError) as caught:
        load_recipe(path, ["run.seed=-1", "model.prior=true"])
    texts = str(caught.value).split("; ")
    assert sorted(text.partition(": '")[0] for text in texts) == [str(path), "override 'run.seed=-1'"]


@pytest.mark.parametrize(
    "override, part",
    [
        ("calibration.rounds=2", "override 'calibration.rounds=2': calibration.rounds = 2 adjusts an energy"),
        ("experts=[{t_max: 1, conservative: false}]", "override 'experts=["),
        ("run.seed=3", "recipe.yaml: calibration.rounds = 1 adjusts an energy"),
    ],
)
def test_error_of_the_whole_recipe_has_no_empty_key_and_blames_what_it_names(recipe_file, override, part):
    with pytest.raises(InputError) as caught:
        load_recipe(recipe_file(SCORE + "calibration: {rounds: 1}\n"), [override])
    assert part in str(caught.value) and "''" not in str(caught.value)


def test_every_wrong_entry_is_reported_at_once(recipe_file):
    with pytest.raises(InputError) as caught:
        load_recipe(recipe_file(SMALLEST_YAML), ["temperature_k=-1", "run.max_stepz=3"])
    assert "temperature_k" in str(caught.value) and "run.max_stepz" in str(caught.value)


@pytest.mark.parametrize(
    "text, part",
    [
        ("temperature_k: 300\noutput: out\n", "'data' is missing"),
        (
            "data: {topology: a.pdb}\ntemperature_k: 300\noutput: out\n",
            "trajectories = [] and molecules = []: nothing to learn from",
        ),
        ("data: {trajectories: a.xtc}\noutput: out\n", "'temperature_k' is missing"),
        ("- a\n- b\n", "must be a mapping"),
        ("", "must be a mapping"),
        ("data: {trajectories: [\n", "is not valid YAML"),
    ],
)
def test_wrong_file_is_named(recipe_file, text, part):
    path = recipe_file(text)
    with pytest.raises(InputError, match="recipe.yaml") as caught:
        load_recipe(path)
    assert part in str(caught.value)


def test_missing_recipe_is_named(tmp_path):
    with pytest.raises(InputError, match="absent.yaml does not exist"):
        load_recipe(tmp_path / "absent.yaml")


def test_the_example_recipe_is_valid_and_its_files_exist(alanine):
    recipe = load_recipe(alanine / "recipe.yaml")
    assert isinstance(recipe, Recipe) and recipe.temperature_k == 300
    assert all(path.is_file() for path in [*recipe.data.trajectories, recipe.data.topology])


def test_fokker_planck_weight_that_no_expert_can_take_is_an_error_where_it_was_asked_for(recipe_file):
    path = recipe_file(SCORE)
    with pytest.raises(
        InputError,
        match="override 'loss.fokker_planck_weight=1e-3': 'loss.fokker_planck_weight' = 0.001 needs an energy",
    ):
        load_recipe(path, ["loss.fokker_planck_weight=1e-3"])
    with pytest.raises(
        InputError, match="recipe.yaml: 'loss.fokker_planck_weight' = 0.002 .*no expert is conservative"
    ):
        load_recipe(recipe_file(SCORE + "loss: {fokker_planck_weight: 2e-3}\n"))
    recipe = load_recipe(recipe_file(SCORE))
    assert recipe.loss.fokker_planck_weight == 0.0
    begun_earlier = recipe.model_dump(mode="json") | {"loss": {"fokker_planck_weight": 5e-4}}
    assert parse_recipe(begun_earlier) == recipe  # so that such a run can be resumed
    resolved = recipe_file(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(resolved).loss == recipe.loss
    assert load_recipe(resolved, ["experts=[]", "loss.fokker_planck_weight=1e-3"]).loss.fokker_planck_weight == 1e-3


def test_folder_for_a_recipe_is_answered_with_the_recipe_in_it(tmp_path):
    with pytest.raises(InputError, match="is a folder: give the YAML file, and there is none in it"):
        load_recipe(tmp_path)
    (tmp_path / "mine.yaml").write_text("")
    with pytest.raises(InputError, match=r"is a folder: give the YAML file, such as .*mine\.yaml"):
        load_recipe(tmp_path)


def test_temperature_in_celsius_is_recognised(tmp_path, caplog):
    (tmp_path / "mine.yaml").write_text("{data: {trajectories: a.xtc}, temperature_k: 27, output: out}")
    with caplog.at_level("WARNING", "fpforce"):
        load_recipe(tmp_path / "mine.yaml")
    assert "27 degrees Celsius are 300.15 K" in caplog.text
