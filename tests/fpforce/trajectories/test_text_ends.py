"""Trajectories of text that end within a frame are refused, or give the frames before."""

import gzip

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.text_ends import whole_frames_before_end

ATOMS, FRAMES = 7, 4
FORMATS = [".xyz", ".mdcrd", "boxed.mdcrd", ".lammpstrj", ".gro"]


@pytest.fixture
def written(tmp_path):
    """(the file of a strand of CA, positions) for an extension."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for number in range(ATOMS):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain, resSeq=number + 1))
    noise = np.random.default_rng(0).normal(size=(FRAMES, ATOMS, 3))
    xyz = np.arange(ATOMS)[:, None] * [0.38, 0.0, 0.0] + 0.01 * noise
    plain = mdtraj.Trajectory(xyz, topology)
    box = dict(unitcell_lengths=np.full((FRAMES, 3), 5.0), unitcell_angles=np.full((FRAMES, 3), 90.0))
    boxed = mdtraj.Trajectory(xyz, topology, **box)
    plain[0].save(str(tmp_path / "given.pdb"))

    def write(name):
        path = tmp_path / f"frames{name}"
        (plain if name in (".xyz", ".mdcrd") else boxed).save(str(path))
        return path, xyz

    return write


@pytest.mark.parametrize("name", FORMATS)
def test_cut_at_any_byte_of_the_last_frame_is_seen(written, name):
    path, _ = written(name)
    content = path.read_bytes()
    assert whole_frames_before_end(path, ATOMS) is None
    title = content.index(b"\n") + 1 if "mdcrd" in name else 0
    frame = (len(content) - title) // FRAMES
    seen = []
    for size in range(len(content) - frame + 30, len(content)):
        path.write_bytes(content[:size])
        seen.append(whole_frames_before_end(path, ATOMS))
    ending = len(content) - len(content.rstrip()) - 1 + (content.rstrip()[-2:] == b".0")  # white space, and 1. for 1.0
    assert set(seen[: -1 - ending]) == {FRAMES - 1}
    assert seen[-1] is None  # all but the end of the last line


@pytest.mark.parametrize("name", FORMATS)
def test_cut_file_is_refused_or_gives_the_frames_before(written, tmp_path, name):
    path, xyz = written(name)
    content = path.read_bytes()
    path.write_bytes(content[:-3] if name == ".xyz" else content.rstrip()[: -60 if name != ".gro" else -3])
    with pytest.raises(InputError, match=r"frames.*(ends within a frame, after 3 whole ones|truncated)"):
        read_bead_frames(path, tmp_path / "given.pdb", beads="ca")
    found = read_bead_frames(path, tmp_path / "given.pdb", beads="ca", readable_frames=True)
    assert np.allclose(found.positions_nm, xyz[: FRAMES - 1], atol=2e-3)
    assert any("ends within a frame" in text for text in found.report.warnings)
    every_second = read_bead_frames(path, tmp_path / "given.pdb", beads="ca", readable_frames=True, stride=2)
    assert np.array_equal(every_second.positions_nm, found.positions_nm[::2])


def test_packed_xyz_is_looked_at_too(written, tmp_path):
    path, _ = written(".xyz")
    packed = tmp_path / "cut.xyz.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()[:-2]))
    with pytest.raises(InputError, match="ends within a frame, after 3 whole ones"):
        read_bead_frames(packed, tmp_path / "given.pdb", beads="ca")


def test_number_of_short_last_line_with_an_end_is_no_cut(written, tmp_path):
    path, _ = written(".xyz")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], "C 22.8 0.1 0.1"]) + "\n")
    assert len(read_bead_frames(path, tmp_path / "given.pdb", beads="ca")) == FRAMES


@pytest.mark.parametrize("suffix", [".nc", ".h5", ".pdb"])
def test_advice_is_not_to_set_what_is_set_or_does_nothing(written, tmp_path, suffix):
    path, _ = written(suffix)
    path.write_bytes(path.read_bytes()[: int(0.63 * path.stat().st_size)])
    with pytest.raises(InputError) as refusal:
        read_bead_frames(path, tmp_path / "given.pdb", beads="ca", readable_frames=True)
    assert "readable_frames" not in str(refusal.value) and "make it anew" in str(refusal.value)


def test_pdb_that_ends_within_its_last_number_is_refused(written, tmp_path):
    path, _ = written(".pdb")
    lines = path.read_text().splitlines()
    end = max(number for number, line in enumerate(lines) if line.startswith("ATOM"))
    whole = "\n".join(lines[: end + 1])
    path.write_text(whole[: -len(lines[end]) + 54])
    assert whole_frames_before_end(path, ATOMS) is None
    path.write_text(whole[: -len(lines[end]) + 52])
    with pytest.raises(InputError, match="ends within a frame, after 3 whole ones"):
        read_bead_frames(path, tmp_path / "given.pdb", beads="ca")
