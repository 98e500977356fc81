"""Boxes and frames as users bring them: damaged, repeated, in a box that is none, or without positions."""

import importlib.util
import logging
import struct
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.trajectories.bead_frames import read_bead_frames

spec = importlib.util.spec_from_file_location("field_inputs", Path(__file__).with_name("field_inputs.py"))
field_inputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(field_inputs)
SEQUENCE, FRAMES = field_inputs.SEQUENCE, field_inputs.FRAMES
built, renamed, files = field_inputs.built, field_inputs.renamed, field_inputs.files
residues_of, ca_beads, pdb_lines = field_inputs.residues_of, field_inputs.ca_beads, field_inputs.pdb_lines


@pytest.fixture(scope="module")
def peptide():
    return built(SEQUENCE)


@pytest.mark.parametrize("width_nm", [0.1, 0.3, 0.35])
@pytest.mark.parametrize("preset", ["ca", "backbone", "heavy"])
def test_box_that_cannot_hold_a_bond_twice_is_ignored(peptide, tmp_path, caplog, width_nm, preset):
    whole = read_bead_frames(*files(tmp_path, peptide), beads=preset).positions_nm
    peptide.unitcell_lengths = np.full((FRAMES, 3), width_nm)
    peptide.unitcell_angles = np.full((FRAMES, 3), 90.0)
    try:
        trajectory, topology = files(tmp_path, peptide)
    finally:
        peptide.unitcell_vectors = None
    with caplog.at_level(logging.WARNING, "fpforce"):
        frames = read_bead_frames(trajectory, topology, beads=preset)
    np.testing.assert_array_equal(frames.positions_nm, whole)
    assert f"its box is {width_nm:g} nm wide, too narrow to hold a bond" in caplog.text


@pytest.mark.parametrize("part", [0.92, 1.0, 1.28])
def test_box_of_beads_is_judged_by_the_bonds_of_beads(tmp_path, caplog, part):
    strand = np.cumsum(np.full((FRAMES, 6, 3), 0.22), axis=1)  # 0.381 nm apart
    topology = ca_beads(6)
    frames = mdtraj.Trajectory(strand, topology, unitcell_lengths=np.full((FRAMES, 3), 0.762 * part),
                               unitcell_angles=np.full((FRAMES, 3), 90.0))  # fmt: skip
    found = read_bead_frames(*files(tmp_path, frames), beads="all")
    np.testing.assert_allclose(found.positions_nm, strand, atol=2e-3)
    assert "too narrow to hold a bond of typically 0.381 nm twice" in caplog.text


@pytest.mark.parametrize("only_ca", [True, False])
def test_wrapped_molecule_is_made_whole_in_the_frames_that_have_a_box(peptide, tmp_path, only_ca):
    molecule = peptide.atom_slice(peptide.topology.select("name CA")) if only_ca else peptide
    edges = np.full((FRAMES, 3), 2.0)
    xyz = (molecule.xyz + [0.9, 0.3, 1.9]) % 2.0
    edges[4], xyz[4] = 0.0, molecule.xyz[4]
    wrapped = mdtraj.Trajectory(xyz, molecule.topology)
    with mdtraj.formats.XTCTrajectoryFile(str(tmp_path / "frames.xtc"), "w") as file:
        file.write(wrapped.xyz, box=np.einsum("fi,ij->fij", edges, np.eye(3)).astype(np.float32))
    molecule[0].save(str(tmp_path / "given.pdb"))
    found = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads="ca").positions_nm
    right = peptide.xyz[:, peptide.topology.select("name CA")]
    np.testing.assert_allclose(found - found[:, :1], right - right[:, :1], atol=2.1e-3)


def damaged(trajectory, which, change):
    xyz = trajectory.xyz.copy()
    xyz[which] = change(xyz[which])
    return mdtraj.Trajectory(xyz, trajectory.topology)


@pytest.mark.parametrize("preset", ["ca", "backbone", "all"])
@pytest.mark.parametrize(
    "which, change, message",
    [
        (slice(4, 6), lambda xyz: 0.0 * xyz, r"in frame 4 \(counted from 0\) the bond .* is 0 nm long, .*2 of 12"),
        (slice(6, 12), lambda xyz: 10.0 * xyz, r"6 of 12 frames are in another unit .*angstrom.*in frame 6 "),
        (slice(7, 8), lambda xyz: xyz * [1, 1, 0], r"in frame 7 \(counted from 0\) all atoms have one z"),
        (slice(3, 4), lambda xyz: 0.1 * xyz, r"1 of 12 frames are in another unit .*in frame 3 "),
    ],
    ids=["zero", "angstrom", "flat", "tenth"],
)
def test_frames_that_are_damaged_are_named(peptide, tmp_path, preset, which, change, message):
    trajectory, topology = files(tmp_path, damaged(peptide, which, change))
    peptide[0].save(str(topology))
    with pytest.raises(InputError, match=message):
        read_bead_frames(trajectory, topology, beads=preset)


