"""Extended XYZ: molecules that are wrapped into the box of its Lattice, and columns that are not the usual ones."""

import gzip
import importlib.util
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.trajectories.bead_frames import read_bead_frames

spec = importlib.util.spec_from_file_location("field_inputs", Path(__file__).with_name("field_inputs.py"))
field_inputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(field_inputs)
FRAMES, EDGE_NM = field_inputs.FRAMES, 3.0
CUBIC = EDGE_NM * np.eye(3)
TRICLINIC = np.array([[3.0, 0.0, 0.0], [1.0, 2.8, 0.0], [-1.0, 1.4, 2.5]])
TURNED = np.array([[3.0, 3.0, 0.0], [-3.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
SHIFT_NM = [0.2, 2.9, 1.5]


@pytest.fixture(scope="module")
def peptide():
    return field_inputs.built("LKA")


def wrapped(xyz, vectors):
    """Every atom in the box (3, 3), or in those of the frames (frames, 3, 3)."""
    vectors = np.broadcast_to(vectors, (len(xyz), 3, 3))
    return ((xyz + SHIFT_NM) @ np.linalg.inv(vectors) % 1.0) @ vectors


def lattice(vectors):
    return f'Lattice="{" ".join(f"{10.0 * x:.6f}" for x in np.ravel(vectors))}"'


def write(folder, peptide, xyz, comments, columns="{0} {1}", name="frames.xyz"):
    """(.xyz of positions in nm with a comment each, topology)."""
    peptide[0].save(str(folder / "given.pdb"))
    symbols = [atom.element.symbol for atom in peptide.topology.atoms]
    text = ""
    for comment, frame in zip(comments, xyz, strict=True):
        text += f"{len(symbols)}\n{comment}\n"
        for symbol, place in zip(symbols, frame, strict=True):
            text += columns.format(symbol, " ".join(f"{10.0 * x:.6f}" for x in place)) + "\n"
    (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder / name, folder / "given.pdb"


def distances(positions):
    return np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)


def assert_same_molecule(frames, peptide, stride=1):
    exact = peptide.xyz[::stride, peptide.topology.select("element != H")]
    np.testing.assert_allclose(distances(frames.positions_nm), distances(exact), atol=1e-5)
    assert not frames.report.warnings


@pytest.mark.parametrize("vectors", [CUBIC, TRICLINIC])
@pytest.mark.parametrize("stride", [1, 5])
@pytest.mark.parametrize("name", ["frames.xyz", "frames.xyz.gz", "frames.XYZ"])
def test_molecule_is_made_whole_in_the_box_of_its_lattice(peptide, tmp_path, vectors, stride, name):
    comment = f'{lattice(vectors)} Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="T T T"'
    xyz = wrapped(peptide.xyz, vectors)
    files = write(tmp_path, peptide, xyz, [comment] * FRAMES, "{0} {1} 0.1 0.2 0.3", name)
    frames = read_bead_frames(*files, beads="heavy", stride=stride)
    assert_same_molecule(frames, peptide, stride)
    assert frames.report.files[0].box_nm == pytest.approx(np.linalg.norm(vectors, axis=1), abs=1e-5)


@pytest.mark.parametrize(
    "form",
    [
        lambda box: f"Lattice='{10.0 * box[0, 0]} {10.0 * box[1, 1]} {10.0 * box[2, 2]}' pbc='T T F'",
        lambda box: f"lattice={{{' '.join(f'{10.0 * x:g}' for x in box.ravel())}}} step=7",
        lambda box: f"energy=1 Lattice={(10.0 * box).tolist()} pbc=[True, True, True] config=3",
        lambda box: f"Lattice={(10.0 * box).tolist()} config3=1",
        lambda box: f'{lattice(box * [[1.0], [1.0], [-1.0]])} pbc="T T T"',  # of the other hand
        lambda box: f'{lattice(box[[1, 2, 0]])} pbc="T T T"',
    ],
)
def test_lattice_is_read_in_every_form_that_programs_write(peptide, tmp_path, form):
    sides = [EDGE_NM * (1.0 + 0.01 * frame) for frame in range(FRAMES)]  # of constant pressure
    boxes = np.array([side * np.eye(3) for side in sides])
    files = write(tmp_path, peptide, wrapped(peptide.xyz, boxes), [form(box) for box in boxes])
    frames = read_bead_frames(*files, beads="heavy")
    assert_same_molecule(frames, peptide)
    assert frames.report.files[0].box_nm == pytest.approx([np.mean(sides)] * 3, abs=1e-4)


def test_slab_without_a_third_vector_is_made_whole_in_its_plane(peptide, tmp_path):
    """As ASE writes surfaces without vacuum."""
    xyz = wrapped(peptide.xyz, CUBIC)
    xyz[..., 2] = peptide.xyz[..., 2]
    comment = f'{lattice(CUBIC * [1.0, 1.0, 0.0])} pbc="T T F"'
    assert_same_molecule(read_bead_frames(*write(tmp_path, peptide, xyz, [comment] * FRAMES), beads="heavy"), peptide)


@pytest.mark.parametrize("comment", ['lattice="fcc" a=4.05', 'sub-lattice="A 1"', 'Lattice="0 0 0 0 0 0 0 0 0"'])
def test_words_and_zeros_are_no_box(peptide, tmp_path, comment):
    frames = read_bead_frames(*write(tmp_path, peptide, peptide.xyz, [comment] * FRAMES), beads="heavy")
    assert_same_molecule(frames, peptide)
    assert frames.report.files[0].box_nm is None


def test_beads_alone_are_made_whole(peptide, tmp_path):
    carbons = peptide.atom_slice(peptide.topology.select("name CA"))
    files = write(tmp_path, carbons, wrapped(carbons.xyz, CUBIC), [lattice(CUBIC)] * FRAMES)
    frames = read_bead_frames(*files, beads="ca", on_disk=tmp_path)
    np.testing.assert_allclose(distances(frames.positions_nm), distances(carbons.xyz), atol=1e-5)


def test_lattice_that_is_no_period_is_none(peptide, tmp_path):
    comment = f'{lattice(CUBIC / 3.0)} pbc="F F F"'
    frames = read_bead_frames(*write(tmp_path, peptide, peptide.xyz, [comment] * FRAMES), beads="heavy")
    assert_same_molecule(frames, peptide)
    assert frames.report.files[0].box_nm is None


@pytest.mark.parametrize("first", [0, FRAMES - 2])
def test_frames_without_a_lattice_are_counted(peptide, tmp_path, first):
    comments, xyz = [lattice(CUBIC)] * FRAMES, wrapped(peptide.xyz, CUBIC)
    comments[first : first + 2], xyz[first : first + 2] = ["", "no box"], peptide.xyz[first : first + 2]
    frames = read_bead_frames(*write(tmp_path, peptide, xyz, comments), beads="heavy")
    assert any("2 of its frames have no box" in text for text in frames.report.warnings)


def test_frames_of_a_killed_run_are_made_whole(peptide, tmp_path):
    comments = [lattice(CUBIC)] * FRAMES
    trajectory, given = write(tmp_path, peptide, wrapped(peptide.xyz, CUBIC), comments)
    text = trajectory.read_text()
    trajectory.write_text(text[: len(text) - 2000])
    with pytest.raises(InputError, match="data.readable_frames"):
        read_bead_frames(trajectory, given, beads="heavy")
    frames = read_bead_frames(trajectory, given, beads="heavy", readable_frames=True)
    exact = peptide.xyz[: len(frames), peptide.topology.select("element != H")]
    assert len(frames) == FRAMES - 1
    np.testing.assert_allclose(distances(frames.positions_nm), distances(exact), atol=1e-5)


@pytest.mark.parametrize(
    "comment, words",
    [
        (lattice(TURNED), r"in frame 0 .* the Lattice is turned: .* write pbc=\"F F F\""),
        ('Lattice="30 0 0 0 30 0 0"', r"the Lattice has 7 numbers, and a box has 9"),
        ("Properties=id:I:1:species:S:1:pos:R:3", r"put the positions after 2 columns, and they are read after one"),
        ("Properties=pos:R:3:species:S:1", r"put the positions after 0 columns, .*species:S:1:pos:R:3"),
    ],
)
@pytest.mark.parametrize("name", ["frames.xyz", "frames.xyz.gz"])
def test_what_would_be_read_wrong_is_refused(peptide, tmp_path, comment, words, name):
    columns = "7 {0} {1}" if "id" in comment else "{1} {0}" if "=pos" in comment else "{0} {1}"
    files = write(tmp_path, peptide, peptide.xyz, [comment] * FRAMES, columns, name)
    with pytest.raises(InputError, match=words):
        read_bead_frames(*files, beads="heavy")


def test_turned_lattice_of_whole_molecules_can_be_said_to_be_no_period(peptide, tmp_path):
    comment = f'{lattice(TURNED)} pbc="F F F"'
    assert_same_molecule(
        read_bead_frames(*write(tmp_path, peptide, peptide.xyz, [comment] * FRAMES), beads="heavy"), peptide
    )


def test_start_frame_has_its_box(peptide, tmp_path):
    from fpforce.trajectories.files import load_frame

    trajectory, given = write(tmp_path, peptide, peptide.xyz, [lattice(k * CUBIC) for k in range(1, FRAMES + 1)])
    frame = load_frame(trajectory, 4, mdtraj.load_topology(str(given)))
    np.testing.assert_allclose(frame.unitcell_vectors, [5 * CUBIC], atol=1e-6)
