"""The scripts in benchmarks/ fit the program as it is: each can be imported, and the rows of the tables are valid
recipes.

What they measure takes hours and is not repeated here; a renamed function would otherwise go unnoticed until then.
"""

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("script", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_script_can_be_imported(script):
    importlib.import_module(script)


@pytest.mark.parametrize("study", ["alanine_tables", "chignolin_tables"])
def test_rows_of_the_tables_are_recipes_and_name_rows_that_are_trained(study):
    from fpforce.training.recipe.read import load_recipe

    rows, tables = importlib.import_module("rows"), importlib.import_module(study).STUDY.tables
    names = {name for table in tables.values() for name in table.rows}
    for table in tables.values():
        assert set(table.trained) <= set(table.rows) and set(table.trained.values()) <= names
        for row in table.rows.values():
            load_recipe(rows.CASES[row.case].folder / row.recipe, list(row.overrides))


def test_rows_that_the_results_hold_are_taken_only_for_the_same_settings():
    tables, study = importlib.import_module("studies"), importlib.import_module("alanine_tables").STUDY
    table = study.tables["two_for_one"]
    rows = {(name, 0): study.with_seed(name, 0, table, 8000) for name in table.rows}
    results = BENCHMARKS.parent / "docs" / "results" / "alanine_two_for_one.json"
    assert tables.known(results, rows).keys() == rows.keys()
    longer = {key: study.with_seed(*key, table, 8001) for key in rows}
    assert tables.known(results, longer) == {}


def test_every_section_of_the_results_names_a_script_that_exists():
    for _, _, command, _ in importlib.import_module("write_results").SECTIONS:
        assert (BENCHMARKS / command.split()[0]).is_file()


def figures(name, seed, simulation, free_energy_kt, iid, apart, converged=True):
    """A row of alanine_tables.py, as far as benchmarks/reach.py reads it."""
    return {
        "name": name,
        "row": {"seed": seed},
        "error": None,
        "converged": converged,
        "iid": {"excess_js": iid},
        "simulation": {
            "excess_js": simulation,
            "free_energy_kt": {"value": free_energy_kt, "standard_error": None if free_energy_kt is None else 0.1},
        },
        "self_consistency": {"excess_js": apart, "excess_js_standard_error": 0.0006},
        "reference_kt": {"value": 3.8, "standard_error": 0.2},
    }


def test_targets_are_met_or_missed_by_the_means_over_seeds(tmp_path):
    reach = importlib.import_module("reach")
    assert reach.section(tmp_path) == ""
    rows = [
        figures("good", 0, 0.004, 3.4, 0.006, 0.0045),
        figures("good", 1, 0.005, 4.1, 0.002, 0.0041),
        figures("loose", 0, 0.001, 3.8, 0.001, 0.001, converged=False),
        figures("lost", 0, 0.02, None, 0.001, 0.03),
    ]
    (tmp_path / "alanine_variants.json").write_text(json.dumps({"rows": rows}))
    lines = reach.section(tmp_path).splitlines()
    # Means 0.0045, 3.75 - 3.8, 0.004; and 0.0043 apart, within 0.0006/sqrt(2) of the samples' 0.0040 from the
    # reference.
    assert "| good | 2 of 2 | 0.0045 met | 0.05 ± 0.21 met | 0.0040 met | 0.0043 ± 0.0004 met |" in lines
    assert "| loose | 0 of 1 | 0.0010 missed | 0.00 ± 0.22 missed | 0.0010 met | 0.0010 ± 0.0006 missed |" in lines
    assert "| lost | 1 of 1 | 0.0200 missed | inf ± inf missed | 0.0010 met | 0.0300 ± 0.0006 missed |" in lines
    assert any(
        "best recipe, by the targets it meets, its seeds and its simulation, is `good` (2 seeds)" in line
        for line in lines
    )
    assert "All four are met by: `good`." in lines


def test_mean_that_takes_in_what_has_not_converged_is_marked():
    tables = importlib.import_module("studies")
    held = json.loads((BENCHMARKS.parent / "docs" / "results" / "alanine_variants.json").read_text())
    lines = tables._markdown(held).splitlines()
    for name in ("both", "fokker_planck"):
        converged = [row["converged"] for row in held["rows"] if row["name"] == name]
        (mean,) = [line for line in lines if line.startswith(f"| **{name}, mean**")]
        assert mean.count("†") == (0 if all(converged) else 4) and f"{sum(converged)} of {len(converged)} |" in mean
    assert all(row["converged"] for row in held["rows"]) == (not lines[-1].startswith("†"))
