"""fit.json always holds a whole account, and knows what an interrupted fit must have in common with its beginning."""

import json

import pytest

from fpforce.fitting.journal import JOURNAL_NAME, Journal
from fpforce.foundation.errors import InputError

BEGUN = {"recipe": {"temperature_k": 300}, "options": {"seed": 0}}


def test_a_stage_that_did_not_end_is_begun_and_not_done(tmp_path):
    journal = Journal.begin(tmp_path, BEGUN)
    journal.rounds.append({"plan": {}, "stages": {}, "verdict": None})
    with pytest.raises(KeyboardInterrupt), journal.stage(0, "train") as had_begun:
        assert not had_begun
        assert json.loads((tmp_path / JOURNAL_NAME).read_text())["rounds"][0]["stages"] == {"train": {"done": False}}
        raise KeyboardInterrupt
    again = Journal.go_on(tmp_path, BEGUN)
    assert not again.is_done(0, "train") and again.minutes > 0.0
    with again.stage(0, "train") as had_begun:
        assert had_begun
    assert Journal.go_on(tmp_path, BEGUN).is_done(0, "train")


def test_another_recipe_or_option_is_refused_by_name(tmp_path):
    Journal.begin(tmp_path, BEGUN)
    with pytest.raises(InputError, match="another recipe: temperature_k was 300, is 310"):
        Journal.go_on(tmp_path, {"recipe": {"temperature_k": 310}, "options": {"seed": 0}})
    with pytest.raises(InputError, match="another options: seed was 0, is 1"):
        Journal.go_on(tmp_path, {"recipe": {"temperature_k": 300}, "options": {"seed": 1}})


def test_nothing_to_resume_and_a_damaged_journal_are_said(tmp_path):
    with pytest.raises(InputError, match="nothing to resume"):
        Journal.go_on(tmp_path, BEGUN)
    (tmp_path / JOURNAL_NAME).write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        Journal.go_on(tmp_path, BEGUN)
