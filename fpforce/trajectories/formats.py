"""Which format a file has, and a name for it that mdtraj's readers take.

mdtraj chooses its reader by the extension, in lower case, and its readers in C take ASCII paths alone. In: any file.
Out: its format, by content where the extension says nothing or another; and a path that can be read: a link, or what a
packed file holds, where it must be.
"""

import atexit
import bz2
import codecs
import gzip
import lzma
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, cast

from fpforce.trajectories.dangerous_formats import refuse_dangerous
from fpforce.trajectories.lammps_dumps import plain_dump
from fpforce.trajectories.mended_texts import mended
from fpforce.trajectories.xyz_comments import refuse_other_columns

CHARMM_COORDINATES = ".card"  # a name of our own for .crd and .cor of CHARMM: mdtraj's .crd is AMBER's
GROMACS_TOPOLOGY = ".itp"  # and .top, which AMBER has too
_PACKED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_READ_PACKED = (".pdb.gz", ".cif.gz", ".pdbx.gz", ".mmcif.gz", ".xyz.gz")  # by mdtraj itself
_TEXT = (  # but for GROMACS' topologies, which include what is beside them
    ".pdb", ".cif", ".pdbx", ".mmcif", ".gro", ".xyz", ".arc", ".lammpstrj", ".mdcrd", ".crd", ".psf", ".prmtop",
    ".parm7", ".prm7", ".mol2", ".pqr", ".pdbqt", ".data", CHARMM_COORDINATES,
)  # fmt: skip
_OTHER_NAMES = {".ent": ".pdb", ".pdb1": ".pdb", ".ent.gz": ".pdb.gz", ".pdb1.gz": ".pdb.gz"}
_HDF5, _HDF5_NAMES = b"\x89HDF", ("", ".h5", ".hdf5")
_MAGIC = {
    b"\x00\x00\x07\xcb": ".xtc",
    b"\x00\x00\x07\xc9": ".trr",
    b"CDF\x01": ".nc",
    b"CDF\x02": ".nc",
    b"\x93NUM": ".npy",
    _HDF5: ".h5",
}
_SAME = {  # other names of what the content shows
    ".nc": (".netcdf", ".ncdf", ".ncrst"),
    ".h5": (".hdf5", ".lh5", ".h5md", ".nc", ".netcdf", ".ncdf"),
}
_PDB_RECORDS = (b"ATOM  ", b"HETATM", b"CRYST1", b"MODEL ", b"HEADER")
_LAMMPS_BEGINS = b"ITEM: "
_XYZ_ATOM = re.compile(rb"\s*[A-Za-z]\w*(?:\s+[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?){3}(?:\s.*)?")
_AMBER_LINE = re.compile(rb"(?: *-?\d+\.\d{3}){3,10}")
_AMBER_NAMES = (".trj", ".traj", ".x", ".crdbox", ".mdcrd", ".crd")


def format_of(path: str | Path) -> str:
    """The extension, in lower case, that tells the format of a file, or of what a packed file holds: that of its
    content where this is plain.
    """
    path = Path(path)
    name = path.name.lower()
    packed = packing_of(path)
    named = Path(name.removesuffix(packed)).suffix
    if packed and any(name.endswith(suffix) for suffix in (*_READ_PACKED, *_OTHER_NAMES)):
        named += packed
    named = _OTHER_NAMES.get(named, named)
    shown = None if named in _READ_PACKED else _by_content(path, named)
    return named if shown is None or named in (shown, *_SAME.get(shown, ())) else shown


def packing_of(path: Path) -> str:
    """The extension by which a file is packed, such as .gz; empty for one that is not."""
    suffix = path.suffix.lower()
    return suffix if suffix in _PACKED else ""


