"""Silence for C libraries that print by themselves: mdtraj's readers of XTC, TRR and DCD.

What they have to say also arrives as a Python exception; their own lines would run into the one line of an error.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STREAMS = (1, 2)
_one_at_a_time = threading.RLock()


@contextmanager
def native_output_silenced() -> Iterator[None]:
    """Send the file descriptors 1 and 2 to the null device inside the `with` block, then restore them.

    Descriptors belong to the process: what another thread prints meanwhile is lost too. So keep the block to one call,
    and print nothing within it.
    """
    with _one_at_a_time:
        _flush()
        saved = {}
        for stream in _STREAMS:
            with suppress(OSError):  # a closed stream prints nothing
                saved[stream] = os.dup(stream)
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            for stream in saved:
                os.dup2(null, stream)
            yield
        finally:
            _flush()
            for stream, copy in saved.items():
                os.dup2(copy, stream)
                os.close(copy)
            os.close(null)


def _flush() -> None:
    """Empty the buffers of Python and of the C library, so that every text goes where it was printed to."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).fflush(None)
