"""README.md against the program."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_recipe_reference_is_that_of_the_program():
    spec = importlib.util.spec_from_file_location("recipe_reference", ROOT / "docs" / "recipe_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "README.md").read_text()
    assert module.with_reference(text) == text, "README.md is behind: run python docs/recipe_reference.py --write"
