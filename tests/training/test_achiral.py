"""A molecule that has no hand, trained with model.chiral = false: mirror images are alike in all that computes it."""

import importlib.util
from pathlib import Path

import numpy as np
import openmm
import pytest

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.training.export import export
from fpforce.training.recipe.read import parse_recipe
from fpforce.training.train import train

here = Path(__file__).parents[1] / "fpforce" / "trajectories" / "dimers.py"
spec = importlib.util.spec_from_file_location("dimers", here)
dimers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dimers)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Frames (400, 6, 3) of a chain whose potential knows no hand, as a file."""
    path = tmp_path_factory.mktemp("chain") / "x.npy"
    np.save(path, dimers.simulated_dimer(frames=400)[:, : dimers.BEADS])
    return path


def recipe_of(chain, output, **model):
    return parse_recipe(
        {
            "data": {
                "trajectories": [str(chain)],
                "length_unit": "nm",
                "beads": [{"name": "C", "residue": "ALK", "residue_number": 1 + i} for i in range(dimers.BEADS)],
                "held_out": 0.0,
            },
            "temperature_k": 300,
            "output": str(output),
            "model": {"width": 32, "layers": 2, **model},
            "optimizer": {"batch_size": 64, "warmup_steps": 2},
            "run": {"max_steps": 15, "threads": 1, "accelerator": "cpu", "compile": False},
        }
    )


def energies_kj_per_mol(field, frames, backend):
    system = fpforce.make_system(field, backend=backend)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    found = []
    for frame in frames:
        context.setPositions(frame)
        found.append(context.getState(getEnergy=True).getPotentialEnergy()._value)
    return np.array(found)


@pytest.mark.parametrize(
    "model",
    [{"kind": "internal"}, {"kind": "internal", "window": 4}, {"kind": "graph_transformer"}],
    ids=["internal", "windows", "graph_transformer"],
)
def test_mirror_images_are_alike_in_the_program_and_in_the_plugin(chain, tmp_path, model):
    checkpoint = train(recipe_of(chain, tmp_path / "out", **model, chiral=False), show_progress=False)
    measured = export(checkpoint, tmp_path / "model.pt")
    assert measured["mirror_difference_kt"] < 1e-6
    field = fpforce.load(tmp_path / "model.pt")
    frames = np.load(chain)[::80]
    for backend in ("native", "python"):
        ours, mirrored = (energies_kj_per_mol(field, x, backend) for x in (frames, frames * [1, 1, -1]))
        np.testing.assert_allclose(mirrored, ours, atol=2e-3)
    native, program = (energies_kj_per_mol(field, frames, backend) for backend in ("native", "python"))
    np.testing.assert_allclose(native - native.mean(), program - program.mean(), atol=2e-2)
    assert np.ptp(native) > 1.0  # the energies differ between frames, so that the comparison says something


def test_displacements_have_no_such_symmetry(chain, tmp_path):
    with pytest.raises(InputError, match="chiral = false needs edges = frames"):
        recipe_of(chain, tmp_path / "out", kind="graph_transformer", edges="displacement", chiral=False)
