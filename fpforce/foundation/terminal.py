"""A program that outlives its terminal: what it says is dropped where nobody is left to read it.

A closed terminal answers writes with EIO, the end of a pipe whose reader has gone with EPIPE. Neither may cost a run.
"""

import errno
import os
from typing import Any, TextIO

_GONE = (errno.EIO, errno.EPIPE)


class OutlivingStream:
    """A text stream that writes into nothing from the moment that its reader is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop where nobody reads; other errors, such as a full disk, are raised."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop_all(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop_all(error)

    def writelines(self, lines: Any) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _drop_all(self, error: OSError) -> None:
        """Lead the descriptor into nothing, for what is in buffers and what others write to it."""
        if error.errno not in _GONE:
            raise error
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._stream.fileno())
        os.close(nothing)
