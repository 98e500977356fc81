"""Memory of `internal`: told before a training begins, and refused in one line with the size that would do."""

import re

import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.training.data.read import FEWEST_FRAMES
from fpforce.training.models.internal import fit_coordinates
from fpforce.training.models.memory import free_memory_bytes, internal_memory_bytes, require_memory
from fpforce.training.recipe.models import InternalRecipe
from fpforce.training.recipe.read import parse_recipe
from fpforce.training.train import train

GB = 1e9


@pytest.mark.parametrize("beads", [3, 4, 12, 40])
@pytest.mark.parametrize("volumes", [True, False])
def test_features_are_counted_as_the_model_has_them(beads, volumes):
    import torch

    x = torch.randn(5, beads, 3, generator=torch.Generator().manual_seed(0))
    features = fit_coordinates(x, volumes=volumes).features
    per_feature = internal_memory_bytes(20, InternalRecipe(volumes=False), 64) / (2 * 190 + 4 * 17)
    if beads > 4 or not volumes:  # of four beads or fewer there are fewer triples than pairs
        assert internal_memory_bytes(beads, InternalRecipe(volumes=volumes), 64) == pytest.approx(
            features * per_feature
        )


def test_size_and_batch_that_would_do_are_right():
    settings = InternalRecipe()
    require_memory(60, settings, 512, 16 * GB)
    with pytest.raises(
        InputError, match=r"on 1000 beads takes some 174 GB .* 16 GB are free: up to \d+ beads"
    ) as raised:
        require_memory(1000, settings, 512, 16 * GB)
    fitting = int(re.search(r"up to (\d+) beads", str(raised.value))[1])
    require_memory(fitting, settings, 512, 16 * GB)
    with pytest.raises(InputError, match="batch_size=256 would do"):
        require_memory(fitting + 1, settings, 512, 16 * GB)
    require_memory(fitting + 1, settings, 256, 16 * GB)


def test_free_memory_of_the_machine_is_a_sensible_number():
    assert 1e8 < free_memory_bytes("cpu") < 1e14


def test_thousand_beads_are_refused_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr("fpforce.training.train.free_memory_bytes", lambda accelerator: 16 * GB)
    steps = np.random.default_rng(0).normal(size=(FEWEST_FRAMES, 1000, 3))
    bonds = np.random.default_rng(1).normal(0.38, 0.0038, (FEWEST_FRAMES, 1000, 1))
    steps *= bonds / np.linalg.norm(steps, axis=-1, keepdims=True)
    np.save(tmp_path / "x.npy", np.cumsum(steps, axis=1))
    recipe = parse_recipe(
        {
            "data": {
                "trajectories": [str(tmp_path / "x.npy")],
                "length_unit": "nm",
                "beads": [{"name": "CA", "residue": "ALA"}] * 1000,
                "held_out": 0.0,
            },
            "temperature_k": 300,
            "output": str(tmp_path / "out"),
            "optimizer": {"batch_size": 4},
            "model": {"width": 4096},
        }
    )
    with pytest.raises(InputError, match="internal on 1000 beads takes some .*model.kind=graph_transformer"):
        train(recipe)
    assert not (tmp_path / "out").exists()
