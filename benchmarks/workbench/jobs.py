"""Jobs of a benchmark, each a script in a process of its own with one thread and a log beside its results.

In: a script and, by folder, its arguments. Out: FOLDER/log.txt, and whatever the script writes.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def run_jobs(script: str, arguments: dict[Path, list[str]], processes: int) -> None:
    """Run `script` with the arguments of every folder, so many at a time, logging to FOLDER/log.txt.

    Ends the program for a job that failed, once those that had begun have ended.
    """
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(lambda folder: _run(script, folder, arguments[folder]), arguments))


def _run(script: str, folder: Path, arguments: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log.txt", "a") as log:
        done = subprocess.run(
            [sys.executable, script, *arguments],
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENMM_CPU_THREADS": "1"},
        )
    if done.returncode:
        last = "".join((folder / "log.txt").read_text().splitlines(keepends=True)[-20:])
        raise SystemExit(f"{folder} has failed; the end of its log.txt:\n{last}")
    print(f"{folder} is done", flush=True)
