"""`.ci/wheels.py`: with which Pythons a wheel is tried."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("wheel", reason="the extra `dev` is not installed")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def wheels(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    import wheels

    return wheels


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A PATH with this Python as python3.12, and one of a version manager that runs no python3.13."""
    for name, script in (("python3.12", f'exec {sys.executable} "$@"'), ("python3.13", "exit 127")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_pythons_that_do_not_run_are_left_out(wheels, path):
    assert wheels.interpreters([]) == ["python3.12"]


def test_a_python_that_is_named_has_to_run(wheels, path):
    assert wheels.interpreters([str(path / "python3.12")]) == [str(path / "python3.12")]
    with pytest.raises(SystemExit, match="PYTHONS names python3.11, python3.13, which does not run"):
        wheels.interpreters(["python3.11", "python3.12", "python3.13"])


def test_a_wheel_that_no_python_can_try_is_refused(wheels, path):
    (path / "python3.12").unlink()
    with pytest.raises(SystemExit, match="none of python3.11, .* runs"):
        wheels.interpreters([])
