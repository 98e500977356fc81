"""Bead frames as files: what they hold, and that one who reads an earlier file is not disturbed."""

import io
import os
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.trajectories import checked, collected
from fpforce.trajectories.bead_files import write_bead_frames
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.forces import ForceFiles

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


@pytest.mark.parametrize("suffix", ["xtc", "dcd", "h5", "nc", "trr", "pdb"])
def test_trajectories_read_in_pieces_give_the_same_files(tmp_path, monkeypatch, suffix):
    """With a box, overlapping frames, forces and weights; pieces of 10 frames, and of 7 where they are written."""
    whole = mdtraj.load(str(EXAMPLE / "train.xtc"), top=str(EXAMPLE / "alanine_dipeptide.pdb"))[:300]
    whole.time = 2.0 * np.arange(300)
    generator = np.random.default_rng(0)
    whole.unitcell_lengths = np.repeat(3.0 + 0.01 * generator.normal(size=(300, 1)), 3, axis=1)
    whole.unitcell_angles = np.full((300, 3), 90.0)
    files, forces, weights = [], [], []
    for number, part in enumerate((whole[:200], whole[190:])):
        files.append(tmp_path / f"{number}.{suffix}")
        part.save(str(files[-1]))
        forces.append(tmp_path / f"forces_{number}.npz")
        np.savez(forces[-1], forces=generator.normal(size=part.xyz.shape))
        weights.append(tmp_path / f"weights_{number}.npy")
        np.save(weights[-1], generator.uniform(0.5, 1.0, len(part)))

    def read(folder):
        return read_bead_frames(
            files,
            EXAMPLE / "alanine_dipeptide.pdb",
            beads="heavy",
            stride=2,
            forces=ForceFiles(paths=tuple(forces)),
            weights=weights,
            on_disk=folder,
        )

    first = read(None)
    assert first.report.warnings, "of the frames that both files hold"
    write_bead_frames(first, tmp_path / "first", RECIPE)
    monkeypatch.setattr(checked, "_BYTES_AT_ONCE", 10 * 12 * whole.n_atoms)
    monkeypatch.setattr(collected, "_BYTES_AT_ONCE", 7 * 12 * len(first.beads))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    second = read(scratch)
    write_bead_frames(second, tmp_path / "second", RECIPE)
    assert str(second.report) == str(first.report) and second.time_step_ps == first.time_step_ps
    for path in (tmp_path / "first").iterdir():
        assert (tmp_path / "second" / path.name).read_bytes() == path.read_bytes(), path.name
    arrays = {"positions": first.positions_nm[:100], "forces": first.forces.kj_per_mol_nm[:100]}
    np.savez(expected := io.BytesIO(), **arrays, weights=first.weights.values[:100])
    assert (tmp_path / "second" / "beads_1.npz").read_bytes() == expected.getvalue()
