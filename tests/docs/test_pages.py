"""The pages in docs/ against the program, each other and the results."""

import importlib
import inspect
import io
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CODE = ("fpforce", "training", "plugin", "benchmarks", "examples")


def commands():
    return sorted(script.name for script in entry_points(group="console_scripts") if script.name.startswith("fpforce-"))


def test_equations_of_the_method_are_labelled_by_their_numbers():
    labels = [int(number) for number in re.findall(r"^ *\$\$ \(eq-(\d+)\)$", (DOCS / "method.md").read_text(), re.M)]
    assert labels == list(range(1, len(labels) + 1))
    assert len(labels) > 30


def test_equations_that_the_code_cites_exist():
    count = len(re.findall(r"^ *\$\$ \(eq-\d+\)$", (DOCS / "method.md").read_text(), re.M))
    wrong = []
    for folder in CODE:
        for path in (ROOT / folder).rglob("*.py"):
            for cited in re.findall(r"method\.md, eqs?\.\s+([\d, and]+)", path.read_text()):
                wrong += [f"{path.relative_to(ROOT)}: eq. {n}" for n in re.findall(r"\d+", cited) if int(n) > count]
    assert not wrong


def test_equations_that_the_pages_cite_exist_in_their_section():
    """`[eq. 34](method.md#judging-a-simulation)` names the section that holds the equation."""
    text = (DOCS / "method.md").read_text()
    wrong = []
    for page in [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]:
        if "_build" in page.parts:
            continue
        for number, section in re.findall(r"\[eq\. (\d+)\]\([./]*method\.md#([\w-]+)\)", page.read_text()):
            titles = re.findall(r"^#+ .*$", text[: text.index(f"(eq-{number})")], re.M)
            slugs = [re.sub(r"[^\w\- ]", "", title.lstrip("# ").lower()).replace(" ", "-") for title in titles]
            if section not in slugs[-2:]:
                wrong.append(f"{page.relative_to(ROOT)}: eq. {number} is in {slugs[-1]}, not in {section}")
    assert not wrong


def test_every_command_has_its_section():
    page = (DOCS / "reference" / "commands.md").read_text()
    assert sorted(re.findall(r"```\{command-help\} (\S+)", page)) == commands()


@pytest.mark.parametrize("name", commands())
def test_command_reference_has_every_option_of_the_help(name, docs_module, capsys, monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.setenv("COLUMNS", "200")
    module, function = next(s.value for s in entry_points(group="console_scripts") if s.name == name).split(":")
    with pytest.raises(SystemExit):
        getattr(importlib.import_module(module), function)(["--help"])
    offered = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out.split("Options:")[1]))
    page = docs_module("_ext/command_reference.py").command_page(name)
    assert offered - {"--help"} <= set(re.findall(r"--[a-z][a-z-]*", page))


def test_pages_of_results_are_those_of_the_tables(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    sys.modules.pop("write_results", None)
    write_results = importlib.import_module("write_results")
    for name, page in write_results.PAGES.items():
        made = write_results.page_text(page, DOCS / "results")
        assert (DOCS / "measured" / f"{name}.md").read_text() == made, "run python benchmarks/write_results.py"


def test_every_table_of_results_is_on_a_page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    write_results = importlib.import_module("write_results")
    on_pages = {name for page in write_results.PAGES.values() for name in page.sections}
    assert on_pages == {name for _, name, _, _ in write_results.SECTIONS}
    assert {path.stem for path in (DOCS / "results").glob("*.md")} <= on_pages


def test_figures_of_results_are_drawn_from_what_is_there(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    drawn = importlib.import_module("result_figures").draw(DOCS / "results", tmp_path)
    assert {path.name for path in drawn} == {
        "alanine_variants.png",
        "chignolin_variants.png",
        "learning_curve.png",
        "dipeptides.png",
        "overview.png",
        "strangers.png",
        "support.png",
    }
    for path in drawn:
        assert path.read_bytes()[:4] == b"\x89PNG"
    overview = tmp_path / "overview.png"
    assert overview.read_bytes() == (DOCS / "results" / "overview.png").read_bytes(), (
        "the first tutorial has another figure: run python benchmarks/result_figures.py"
    )


def test_house_docstrings_become_lists(docs_module):
    as_rst = docs_module("_ext/house_docstrings.py").as_rst
    lines = [
        "Do it.",
        "",
        "steps: how many, of `x_` and y*. pace: how fast,",
        "    in steps a minute.",
        "Raises InputError for neither.",
    ]
    assert [line for line in as_rst(lines, ("steps", "pace")) if line] == [
        "Do it.",
        "- ``steps``: how many, of ``x_`` and y\\*.",
        "- ``pace``: how fast, in steps a minute.",
        "Raises InputError for neither.",
    ]


def test_docstrings_of_the_public_names_are_clean_rst(docs_module):
    """A list is set apart by blank lines, or docutils would warn."""
    import fpforce

    docutils = pytest.importorskip("docutils.core")
    as_rst = docs_module("_ext/house_docstrings.py").as_rst
    for name in fpforce.__all__:
        document = getattr(fpforce, name)
        text = "\n".join(as_rst(inspect.getdoc(document).splitlines(), _names(document)))
        problems = io.StringIO()
        docutils.publish_doctree(text, settings_overrides={"warning_stream": problems, "report_level": 2})
        assert not problems.getvalue(), f"{name}: {problems.getvalue()}"


def _names(document):
    try:
        return inspect.signature(document).parameters
    except ValueError:
        return ()
