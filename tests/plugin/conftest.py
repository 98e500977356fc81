"""Small models of both native kinds, the forces made of them, and a Context to evaluate them in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fpforce

BEADS = 5


@pytest.fixture(scope="session")
def field(small_model):
    """An `internal` model of alanine dipeptide's five beads."""
    return fpforce.load(small_model)


@pytest.fixture
def make_force(field):
    """make_force(*replicas) -> an FPForce of `field` with these tuples of particles."""
    from fpforce.plugin import FPForce

    def make(*replicas):
        force = FPForce.from_file(field)
        for particles in replicas:
            force.addReplica(particles)
        return force

    return make


@pytest.fixture
def frames_nm(field):
    """frames_nm(count, seed) -> (count, 5, 3) positions around the start frame."""

    def make(count, seed=0):
        noise = np.random.default_rng(seed).normal(scale=0.005, size=(count, BEADS, 3))
        return field.positions_nm + noise

    return make


@pytest.fixture(scope="session")
def system_of():
    """system_of(particles, *forces) -> openmm.System of carbon masses."""
    import openmm

    def make(particles, *forces):
        system = openmm.System()
        for _ in range(particles):
            system.addParticle(12.0)
        for force in forces:
            system.addForce(force)
        return system

    return make


@pytest.fixture(scope="session")
def context_of():
    """context_of(system, positions_nm, integrator=Verlet 1 fs, platform="Reference") -> openmm.Context."""
    import openmm

    def make(system, positions_nm, integrator=None, platform="Reference"):
        integrator = integrator or openmm.VerletIntegrator(0.001)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
        context.setPositions(np.reshape(positions_nm, (-1, 3)))
        return context

    return make


@pytest.fixture(scope="session")
def evaluate():
    """evaluate(context, groups=all) -> (energy in kJ/mol, (N, 3) forces in kJ/mol/nm)."""

    def run(context, groups=-1):
        state = context.getState(energy=True, forces=True, groups=groups)
        return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value

    return run


@pytest.fixture
def run_python(tmp_path):
    """run_python(code, *arguments, **environment) -> what a fresh Python outside the repository prints."""

    def run(code, *arguments, **environment):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """random_model(kind="internal", **shape) -> (description, weights) of plugin/tests/RandomModel.cpp, with weights of
    order one.

    shape: beads, width, layers, head_width, prior, wall, volumes, window, window_width, seed. Skips where there is no
    C++ compiler.
    """
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    folder = tmp_path_factory.mktemp("random")
    plugin = Path(__file__).resolve().parents[2] / "plugin"
    sources = [plugin / "tests" / name for name in ("WriteModel.cpp", "RandomModel.cpp")]
    command = [compiler, "-std=c++17", f"-I{plugin / 'kernels'}", *map(str, sources), "-o", str(folder / "write_model")]
    subprocess.run(command, check=True)

    def make(
        kind="internal",
        beads=5,
        width=32,
        layers=2,
        head_width=16,
        prior=True,
        wall=False,
        volumes=True,
        window=0,
        window_width=8,
        seed=1,
    ):
        shape = (beads, width, layers, head_width, *map(int, (prior, wall, volumes)), window, window_width, seed)
        subprocess.run([folder / "write_model", kind, *map(str, shape), folder / "model"], check=True)
        return (folder / "model.json").read_text(), (folder / "model.safetensors").read_bytes()

    return make


@pytest.fixture(scope="session")
def opencl():
    """Skips where OpenMM's OpenCL platform has no device; Debian's pocl-opencl-icd makes one of any processor."""
    import openmm

    system = openmm.System()
    system.addParticle(1.0)
    try:
        openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("OpenCL"))
    except openmm.OpenMMException as error:
        pytest.skip(f"no OpenCL here: {error}")
