"""LAMMPS dumps that say their units and times (dump_modify units yes, time yes), which mdtraj's reader does not know.

In: a dump. Out: a copy without these sections, whose coordinates are in angstrom as mdtraj takes them to be.
"""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from fpforce.foundation.errors import InputError

_IN_ANGSTROM = ("real", "metal")
_SECTIONS = ("ITEM: UNITS", "ITEM: TIME")  # each of one line, before ITEM: TIMESTEP


def plain_dump(path: Path) -> Path | None:
    """A copy of a dump without units and times, in a folder that lasts as long as the process; None of one without
    either.

    Raises InputError for units whose length is not the angstrom.
    """
    state = path.stat()
    return _plain_dump(path.resolve(), state.st_mtime_ns, state.st_size)


@cache
def _plain_dump(path: Path, modified_ns: int, size: int) -> Path | None:
    with open(path, errors="replace") as file:
        if file.readline().strip() not in _SECTIONS:
            return None
    folder = Path(tempfile.mkdtemp(prefix="fpforce-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with open(path, errors="replace", newline="") as dump, open(folder / path.name, "w", newline="") as copy:
        for line in dump:
            if not line.startswith("ITEM:") or line.strip() not in _SECTIONS:
                copy.write(line)
                continue
            value = next(dump, "").strip()
            if line.strip() == "ITEM: UNITS" and value not in _IN_ANGSTROM:
                raise InputError(
                    f"{path} is a LAMMPS dump in units {value!r}, whose lengths are not in angstrom: convert it to "
                    f"units {' or '.join(_IN_ANGSTROM)}, or give the coordinates as an .npy with data.length_unit"
                )
    return folder / path.name
