"""The alanine dipeptide data that the repository carries, for the tests that need real molecules."""

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "alanine_dipeptide"


@pytest.fixture(scope="session")
def alanine() -> Path:
    """Folder with train.xtc, reference.xtc, alanine_dipeptide.pdb, recipe.yaml and two start frames."""
    return EXAMPLE


@pytest.fixture(scope="session")
def alanine_frames():
    """Every 20th training frame as five backbone beads, a BeadFrames."""
    from fpforce.trajectory import read_bead_frames

    return read_bead_frames(EXAMPLE / "train.xtc", EXAMPLE / "alanine_dipeptide.pdb", beads="backbone5", stride=20)


@pytest.fixture(scope="session")
def alanine_set(alanine_frames):
    """The same frames, centred and normalised, a TrainingSet."""
    from fpforce.training.dataset import TrainingSet

    return TrainingSet.of(alanine_frames)
