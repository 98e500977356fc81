"""Damaged checkpoints, for the tests of what refuses them."""

import pytest


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
