"""Numbers that are unusual in a file are said: joined runs, coarse coordinates, places far from the origin."""

import mdtraj
import numpy as np
import pytest
from openmm import app

from fpforce.foundation.errors import InputError
from fpforce.reference.peptide import build_peptide
from fpforce.trajectories.bead_frames import read_bead_frames

FRAMES = 20


@pytest.fixture(scope="module")
def peptide():
    topology, positions = build_peptide("LKA", app.ForceField("amber99sbildn.xml"), 1)
    noise = np.random.default_rng(1).normal(size=(FRAMES, *positions.shape))
    return mdtraj.Trajectory(
        positions + 0.003 * noise, mdtraj.Topology.from_openmm(topology), time=2.0 * np.arange(FRAMES)
    )


def warnings_of(trajectory, folder, name="frames.xtc"):
    trajectory.save(str(folder / name))
    trajectory[0].save_gro(str(folder / "given.gro"))
    return read_bead_frames(folder / name, folder / "given.gro", beads="ca", allow_d_residues=True).report.warnings


@pytest.mark.parametrize("name", ["frames.xtc", "frames.dcd", "frames.trr", "frames.h5"])
def test_usual_file_has_no_notice(peptide, tmp_path, name):
    assert warnings_of(peptide, tmp_path, name) == ()


def test_joined_runs_are_noticed(peptide, tmp_path):
    joined = mdtraj.Trajectory(peptide.xyz, peptide.topology, time=np.r_[np.arange(12.0), np.arange(8.0)])
    (text,) = warnings_of(joined, tmp_path)
    assert "its times go back once, first from frame 11 (11 ps) to the next (0 ps)" in text


def test_coordinates_of_low_precision_are_noticed(peptide, tmp_path):
    coarse = mdtraj.Trajectory(np.round(peptide.xyz, 2), peptide.topology, time=peptide.time)
    (text,) = warnings_of(coarse, tmp_path)
    assert "rounded to 0.01 nm" in text


def test_places_far_from_the_origin_are_noticed(peptide, tmp_path):
    peptide[0].save_gro(str(tmp_path / "given.gro"))
    far = mdtraj.Trajectory(peptide.xyz + 12000.0, peptide.topology)
    far.save(str(tmp_path / "frames.dcd"))
    report = read_bead_frames(tmp_path / "frames.dcd", tmp_path / "given.gro", beads="ca").report
    assert any("reach 1.2e+04 nm" in text for text in report.warnings)


def test_archive_is_to_be_unpacked(peptide, tmp_path):
    peptide[0].save(str(tmp_path / "given.pdb"))
    (tmp_path / "frames.xtc.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="unpack it, or give"):
        read_bead_frames(tmp_path / "frames.xtc.zip", tmp_path / "given.pdb", beads="ca")


@pytest.mark.parametrize(
    "times, text",
    [
        (np.r_[np.arange(8.0), 78.0 + np.arange(12.0)], "70 ps are missing in 1 place between its frames, which "
         "usually are 1 ps apart: first from frame 7 (7 ps) to the next (78 ps)"),
        (np.r_[np.arange(8.0), 17.0 + np.arange(6.0), 27.0 + np.arange(6.0)], "13 ps are missing in 2 places"),
        (np.r_[np.arange(8.0), 7.0 + np.arange(12.0)], "1 of its frames has the time of the one before, first "
         "frame 8 (7 ps)"),
        (np.zeros(FRAMES), "all of its 20 frames have the time 0 ps"),
        (np.cumsum(np.where(np.arange(FRAMES) % 2, 1.0, 1.2)), "its times are uneven: frames are 1 to 1.2 ps apart"),
    ],
)  # fmt: skip
def test_irregular_times_are_said_with_figures(peptide, tmp_path, times, text):
    (warning,) = warnings_of(mdtraj.Trajectory(peptide.xyz, peptide.topology, time=times), tmp_path)
    assert text in warning


@pytest.mark.parametrize("step, start", [(0.1, 0.0), (0.002, 1e4), (2.5, 1e6)])
def test_times_that_are_rounded_to_single_precision_are_even(peptide, tmp_path, step, start):
    times = start + step * np.arange(FRAMES)
    assert warnings_of(mdtraj.Trajectory(peptide.xyz, peptide.topology, time=times), tmp_path) == ()
