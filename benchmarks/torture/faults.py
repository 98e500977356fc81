"""What goes wrong around a run: full disks, read-only folders, signals, second writers, clocks that jump, slow renames.

python benchmarks/torture/faults.py [--quick] [--repeats 10] [--only FAULT ...] [--verbs VERB ...] [--resume]. Every
verb of benchmarks/workbench/verbs.py meets every fault, at random moments where the fault has one. It has to end with
status 0, 2 or 130 and at most one line that says why, leave no torn file, and, once the fault is gone, go on to the
result of an undisturbed run. fpforce-simulate runs under strace too: every file is on the disk before
it gets its name and its folder after that, and failing fsyncs are one line. The small disk is a tmpfs, for which the
script has to be root: elsewhere these rows say that they were left out. Status 1 where anything is wrong. Writes
docs/results/faults.json and .md after every row; --resume keeps the rows that are there, of the same seed and verbs,
and runs the others, or those of --only anew.
Longer than other files for its list of faults.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.forked import Ended, run_forked
from workbench.hardware import describe_hardware
from workbench.tiny import tiny_model
from workbench.verbs import Verb, prepare, verbs
from workbench.whole_files import torn_files

Fault = Callable[[Verb, Path, float, random.Random], list[Ended]]
_LINE = re.compile(r"^(error|interrupted)(: .*)?$")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10, help="of every fault for every verb")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=ROWS, metavar="FAULT", help="these faults")
    parser.add_argument("--verbs", nargs="*", help="these verbs")
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    chosen = options.parse(parser, repeats=1, verbs=["simulate", "sample"])
    model = tiny_model(chosen.runs)
    prepare(model)
    folder = chosen.runs / "faults"
    all_verbs = {name: verb for name, verb in verbs(model).items() if not chosen.verbs or name in chosen.verbs}
    shutil.rmtree(folder, ignore_errors=True)
    result = {
        "hardware": describe_hardware(),
        "seed": chosen.seed,
        "verbs": list(all_verbs),
        "rows": {},
    }
    if chosen.resume:
        result["rows"] = earlier_rows(chosen.results / "faults.json", result)
    wanted = chosen.only or [name for name in ROWS if name not in result["rows"]]
    undisturbed = run_undisturbed(all_verbs, folder) if set(wanted) - {STRACE} else {}
    for name in wanted:
        if name == STRACE:
            result["rows"][name] = {"repeats": 1} | under_strace(model, folder)
        else:
            found = row(FAULTS[name], all_verbs, undisturbed, folder, chosen.repeats, chosen.seed)
            result["rows"][name] = {"repeats": chosen.repeats} | found
        print(name, result["rows"][name], flush=True)
        result["rows"] = {each: result["rows"][each] for each in ROWS if each in result["rows"]}
        (chosen.results / "faults.json").write_text(json.dumps(result, indent=1))
        (chosen.results / "faults.md").write_text(table(result))
    print(table(result))
    if any(one["wrong"] for one in result["rows"].values()):
        sys.exit(1)


def run_undisturbed(all_verbs: dict[str, Verb], folder: Path) -> dict[str, tuple[float, str]]:
    """Seconds that each verb takes, and its result."""
    found = {}
    for verb in all_verbs.values():
        place = folder / "undisturbed" / verb.name
        place.mkdir(parents=True)
        ended = run_forked(lambda verb=verb, place=place: verb.go_on(place))
        if ended.status:
            raise SystemExit(f"{verb.name} undisturbed has status {ended.status}: {ended.said}")
        found[verb.name] = (ended.seconds, verb.result(place))
    return found


def earlier_rows(path: Path, now: dict[str, Any]) -> dict[str, Any]:
    """The rows of an earlier run of the same kind; none where there was none."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    alike = all(found.get(key) == now[key] for key in now if key != "rows")
    return found["rows"] if alike else {}


def row(
    fault: Fault,
    all_verbs: dict[str, Verb],
    undisturbed: dict[str, tuple[float, str]],
    folder: Path,
    repeats: int,
    seed: int,
) -> dict[str, Any]:
    met, stopped, wrong = 0, 0, []
    for name, verb in all_verbs.items():
        seconds, wanted = undisturbed[name]
        for repeat in range(repeats):
            place = folder / "disturbed" / name
            shutil.rmtree(place.parent, ignore_errors=True)
            place.mkdir(parents=True)
            try:
                ends = fault(verb, place, seconds, random.Random(f"{seed} {name} {repeat}"))
            except NotHere as reason:
                return {"met": 0, "stopped": 0, "wrong": [], "left out": str(reason)}
            met += 1
            stopped += any(end.status for end in ends)
            for end in ends:
                lines = end.said.strip().splitlines()
                if end.status < 0 and not any(place.iterdir()):
                    continue  # before the command had begun
                if end.status not in (0, 2, 130):
                    wrong.append(f"{name}: status {end.status}: {end.said[-400:]}")
                elif end.status and sum(bool(_LINE.match(line)) for line in lines) != 1:
                    wrong.append(f"{name}: not one line: {end.said[-400:]}")
                elif "Traceback" in end.said:
                    wrong.append(f"{name}: a traceback: {end.said[-400:]}")
            wrong += [f"{name}: {text}" for text in torn_files(place)]
            last = run_forked(lambda verb=verb, place=place: verb.go_on(place))
            if last.status:
                wrong.append(f"{name} does not go on: status {last.status}: {last.said[-400:]}")
            elif verb.result(place) != wanted:
                wrong.append(f"{name}: another result than undisturbed")
    for text in wrong:
        print("  ", text.replace("\n", " | "), flush=True)
    return {"met": met, "stopped": stopped, "wrong": wrong[:10]}


