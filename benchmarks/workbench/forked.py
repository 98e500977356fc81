"""Verbs of the program in forks of this process, which has imported all that they need: to be stopped at any moment.

In: a function, and when which signal is to reach it. Out: how it ended, and what it said on stderr. A fork starts
within milliseconds, where a command takes seconds to import torch and OpenMM, and has files and locks of its own as any
process.
"""

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """status: exit status, negative for the signal that ended it; said: its stderr; seconds that it took, and of the
    processor; largest_mb: what was resident at most.
    """

    status: int
    said: str
    seconds: float
    processor_seconds: float = 0.0
    largest_mb: float = 0.0


def run_forked(do: Callable[[], object], signals: Sequence[tuple[float, int]] = (), longest_s: float = 300.0) -> Ended:
    """Run `do` as a command would, each signal reaching it so many seconds after the one before."""
    from fpforce.commands.entry import command

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "stderr"
        child = os.fork()
        if child == 0:
            _be_a_command(command, do, said)
        at, left = began, list(signals)
        status = None
        while status is None:
            ended, answer, used = os.wait4(child, os.WNOHANG)
            if ended:
                status = os.waitstatus_to_exitcode(answer)
                break
            now = time.monotonic()
            if left and now - at >= left[0][0]:
                at = now
                os.kill(child, left.pop(0)[1])
            elif now - began > longest_s:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.001)
        words = said.read_text(errors="replace") if said.exists() else ""
        busy = used.ru_utime + used.ru_stime
        return Ended(status, words, time.monotonic() - began, busy, used.ru_maxrss / 1024.0)


def _be_a_command(command: Callable, do: Callable[[], object], said: Path) -> None:
    """Run in the child, and end it with the exit status of a command; its words go to a file. Signals are as a terminal
    has them: SIGHUP may be ignored here, as by nohup, and would be in the fork.
    """
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)

        def verb() -> None:
            do()

        try:
            command(verb)([])
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
