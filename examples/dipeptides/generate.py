"""Make the data of the transferable dipeptides: capped, 310 K, split by sequence, in stages from short to long.

    python examples/dipeptides/generate.py runs/dipeptides --processes 2

Training sequences by temperature replica exchange, test sequences by two independent ones of more rungs. Every stage
leaves complete files, so that training can begin on short runs. It may be stopped or killed at any moment; the same
command goes on. Beads only are kept: N, CA, CB, C, O of both amino acids.
"""

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from sequences import load
from task import BEADS, Task, do_task, protocol_of, write_json

from fpforce.commands.entry import command
from fpforce.foundation.errors import InputError

RUNGS = {"train": 3, "test": 4}
STAGES_NS = {"train": (0.5, 2.0), "test": (0.5, 2.0)}
# Basins that hold less than this in both runs are not judged: their free energy is not known to 0.3 kT after some ns.
_SMALLEST_BASIN = 0.01
_TRIES = 2


@command
def main(
    output: Annotated[Path, typer.Argument(help="folder for the data")],
    train_ns: Annotated[float, typer.Option(help="final length of each training run, ns")] = 2.0,
    test_ns: Annotated[float, typer.Option(help="final length of each of the two test runs, ns")] = 2.0,
    discard_ps: Annotated[float, typer.Option(help="left out at the start of each run, ps")] = 100.0,
    train_rungs: Annotated[int, typer.Option(help="temperatures of the training runs; 1: Langevin dynamics")] = RUNGS[
        "train"
    ],
    test_rungs: Annotated[int, typer.Option(help="temperatures of the test runs")] = RUNGS["test"],
    processes: Annotated[int, typer.Option(help="simulations at a time, one core each")] = 1,
    only: Annotated[str, typer.Option(help="train, test, or a comma-separated list of sequences; all by default")] = "",
    checkpoint_minutes: Annotated[float, typer.Option(help="between checkpoints, minutes")] = 1.0,
):
    """Generate the dipeptide data; the same command goes on after a stop or a kill, to greater lengths too."""
    if min(train_ns, test_ns) < 0.01 or processes < 1 or min(discard_ps, checkpoint_minutes) < 0.0:
        raise InputError(
            f"train-ns {train_ns:g}, test-ns {test_ns:g}, processes {processes}, discard-ps {discard_ps:g}, "
            f"checkpoint-minutes {checkpoint_minutes:g}: need lengths of at least 0.01, at least one process and "
            "nothing negative"
        )
    rungs = {"train": train_rungs, "test": test_rungs}
    tasks = list_tasks(load(), {"train": train_ns, "test": test_ns}, rungs, discard_ps, only)
    output.mkdir(parents=True, exist_ok=True)
    failed = Driver(output, processes, 60.0 * checkpoint_minutes).work(tasks)
    record = write_record(output, tasks)
    disagreeing = [name for name, pair in record["test"].items() if pair["agreement"]["reached"] is False]
    if disagreeing:
        print(f"test runs differ by more than 0.3 kT, go on with a larger --test-ns: {', '.join(disagreeing)}")
    if failed:
        print(f"failed, start the command again: {', '.join(map(str, failed))}", file=sys.stderr)
        return 1
    return None


def list_tasks(split, final_ns, rungs, discard_ps, only=""):
    """Tasks in the order of work: short before long, and training before test within a stage.

    final_ns, rungs: of `train` and `test` runs.
    """
    chosen = set(filter(None, only.split(",")))
    unknown = chosen - {"train", "test", *split["train"], *split["test"]}
    if unknown:
        raise InputError(f"only {sorted(unknown)[0]!r} is neither train, test nor a sequence of sequences.json")
    stages = {kind: sorted({*(s for s in STAGES_NS[kind] if s < ns), ns}) for kind, ns in final_ns.items()}
    tasks = []
    for stage in range(max(map(len, stages.values()))):
        for kind, runs in (("train", (1,)), ("test", (1, 2))):
            if stage < len(stages[kind]):
                names = [name for name in split[kind] if not chosen or {kind, name} & chosen]
                settings = (stages[kind][stage], rungs[kind], discard_ps)
                tasks += [Task(kind, name, run, *settings) for name in names for run in runs]
    return tasks