def test_bead_on_top_of_its_neighbour_in_a_frame_is_named(peptide, tmp_path):
    carbons = peptide.topology.select("name CA")
    xyz = peptide.xyz.copy()
    xyz[5, carbons[3]] = xyz[5, carbons[4]] + 0.01
    trajectory, topology = files(tmp_path, mdtraj.Trajectory(xyz, peptide.topology))
    with pytest.raises(InputError, match=r"in frame 5 .* the bond LYS5-CA - GLU6-CA is 0.0173 nm long"):
        read_bead_frames(trajectory, topology, beads="ca")


def trr_frame(number, atoms, positions=None, velocities=None):
    """A frame of a .trr in single precision, as GROMACS writes it."""
    blocks = [None if block is None else np.asarray(block, ">f4").tobytes() for block in (positions, velocities)]
    sizes = [0, 0, 36, 0, 0, 0, 0, *(len(block or b"") for block in blocks), 0]
    head = struct.pack(">3i", 1993, 13, 12) + b"GMX_trn_file" + struct.pack(">13i", *sizes, atoms, number, 0)
    box = np.zeros((3, 3), ">f4").tobytes()
    return head + struct.pack(">2f", 0.1 * number, 0.0) + box + b"".join(block or b"" for block in blocks)


@pytest.mark.parametrize("stride", [1, 2])
def test_trr_frames_without_positions_are_passed_over(peptide, tmp_path, caplog, stride):
    atoms = peptide.n_atoms
    content = b"".join(
        trr_frame(i, atoms, peptide.xyz[i // 10] if i % 10 == 0 else None, np.zeros((atoms, 3))) for i in range(95)
    )
    (tmp_path / "mixed.trr").write_bytes(content)
    peptide[0].save(str(tmp_path / "given.pdb"))
    frames = read_bead_frames(tmp_path / "mixed.trr", tmp_path / "given.pdb", beads="ca", stride=stride)
    carbons = peptide.topology.select("name CA")
    np.testing.assert_allclose(frames.positions_nm, peptide.xyz[:10:stride, carbons], atol=1e-6)
    assert frames.time_step_ps == pytest.approx(1.0 * stride)
    assert "85 frames have velocities or forces and no positions" in caplog.text


def test_file_that_is_given_twice_is_noticed(peptide, tmp_path, caplog):
    trajectory, topology = files(tmp_path, peptide)
    frames = read_bead_frames([trajectory, trajectory], topology, beads="ca")
    assert len(frames) == 2 * FRAMES
    assert f"{FRAMES} frames of {trajectory} (all of them) are in {trajectory} too" in caplog.text


@pytest.mark.parametrize("turned", [False, True], ids=["identical", "rigid"])
def test_frames_in_which_nothing_moves_are_refused_for_training(peptide, tmp_path, turned):
    from fpforce.trajectories.frame_checks import check_motion

    xyz = np.repeat(peptide.xyz[:1], FRAMES, axis=0)
    if turned:
        angles = np.linspace(0.0, 3.0, FRAMES)
        turn = np.array([[[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]] for a in angles])
        xyz = np.einsum("fad,fde->fae", xyz, turn)
    trajectory, topology = files(tmp_path, mdtraj.Trajectory(xyz, peptide.topology))
    frames = read_bead_frames(trajectory, topology, beads="ca")
    with pytest.raises(InputError, match="no distance between beads varies by more than .*alike, or the molecule is"):
        check_motion(frames)
    trajectory, topology = files(tmp_path, peptide)
    check_motion(read_bead_frames(trajectory, topology, beads="ca"))


@pytest.mark.parametrize("without", [slice(0, 2), slice(5, 8), slice(-1, None), slice(0, None, 2)])
@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.filterwarnings("error:Certain frames", "error:.*encountered in det")
def test_frames_without_a_box_among_others_are_counted(peptide, tmp_path, monkeypatch, without, in_pieces):
    frames = len(peptide)
    boxes = np.tile(3.0 * np.eye(3, dtype=np.float32), (frames, 1, 1))
    boxes[without] = 0.0
    with mdtraj.formats.XTCTrajectoryFile(str(tmp_path / "frames.xtc"), "w") as file:
        file.write(peptide.xyz, time=np.arange(frames, dtype=np.float32), box=boxes)
    peptide[0].save(str(tmp_path / "given.pdb"))
    monkeypatch.setattr("fpforce.trajectories.checked._BYTES_AT_ONCE", 12 * peptide.n_atoms * 3)
    folder = {"on_disk": tmp_path} if in_pieces else {}
    found = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads="ca", **folder)
    count = len(range(frames)[without])
    assert [f"{count} of its frames have no box" in text for text in found.report.warnings] == [True]
    assert np.allclose(found.report.files[0].box_nm, 3.0)
