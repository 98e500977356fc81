"""Small recipes on the real data, and one small trained model, for the tests of training and export."""

import pytest


@pytest.fixture(scope="session")
def small_recipe(alanine):
    """small_recipe(output, *overrides) -> a Recipe of 5 ms a step on the alanine dipeptide data."""
    from fpforce.training.recipe import load_recipe

    def make(output, *overrides):
        small = ("data.stride=10", "model.width=16", "model.layers=2", "optimizer.batch_size=32", "run.max_steps=60",
                 "run.max_minutes=null", "run.log_every_steps=10", "run.threads=1", "run.accelerator=cpu")
        return load_recipe(alanine / "recipe.yaml", [*small, f"output={output}", *overrides])

    return make


@pytest.fixture(scope="session")
def small_checkpoint(small_recipe, tmp_path_factory):
    """Checkpoint of 150 steps: the last layer, zero at the start, has learned chirality a little."""
    from fpforce.training.fit import train

    output = tmp_path_factory.mktemp("small")
    return train(small_recipe(output, "run.max_steps=150", "optimizer.warmup_steps=10"), show_progress=False)


@pytest.fixture(scope="session")
def small_model(small_checkpoint):
    """The exported model.pt of `small_checkpoint`."""
    from fpforce.training.export import export

    path = small_checkpoint.with_name("model.pt")
    export(small_checkpoint, path)
    return path


@pytest.fixture
def damaged_checkpoint(small_checkpoint, tmp_path):
    """damaged_checkpoint(change) -> copy of the small checkpoint after change(content)."""
    import torch

    def make(change):
        content = torch.load(small_checkpoint, weights_only=True)
        change(content)
        path = tmp_path / "damaged.ckpt"
        torch.save(content, path)
        return path

    return make
