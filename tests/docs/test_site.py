"""The documentation site: built without a warning, its links lead somewhere, and a real browser shows it."""

import re

import pytest

NARROW_PX, WIDE_PX = 400, 1400
FIGURES = {  # pages that live from their figures, and how many they have at least
    "index.html": 2,
    "gallery.html": 6,
    "measured/potentials.html": 1,
    "measured/alanine-dipeptide.html": 1,
    "measured/chignolin.html": 1,
    "measured/dipeptides.html": 1,
    "measured/cost-and-speed.html": 1,
    "tutorials/muller_brown.html": 1,
    "tutorials/alanine_dipeptide.html": 3,
    "tutorials/chignolin.html": 1,
    "tutorials/openmm_scripting.html": 2,
}


def test_every_link_within_the_site_leads_somewhere(built_site, docs_module):
    assert docs_module("check_links.py").broken_links(built_site) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path, docs_module):
    (tmp_path / "page.html").write_text(
        '<p id="here"><a href="#here">a</a><a href="#there">b</a><a href="x.html">c</a>'
    )
    assert docs_module("check_links.py").broken_links(tmp_path) == ["page.html: #there", "page.html: x.html"]


def test_recipe_page_has_every_key_of_the_program(built_site):
    from fpforce.training.recipe.read import describe_recipe

    page = (built_site / "reference" / "recipe.html").read_text()
    shown = set(re.findall(r'<span class="pre">([\w.]+)</span>', page))
    assert {key for key, _, _ in describe_recipe()} <= shown


def test_python_page_has_every_public_name(built_site):
    import fpforce

    page = (built_site / "reference" / "python.html").read_text()
    assert [name for name in fpforce.__all__ if f'id="fpforce.{name}"' not in page] == []


def test_method_page_numbers_its_equations_in_order(built_site):
    page = (built_site / "method.html").read_text()
    numbers = [int(number) for number in re.findall(r'<span class="eqno">\((\d+)\)', page)]
    assert len(numbers) > 30
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("width_px", [NARROW_PX, WIDE_PX])
def test_pages_in_the_browser_have_their_figures_and_no_error(built_site, browser, width_px):
    problems = []
    for name, least in FIGURES.items():
        visit = browser.visit(built_site / name, width_px)
        problems += [f"{name}: {error}" for error in visit.errors]
        problems += [f"{name}: figure is not there: {source}" for source, width in visit.images if width == 0]
        if len(visit.images) < least:
            problems.append(f"{name}: {len(visit.images)} figures of {least}")
        if visit.width_px > width_px:
            problems.append(f"{name}: is {visit.width_px} px wide on a screen of {width_px}")
    assert not problems


@pytest.mark.parametrize("width_px", [NARROW_PX, WIDE_PX])
def test_equations_are_set_in_the_browser(built_site, browser, width_px):
    visit = browser.visit(built_site / "method.html", width_px)
    assert not visit.errors
    assert visit.equations > 100
    assert visit.failed == 0
    assert visit.width_px <= width_px


def test_a_missing_figure_and_an_error_are_seen(tmp_path, browser):
    page = tmp_path / "page.html"
    page.write_text('<img src="nowhere.png"><script>console.error("broken")</script>')
    visit = browser.visit(page, WIDE_PX)
    assert [width for _, width in visit.images] == [0]
    assert any("broken" in error for error in visit.errors)
