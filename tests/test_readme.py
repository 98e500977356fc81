"""README.md against the program."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_recipe_reference_is_that_of_the_program():
    spec = importlib.util.spec_from_file_location("recipe_reference", ROOT / "docs" / "recipe_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "README.md").read_text()
    assert module.with_reference(text) == text, "README.md is behind: run python docs/recipe_reference.py --write"


def test_links_between_the_documents_lead_somewhere():
    """Files that are there, and headings as GitHub names them."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/*.md")]
    broken = []
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in link:
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (anchor and anchor not in _headings(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert not broken


def _headings(page):
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
