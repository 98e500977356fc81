"""The runs of a data set are independent of each other, and of those of every other seed."""

import json

import mdtraj
import numpy as np

from fpforce.distributed.parts import Where
from fpforce.reference.make import ReferenceSettings, seed_of_run
from fpforce.reference.protocol import Protocol
from fpforce.reference.runs_by_workers import make_reference_by


def test_no_run_of_one_seed_is_a_run_of_another():
    """With sums, run 2 of seed 1 was run 1 of seed 2."""
    assert len({seed_of_run(seed, number) for seed in range(30) for number in range(1, 9)}) == 30 * 8


def test_workers_make_the_same_data_set(tmp_path):
    """Two runs of capped alanine by two workers, and one after the other."""
    settings = ReferenceSettings(protocol=Protocol(temperatures_k=(300.0,)), ns=0.02, discard_ps=4.0, runs=2)
    for name, where in (("alone", Where()), ("together", Where(workers=2))):
        make_reference_by(where, "A", tmp_path / name / "data", settings)
    for name in ("train", "reference"):
        alone, together = (
            mdtraj.load(tmp_path / folder / "data" / f"{name}.xtc", top=tmp_path / folder / "data" / "data.pdb").xyz
            for folder in ("alone", "together")
        )
        assert len(alone) == 10
        np.testing.assert_array_equal(together, alone)
    made = json.loads((tmp_path / "together" / "data" / "data.json").read_text())
    assert len(made["runs"]) == 2
