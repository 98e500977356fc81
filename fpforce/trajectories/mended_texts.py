"""Texts that mdtraj's readers stumble over, without what they stumble over.

In: a file of text and its format. Out: a copy in UTF-8 where the file has another encoding or a byte order mark, blank
lines at its end that its format counts as a frame, or titles of a .gro that mdtraj takes a wrong time from.
"""

import atexit
import codecs
import re
import shutil
import tempfile
from functools import cache
from itertools import islice
from pathlib import Path

_AT_ONCE = 1 << 20
_FRAMES_TO_THE_END = (".xyz", ".gro")
_TIME_OF_MDTRAJ = re.compile(r"t= *(\d+\.\d+)")
_TIME = re.compile(r"(?<!\w)t= *([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])")


@cache
def mended(path: Path, form: str, modified_ns: int, size: int) -> Path | None:
    """A copy of a text of the format `form` that can be read, in a folder that lasts as long as the process; None
    where the file itself can be. What is no UTF-8 is read as Latin-1: most often a letter in a title.
    """
    encoding = "utf-8-sig" if _is_utf8(path) else "latin-1"
    to_the_end = form in _FRAMES_TO_THE_END
    titles = _titles(path, encoding) if form == ".gro" else {}
    if encoding != "latin-1" and not _has_mark(path) and not (to_the_end and _ends_blank(path)) and not titles:
        return None
    folder = Path(tempfile.mkdtemp(prefix="fpforce-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    blank: list[str] = []
    with (
        open(path, encoding=encoding, newline="") as text,
        open(folder / path.name, "w", encoding="utf-8", newline="") as copy,
    ):
        for number, line in enumerate(text):
            if to_the_end and not line.strip():
                blank.append(line)
                continue
            copy.writelines([*blank, titles.get(number, line)])
            blank.clear()
    return folder / path.name


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open(path, "rb") as file:
            while block := file.read(_AT_ONCE):
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _has_mark(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def _ends_blank(path: Path) -> bool:
    """Whether a blank line is the last one."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _AT_ONCE))
        return any(not line.strip() for line in file.read().splitlines()[-1:])


def _titles(path: Path, encoding: str) -> dict[int, str]:
    """Other titles for frames of a .gro, by the numbers of their lines, where one of them is read wrong: such that
    mdtraj finds the time that stands there, or none. Times are from the earliest on where some are negative.
    """
    titles, number = {}, 0
    with open(path, encoding=encoding, newline="") as file:
        while title := file.readline():
            titles[number] = title
            count = file.readline().strip()
            if not count.isdecimal():
                break  # its reader says what is wrong
            number += 2 + sum(1 for _ in islice(file, int(count) + 1))
    times = {number: _time_ps(title) for number, title in titles.items()}
    if all(_as_mdtraj(title) == times[number] for number, title in titles.items()):
        return {}
    first = min([0.0, *(time for time in times.values() if time is not None)])
    return {
        number: title.rstrip("\r\n").replace("t=", "t =")
        + ("\n" if (time := times[number]) is None else f" t= {time - first:.6f}\n")
        for number, title in titles.items()
    }


def _time_ps(title: str) -> float | None:
    found = _TIME.findall(title)
    return float(found[-1]) if found else None


def _as_mdtraj(title: str) -> float | str | None:
    """The time that mdtraj reads, or a word where it fails."""
    if "t=" not in title:
        return None
    found = _TIME_OF_MDTRAJ.findall(title)
    return float(found[-1]) if found else "none"