class NotHere(Exception):
    """A fault that cannot be made on this machine."""


def _signals(*numbers: int) -> Fault:
    def fault(verb: Verb, place: Path, seconds: float, chance: random.Random) -> list[Ended]:
        times = [chance.uniform(0.05, seconds), *(chance.uniform(0.0, 0.3) for _ in numbers[1:])]
        return [run_forked(lambda: verb.go_on(place), list(zip(times, numbers, strict=True)))]

    return fault


def two_at_once(verb: Verb, place: Path, seconds: float, chance: random.Random) -> list[Ended]:
    ends: list[Ended] = []
    other = threading.Thread(target=lambda: ends.append(run_forked(lambda: verb.go_on(place))))
    other.start()
    time.sleep(chance.uniform(0.0, 0.5 * seconds))
    ends.append(run_forked(lambda: verb.go_on(place)))
    other.join()
    return ends


def a_clock_that_jumps(verb: Verb, place: Path, seconds: float, chance: random.Random) -> list[Ended]:
    """time.time forward and back by days; what may be counted on is time.monotonic."""
    now = time.time

    def do() -> None:
        time.time = lambda: now() + chance.uniform(-1e6, 1e6)
        verb.go_on(place)

    return [run_forked(do)]


def slow_renames(verb: Verb, place: Path, seconds: float, chance: random.Random) -> list[Ended]:
    """Names that appear late, as on NFS, and a kill meanwhile."""
    replace = os.replace

    def late(*names: Any) -> None:
        time.sleep(chance.uniform(0.0, 0.1))
        replace(*names)
        time.sleep(chance.uniform(0.0, 0.1))

    def do() -> None:
        os.replace = late
        verb.go_on(place)

    end = run_forked(do, [(chance.uniform(0.1, seconds + 0.5), signal.SIGTERM)])
    return [end]


def a_full_disk(verb: Verb, place: Path, seconds: float, chance: random.Random) -> list[Ended]:
    with _small_disk(place, f"{chance.choice((8, 32, 100, 300))}k") as enlarge:
        end = run_forked(lambda: verb.go_on(place))
        enlarge()
        _copied_out(place)
    return [end]


def full_temporary_files(verb: Verb, place: Path, seconds: float, chance: random.Random) -> list[Ended]:
    """The disk of TMPDIR is full, that of the output is not."""
    import tempfile

    small = place.parent / "tmp"
    small.mkdir(exist_ok=True)
    with _small_disk(small, f"{chance.choice((4, 8, 32))}k"):

        def do() -> None:
            tempfile.tempdir = str(small)
            verb.go_on(place)

        return [run_forked(do)]


def a_read_only_folder(verb: Verb, place: Path, seconds: float, chance: random.Random) -> list[Ended]:
    with _small_disk(place, "64m"):
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        return [run_forked(lambda: verb.go_on(place))]


def vanishing_files(verb: Verb, place: Path, seconds: float, chance: random.Random) -> list[Ended]:
    """All that the verb has written so far is removed while it runs."""
    stop = threading.Event()

    def remove() -> None:
        if not stop.wait(chance.uniform(0.05, seconds)):
            for path in sorted(place.rglob("*"), reverse=True):
                if path.is_file():
                    path.unlink(missing_ok=True)

    thread = threading.Thread(target=remove)
    thread.start()
    end = run_forked(lambda: verb.go_on(place))
    stop.set()
    thread.join()
    shutil.rmtree(place)
    place.mkdir()
    return [end]


