"""What a Dask worker does with a part.

In: a Part and where its messages go. Out: (`done`, value), (`refused`, why) or (`stopped`, None). It is stopped by
`stop_all`, where nobody waits for it any more, and where its worker closes.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fpforce.distributed.child import call_in_child
from fpforce.distributed.parts import Part
from fpforce.foundation.errors import InputError

_stopped_runs: set[str] = set()  # in this worker, by their topic


@dataclass(frozen=True)
class Orders:
    """topic: of Dask's events, under which a part tells. every_seconds: at most, its progress. version: of fpforce,
    where the parts come from. gpus: of this machine, among its workers; empty where each worker was given its own.
    """

    topic: str
    every_seconds: float
    version: str
    gpus: tuple[str, ...] = ()


def work(part: Part, orders: Orders) -> tuple[str, Any]:
    """Do a part here; the module says what comes out. Raises RuntimeError where its process dies."""
    from distributed import get_worker

    import fpforce

    worker = get_worker()
    key = worker.get_current_task()
    if fpforce.__version__ != orders.version:
        return "refused", (
            f"the worker {worker.address} has fpforce {fpforce.__version__}, and the parts come from "
            f"{orders.version}; install the same version everywhere"
        )
    if orders.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = orders.gpus[int(worker.name) % len(orders.gpus)]

    def stopped() -> bool:
        task = worker.state.tasks.get(key)
        given_up = task is None or task.state == "cancelled"
        return given_up or orders.topic in _stopped_runs or worker.status.name not in ("running", "paused")

    if stopped():
        return "stopped", None
    told = _seldom(lambda value: worker.log_event(orders.topic, ("told", part.name, value)), orders.every_seconds)
    if part.own_process:
        return call_in_child(
            part.function,
            part.arguments,
            told,
            lambda text: worker.log_event(orders.topic, ("said", part.name, text)),
            stopped,
        )
    try:
        return "done", part.function(**part.arguments, told=told, stopped=stopped)
    except InputError as error:
        return "refused", str(error)
    except KeyboardInterrupt:
        return "stopped", None


def dask_setup(worker: Any) -> None:
    """Called by Dask in a worker process of this machine: Ctrl-C and a closed terminal, which reach it too, are for the
    command to answer, which stops the parts and then the workers.
    """
    for number in (signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
        signal.signal(number, signal.SIG_IGN)


def stop_all(topic: str) -> None:
    """Stop the parts of a run that are in this worker, and those that come."""
    _stopped_runs.add(topic)


def _seldom(tell: Callable[[Any], None], seconds: float) -> Callable[[Any], None]:
    """`tell`, but not sooner than so many seconds after the last time."""
    last, lock = [0.0], threading.Lock()

    def told(value: Any) -> None:
        with lock:
            now = time.monotonic()
            if now - last[0] < seconds:
                return
            last[0] = now
        tell(value)

    return told
