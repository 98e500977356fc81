"""The scripts in benchmarks/ fit the program as it is, and their quick forms leave the results alone.

What they measure takes hours and is not repeated here. `make benchmarks-quick` runs each of them in miniature.
"""

import importlib
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(f"{path.parent.name}.{path.stem}" for path in BENCHMARKS.glob("[pst]*/*.py"))
SCRIPTS += sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem != "run_quick")


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_can_be_imported_and_has_a_quick_form(script, monkeypatch, capsys):
    module = importlib.import_module(script)
    main = module.main if hasattr(module, "main") else lambda: module.STUDY.main(module.__doc__)
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0 and "--quick" in capsys.readouterr().out


def test_all_scripts_are_run_in_miniature():
    run_quick = importlib.import_module("run_quick")
    found = [f"{path.parent.name}.{path.stem}".removeprefix("benchmarks.") for path in run_quick.scripts()]
    quick = [script for script in SCRIPTS if not script.startswith("torture.")]  # those look for faults, by chance
    assert sorted(found) == sorted(quick) and len(quick) > 15


def test_script_that_fails_fails_the_quick_runs(tmp_path, capsys):
    run_quick = importlib.import_module("run_quick")
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text("import sys; assert '--quick' in sys.argv")
    bad.write_text("import fpforce; fpforce.no_such_function()")
    assert run_quick.run([good], tmp_path, 1)
    assert not run_quick.run([good, bad], tmp_path, 2)
    assert "no_such_function" in capsys.readouterr().out


def test_quick_run_writes_neither_results_nor_runs_of_the_repository(monkeypatch):
    options, argparse = importlib.import_module("workbench.options"), importlib.import_module("argparse")
    monkeypatch.setattr(sys, "argv", ["script", "--quick"])
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1000)
    chosen = options.parse(parser, steps=2)
    assert chosen.steps == 2 and chosen.results.is_dir() and chosen.runs.is_dir()
    assert not any(BENCHMARKS.parent in folder.parents for folder in (chosen.results, chosen.runs))
    assert options.handed_on(chosen) == ["--quick", "--into", str(chosen.into)]


def test_miniature_of_a_row_is_a_recipe_and_small():
    from fpforce.training.recipe.read import load_recipe

    rows = importlib.import_module("workbench.rows")
    for case in rows.CASES.values():
        for recipe in (case.folder / "recipes").glob("*.yaml"):
            row = rows.Row(f"recipes/{recipe.name}").in_miniature()
            assert load_recipe(recipe, list(row.overrides)).model.width == 16 and row.steps <= 60
    assert rows.Row(trained="diffusion_0").in_miniature().overrides == ()  # takes the other's training as it is


@pytest.mark.parametrize("study", ["studies.alanine_tables", "studies.chignolin_tables"])
def test_rows_of_the_tables_are_recipes_and_name_rows_that_are_trained(study):
    from fpforce.training.recipe.read import load_recipe

    rows, tables = importlib.import_module("workbench.rows"), importlib.import_module(study).STUDY.tables
    names = {name for table in tables.values() for name in table.rows}
    for table in tables.values():
        assert set(table.trained) <= set(table.rows) and set(table.trained.values()) <= names
        for row in table.rows.values():
            load_recipe(rows.CASES[row.case].folder / row.recipe, list(row.overrides))


def test_rows_that_the_results_hold_are_taken_only_for_the_same_settings():
    tables, study = (
        importlib.import_module("workbench.row_tables"),
        importlib.import_module("studies.alanine_tables").STUDY,
    )
    table = study.tables["two_for_one"]
    rows = {(name, 0): study.with_seed(name, 0, table, 8000) for name in table.rows}
    results = BENCHMARKS.parent / "docs" / "results" / "alanine_two_for_one.json"
    assert tables.known(results, rows).keys() == rows.keys()
    longer = {key: study.with_seed(*key, table, 8001) for key in rows}
    assert tables.known(results, longer) == {}


def test_every_section_of_the_results_names_a_script_that_exists():
    write_results = importlib.import_module("write_results")
    for _, _, script, _ in write_results.SECTIONS:
        program, path, *arguments = write_results.command_of(script).split()
        assert program == "python" and (BENCHMARKS.parent / path).is_file() and arguments == script.split()[1:]


def test_scripts_that_are_named_anywhere_exist():
    root, folders = (
        BENCHMARKS.parent,
        ("docs", "examples", "fpforce", "training", "plugin", "tests", "benchmarks", ".ci"),
    )
    pages = [*root.glob("*.md"), *(path for folder in folders for path in (root / folder).rglob("*.*"))]
    missing = [
        f"{page.relative_to(root)}: {path}"
        for page in pages
        if page.suffix in (".md", ".py", ".ipynb", ".h")
        for path in re.findall(r"\bbenchmarks/[\w/]+\.(?:py|cpp)", page.read_text())
        if not (root / path).is_file()
    ]
    assert not missing


def figures(name, seed, simulation, free_energy_kt, iid, apart, converged=True):
    """A row of alanine_tables.py, as far as workbench/reach.py reads it."""
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
    reach = importlib.import_module("workbench.reach")
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
    tables = importlib.import_module("workbench.row_tables")
    held = json.loads((BENCHMARKS.parent / "docs" / "results" / "alanine_variants.json").read_text())
    lines = tables._markdown(held).splitlines()
    for name in ("both", "fokker_planck"):
        converged = [row["converged"] for row in held["rows"] if row["name"] == name]
        (mean,) = [line for line in lines if line.startswith(f"| **{name}, mean**")]
        assert mean.count("†") == (0 if all(converged) else 4) and f"{sum(converged)} of {len(converged)} |" in mean
    assert all(row["converged"] for row in held["rows"]) == (not lines[-1].startswith("†"))


def test_training_of_a_row_shares_its_steps_out(tmp_path, monkeypatch):
    """What a row trains, but for the training."""
    rows = importlib.import_module("workbench.rows")
    monkeypatch.setattr("fpforce.training.train.train", lambda recipe, **_: recipe)
    recipe = rows.trained(tmp_path, rows.Row("recipes/both.yaml", steps=800))
    assert sum(expert.max_steps for expert in recipe.experts) == 800 and recipe.run.compile is True


def test_row_survives_its_way_through_json():
    rows = importlib.import_module("workbench.rows")
    row = rows.Row(overrides=("model.width=8",), trained="diffusion_0").in_miniature()
    assert rows.Row.from_dict(json.loads(json.dumps(asdict(row)))) == row


def test_exact_log_odds_of_handedness_are_those_of_an_average_over_a_million_rotations(alanine_set):
    import torch

    from fpforce.training.diffusion import alpha, sigma_squared

    handedness = importlib.import_module("studies.handedness")
    data = alanine_set.frames[:1].double()
    x = data + 0.5 * torch.randn(3, *data.shape[1:], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x -= x.mean(1, keepdim=True)
    t = 0.15
    signal, noise = alpha(torch.tensor(t)).item(), sigma_squared(torch.tensor(t)).item()
    quaternions = np.random.default_rng(0).normal(size=(1_000_000, 4))
    rotations = torch.from_numpy(Rotation.from_quat(quaternions).as_matrix())

    def log_density(frame):
        overlap = torch.einsum("nab,ab->n", rotations, frame.T @ data[0])
        return torch.logsumexp(signal / noise * overlap, 0)

    brute = [log_density(one) - log_density(one * torch.tensor([-1.0, 1.0, 1.0])) for one in x]
    np.testing.assert_allclose(handedness.exact_log_odds(x, data, t), torch.stack(brute), atol=0.05)
