"""Files whose bytes nobody vouches for: damaged ones, or made to do harm. JSON, numpy arrays and zip archives.

In: a path. Out: plain values and arrays, or a ValueError whose text is what is wrong. Nothing in them is executed, and
what they ask of memory stays in proportion to their size.
"""

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_LARGEST_JSON_BYTES = 64 << 20
# Deflate packs a thousand zeros into a byte. Data that are meant do not pack like this, but in small files.
_LARGEST_RATIO, _UNPACKED_BYTES_THAT_DO_NO_HARM = 100, 100 << 20


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a JSON file; ValueError for anything else in it, OSError where it cannot be opened."""
    size = os.stat(path).st_size
    if size > _LARGEST_JSON_BYTES:
        raise ValueError(f"{size} bytes are more than any such file has")
    return mapping_in(Path(path).read_bytes())


def mapping_in(text: str | bytes) -> dict[str, Any]:
    """The mapping that JSON text holds; ValueError for anything else."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("lists within lists are too deep") from None
    if not isinstance(content, dict):
        raise ValueError("it holds no mapping")
    return content


@contextmanager
def numpy_file(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The array in an .npy, or the NpzFile of an .npz, for as long as the block lasts.

    Whatever is wrong with the bytes that the block reads of it is a ValueError, but for OSError.
    """
    with damage_as_value_error():
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            yield content
        else:
            with content:
                refuse_bomb(content.zip)
                yield content


@contextmanager
def damage_as_value_error() -> Iterator[None]:
    """What readers of damaged bytes raise within the block, of whatever kind, as ValueError; OSError and InputError as
    they are.

    Readers of foreign bytes raise nearly anything, depending on the place of the damage.
    """
    from fpforce.foundation.errors import InputError

    try:
        yield
    except (InputError, ValueError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"{error or type(error).__name__}") from error


def refuse_bomb(archive: zipfile.ZipFile) -> None:
    """Raise ValueError for a zip that unpacks to far more than its data could."""
    for entry in archive.infolist():
        if entry.file_size > max(_UNPACKED_BYTES_THAT_DO_NO_HARM, _LARGEST_RATIO * entry.compress_size):
            raise ValueError(f"{entry.filename} would unpack from {entry.compress_size} to {entry.file_size} bytes")


def refuse_damaged_zip(path: "str | os.PathLike[str] | BinaryIO") -> None:
    """Raise ValueError for a zip archive whose entries are not what they were when it was written, by their checksums.

    torch does not look at these checksums when it reads an archive.
    """
    with damage_as_value_error(), zipfile.ZipFile(path) as archive:
        refuse_bomb(archive)
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} is not as it was written")
