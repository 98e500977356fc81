"""Parts: what they return whoever does them, and what happens when a part, a worker, the scheduler or the user ends."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fpforce.distributed.parts import Part, Where
from fpforce.foundation.errors import InputError

sys.path.append(str(Path(__file__).parent))  # as the workers have it, by conftest.py
import parts_of_tests  # noqa: E402


def wait_for(condition, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def results_of(where, parts):
    """(whether it was stopped, what was done by name, what was told)."""
    done, told = {}, []
    with where.pool() as pool:
        stopped = pool.run(iter(parts), lambda name, value: told.append((name, value)), done.__setitem__)
    return stopped, done, told


@pytest.mark.parametrize("many", [False, True], ids=["this process", "Dask"])
def test_parts_return_the_same_whoever_does_them(dask_address, many):
    where = Where(scheduler=dask_address) if many else Where()
    parts = [Part(f"sum {k}", parts_of_tests.add, {"first": k, "second": 1}) for k in range(5)]
    stopped, done, told = results_of(where, parts)
    assert not stopped and done == {f"sum {k}": k + 1 for k in range(5)}
    assert sorted(told) == [(f"sum {k}", k) for k in range(5)]


def test_part_without_a_process_of_its_own_is_done_by_the_worker(dask_address):
    parts = [Part(str(k), parts_of_tests.in_the_worker, {"number": k}, own_process=False) for k in range(8)]
    _, done, _ = results_of(Where(scheduler=dask_address), parts)
    assert [done[str(k)][0] for k in range(8)] == [2 * k for k in range(8)]
    workers = {process for _, process in done.values()}
    assert len(workers) <= 2 and os.getpid() not in workers


@pytest.mark.parametrize("many", [False, True], ids=["this process", "Dask"])
def test_what_a_user_can_mend_ends_the_run_and_names_the_part(dask_address, tmp_path, many):
    parts = [Part("part 3", parts_of_tests.refuse, {})]
    if many:  # the other is running meanwhile, and is stopped
        parts.insert(0, Part("part 2", parts_of_tests.until_stopped, {"mark": tmp_path / "mark"}))
    with pytest.raises(InputError, match="7 is too many; give 6"):
        results_of(Where(scheduler=dask_address) if many else Where(), parts)
    assert not many or (tmp_path / "mark.stopped").exists() or not (tmp_path / "mark.begun").exists()


def test_part_whose_process_dies_is_done_again(dask_address, tmp_path, caplog):
    parts = [Part("fragile", parts_of_tests.crash_once, {"mark": tmp_path / "mark"})]
    _, done, _ = results_of(Where(scheduler=dask_address), parts)
    assert done == {"fragile": "again"} and "fragile was lost" in caplog.text


def test_part_whose_process_dies_every_time_is_given_up(dask_address):
    with pytest.raises(InputError, match=r"hopeless was lost 3 times in a row .*status -11.*--resume"):
        results_of(Where(scheduler=dask_address), [Part("hopeless", parts_of_tests.crash, {})])


def test_stop_reaches_every_part_and_waits_for_it(dask_address, tmp_path):
    marks = [tmp_path / str(k) for k in range(2)]

    def interrupt():
        wait_for(lambda: all(mark.with_suffix(".begun").exists() for mark in marks))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    parts = [Part(mark.name, parts_of_tests.until_stopped, {"mark": mark}) for mark in marks]
    stopped, done, _ = results_of(Where(scheduler=dask_address), parts)
    assert stopped and not done and all(mark.with_suffix(".stopped").exists() for mark in marks)


def test_lost_scheduler_is_said_and_parts_stop_by_themselves(tmp_path):
    """kill -9 of a scheduler that was started as on a cluster."""
    file = tmp_path / "scheduler.json"
    import dask

    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--port", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen([*command, "--host", "127.0.0.1", "--scheduler-file", str(file)], **quiet)
    wait_for(file.exists)
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--no-dashboard", "--nthreads", "1"]
    worker = subprocess.Popen([*command, "--scheduler-file", str(file)], **quiet)
    mark = tmp_path / "mark"

    def kill():
        wait_for(mark.with_suffix(".begun").exists)
        scheduler.kill()

    threading.Thread(target=kill, daemon=True).start()
    soon = dask.config.set({"distributed.comm.timeouts.connect": "2s"})  # in which the client looks for it again
    try:
        with soon, pytest.raises(InputError, match=r"the scheduler .*scheduler.json is lost.*--resume"):
            results_of(Where(scheduler=file), [Part("part", parts_of_tests.until_stopped, {"mark": mark})])
        wait_for(mark.with_suffix(".stopped").exists)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()


def test_without_dask_the_remedy_is_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=re.escape("run on Dask, which is not here: install fpforce with the extra")):
        Where(workers=2).pool().__enter__()


def test_schedulers_that_are_not_there_are_refused(tmp_path, monkeypatch):
    import dask

    with pytest.raises(InputError, match="neither an address.*nor a scheduler.json that exists"):
        Where(scheduler=tmp_path / "scheduler.json").pool().__enter__()
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(InputError, match=r"scheduler tcp://127.0.0.1:9 cannot be reached.*see that it runs"),
    ):
        Where(scheduler="tcp://127.0.0.1:9").pool().__enter__()
    with pytest.raises(InputError, match="--workers 2 starts workers.*give one of the two"):
        Where(workers=2, scheduler="tcp://127.0.0.1:9").check()