def unpacked(path: str | Path) -> Path:
    """The file itself, or what it holds where it is packed, or a copy of a text that mdtraj would not read as it is
    (mended_texts), or of a LAMMPS dump without its units and times: in a folder that lasts as long as the process.

    Raises OSError, EOFError or lzma.LZMAError for a damaged file, InputError for a dump in other units than angstrom.
    """
    path = Path(path)
    if not path.is_file():
        return path
    state = path.stat()
    file = _unpack(path.resolve(), state.st_mtime_ns, state.st_size) if packing_of(path) else path
    form = format_of(path).removesuffix(".gz")
    if form not in _TEXT:
        return file
    file = mended(file.resolve(), form, state.st_mtime_ns, state.st_size) or file
    return (plain_dump(file) if form == ".lammpstrj" else None) or file


@contextmanager
def readable(path: str | Path) -> Iterator[str]:
    """The path as text for mdtraj: itself, or a link to it with an ASCII name and the extension of its format.

    Raises ValueError for a file that would end the process instead of an error (dangerous_formats), InputError for an
    .xyz whose positions are in other columns.
    """
    path = Path(path)
    suffix = format_of(path)
    as_it_is = suffix == ".xyz.gz" and not _ends_blank(path)  # the one packed text that is read a line at a time
    file = path if as_it_is else unpacked(path)
    if file is not path and suffix in _READ_PACKED:
        suffix = suffix.removesuffix(packing_of(path))
    if file.is_file():
        refuse_dangerous(file, suffix)
        if suffix in (".xyz", ".xyz.gz"):
            with _open(file) as text:
                comment = [text.readline(), text.readline()][1]
            refuse_other_columns(path, comment.decode(errors="replace"))
    if file.name.endswith(suffix) and suffix and str(file).isascii():
        yield str(file)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"file{suffix}")
        link.symlink_to(file.resolve())
        yield str(link)


@cache
def _unpack(path: Path, modified_ns: int, size: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fpforce-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = folder / path.stem
    with _open(path) as packed, open(target, "wb") as file:
        shutil.copyfileobj(packed, file)
    return target


def _ends_blank(path: Path) -> bool:
    """Whether a packed text that is whole has a blank line at its end."""
    last = b"text"
    try:
        with _open(path) as file:
            for line in file:
                last = line
    except (OSError, EOFError, lzma.LZMAError):
        return False
    return not last.strip()


def _open(path: Path) -> IO[bytes]:
    """The content of a file, unpacked."""
    opener = cast(Callable[..., IO[bytes]], _PACKED.get(packing_of(path), open))
    return opener(path, "rb")


@cache
def _is_h5md(path: Path, modified_ns: int, size: int) -> bool:
    """Whether an HDF5 file is one of H5MD and not mdtraj's, where h5py, which reads H5MD, is there to tell."""
    try:
        import h5py

        with h5py.File(path, "r") as file:
            return "h5md" in file
    except (ImportError, OSError):  # its reader says so
        return False


def _by_content(path: Path, named: str) -> str | None:
    if not path.is_file():
        return None
    try:
        with _open(path) as file:
            head = file.read(400).removeprefix(codecs.BOM_UTF8)
    except (OSError, EOFError, lzma.LZMAError):  # its reader says so
        return None
    if head[4:8] == b"CORD":
        return ".dcd"
    if named in _HDF5_NAMES and head[:4] == _HDF5 and not packing_of(path):
        state = path.stat()
        return ".h5md" if _is_h5md(path.resolve(), state.st_mtime_ns, state.st_size) else ".h5"
    if head[:4] in _MAGIC:
        return _MAGIC[head[:4]]
    lines = head.splitlines()
    if named == "" and any(line.startswith(_PDB_RECORDS) for line in lines[:5]):
        return ".pdb"
    if head.startswith(_LAMMPS_BEGINS):
        return ".lammpstrj"
    if named == "" and len(lines) > 3 and lines[0].strip().isdigit() and _XYZ_ATOM.fullmatch(lines[2]):
        return ".xyz"
    if named in (".crd", ".cor") and head.startswith(b"*"):
        return CHARMM_COORDINATES
    if named == ".top" and not head.startswith(b"%"):  # AMBER's has %VERSION and %FLAG
        return GROMACS_TOPOLOGY
    if named in _AMBER_NAMES and len(lines) > 2 and _AMBER_LINE.fullmatch(lines[1].rstrip()):
        return ".mdcrd"
    return None
