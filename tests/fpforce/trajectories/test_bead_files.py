"""Bead frames as files: what they hold, and that one who reads an earlier file is not disturbed."""

import os
from pathlib import Path

import numpy as np

from fpforce.trajectories.bead_files import write_bead_frames
from fpforce.trajectories.bead_frames import read_bead_frames

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"
RECIPE = {"data": {"several_chains": False, "allow_d_residues": False, "held_out": 0.1}}


def frames_of(stride):
    return read_bead_frames(EXAMPLE / "train.xtc", EXAMPLE / "alanine_dipeptide.pdb", beads="backbone5", stride=stride)


def test_every_file_takes_the_place_of_the_earlier_one_and_is_not_written_over_it(tmp_path):
    folder, kept = tmp_path / "beads", tmp_path / "kept"
    kept.mkdir()
    write_bead_frames(frames_of(1000), folder, RECIPE)
    earlier = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert earlier.keys() == {"beads.pdb", "beads.npz", "beads.xtc", "recipe.yaml", "mapping.txt", "mapping.png"}
    for name in earlier:
        os.link(folder / name, kept / name)  # as one who has the file open sees it
    write_bead_frames(frames_of(700), folder, RECIPE)
    assert {path.name for path in folder.iterdir()} == earlier.keys()
    for name, content in earlier.items():
        assert (kept / name).read_bytes() == content
        assert (kept / name).stat().st_ino != (folder / name).stat().st_ino
    with np.load(folder / "beads.npz") as written:
        np.testing.assert_array_equal(written["positions"], frames_of(700).positions_nm)
