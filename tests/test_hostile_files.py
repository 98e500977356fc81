"""Files that were made to do harm, of every kind that is read: nothing in them is executed, nothing else is touched."""

import importlib
import pickle
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
hostile = importlib.import_module("torture.hostile")
sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.__name__)
def test_a_hostile_file_does_nothing(case, small_model, tmp_path):
    row = hostile.held(case, tmp_path, small_model)
    assert row["held"], row


def test_the_payload_would_be_executed_where_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(hostile.Payload(tmp_path)))
    assert (tmp_path / "executed").exists()


def test_a_program_that_writes_a_file_writes_it_where_torch_runs_it(small_model, tmp_path):
    """What SECURITY.md says of the backends that run TorchScript; the same file does nothing with `native` above."""
    program = hostile._writing_program(tmp_path / "executed")
    hostile._rewrite(small_model, tmp_path / "model.pt", None, program)
    hostile._one_step(tmp_path / "model.pt", "python")
    assert (tmp_path / "executed").exists()
