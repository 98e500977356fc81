"""The scripts in benchmarks/ fit the program as it is: each can be imported, and the rows of the tables are valid recipes.

What they measure takes hours and is not repeated here; a renamed function would otherwise go unnoticed until then.
"""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("script", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_script_can_be_imported(script):
    importlib.import_module(script)


def test_rows_of_the_alanine_tables_are_recipes_and_name_rows_that_are_trained():
    from fpforce.training.recipe import load_recipe

    alanine, tables = importlib.import_module("alanine"), importlib.import_module("alanine_tables").TABLES
    names = {name for table in tables.values() for name in table.rows}
    for table in tables.values():
        assert set(table.trained) <= set(table.rows) and set(table.trained.values()) <= names
        for row in table.rows.values():
            load_recipe(alanine.EXAMPLE / row.recipe, list(row.overrides))


def test_rows_that_the_results_hold_are_taken_only_for_the_same_settings():
    tables = importlib.import_module("alanine_tables")
    table = tables.TABLES["two_for_one"]
    rows = {(name, 0): tables._with_seed(name, 0, table, 8000) for name in table.rows}
    results = BENCHMARKS.parent / "docs" / "results" / "alanine_two_for_one.json"
    assert tables._known(results, rows).keys() == rows.keys()
    longer = {key: tables._with_seed(*key, table, 8001) for key in rows}
    assert tables._known(results, longer) == {}


def test_every_section_of_the_results_names_a_script_that_exists():
    for _, _, command, _ in importlib.import_module("write_results").SECTIONS:
        assert (BENCHMARKS / command.split()[0]).is_file()
