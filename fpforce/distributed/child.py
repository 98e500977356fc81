"""A function in a process of its own, which ends with the process that started it.

In: `python -m fpforce.distributed.child`, with the parent's id, a function and its arguments pickled on standard input.
Out: pickled messages on standard output, each a kind and a value: `told` by the function, `said` in its log, and at
last `done`, `refused` (what a user can mend) or `stopped`. What the function itself prints goes to standard error.
"""

import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

_LOOK_SECONDS = 0.5


def call_in_child(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    told: Callable[[Any], None],
    said: Callable[[str], None],
    stopped: Callable[[], bool],
) -> tuple[str, Any]:
    """What a function of `arguments` and `told` makes: (`done`, its value), (`refused`, why) or (`stopped`, None).

    told, said: called with what it tells of its progress, and with the warnings of its log. stopped: looked at twice a
    second; once it is true the process gets SIGTERM. Raises RuntimeError where the process dies by itself.
    """
    # In a session of its own: Ctrl-C on a terminal reaches all processes of one, and this one is stopped from here.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "fpforce.distributed.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    messages: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(process.stdout, messages), daemon=True).start()
    asked, outcome = False, None
    try:
        with process.stdin as pipe:
            pickle.dump((os.getpid(), function, dict(arguments)), pipe)
        while True:
            try:
                kind, value = messages.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                kind, value = "", None
            if kind == "told":
                told(value)
            elif kind == "said":
                said(value)
            elif kind == "end":
                break
            elif kind:
                outcome = kind, value
            if not asked and stopped():
                asked = True
                process.terminate()
    finally:
        if process.poll() is None:
            process.terminate()
        status = process.wait()
    if outcome is not None:
        return outcome
    if status in (-signal.SIGTERM, -signal.SIGINT):  # which came before the function was there to take it
        return "stopped", None
    raise RuntimeError(f"its process ended with status {status}")


def _receive(pipe: BinaryIO, messages: "queue.SimpleQueue[tuple[str, Any]]") -> None:
    try:
        while True:
            messages.put(pickle.load(pipe))
    except (EOFError, pickle.UnpicklingError):
        messages.put(("end", None))


def end_with(parent: int) -> None:
    """From now on stop this process, by the signal that it stops on with a checkpoint, once its parent is another."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


class _Sender(logging.Handler):
    """Messages to the parent, whole ones, from any thread."""

    def __init__(self, channel: BinaryIO) -> None:
        super().__init__(logging.WARNING)
        self._channel = channel

    def send(self, kind: str, value: Any) -> None:
        with self.lock or threading.Lock():
            try:
                pickle.dump((kind, value), self._channel)
                self._channel.flush()
            except BrokenPipeError:  # the parent is gone, which `end_with` notices
                pass

    def emit(self, record: logging.LogRecord) -> None:
        self.send("said", record.getMessage())


def main() -> None:
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    parent, function, arguments = pickle.load(sys.stdin.buffer)
    end_with(parent)
    from fpforce.foundation.errors import InputError

    sender = _Sender(channel)
    logger = logging.getLogger("fpforce")
    logger.addHandler(sender)
    logger.setLevel(logging.INFO)
    try:
        value = function(**arguments, told=lambda value: sender.send("told", value))
    except InputError as error:
        sender.send("refused", str(error))
    except KeyboardInterrupt:
        sender.send("stopped", None)
    else:
        sender.send("done", value)


if __name__ == "__main__":
    # By the name that the package knows it by: what is pickled here must be found there.
    from fpforce.distributed.child import main as run

    run()
