"""What a fit is judged by, where the frames that it is given do not count alike."""

import numpy as np
import pytest

from fpforce.fitting.judged_by import prepare
from fpforce.fitting.settings import FitSettings
from fpforce.training.recipe.read import parse_recipe
from fpforce.trajectories.weights import read_weights

FRAMES = 20_000


@pytest.fixture
def biased(tmp_path):
    """Three beads; the first distance is even in 0.3 to 0.5 nm, with weights that favour the upper half threefold."""
    rng = np.random.default_rng(0)
    distance, angle = rng.uniform(0.3, 0.5, FRAMES), rng.uniform(1.5, 2.5, FRAMES)
    positions = np.zeros((FRAMES, 3, 3))
    positions[:, 0, 0] = distance
    positions[:, 2, 0], positions[:, 2, 1] = 0.4 * np.cos(angle), 0.4 * np.sin(angle)
    weights = np.where(distance > 0.4, 3.0, 1.0)
    np.savez(tmp_path / "biased.npz", positions=positions, weights=weights)
    bonds = {"A": [1], "B": [2], "C": []}
    beads = [{"name": name, "residue": "A", "mass_da": 12.0, "bonds": bonds[name]} for name in bonds]
    return tmp_path / "biased.npz", beads


def recipe_of(path, beads, output):
    data = {"trajectories": [str(path)], "weights": [str(path)], "beads": beads, "length_unit": "nm"}
    return parse_recipe({"data": data, "temperature_k": 300.0, "output": str(output)})


def test_frames_held_out_of_a_biased_run_count_as_their_weights_say(biased, tmp_path):
    recipe = recipe_of(*biased, tmp_path / "fit")
    record = prepare(recipe, FitSettings(timestep_fs=2.0, states=1), tmp_path / "fit" / "data")
    reference = np.concatenate([np.load(tmp_path / "fit" / name)["positions"] for name in record["reference"]])
    lengths = np.linalg.norm(reference[:, 1] - reference[:, 0], axis=-1)
    assert (lengths > 0.4).mean() == pytest.approx(0.75, abs=0.01)
    # Kish's number of one half with weight 3 and one with 1 is 0.8 of the frames.
    held = sum(one["frames"] for one in record["held_out"])
    assert len(reference) == pytest.approx(0.8 * held, rel=0.02)
    assert record["weights"] == record["trained_on"]
    trained = [tmp_path / "fit" / name for name in record["weights"]]
    counts = read_weights(trained, [FRAMES - held])
    assert counts.effective == pytest.approx(0.8 * (FRAMES - held), rel=0.02)
