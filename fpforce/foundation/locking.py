"""One writer at a time: a lock that a process holds on what it writes, gone with the process however that ends."""

import os
import time
from pathlib import Path

from fpforce.foundation.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Lock:
    """The lock on `subject`, held from here to `close`, by a file of its own that `close` removes.

    Raises InputError where another process, or another Lock, holds it. Where the system knows no locks it holds nothing
    off.
    """

    def __init__(self, path: Path, subject: object) -> None:
        self._path = Path(path)
        while True:
            # Not through a link, which would make or empty a file elsewhere.
            self._file = open(os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "w")
            try:
                if fcntl is not None:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise InputError(f"{subject} is being written by another process: wait for it, or stop it") from None
            except OSError:  # a file system without locks
                return
            if fcntl is None or self._is_current():
                return
            self._file.close()  # its holder removed it in the meantime

    def close(self) -> None:
        """Let others write. May be called twice."""
        if self._file.closed:
            return
        if fcntl is None:  # Windows removes no open file
            self._file.close()
        self._path.unlink(missing_ok=True)
        self._file.close()

    def _is_current(self) -> bool:
        try:
            return os.stat(self._path).st_ino == os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False


def wait_until_free(path: Path, subject: object, seconds: float) -> None:
    """Wait for the holder of the lock by the file `path` to let go of `subject`; InputError where it does not."""
    began = time.monotonic()
    while path.parent.is_dir():
        try:
            Lock(path, subject).close()
            return
        except InputError:
            if time.monotonic() - began > seconds:
                raise
            time.sleep(0.5)
