"""Ctrl-C, SIGTERM and SIGHUP end a command in one line, whenever they come, and closed terminals end none."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fpforce.foundation.signals import interrupting, stop_signals
from fpforce.foundation.terminal import OutlivingStream

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# A command that says when it has begun, and cleans up slowly.
COMMAND = """
import sys, time
from pathlib import Path
from fpforce.commands.entry import command
@command
def main():
    try:
        Path(sys.argv.pop()).write_text("begun")
        time.sleep(60)
    finally:
        time.sleep(0.5)
        print("cleaned up", file=sys.stderr)
{before}
main()
"""


def started(tmp_path, before=""):
    mark = tmp_path / "begun"
    code = COMMAND.format(before=before).replace("sys.argv.pop()", repr(str(mark)))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while not mark.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_a_command_after_its_clean_up_with_one_line(number, tmp_path):
    process = started(tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    by = "" if number == signal.SIGINT else f": by {number.name}"
    assert process.returncode == 130 and said == f"cleaned up\ninterrupted{by}\n"


def test_a_second_signal_does_not_break_the_clean_up(tmp_path):
    process = started(tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == "cleaned up\ninterrupted\n"


def test_a_signal_that_python_would_drop_comes_again(capfd):
    """In a finaliser, where an exception is printed and forgotten; it takes longer than the signal is held back."""

    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.05)

    class Slow:
        def __del__(self):
            until = time.monotonic() + 0.1
            signal.raise_signal(signal.SIGTERM)
            while time.monotonic() < until:
                time.sleep(0.001)

    for kind in (Dying, Slow):
        with pytest.raises(KeyboardInterrupt, match="by SIGTERM"), interrupting(at_the_end_of_the_process=False):
            kind()
            time.sleep(5)
    assert capfd.readouterr().err == ""


def test_nohup_is_heeded(tmp_path):
    process = started(tmp_path, before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_within_steps_is_an_event_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with stop_signals() as stop:
        os.kill(os.getpid(), number)
        assert stop.wait(5.0)
    assert signal.getsignal(number) is before


def test_handlers_come_back_after_a_command_in_a_process_that_goes_on():
    before = [signal.getsignal(number) for number in ENDING]
    with pytest.raises(KeyboardInterrupt), interrupting(at_the_end_of_the_process=False):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5.0)
    assert [signal.getsignal(number) for number in ENDING] == before


def test_other_threads_leave_signals_alone():
    found = []

    def run():
        with interrupting(at_the_end_of_the_process=False), stop_signals() as stop:
            found.append(stop.is_set())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]


def test_a_stream_without_a_reader_is_written_into_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    stream = OutlivingStream(os.fdopen(writing, "w", buffering=1))
    for _ in range(3):
        stream.write("a line\n")
        stream.flush()
    stream.close()


def test_a_full_disk_is_still_an_error():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full, pytest.raises(OSError, match="No space left"):
        stream = OutlivingStream(full)
        try:
            stream.write("a line\n")
            stream.flush()
        finally:
            os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
