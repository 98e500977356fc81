"""Which openmm a build takes: the one that is installed already, whatever pip would put beside the build."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
(SETTINGS,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dynamic-metadata"]


@pytest.fixture
def built_against():
    spec = importlib.util.spec_from_file_location("built_against", ROOT / "plugin" / "packaging" / "built_against.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def installed(built_against, monkeypatch, tmp_path):
    """installed(release) makes an environment with that openmm, or none."""

    def make(release):
        if release:
            folder = tmp_path / f"OpenMM-{release}.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: OpenMM\nVersion: {release}\n")
        monkeypatch.setattr(built_against.sysconfig, "get_path", lambda name: str(tmp_path))

    return make


@pytest.mark.parametrize(
    "release, required",
    [
        ("8.3.1", "8.3.1"),
        ("8.4.0", "8.4.0"),
        ("8.6.1", "8.6.1"),
        (None, SETTINGS["preferred"]),
        ("8.2.0", SETTINGS["preferred"]),
    ],
)
def test_the_build_takes_the_openmm_that_is_installed_if_it_is_supported(built_against, installed, release, required):
    installed(release)
    assert built_against.get_requires_for_dynamic_metadata(SETTINGS) == [f"openmm=={required}"]


def test_the_wheel_requires_the_minor_version_that_it_was_built_against(built_against, monkeypatch):
    monkeypatch.setattr(built_against, "version", lambda name: "8.4.0")
    assert built_against.dynamic_metadata(SETTINGS, {}) == {"dependencies": ["openmm==8.4.*"]}


def test_without_openmm_no_version_is_required(built_against, monkeypatch):
    def missing(name):
        raise built_against.PackageNotFoundError(name)

    monkeypatch.setattr(built_against, "version", missing)
    assert built_against.dynamic_metadata(SETTINGS, {}) == {"dependencies": []}


def test_what_is_preferred_fits_the_extras_that_pin_openmm(built_against):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pinned = [part.split("==")[1] for extra in ("cpu", "cuda13") for part in extras[extra] if part.startswith("openmm")]
    assert pinned == [SETTINGS["preferred"]] * 2
