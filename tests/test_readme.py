"""README.md and the pages in docs/: their links, as files of the repository and as GitHub names headings."""

import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def test_links_between_the_documents_lead_somewhere():
    """Files that are there, and headings as GitHub names them."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.ipynb")]
    pages = [page for page in pages if "_build" not in page.parts] + [*(ROOT / "examples").glob("*/*.md")]
    broken = []
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", _markdown(page)):
            if "://" in link:
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (anchor and anchor not in _headings(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert not broken


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


def test_yaml_of_the_pages_has_known_keys():
    """Every YAML block that is part of a recipe, completed by what it leaves out, is a recipe."""
    from fpforce.training.recipe.read import parse_recipe

    complete = {"data": {"trajectories": ["a.xtc"]}, "temperature_k": 300, "output": "out"}
    checked = 0
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
            content = yaml.safe_load(block)
            data = content.get("data", {})
            content["data"] = (complete["data"] if "molecules" not in data else {}) | data
            parse_recipe(complete | content, f"{page.name}: {block}")
            checked += 1
    assert checked >= 4


def test_options_in_the_shell_lines_exist(capsys):
    """Every `fpforce-...` line of the pages uses options that the command has."""
    wrong, checked = [], 0
    scripts = [script for script in entry_points(group="console_scripts") if script.name.startswith("fpforce-")]
    offered = {script.name: _options(script, capsys) for script in scripts}
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")]:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"^\s*(fpforce-\w+ .*)$", text, re.MULTILINE):
            name, rest = line.split(maxsplit=1)
            used = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest.split("  #")[0])
            wrong += [f"{page.relative_to(ROOT)}: {name} {option}" for option in used if option not in offered[name]]
            checked += 1
    assert not wrong
    assert checked > 20


def test_python_of_the_readme_compiles_and_names_public_functions():
    import fpforce

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
        for name in re.findall(r"fpforce\.(\w+)", block):
            assert hasattr(fpforce, name), name


def _options(script, capsys):
    with pytest.raises(SystemExit):
        script.load()(["--help"])
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", capsys.readouterr().out))


def _markdown(page):
    """The text of a page; of a notebook that of its Markdown cells."""
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def _headings(page):
    titles = re.findall(r"^#+ (.*)$", _markdown(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
