"""Runs every benchmark in miniature, so that none waits unnoticed with a name that has changed.

python benchmarks/run_quick.py [SCRIPT ...] [--processes 2], or make benchmarks-quick. Each script of studies/, speed/
and physics/, and of this folder, runs with --quick in a process of its own, all in one folder, so that they share one
small model. Those of torture/ are left to `make torture`: they look for faults by chance, and fail when they find one.
Prints how long each took; ends with status 1 and the last lines of its output where one has failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOMS = ("studies", "speed", "physics")
LONGEST_S = 900.0  # a quick run that takes longer on however busy a machine hangs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", nargs="*", type=Path, help="these alone")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    from workbench.tiny import tiny_model

    with tempfile.TemporaryDirectory(prefix="fpforce-quick-") as name:
        began = time.monotonic()
        tiny_model(Path(name) / "runs")  # once, before several scripts ask for it
        print(f"ok   {time.monotonic() - began:4.0f} s  the small model that all share", flush=True)
        if not run(chosen.scripts or scripts(), Path(name), chosen.processes):
            sys.exit(1)


def scripts() -> list[Path]:
    """All that are run: those of the rooms, and those that stand beside this one."""
    own = sorted(path for path in HERE.glob("*.py") if path != Path(__file__).resolve())
    return [*own, *sorted(path for room in ROOMS for path in (HERE / room).glob("*.py"))]


def run(paths: list[Path], folder: Path, processes: int) -> bool:
    """Run scripts with --quick into one folder; whether all have ended well."""
    with ThreadPoolExecutor(processes) as pool:
        return all(list(pool.map(lambda path: _run(path, folder), paths)))


def _run(path: Path, folder: Path) -> bool:
    began, log = time.monotonic(), folder / f"{path.stem}.log"
    with open(log, "w") as output:
        try:
            status = subprocess.run(
                [sys.executable, path, "--quick", "--into", folder],
                stdout=output,
                stderr=output,
                timeout=LONGEST_S,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENMM_CPU_THREADS": "1"},
            ).returncode
        except subprocess.TimeoutExpired:
            status = f"none within {LONGEST_S:g} s"
    line = f"{time.monotonic() - began:4.0f} s  {path.parent.name}/{path.name}"
    if status == 0:
        print(f"ok   {line}", flush=True)
        return True
    last = "\n".join(log.read_text().splitlines()[-40:])
    print(f"FAIL {line}, status {status}; the end of its output:\n{last}", flush=True)
    return False


if __name__ == "__main__":
    main()
