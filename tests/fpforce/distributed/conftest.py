"""A Dask scheduler with two workers, and functions that they find."""

import os
from pathlib import Path

import pytest

FOLDER = str(Path(__file__).parent)


@pytest.fixture(scope="session", autouse=True)
def found_by_workers():
    """Workers and the processes of parts find parts_of_tests."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = FOLDER if before is None else f"{FOLDER}{os.pathsep}{before}"
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="session")
def dask_address(found_by_workers):
    """The address of a scheduler with two workers, which come back when they are killed."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None) as cluster:
        yield cluster.scheduler_address
