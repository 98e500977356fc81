"""The processor's own time for tasks that take turns, which other programs disturb less than the clock."""

import time


def measured(tasks: dict, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of the processor for each task, by round; a first one warms up."""
    ms: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            began = time.process_time()
            task()
            if number:
                ms[name].append(1e3 * (time.process_time() - began))
    return ms
