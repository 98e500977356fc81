"""Writing a file so that its name always leads to a whole one, the old or the new.

In: the path that is to be written. Out: a path beside it to write to, which takes its place when all is on the disk.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fpforce.foundation.locking import Lock

# What file systems answer that cannot bring a folder to the disk by itself.
_NO_SYNC_OF_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path`, its name with `.part` after it; what is written there takes the place of `path` in one
    step.

    The file is on the disk before it gets its name, and the name is on the disk when the block is left: after a crash
    of the machine, too, `path` is the old file or the new one. Where the block ends with an error the old file stays,
    and the unfinished one is removed. Raises InputError where another process writes the same file at this moment.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    lock = Lock(path.with_name(path.name + ".part.lock"), path)
    try:
        unfinished.unlink(missing_ok=True)  # of a killed process, or a link that somebody laid there
        yield unfinished
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
        lock.close()
    _sync_folder(path.parent)


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder beside `path`, its name with `.part` after it, which becomes `path` when the block is left.

    `path` does not exist, or is an empty folder. Where the block ends with an error, or the process is killed, nothing
    has that name. Raises InputError where another process makes the same folder at this moment.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(path.with_name(path.name + ".part.lock"), path)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a killed process
        unfinished.mkdir()
        yield unfinished
        _sync_folder(unfinished)
        os.replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        lock.close()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # which opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_FOLDERS:
            raise
    finally:
        os.close(descriptor)
