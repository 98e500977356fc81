"""Systems go to other threads and processes, by every backend, and give the same numbers there."""

import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openmm
import pytest

import fpforce
from fpforce.system import backends

BACKENDS = backends.names()
ENERGY_TOLERANCE = 1e-3  # kJ/mol; of torch in float32, whose sums depend on the number of threads

# Children of a spawn pool and of Dask import this file anew, so that it is a script with a main of its own.
SCRIPT = """
import multiprocessing, pickle, sys
import numpy, openmm

def energy(task):
    system, positions = task
    reference = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference)
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy()._value

if __name__ == "__main__":
    tasks = pickle.load(open("tasks.pickle", "rb"))
    here = [energy(task) for task in tasks]  # before the fork: Contexts, and what runs in them, exist
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, *pool.map(energy, tasks))
    try:
        import dask
    except ImportError:
        pass
    else:
        jobs = [dask.delayed(energy)(task) for task in tasks]
        print("dask", *dask.compute(jobs, scheduler="processes", num_workers=1)[0])
"""


def energy_of(system, positions_nm):
    reference = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference)
    context.setPositions(positions_nm)
    return context.getState(energy=True).getPotentialEnergy()._value


@pytest.fixture(scope="module")
def field(small_model):
    return fpforce.load(small_model)


@pytest.fixture(scope="module")
def systems(field):
    return {backend: fpforce.make_system(field, backend=backend, replicas=3, threads=1) for backend in BACKENDS}


@pytest.fixture(scope="module")
def frames_nm(field):
    """(3 replicas x n, 3)."""
    noise = np.random.default_rng(4).normal(scale=0.01, size=(3, len(field.beads), 3))
    return (field.positions_nm + noise).reshape(-1, 3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        lambda system: pickle.loads(pickle.dumps(system)),
        lambda system: openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system)),
    ],
    ids=["copy", "deepcopy", "pickle", "xml"],
)
def test_copies_have_the_same_energy_bit_for_bit(systems, frames_nm, backend, duplicate):
    copied = duplicate(duplicate(systems[backend]))
    assert energy_of(copied, frames_nm) == energy_of(systems[backend], frames_nm)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_with_contexts_of_their_own_do_not_disturb_each_other(systems, frames_nm, backend):
    shifted = [frames_nm + 0.01 * np.sin(k + np.arange(frames_nm.size)).reshape(-1, 3) for k in range(8)]
    expected = [energy_of(systems[backend], positions) for positions in shifted]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda positions: energy_of(systems[backend], positions), shifted))
    assert found == pytest.approx(expected, abs=ENERGY_TOLERANCE)


def test_pools_of_processes_compute_what_this_one_does(systems, frames_nm, tmp_path):
    (tmp_path / "tasks.pickle").write_bytes(pickle.dumps([(system, frames_nm) for system in systems.values()]))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    printed = {line.split()[0]: [float(word) for word in line.split()[1:]] for line in done.stdout.splitlines()}
    expected = [energy_of(system, frames_nm) for system in systems.values()]
    assert {"spawn", "fork"} <= set(printed)
    for method, energies in printed.items():
        assert energies == pytest.approx(expected, abs=ENERGY_TOLERANCE), method