class Driver:
    """Runs tasks in processes of their own: a crash, or a kill of one, costs that task alone."""

    def __init__(self, output, processes, seconds_between_checkpoints):
        self._output, self._processes, self._seconds = output, processes, seconds_between_checkpoints
        self._context = multiprocessing.get_context("spawn")
        self._active, self._tries, self._done_ns, self._done_rung_ns = {}, {}, 0.0, 0.0

    def work(self, tasks):
        """Do all tasks in order; returns those that failed twice. KeyboardInterrupt if stopped by a signal."""
        from fpforce.foundation.signals import stop_signals

        self._tasks, waiting = tasks, [task for task in tasks if not task.is_done(self._output)]
        self._new_ns = {task: _new_ns(task, tasks, self._output) for task in waiting}
        total = sum(self._new_ns[task] * task.rungs for task in waiting)
        print(
            f"{len(tasks) - len(waiting)} of {len(tasks)} tasks are done, {total:.1f} ns over all rungs to go",
            flush=True,
        )
        failed, begun, last_line = [], time.monotonic(), 0.0
        with stop_signals() as stop:
            while (waiting or self._active) and not stop.is_set():
                self._start_some(waiting)
                stop.wait(0.2)
                for task in self._collect():
                    (waiting if self._tries[task] < _TRIES else failed).append(task)
                now = time.monotonic()
                if now - last_line > 60.0:
                    last_line = now
                    self._say_progress(waiting, total, (now - begun) / 3600.0)
            if stop.is_set():
                for process in self._active.values():
                    process.terminate()
                for process in self._active.values():
                    process.join()
                raise KeyboardInterrupt(f"{self._output}: everything is kept; the same command goes on")
        self._say_progress(waiting, total, (time.monotonic() - begun) / 3600.0)
        return failed

    def _start_some(self, waiting):
        for task in list(waiting):
            if len(self._active) >= self._processes:
                break
            # The stages of a run share a folder: never two at a time.
            if any(task.folder(self._output) == other.folder(self._output) for other in self._active):
                continue
            waiting.remove(task)
            self._tries[task] = self._tries.get(task, 0) + 1
            arguments = (str(self._output), task, self._seconds, os.getpid())
            self._active[task] = self._context.Process(target=do_task, args=arguments)
            self._active[task].start()

    def _collect(self):
        """Take note of ended processes; returns the tasks that failed."""
        failed = []
        for task, process in list(self._active.items()):
            if process.is_alive():
                continue
            process.join()
            del self._active[task]
            if process.exitcode:
                print(f"FAILED with exit status {process.exitcode}: {task}", file=sys.stderr, flush=True)
                failed.append(task)
            else:
                self._done_ns += self._new_ns[task]
                self._done_rung_ns += self._new_ns[task] * task.rungs
                print(f"done: {task}", flush=True)
                write_record(self._output, self._tasks)
        return failed

    def _say_progress(self, waiting, total, hours):
        rate = self._done_rung_ns / max(hours, 1e-9)
        left = f"{(total - self._done_rung_ns) / rate:.1f} h left" if rate else "time left not known yet"
        print(
            f"{hours:.2f} h: {self._done_ns:.1f} ns kept, {self._done_ns / max(hours, 1e-9):.1f} ns/hour kept, "
            f"{rate:.1f} ns/hour over all rungs, {len(waiting)} tasks wait, {left}; "
            f"running: {', '.join(map(str, self._active)) or 'nothing'}",
            flush=True,
        )


def write_record(output, tasks):
    """Gather the figures of all runs that are there into data.json; returns it. `tasks` tell the protocols, of what
    they have made.
    """
    import openmm

    from fpforce.reference.basins import agreement

    split = load()
    record = {"split": split, "train": {}, "test": {}}
    record["made"] = {
        "molecules": "ACE-XX-NME",
        "beads": BEADS,
        "platform": "Reference",
        "openmm": openmm.version.version,
        "discarded_ps": tasks[0].discard_ps,
        "protocols": _protocols(output, tasks),
    }
    for name in split["train"]:
        path = Task("train", name, 1, 0.0, 1, 0.0).record(output)
        if path.exists():
            record["train"][name] = json.loads(path.read_text())
    for name in split["test"]:
        paths = [Task("test", name, run, 0.0, 1, 0.0).record(output) for run in (1, 2)]
        runs = [json.loads(path.read_text()) for path in paths if path.exists()]
        if runs:
            compared = agreement([run["basins"] for run in runs], _SMALLEST_BASIN)
            record["test"][name] = {"runs": runs, "agreement": compared}
    write_json(output / "data.json", record)
    return record


def _protocols(output, tasks):
    """By kind; of a kind of which nothing is asked for, what an earlier call wrote."""
    path = output / "data.json"
    earlier = json.loads(path.read_text())["made"]["protocols"] if path.exists() else {}
    return earlier | {task.kind: protocol_of(task.rungs).describe() for task in tasks if task.is_done(output)}


def _new_ns(task, tasks, output):
    """What a task adds to the stage before it, ns; parts of a stage count as nothing."""
    before = [t.ns for t in tasks if t.folder(output) == task.folder(output) and t.ns < task.ns]
    return task.ns - max(before, default=0.0)


if __name__ == "__main__":
    main()
