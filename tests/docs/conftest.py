"""The site, built once for all tests, and the modules of docs/."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def docs_module():
    """Import a file of docs/ by its path there, such as `_ext/house_docstrings.py`."""

    def load(name: str):
        path = ROOT / "docs" / name
        spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def built_site(tmp_path_factory):
    """Folder of the HTML pages, built with warnings as errors."""
    pytest.importorskip("sphinx", reason="the site is made by Sphinx (the extra `docs`)")
    pytest.importorskip("myst_nb", reason="the site is made by MyST (the extra `docs`)")
    output = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "docs", str(output)]
    built = subprocess.run(
        [*command, "-d", str(tmp_path_factory.mktemp("doctrees"))], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr[-4000:]
    return output


@pytest.fixture(scope="session")
def browser(docs_module):
    """A headless Chromium with one tab."""
    module = docs_module("browser.py")
    program = module.chromium()
    if program is None:
        pytest.skip("no chromium is installed")
    with module.Browser(program) as opened:
        yield opened