@contextmanager
def _small_disk(place: Path, size: str) -> Iterator[Callable[[], None]]:
    """A tmpfs over a folder; gives what enlarges it."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        raise NotHere("a tmpfs takes root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True).returncode:
        raise NotHere("no tmpfs can be mounted here")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", place], check=True) and None
    finally:
        subprocess.run(["umount", place], check=True)


def _copied_out(place: Path) -> None:
    """Have what is on the small disk be there when it is unmounted."""
    kept = place.with_name(f"{place.name} kept")
    shutil.copytree(place, kept)
    subprocess.run(["umount", place], check=True)
    shutil.rmtree(place)
    kept.rename(place)
    place_again = place.parent / "nothing"
    place_again.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", place], check=True)  # for the caller to unmount


FAULTS: dict[str, Fault] = {
    "SIGTERM": _signals(signal.SIGTERM),
    "SIGHUP": _signals(signal.SIGHUP),
    "Ctrl-C": _signals(signal.SIGINT),
    "Ctrl-C twice": _signals(signal.SIGINT, signal.SIGINT),
    "two processes on one output": two_at_once,
    "a clock that jumps": a_clock_that_jumps,
    "slow renames and SIGTERM": slow_renames,
    "a full disk": a_full_disk,
    "a full disk of temporary files": full_temporary_files,
    "a read-only folder": a_read_only_folder,
    "vanishing files": vanishing_files,
}
STRACE = "fsyncs seen by strace, and failing"
ROWS = (*FAULTS, STRACE)


def under_strace(model: Path, folder: Path) -> dict[str, Any]:
    """fsync where it is promised, before a file gets its name and of its folder after that; and fsyncs that fail."""
    if shutil.which("strace") is None or subprocess.run(["strace", "-f", "true"], capture_output=True).returncode:
        return {"met": 0, "stopped": 0, "wrong": [], "left out": "no strace here"}
    output = folder / "traced" / "s.xtc"
    command = [str(Path(sys.executable).with_name("fpforce-simulate")), str(model), "--output", str(output)]
    command += ["--steps", "400", "--report-interval-ps", "0.02", "--checkpoint-minutes", "0.0005", "--overwrite"]
    command += ["--platform", "Reference"]
    output.parent.mkdir(parents=True, exist_ok=True)
    log = folder / "strace.log"
    traced = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=fsync,rename,renameat,renameat2"]
    done = subprocess.run([*traced, *command], capture_output=True, text=True)
    unsynced = names_before_their_content(log.read_text(), output.parent)
    wrong = unsynced + ([] if done.returncode == 0 else [done.stderr[-400:]])
    wrong += [] if log.read_text().count(".part") else ["no file got its name in one step"]
    stopped = 0
    for when in range(1, 6):
        inject = ["strace", "-f", "-o", "/dev/null", "-e", f"inject=fsync:error=EIO:when={when}", *command]
        failed = subprocess.run(inject, capture_output=True, text=True)
        said = [line for line in failed.stderr.splitlines() if _LINE.match(line)]
        if failed.returncode != 2 or len(said) != 1 or "Traceback" in failed.stderr:
            wrong.append(f"fsync {when} fails: status {failed.returncode}: {failed.stderr[-400:]}")
        stopped += failed.returncode == 2
        wrong += torn_files(output.parent)
    for text in wrong:
        print("  ", text.replace("\n", " | "), flush=True)
    return {"met": 6, "stopped": stopped, "wrong": wrong[:10]}


def names_before_their_content(log: str, folder: Path) -> list[str]:
    """Of strace's lines, files that got their name before an fsync of theirs, or whose folder had none after it."""
    synced: set[str] = set()
    waiting: list[str] = []
    wrong = []
    for line in log.splitlines():
        if found := re.search(r"fsync\(\d+<([^>]*)>", line):
            synced.add(found[1])
            waiting = [name for name in waiting if str(Path(name).parent) != found[1]]
        elif found := re.search(r'rename[a-z0-9]*\(.*?"([^"]*\.part)",.*"([^"]*)"', line):
            unfinished, name = found[1], found[2]
            if not any(path == unfinished or path.endswith("/" + Path(unfinished).name) for path in synced):
                wrong.append(f"{name} got its name before its content was on the disk")
            synced = {path for path in synced if Path(path).name != Path(unfinished).name}
            waiting.append(str(Path(name).resolve()))
    return wrong + [f"the folder of {name} was not brought to the disk" for name in waiting]


def _missing(rows: dict[str, Any]) -> str:
    left = [name for name in ROWS if name not in rows]
    return f" Not run yet: {', '.join(left)}." if left else ""


def table(result: dict[str, Any]) -> str:
    lines = [
        f"The verbs: {', '.join(result['verbs'])}; {result['hardware']}. Times: how often each met the fault, at "
        "moments of its own. Stopped: runs that it ended, with status 2 or 130 and one line; some others had come to "
        f"their end before it.{_missing(result['rows'])}",
        "",
        "| fault | times | runs | stopped | faults of the program |",
        "|---|---|---|---|---|",
    ]
    for name, one in result["rows"].items():
        counts = f"{one['repeats']} | {one['met']} | {one['stopped']} | {len(one['wrong'])}"
        lines.append(
            f"| {name} | {counts} |" if "left out" not in one else f"| {name} | left out: {one['left out']} | | | |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
