"""Trajectories of an evaluation, read from files in pieces: the frames, checks and notices of files read at once."""

import mdtraj
import numpy as np
import pytest

from fpforce.analysis import frame_source
from fpforce.analysis.trajectory_file import Memory, TrajectoryFile
from fpforce.foundation.errors import InputError
from fpforce.trajectories.bead_frames import read_bead_frames


@pytest.fixture(scope="module")
def some(alanine):
    """Frames of all atoms, the beads of backbone5, and the topology."""
    pdb = alanine / "alanine_dipeptide.pdb"
    atoms = mdtraj.load(str(alanine / "train.xtc"), top=str(pdb))[:500]
    return atoms, read_bead_frames(alanine / "train.xtc", pdb, beads="backbone5").beads, pdb


def opened(path, beads, pdb, memory=None):
    return TrajectoryFile.open(path, pdb, beads, memory or Memory())


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".npy", ".npz", ".pdb"])
@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_pieces_are_the_frames_that_are_read_at_once(some, tmp_path, monkeypatch, suffix, kept):
    atoms, beads, pdb = some
    path = tmp_path / f"frames{suffix}"
    if suffix == ".npy":
        np.save(path, np.asfortranarray(atoms.xyz))
    elif suffix == ".npz":
        np.savez_compressed(path, positions=atoms.xyz, other=np.zeros((3, 3, 3)))
    else:
        atoms[: 40 if suffix == ".pdb" else 500].save(str(path))
    unit = "nm" if suffix.startswith(".np") else None
    wanted = read_bead_frames(path, pdb, table=beads, length_unit=unit)
    monkeypatch.setattr(frame_source, "_MOST_FRAMES_OF_A_PIECE", 33)
    memory = Memory(kept)
    source = opened(path, beads, pdb, memory)
    assert source.shape == (*wanted.positions_nm.shape[:1], 1, 5, 3)
    for _ in range(2):
        pieces = list(source.pieces())
        assert len(pieces) > 1 and {len(piece.positions_nm) for piece in pieces} <= set(range(20, 34))
        np.testing.assert_array_equal(
            np.concatenate([piece.positions_nm[:, 0] for piece in pieces]), wanted.positions_nm
        )
    assert memory.left == (kept and kept - 12 * 5 * len(wanted)), "small files are kept, within what is allowed"
    assert source.description["sha256"] == wanted.sha256
    assert source.description["time_step_ps"] == wanted.time_step_ps


def test_what_is_wrong_far_into_a_file_is_named_with_its_place(some, tmp_path, monkeypatch):
    atoms, beads, pdb = some
    xyz = atoms.xyz.copy()
    xyz[401, 4] = np.nan
    np.save(tmp_path / "damaged.npy", xyz)
    monkeypatch.setattr(frame_source, "_MOST_FRAMES_OF_A_PIECE", 100)
    source = opened(tmp_path / "damaged.npy", beads, pdb)
    with pytest.raises(InputError, match=r"damaged.npy \(from frame 400 on\): frame 1 "):
        list(source.pieces())


def test_a_file_that_changes_between_passes_is_refused(some, tmp_path):
    atoms, beads, pdb = some
    atoms.save(str(tmp_path / "frames.xtc"))
    source = opened(tmp_path / "frames.xtc", beads, pdb, Memory(0))
    atoms[:300].save(str(tmp_path / "frames.xtc"))
    with pytest.raises(InputError, match="has 300 frames now, and had 500"):
        list(source.pieces())
