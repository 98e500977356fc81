"""Texts that mdtraj's readers stumble over: blank lines at the end, titles of .gro, byte order marks."""

import codecs
import gzip

import mdtraj
import numpy as np
import pytest

from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.mended_texts import mended

ATOMS, FRAMES = 7, 4


@pytest.fixture
def strand(tmp_path):
    """A strand of CA with given.pdb beside it."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for number in range(ATOMS):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain, resSeq=number + 1))
    noise = np.random.default_rng(0).normal(size=(FRAMES, ATOMS, 3))
    strand = mdtraj.Trajectory(np.arange(ATOMS)[:, None] * [0.38, 0.0, 0.0] + 0.01 * noise, topology)
    strand[0].save(str(tmp_path / "given.pdb"))
    return strand


@pytest.mark.parametrize("blank", ["\n", " \r\n", "\n\n\n", "  "])
@pytest.mark.parametrize("name", ["run.xyz", "run.gro", "run.xyz.gz", "run.gro.gz"])
@pytest.mark.parametrize("readable_frames", [False, True])
def test_blank_lines_at_the_end_are_no_frame(strand, tmp_path, caplog, name, blank, readable_frames):
    plain = tmp_path / name.removesuffix(".gz")
    strand.save(str(plain))
    text = plain.read_bytes() + blank.encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    frames = read_bead_frames(tmp_path / name, tmp_path / "given.pdb", beads="ca", readable_frames=readable_frames)
    np.testing.assert_allclose(frames.positions_nm, strand.xyz, atol=1.1e-3)
    assert "ends within" not in caplog.text


@pytest.mark.parametrize("title", ["water, t= 0", "t= -5.00000 step= 0", "md, dt=2fs", "t=", "t= 1e3", "dt=0.002"])
def test_gro_is_read_whatever_its_title_says_of_time(strand, tmp_path, title):
    strand[0].save(str(tmp_path / "t.gro"))
    lines = (tmp_path / "t.gro").read_text().splitlines(keepends=True)
    (tmp_path / "t.gro").write_text("".join([title + "\n", *lines[1:]]))
    strand.save(str(tmp_path / "run.xtc"))
    assert len(read_bead_frames(tmp_path / "run.xtc", tmp_path / "t.gro", beads="ca")) == FRAMES


@pytest.mark.parametrize(("first", "step", "form"), [(-4, 2, "{:d}"), (0, 5, "{:d}"), (0, 500, "{:.1e}")])
def test_times_of_gro_titles_are_kept(strand, tmp_path, first, step, form):
    strand.save(str(tmp_path / "run.gro"))
    lines = (tmp_path / "run.gro").read_text().splitlines()
    for frame in range(FRAMES):
        lines[frame * (ATOMS + 3)] = f"dt=2fs t= {form.format(first + step * frame)} step= 7"
    (tmp_path / "run.gro").write_text("\n".join(lines) + "\n")
    frames = read_bead_frames(tmp_path / "run.gro", tmp_path / "given.pdb", beads="ca")
    assert len(frames) == FRAMES
    assert frames.time_step_ps == pytest.approx(step)


@pytest.mark.parametrize("suffix", [".pdb", ".pdb.gz", ".gro", ".xyz"])
def test_byte_order_mark_costs_no_atom(strand, tmp_path, suffix):
    plain = tmp_path / f"run{suffix.removesuffix('.gz')}"
    strand.save(str(plain))
    text = plain.read_bytes()
    if ".pdb" in suffix:
        text = b"".join(line for line in text.splitlines(keepends=True) if line.startswith(b"ATOM"))[: 81 * ATOMS]
    text = codecs.BOM_UTF8 + text
    (tmp_path / f"run{suffix}").write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    frames = read_bead_frames(tmp_path / f"run{suffix}", None if "x" not in suffix else tmp_path / "given.pdb")
    assert len(frames.beads) == ATOMS


def test_text_that_can_be_read_is_not_copied(strand, tmp_path):
    for suffix in (".pdb", ".gro", ".xyz"):
        path = tmp_path / f"run{suffix}"
        strand.save(str(path))
        assert mended(path, suffix, 0, 0) is None
