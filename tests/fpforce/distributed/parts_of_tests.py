"""Functions that the tests of this folder have workers call; workers find them, since the folder is on their path."""

import os
import signal
import time
from pathlib import Path

from fpforce.foundation.errors import InputError


def add(first, second, told):
    told(first)
    return first + second


def refuse(told):
    raise InputError("7 is too many; give 6")


def crash(told):
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_once(mark: Path, told):
    """Die in the first call, and say so in the second."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "again"


def until_stopped(mark: Path, told):
    """Go on until SIGTERM comes, and leave a mark of both."""
    import threading

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    mark.with_suffix(".begun").write_text(str(os.getpid()))
    while not stop.wait(0.05):
        told(time.monotonic())
    mark.with_suffix(".stopped").touch()
    raise KeyboardInterrupt


def in_the_worker(number, told, stopped):
    """A part without a process of its own."""
    return number * 2, os.getpid()
