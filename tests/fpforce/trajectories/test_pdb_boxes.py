"""PDBs whose models have boxes of their own, as trjconv -o x.pdb and VMD write runs at constant pressure."""

import gzip

import mdtraj
import numpy as np
import pytest
from openmm import app

from fpforce.foundation.errors import InputError
from fpforce.reference.peptide import build_peptide
from fpforce.trajectories.bead_frames import read_bead_frames

FRAMES = 12
SIDES_NM = 3.0 * (1 + 0.005 * np.linspace(-1, 1, FRAMES))


def crystal(side_nm):
    return "CRYST1" + f"{10 * side_nm:9.3f}" * 3 + "  90.00  90.00  90.00 P 1           1"


@pytest.fixture(scope="module")
def peptide():
    """Frames of a peptide with hydrogens that vibrates by 0.003 nm."""
    topology, positions = build_peptide("GADKEYRCHA", app.ForceField("amber99sbildn.xml"), 1)
    noise = np.random.default_rng(1).normal(size=(FRAMES, *positions.shape))
    return mdtraj.Trajectory(positions + 0.003 * noise, mdtraj.Topology.from_openmm(topology))


@pytest.fixture(scope="module")
def wrapped(peptide, tmp_path_factory):
    """Lines of a PDB of the peptide, wrapped atom by atom into SIDES_NM, without CRYST1 and CONECT."""
    path = tmp_path_factory.mktemp("wrapped") / "wrapped.pdb"
    xyz = np.stack([np.mod(x, side) for x, side in zip(peptide.xyz, SIDES_NM, strict=True)])
    mdtraj.Trajectory(xyz, peptide.topology).save(str(path))
    return [line for line in path.read_text().splitlines() if not line.startswith(("CRYST1", "CONECT"))]


def with_boxes(lines, sides_nm, inside=False):
    """The text with a CRYST1 before each MODEL, or after it."""
    text, sides = [], iter(sides_nm)
    for line in lines:
        if line.startswith("MODEL"):
            text += [line, crystal(next(sides))] if inside else [crystal(next(sides)), line]
        else:
            text.append(line)
    return "\n".join(text) + "\n"


def distances(positions):
    return np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("suffix", [".pdb", ".pdb.gz"])
def test_each_model_is_made_whole_in_its_own_box(wrapped, peptide, tmp_path, suffix, inside, stride):
    path, text = tmp_path / f"npt{suffix}", with_boxes(wrapped, SIDES_NM, inside).encode()
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    frames = read_bead_frames(path, beads="ca", stride=stride)
    exact = peptide.xyz[::stride, peptide.topology.select("name CA")]
    np.testing.assert_allclose(distances(frames.positions_nm), distances(exact), atol=3e-4)
    np.testing.assert_allclose(frames.report.files[0].box_nm, SIDES_NM[::stride].mean(), atol=1e-3)


def test_one_box_for_all_models_is_theirs(wrapped, peptide, tmp_path):
    (tmp_path / "nvt.pdb").write_text(crystal(SIDES_NM.max()) + "\n" + "\n".join(wrapped) + "\n")
    frames = read_bead_frames(tmp_path / "nvt.pdb", beads="ca")
    np.testing.assert_allclose(frames.report.files[0].box_nm, SIDES_NM.max(), atol=1e-3)


def test_boxes_of_some_models_alone_are_refused(wrapped, tmp_path):
    late = with_boxes(wrapped, SIDES_NM).replace(crystal(SIDES_NM[0]) + "\n", "", 1)
    (tmp_path / "late.pdb").write_text(late)
    with pytest.raises(InputError, match=r"late\.pdb has CRYST1 records that differ.*write it as \.xtc"):
        read_bead_frames(tmp_path / "late.pdb", beads="ca")
