"""A trajectory that is being written, and what happens to its file meanwhile."""

import pytest

from fpforce.trajectories.trajectory_writer import open_trajectory


@pytest.mark.parametrize("replaced", [False, True])
def test_a_trajectory_that_vanishes_while_it_is_written_is_an_error_that_names_it(replaced, alanine_frames, tmp_path):
    path = tmp_path / "s.xtc"
    writer = open_trajectory(path, alanine_frames.beads)
    writer.sync()
    path.unlink()
    if replaced:
        path.write_text("another")
    with pytest.raises(FileNotFoundError) as error:
        writer.sync()
    assert error.value.filename == str(path)
    writer.close()
