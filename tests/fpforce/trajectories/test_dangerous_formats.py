"""Files that would end the process of their reader are refused before they are read."""

import struct

import mdtraj
import pytest

from fpforce.foundation.errors import InputError
from fpforce.trajectories import dangerous_formats
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.dangerous_formats import refuse_dangerous


@pytest.fixture
def trr(alanine, tmp_path):
    path = tmp_path / "frames.trr"
    mdtraj.load(str(alanine / "reference.xtc"), top=str(alanine / "alanine_dipeptide.pdb"))[:5].save(str(path))
    return path


def with_atoms(path, atoms):
    """The file with another number of atoms in the header of its first frame."""
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack(">i", data[8:12])
    at = 12 + (length + 3) // 4 * 4 + 40
    data[at : at + 4] = struct.pack(">i", atoms)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("atoms", [0, -1, 11, 2**30])
def test_a_trr_whose_header_contradicts_itself_is_refused(atoms, trr, alanine):
    with_atoms(trr, atoms)
    with pytest.raises(ValueError):
        refuse_dangerous(trr, ".trr")
    with pytest.raises(InputError):
        read_bead_frames(trr, alanine / "alanine_dipeptide.pdb", beads="all")


def test_whole_files_pass(trr, alanine, tmp_path):
    refuse_dangerous(trr, ".trr")
    path = tmp_path / "frames.h5"
    mdtraj.load(str(alanine / "alanine_dipeptide.pdb")).save(str(path))
    refuse_dangerous(path, ".h5")


def test_an_hdf5_file_on_which_a_process_crashes_is_refused(alanine, tmp_path, monkeypatch):
    path = tmp_path / "frames.h5"
    mdtraj.load(str(alanine / "alanine_dipeptide.pdb")).save(str(path))
    monkeypatch.setattr(dangerous_formats, "_READ_ALL", "import os; os.abort()")
    with pytest.raises(ValueError, match="signal 6"):
        refuse_dangerous(path, ".h5")
