"""What a piece of work holds in memory at most, and how long it takes, each in a fork of its own.

In: a function without arguments. Out: its result, seconds and MB over what the process had before.
"""

import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.forked import run_forked


def measured(do: Callable[[], Any], longest_s: float = 3600.0) -> dict[str, Any]:
    """`result` of a fork that does it (JSON-able), `seconds` and those of the processor, and what it held at most over
    what it began with: MB of its own (RssAnon) and of all that is resident (VmRSS). A line "seconds X" that it prints
    is its time instead.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"

        def watched() -> None:
            before, most, ended = _held(), _held(), threading.Event()

            def watch() -> None:
                while not ended.wait(0.05):
                    for name, value in _held().items():
                        most[name] = max(most[name], value)

            watcher = threading.Thread(target=watch)
            watcher.start()
            began, worked = time.monotonic(), time.process_time()
            try:
                result = do()
            finally:
                ended.set()
                watcher.join()
            times = {"seconds": time.monotonic() - began, "processor_seconds": time.process_time() - worked}
            over = {name: most[name] - before[name] for name in most}
            found.write_text(json.dumps({"result": result} | times | over))

        ended = run_forked(watched, longest_s=longest_s)
        if ended.status:
            raise SystemExit(f"status {ended.status}: {ended.said[-2000:]}")
        result = json.loads(found.read_text())
        seconds = [line.split()[1] for line in ended.said.splitlines() if line.startswith("seconds ")]
        return result | ({"seconds": float(seconds[0])} if seconds else {})


def _held() -> dict[str, float]:
    """MB of this process: its own, and all that is resident, files that it has mapped included."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    values = {words[0]: float(words[1]) / 1024.0 for words in lines if words and words[0] in ("RssAnon:", "VmRSS:")}
    return {"own_mb": values["RssAnon:"], "resident_mb": values["VmRSS:"]}
