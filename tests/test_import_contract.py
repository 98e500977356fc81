"""The rooms of the code lean one way, and every room is in the contract that says so (pyproject.toml)."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


@pytest.mark.parametrize(("container", "folder"), [("fpforce", "fpforce"), ("fpforce.training", "training")])
def test_every_room_has_a_place_in_the_contract(container, folder):
    (contract,) = [one for one in CONTRACTS if one.get("containers") == [container]]
    placed = {room.strip() for layer in contract["layers"] for room in layer.split("|")}
    rooms = {path.stem for path in (ROOT / folder).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert placed == rooms - {"__init__"}


def test_imports_keep_the_contract():
    pytest.importorskip("importlinter")
    command = "from importlinter.cli import lint_imports_command as main; main(['--no-cache'])"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
