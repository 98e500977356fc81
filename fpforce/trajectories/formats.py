"""Which format a file has, and a name for it that mdtraj's readers take.

mdtraj chooses its reader by the extension, in lower case, and its readers in C take ASCII paths alone. In: any file.
Out: its format, by content where the extension says nothing or another; and a path that can be read, a link where it
must be.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fpforce.trajectories.dangerous_formats import refuse_dangerous

_DOUBLE = (".pdb.gz", ".cif.gz", ".pdbx.gz", ".mmcif.gz", ".ent.gz")
_MAGIC = {
    b"\x00\x00\x07\xcb": ".xtc",
    b"\x00\x00\x07\xc9": ".trr",
    b"CDF\x01": ".nc",
    b"CDF\x02": ".nc",
    b"\x93NUM": ".npy",
    b"\x89HDF": ".h5",
}
_SAME = {  # other names of what the content shows
    ".nc": (".netcdf", ".ncdf", ".ncrst"),
    ".h5": (".hdf5", ".lh5", ".nc", ".netcdf", ".ncdf"),
    ".pdb": (".ent", ".pdb1", ".pdbqt", ".pqr"),
}


def format_of(path: str | Path) -> str:
    """The extension, in lower case, that tells the format of a file: that of its content where this is plain."""
    path = Path(path)
    name = path.name.lower()
    named = next((suffix for suffix in _DOUBLE if name.endswith(suffix)), Path(name).suffix)
    shown = _by_content(path)
    return named if shown is None or named in (shown, *_SAME.get(shown, ())) else shown


def _by_content(path: Path) -> str | None:
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        head = file.read(400)
    if head[4:8] == b"CORD":
        return ".dcd"
    if head[:4] in _MAGIC:
        return _MAGIC[head[:4]]
    starts = (b"ATOM  ", b"HETATM", b"CRYST1", b"MODEL ", b"HEADER")
    if path.suffix in ("", ".ent", ".ENT") and any(line.startswith(starts) for line in head.splitlines()[:5]):
        return ".pdb"
    return None


@contextmanager
def readable(path: str | Path) -> Iterator[str]:
    """The path as text for mdtraj: itself, or a link to it with an ASCII name and the extension of its format.

    Raises ValueError for a file that would end the process instead of an error (dangerous_formats).
    """
    path = Path(path)
    suffix = format_of(path)
    if path.is_file():
        refuse_dangerous(path, suffix)
    if path.name.endswith(suffix) and suffix and str(path).isascii():
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"file{suffix}")
        link.symlink_to(path.resolve())
        yield str(link)
