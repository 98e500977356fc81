"""Jobs of a benchmark, each a script in a process of its own with one thread and a log beside its results."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def run_jobs(script: str, arguments: dict[Path, list[str]], processes: int) -> None:
    """Run `script` with the arguments of every folder, so many at a time, logging to FOLDER/log.txt.

    Raises subprocess.CalledProcessError for a job that failed, once those that had begun have ended.
    """
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(lambda folder: _run(script, folder, arguments[folder]), arguments))


def _run(script: str, folder: Path, arguments: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log.txt", "a") as log:
        subprocess.run(
            [sys.executable, script, *arguments],
            stdout=log,
            stderr=log,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENMM_CPU_THREADS": "1"},
        )
    print(f"{folder} is done", flush=True)
