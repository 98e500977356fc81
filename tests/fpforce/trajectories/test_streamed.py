"""Statistics of numbers that are too many to be held: exactly those of all at once, and no memory for them."""

import tracemalloc
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.trajectories import checked, collected, repeats, streamed
from fpforce.trajectories.bead_files import write_bead_frames
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.collected import steps_of

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["normal", "ties", "alike", "edges"])
@pytest.mark.parametrize("count", [1, 2, 1000, 1001])
def test_medians_of_pieces_are_those_of_all_numbers(monkeypatch, dtype, kind, count):
    monkeypatch.setattr(streamed, "_BYTES_HELD", 0)
    generator = np.random.default_rng(count)
    numbers = {
        "normal": generator.normal(size=(count, 3)),
        "ties": generator.integers(-2, 3, size=(count, 3)),
        "alike": np.full((count, 3), -0.0),
        "edges": generator.choice([np.finfo(dtype).max, -np.inf, np.inf, np.finfo(dtype).tiny, 1.0], size=(count, 3)),
    }[kind].astype(dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # the mean of the largest two, or of both infinities
        found = streamed.medians(lambda: np.array_split(numbers, 3))
        wanted = np.median(numbers, axis=0)
        smallest, _, largest = streamed.extents(lambda: np.array_split(numbers, 3))
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal([smallest, largest], [numbers.min(axis=0), numbers.max(axis=0)])


def test_steps_lead_over_the_edges_of_pieces(monkeypatch):
    monkeypatch.setattr(collected, "_BYTES_AT_ONCE", 7 * 8)
    values = np.random.default_rng(0).normal(size=100)
    for count in (1, 2, 7, 8, 100):
        parts = list(steps_of(values[:count]))
        assert [first for first, _ in parts] == np.cumsum([0, *(len(steps) for _, steps in parts)])[:-1].tolist()
        np.testing.assert_array_equal(np.concatenate([[], *(s for _, s in parts)]), np.diff(values[:count]))


def test_repeats_are_found_on_the_disk_as_in_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(repeats, "_FRAMES_OF_A_GROUP", 50)
    monkeypatch.setattr(repeats, "PAIRS_AT_ONCE", 7)
    own = np.random.default_rng(0).normal(size=(400, 5, 3)).astype(np.float32)
    pieces = [np.concatenate([own[:200], own[:3]]), own[150:300], np.concatenate([own[300:], own[:50]])]
    assert repeats.repeats(pieces) == ([3, 50, 50], {(0, 0): 3, (0, 1): 50, (0, 2): 50})
    assert repeats.repeats(pieces, tmp_path) == repeats.repeats(pieces)
    assert len(list(tmp_path.iterdir())) > 4


def test_memory_of_mapping_to_files_does_not_grow_with_the_frames(monkeypatch, tmp_path):
    """Files with times and frames that return: a byte a frame would be seen, and arrays of frames have four or more."""
    monkeypatch.setattr(checked, "_BYTES_AT_ONCE", 12 * 22 * 1000)
    monkeypatch.setattr(collected, "_BYTES_AT_ONCE", 12 * 5 * 1000)
    monkeypatch.setattr(streamed, "_BYTES_HELD", 16_000)
    monkeypatch.setattr(repeats, "_FRAMES_OF_A_GROUP", 1000)
    own = mdtraj.load(str(EXAMPLE / "train.xtc"), top=str(EXAMPLE / "alanine_dipeptide.pdb"))[:5000]

    def peak(times: int) -> int:
        path, folder = tmp_path / f"{times}.xtc", tmp_path / f"{times}"
        many = mdtraj.Trajectory(np.tile(own.xyz, (times, 1, 1)), own.topology, time=np.arange(times * own.n_frames))
        many.save(str(path))
        del many
        folder.mkdir()
        tracemalloc.start()
        try:
            frames = read_bead_frames(path, EXAMPLE / "alanine_dipeptide.pdb", beads="backbone5", on_disk=folder)
            assert frames.report.files[0].repeated == (times - 1) * own.n_frames
            assert frames.time_step_ps == 1.0
            write_bead_frames(frames, folder / "written")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is imported and kept on the way
    few, many = peak(2), peak(8)
    assert many - few < 6 * own.n_frames
