"""How rounds follow each other, with stages that do nothing but let a clock run: no training, no simulation."""

import json
import types

import pytest

from fpforce.analysis import causes
from fpforce.fitting import fit as fitting
from fpforce.fitting import journal as journals
from fpforce.fitting import policy
from fpforce.fitting.settings import FitSettings
from fpforce.foundation.errors import InputError, NoWorkersError

STAGES = ("train", "export", "sample", "simulate", "evaluate")
SECONDS = {"export": 5.0, "sample": 20.0, "evaluate": 20.0}


class Clock:
    """Stands in for the module `time`."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


class World:
    """The outside of a fit: a clock, the verdict of each round, and a stage in which a run ends."""

    def __init__(self, verdicts):
        self.clock, self.verdicts, self.ends_in, self.ran = Clock(), verdicts, None, []
        self.refused = 0  # exports

    def stage(self, name, seconds, work=lambda: None):
        self.ran.append(name)
        self.clock.now += seconds
        if self.ends_in == name:
            self.ends_in = None
            raise KeyboardInterrupt
        work()


@pytest.fixture
def world(monkeypatch, tmp_path):
    world = World([])

    class Stages:
        def __init__(self, folder, data, settings, show_progress):
            self.folder = folder

        def train(self, plan, had_begun):
            length = policy._minutes(plan.changes)
            world.stage("train", 60.0 * (length - (world.trained if plan.resume else 0.0)))
            world.trained = length
            (self.folder / plan.training).mkdir(exist_ok=True)
            (self.folder / plan.training / "model.ckpt").write_text(f"{plan.training}, {length} min")

        def export(self, plan):
            if world.refused:
                world.refused -= 1
                raise InputError("the model has not learned chirality")

            def write():
                (self.folder / plan.model).parent.mkdir(exist_ok=True)
                (self.folder / plan.model).write_text(plan.model)

            world.stage("export", SECONDS["export"], write)

        def sample(self, plan):
            world.stage("sample", SECONDS["sample"])

        def simulate(self, plan, earlier, had_begun):
            world.stage("simulate", 60.0 * plan.simulate_minutes)

        def evaluate(self, plan, number):
            def write():
                (self.folder / f"round_{number}").mkdir(exist_ok=True)
                for name in ("report.html", "report.json"):
                    (self.folder / f"round_{number}" / name).write_text(str(number))

            world.stage("evaluate", SECONDS["evaluate"], write)
            return world.verdicts[min(number, len(world.verdicts)) - 1]

    data = {"states": [], "reference": [], "note": None, "timestep_fs": 4.0}
    monkeypatch.setattr(fitting, "Stages", Stages)
    monkeypatch.setattr(fitting, "_verdict", lambda report: dict(report))
    monkeypatch.setattr(fitting, "prepare", lambda recipe, settings, folder: dict(data))
    monkeypatch.setattr(journals, "time", world.clock)
    return world


def verdict(status, missed, excess=0.1, cause=None):
    return {
        "status": status,
        "missed": missed,
        "excess": excess,
        "js": 0.02 + excess,
        "js_floor": 0.02,
        "causes": [] if cause is None else [cause],
        "text": cause or "",
        "command": "",
        "stuck": False,
        "stopped_early": False,
    }


PASS, WRONG = verdict("pass", 0, 0.0), verdict("fail", 3, cause=causes.INCONSISTENT)


def run(tmp_path, **settings):
    section = types.SimpleNamespace(max_steps=1, max_minutes=None, model_fields_set=frozenset())
    recipe = types.SimpleNamespace(
        output=tmp_path / "fit",
        run=section,
        experts=[],
        model=types.SimpleNamespace(kind="internal"),
        model_dump=lambda mode: {"temperature_k": 300, "output": "fit"},
    )
    return fitting.fit(recipe, FitSettings(**{"max_minutes": 60.0} | settings), show_progress=False)


def journal(tmp_path):
    return json.loads((tmp_path / "fit" / "fit.json").read_text())


def test_a_pass_ends_the_fit_at_once(world, tmp_path):
    world.verdicts = [PASS]
    result = run(tmp_path)
    assert result.status == "pass" and result.rounds == 1 and result.sentence.startswith("pass after 1 round")
    assert world.ran == list(STAGES)


def test_a_fit_goes_on_until_it_passes_and_publishes_that_round(world, tmp_path):
    world.verdicts = [WRONG, WRONG, PASS]
    result = run(tmp_path, max_minutes=150.0)
    assert result.status == "pass" and result.rounds == 3
    assert (tmp_path / "fit" / "model.pt").read_text() == "round_3/model.pt"
    assert [one["plan"]["action"] for one in journal(tmp_path)["rounds"]][1] == policy.CALIBRATE


def test_a_checkpoint_is_published_as_it_was_in_the_best_round(world, tmp_path):
    world.verdicts = [verdict("fail", 1, cause=causes.UNDERTRAINED), verdict("fail", 2, cause=causes.UNDERTRAINED)]
    run(tmp_path, max_rounds=2)
    rounds = journal(tmp_path)["rounds"]
    assert rounds[1]["plan"]["training"] == "train_1", "the training went on"
    length = policy._minutes(rounds[0]["plan"]["changes"])
    assert (tmp_path / "fit" / "model.ckpt").read_text() == f"train_1, {length} min"


def test_the_best_round_is_published_where_none_passes(world, tmp_path):
    world.verdicts = [WRONG, verdict("fail", 1, cause=causes.INCONSISTENT), WRONG]
    result = run(tmp_path, max_minutes=150.0, max_rounds=3)
    assert result.status == "fail" and result.rounds == 3 and journal(tmp_path)["best"] == 2
    assert (tmp_path / "fit" / "report.json").read_text() == "2"


@pytest.mark.parametrize("minutes", [4.0, 13.0, 20.0, 60.0, 240.0])
@pytest.mark.parametrize("cause", sorted(policy.REMEDIES))
def test_the_budget_is_kept(world, tmp_path, minutes, cause):
    world.verdicts = [verdict("fail", 2, cause=cause)]
    result = run(tmp_path, max_minutes=minutes)
    # the stages whose length is not chosen take 45 s here, and time is kept for them
    assert result.minutes <= minutes + 0.75
    assert result.status == "fail" and cause in result.sentence


@pytest.mark.parametrize("stage", STAGES)
def test_a_fit_that_ends_in_any_stage_goes_on_to_the_same_result(world, tmp_path, stage):
    world.verdicts = [WRONG, PASS]
    run(tmp_path / "whole", max_minutes=240.0)
    plans = [one["plan"] for one in journal(tmp_path / "whole")["rounds"]]
    world.ran.clear()
    world.ends_in = stage
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        run(tmp_path, max_minutes=240.0)
    assert world.ran == list(STAGES[: STAGES.index(stage) + 1])
    result = run(tmp_path, max_minutes=240.0, resume=True)
    after = [one["plan"] for one in journal(tmp_path)["rounds"]]
    assert result.status == "pass" and after[0] == plans[0]
    assert [one["action"] for one in after] == [one["action"] for one in plans]
    assert world.ran.count(stage) == 3, "once more than in an uninterrupted fit, and nothing else"
    assert len(world.ran) == 2 * len(STAGES) + 1


def test_a_model_that_cannot_be_exported_is_trained_on(world, tmp_path):
    world.verdicts, world.refused = [PASS], 1
    result = run(tmp_path)
    assert result.status == "pass" and result.rounds == 2
    assert [one["plan"]["action"] for one in journal(tmp_path)["rounds"]] == [policy.FIRST, policy.TRAIN_LONGER]
    world.refused = 9
    hopeless = run(tmp_path / "hopeless", max_minutes=13.0)
    assert hopeless.status == "fail" and "chirality; there is no force field to judge" in hopeless.sentence


def test_where_nobody_works_the_model_is_not_to_blame(world, tmp_path, monkeypatch):
    world.verdicts = [PASS]

    def lost(self, plan):
        raise NoWorkersError("the scheduler is lost")

    with monkeypatch.context() as patch, pytest.raises(NoWorkersError, match="is lost"):
        patch.setattr(fitting.Stages, "sample", lost)
        run(tmp_path)
    assert journal(tmp_path)["rounds"][0]["verdict"] is None
    result = run(tmp_path, resume=True)
    assert result.status == "pass" and result.rounds == 1 and world.ran.count("train") == 1


def test_a_finished_fit_has_nothing_left_to_do(world, tmp_path):
    world.verdicts = [PASS]
    first = run(tmp_path)
    world.ran.clear()
    assert run(tmp_path, resume=True).sentence == first.sentence and not world.ran


def test_more_minutes_let_a_fit_go_on(world, tmp_path):
    world.verdicts = [WRONG, PASS]
    assert run(tmp_path, max_minutes=13.0).status == "fail"
    assert run(tmp_path, max_minutes=60.0, resume=True).status == "pass"


def test_a_folder_with_anything_in_it_is_left_alone(world, tmp_path):
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="is not empty"):
        run(tmp_path)
    world.verdicts = [PASS]
    run(tmp_path, overwrite=True)
    assert (tmp_path / "fit" / "mine.txt").read_text() == "precious"
    with pytest.raises(InputError, match="nothing to resume"):
        run(tmp_path / "elsewhere", resume=True)
