"""The alanine dipeptide data that the repository carries, and one small model trained on it, for tests of real
molecules.
"""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "alanine_dipeptide"

# `python -m pytest` puts the folder it is called in first on the path. The fpforce/ there has no plugin: the installed
# package is what is tested.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]


@pytest.fixture(scope="session")
def alanine() -> Path:
    """Folder with train.xtc, reference.xtc, alanine_dipeptide.pdb, recipe.yaml and two start frames."""
    return EXAMPLE


@pytest.fixture(scope="session")
def alanine_frames():
    """Every 20th training frame as five backbone beads, a BeadFrames."""
    from fpforce.trajectories.bead_frames import read_bead_frames

    return read_bead_frames(EXAMPLE / "train.xtc", EXAMPLE / "alanine_dipeptide.pdb", beads="backbone5", stride=20)


@pytest.fixture(scope="session")
def alanine_set(alanine_frames):
    """The same frames, centred and normalised, a TrainingSet."""
    from fpforce.training.data.dataset import TrainingSet

    return TrainingSet.of(alanine_frames)


@pytest.fixture(scope="session")
def plane_set():
    """2,000 exact samples of a particle on two islands of the plane, far from the origin, a TrainingSet."""
    import numpy as np

    from fpforce.molecule.mapping import list_beads
    from fpforce.training.data.dataset import TrainingSet
    from fpforce.trajectories.bead_frames import BeadFrames

    rng = np.random.default_rng(3)
    positions_nm = np.zeros((2000, 1, 3), dtype=np.float32)
    positions_nm[:, 0, :2] = rng.normal(size=(2000, 2)) * [0.3, 0.1] + [3.0, -1.0]
    positions_nm[:600, 0, :2] += [1.5, 0.5]
    beads = list_beads([{"name": "P", "residue": "PAR", "mass_da": 1.0}])
    return TrainingSet.of(BeadFrames(rng.permutation(positions_nm), beads, (2000,), ("islands",), "", None))


@pytest.fixture(scope="session")
def small_recipe(alanine):
    """small_recipe(output, *overrides) -> a Recipe of 5 ms a step on the alanine dipeptide data."""
    from fpforce.training.recipe.read import load_recipe

    def make(output, *overrides):
        small = (
            "data.stride=10",
            "model.width=16",
            "model.layers=2",
            "optimizer.batch_size=32",
            "run.max_steps=60",
            "run.max_minutes=null",
            "run.log_every_steps=10",
            "run.threads=1",
            "run.accelerator=cpu",
        )
        return load_recipe(alanine / "recipe.yaml", [*small, f"output={output}", *overrides])

    return make


@pytest.fixture(scope="session")
def small_checkpoint(small_recipe, tmp_path_factory):
    """Checkpoint of 150 steps: the last layer, zero at the start, has learned chirality a little."""
    from fpforce.training.train import train

    output = tmp_path_factory.mktemp("small")
    return train(small_recipe(output, "run.max_steps=150", "optimizer.warmup_steps=10"), show_progress=False)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """made_once(name, make) -> the file that make(path) writes, which takes torch; kept for the whole session.

    FPFORCE_TEST_MODELS names a folder to keep it in for longer: `make test-openmm` fills that where torch is, and then
    runs these tests beside other OpenMMs in environments without it.
    """
    kept = os.environ.get("FPFORCE_TEST_MODELS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("models")
    folder.mkdir(parents=True, exist_ok=True)

    def file(name, make):
        path = folder / name
        if not path.exists():
            pytest.importorskip("torch", reason="a model has to be trained")
            make(path)
        return path

    return file


@pytest.fixture(scope="session")
def small_model(request, made_once):
    """model.pt of kind `internal` after 150 steps, exported from `small_checkpoint`."""

    def make(path):
        from fpforce.training.export import export

        export(request.getfixturevalue("small_checkpoint"), path)

    return made_once("internal.pt", make)


@pytest.fixture(scope="session")
def graph_model(request, made_once, tmp_path_factory):
    """model.pt of a `graph_transformer` after 150 steps."""

    def make(path):
        from fpforce.training.export import export
        from fpforce.training.train import train

        kind = ("model.kind=graph_transformer", "model.head_width=8", "run.max_steps=150", "optimizer.warmup_steps=10")
        recipe = request.getfixturevalue("small_recipe")(tmp_path_factory.mktemp("graph"), *kind)
        export(train(recipe, show_progress=False), path)

    return made_once("graph_transformer.pt", make)


@pytest.fixture(scope="session", params=["internal", "graph_transformer"])
def any_field(request):
    """A ForceField of each kind that the plugin computes."""
    import fpforce

    return fpforce.load(request.getfixturevalue("small_model" if request.param == "internal" else "graph_model"))


@pytest.fixture
def backend_is_here(request):
    """Skips the torch backends' part of a test in environments without torch or openmm-torch, such as those of
    `make test-openmm` and `make test-torch`.
    """
    backend = getattr(request.node, "callspec", None) and request.node.callspec.params.get("backend")
    if backend in ("torchforce", "python"):
        pytest.importorskip("torch", reason=f"backend {backend} needs torch")
    if backend == "torchforce" and importlib.util.find_spec("openmmtorch") is None:
        pytest.skip("openmm-torch is not installed")
