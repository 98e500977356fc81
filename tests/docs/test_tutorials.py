"""The tutorials: their short form runs, and what is stored came from a run in full."""

import base64
import json
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.ipynb"))
LARGEST_FIGURE_BYTES = 200_000
MEMORISED = "training frames are known better than held-out ones"  # a warning of fpforce that a page explains


def outputs(notebook):
    return [output for cell in notebook["cells"] for output in cell.get("outputs", ())]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_short_form_runs(path, docs_module):
    pytest.importorskip("nbclient", reason="notebooks are run by nbclient (the extra `docs`)")
    pytest.importorskip("ipykernel")
    notebook = docs_module("run_notebooks.py").executed(path, quick=True)
    assert not [output for output in outputs(notebook) if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_stored_outputs_are_those_of_one_whole_run(path):
    notebook = json.loads(path.read_text())
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)), f"run python docs/run_notebooks.py {path.stem}"
    kinds = [output["output_type"] for output in outputs(notebook)]
    assert "error" not in kinds
    said = ["".join(o["text"]) for o in outputs(notebook) if o["output_type"] == "stream" and o["name"] == "stderr"]
    text = " ".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    assert all(one.startswith(MEMORISED) for one in said) and (not said or "begun to memorise" in text)
    figures = [o["data"]["image/png"] for o in outputs(notebook) if "image/png" in o.get("data", {})]
    assert figures
    assert max(len(base64.b64decode(figure)) for figure in figures) < LARGEST_FIGURE_BYTES


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_use_public_names_alone(path):
    """Imports of fpforce stop at the package and at fpforce.potentials."""
    code = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    imports = [
        line for text in code for line in text.splitlines() if line.startswith(("import fpforce", "from fpforce"))
    ]
    assert set(imports) <= {
        "import fpforce",
        "from fpforce.potentials import MULLER_BROWN, ExactDensity, compare_with_exact",
    }
