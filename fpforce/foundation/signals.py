"""Ctrl-C, SIGTERM and SIGHUP: as an event to look at between two steps, so that files are never left in the middle of a
write, and elsewhere as KeyboardInterrupt.

A process that was told to ignore SIGHUP, as by nohup, goes on ignoring it.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SECONDS_TO_UNWIND = 5.0  # after a signal, in which others are passed over: they would break the clean-up
_SECONDS_TO_LEAVE_A_FINALISER = 0.01


def handle_ending(handler: Callable[[int, FrameType | None], Any]) -> dict[int, Any]:
    """Have `handler` called by every signal that asks this process to end; returns the handlers before, by signal."""
    asking = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.getsignal(number) for number in asking}
    ours: dict[int, Any] = {
        number: earlier
        for number, earlier in before.items()
        # None: a handler that is not Python's, and could not be put back
        if earlier is not None and (number in (signal.SIGINT, signal.SIGTERM) or earlier is not signal.SIG_IGN)
    }
    for number in ours:
        signal.signal(number, handler)
    return ours


def put_back(before: dict[int, Any]) -> None:
    """The handlers that `handle_ending` returned."""
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that these signals set instead of ending the process, while the block runs in the main thread."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = handle_ending(lambda *_: stop.set())
    try:
        yield stop
    finally:
        put_back(before)


@contextmanager
def interrupting(*, at_the_end_of_the_process: bool) -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, while the block runs in the main thread.

    A second signal within five seconds is passed over, so that an impatient Ctrl-C does not break the clean-up of the
    first. A signal during a finaliser or the callback of a weak reference, of which Python drops exceptions, comes once
    more. at_the_end_of_the_process: nothing follows the block; after an interruption signals are then ignored, and
    otherwise end the process as they would end any.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded: list[float] = []
    last = [signal.SIGTERM]

    def heed(number: int, _: FrameType | None) -> None:
        if heeded and time.monotonic() - heeded[-1] < _SECONDS_TO_UNWIND:
            return
        heeded.append(time.monotonic())
        last[0] = signal.Signals(number)
        raise KeyboardInterrupt(*([] if number == signal.SIGINT else [f"by {signal.Signals(number).name}"]))

    def come_again(dropped: Any) -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            hook(dropped)
            return
        heeded[:] = [-_SECONDS_TO_UNWIND]
        threading.Timer(_SECONDS_TO_LEAVE_A_FINALISER, os.kill, (os.getpid(), last[0])).start()

    before, hook = handle_ending(heed), sys.unraisablehook
    sys.unraisablehook = come_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        if at_the_end_of_the_process:
            before = dict.fromkeys(before, signal.SIG_IGN if heeded else signal.SIG_DFL)
        put_back(before)
