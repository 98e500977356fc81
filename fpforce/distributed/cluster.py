"""Parts on Dask: a cluster of this machine's processes, or a scheduler that is there already.

In: Where, and parts. Out: what they return, whichever workers come and go. A part whose worker is lost is done again by
another one, and goes on from its own checkpoint. A few more parts than there are workers are with the scheduler at any
time, so that neither it nor this process grows with their number.
"""

import logging
import os
import queue
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fpforce
from fpforce.distributed.parts import Part, Where
from fpforce.distributed.worker import Orders, stop_all, work
from fpforce.foundation.errors import InputError, NoWorkersError, install_extra
from fpforce.foundation.signals import stop_signals

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger("fpforce")

MESSAGES_PER_SECOND = 100.0  # of progress, over all parts: a scheduler handles some thousands
_LONGEST_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_COUNT_SECONDS = 5.0
_MOST_DEATHS = 3  # of a part's processes in a row, without progress in between


@contextmanager
def cluster(where: Where) -> Iterator["DaskPool"]:
    """The pool that `where` asks for. Raises InputError where Dask is missing or its scheduler does not answer."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise _no_dask() from None
    for name in ("distributed.client", "distributed.core", "distributed.nanny", "distributed.scheduler"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of their failures is said here
    if where.scheduler is not None:
        with _connected(where.scheduler) as client:
            yield DaskPool(client, str(where.scheduler), ())
        return
    unlimited = {
        "distributed.scheduler.allowed-failures": 100,  # the pool judges by progress, below
        "distributed.comm.timeouts.connect": "30s",
    }
    with (
        dask.config.set(unlimited),
        LocalCluster(
            n_workers=where.workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            preload=["fpforce.distributed.worker"],
        ) as local,
        Client(local) as client,
    ):
        yield DaskPool(client, f"{where.workers} processes of this machine", _gpus_here())


def require(where: Where) -> None:
    """Raise NoWorkersError where Dask is missing or its scheduler does not answer; starts nothing."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise _no_dask() from None
    if where.scheduler is not None:
        with _connected(where.scheduler):
            pass


def _no_dask() -> NoWorkersError:
    return NoWorkersError(f"--workers and --scheduler run on Dask, which is not here: {install_extra('dask')}")


def _connected(scheduler: str | Path) -> "Client":
    from distributed import Client

    path = Path(scheduler)
    is_file = "://" not in str(scheduler)
    if is_file and not path.is_file():
        raise NoWorkersError(
            f"scheduler {scheduler} is neither an address, such as tcp://host:8786, nor a scheduler.json that exists; "
            "give what `dask scheduler` prints, or the file of its --scheduler-file"
        )
    try:
        return Client(scheduler_file=str(path)) if is_file else Client(str(scheduler))
    except (OSError, ValueError, KeyError) as error:
        raise NoWorkersError(
            f"scheduler {scheduler} cannot be reached: {str(error) or type(error).__name__}; see that it runs, and "
            "that its port is open to this machine"
        ) from None


def _gpus_here() -> tuple[str, ...]:
    """By the names that CUDA_VISIBLE_DEVICES takes."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return tuple(name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name)
    if shutil.which("nvidia-smi") is None:
        return ()
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    return tuple(str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU "))


class DaskPool:
    """The workers of one scheduler."""

    def __init__(self, client: "Client", name: str, gpus: tuple[str, ...]) -> None:
        self._client, self._name, self._gpus = client, name, gpus
        self._counted_at = -_COUNT_SECONDS
        self._slots = 0

    @property
    def slots(self) -> int:
        if time.monotonic() - self._counted_at >= _COUNT_SECONDS:
            self._slots, self._counted_at = sum(self._client.nthreads().values()), time.monotonic()
        return self._slots

    def run(self, parts: Iterable[Part], told: Callable[[str, Any], None], done: Callable[[str, Any], None]) -> bool:
        """See `Pool`. A lost scheduler is an InputError, too: what was done is on the disk."""
        run = _Run(self, self._client, self._gpus, told, done)
        try:
            with stop_signals() as stop:
                return run.to_the_end(iter(parts), stop.is_set)
        finally:
            run.close()

    def require_scheduler(self) -> None:
        """Raise InputError where the scheduler is lost."""
        if self._client.status != "running":
            raise self.lost()

    def lost(self) -> NoWorkersError:
        return NoWorkersError(
            f"the scheduler {self._name} is lost; what was done up to the last checkpoints is on the disk: start a "
            "scheduler and workers again, and go on with --resume, where the command has it"
        )


class _Run:
    """The parts of one call that are with the scheduler, and what is heard of them."""

    def __init__(
        self,
        pool: DaskPool,
        client: "Client",
        gpus: tuple[str, ...],
        told: Callable[[str, Any], None],
        done: Callable[[str, Any], None],
    ) -> None:
        self._pool, self._client, self._told, self._done = pool, client, told, done
        self._topic = f"fpforce-{uuid.uuid4().hex}"
        every = max(_LOOK_SECONDS, pool.slots / MESSAGES_PER_SECOND)
        self._orders = Orders(self._topic, every, fpforce.__version__, gpus)
        self._messages: queue.SimpleQueue[tuple[str, str, Any]] = queue.SimpleQueue()
        self._futures: dict[str, Future] = {}
        self._parts: dict[str, Part] = {}
        self._deaths: dict[str, int] = {}
        self._said: set[str] = set()
        client.subscribe_topic(self._topic, lambda event: self._messages.put(event[1]))

    def to_the_end(self, parts: Iterator[Part], stop: Callable[[], bool]) -> bool:
        waited_at = time.monotonic()
        exhausted = False
        while not stop():
            while not exhausted and len(self._futures) < 2 * max(self._pool.slots, 1):
                part = next(parts, None)
                exhausted = part is None
                if part is not None:
                    self._submit(part)
            if exhausted and not self._futures:
                return False
            if not self._pool.slots and time.monotonic() - waited_at > 30.0:
                logger.info("the scheduler has no worker yet; waiting for one")
                waited_at = time.monotonic()
            try:
                self._take(*self._messages.get(timeout=_LOOK_SECONDS))
            except queue.Empty:
                self._pool.require_scheduler()
            except InputError:
                self._stop()
                raise
        self._stop()
        return True

    def _submit(self, part: Part) -> None:
        self._parts[part.name] = part
        key = f"{part.name.replace(' ', '-')}-{uuid.uuid4().hex}"
        future = self._client.submit(work, part, self._orders, key=key, pure=False)
        self._futures[part.name] = future
        future.add_done_callback(lambda ended, name=part.name: self._messages.put(("ended", name, ended)))

    def _take(self, kind: str, name: str, value: Any) -> None:
        if kind == "told":
            self._deaths.pop(name, None)
            self._told(name, value)
        elif kind == "said" and value not in self._said:
            self._said.add(value)
            logger.warning("%s: %s", name, value)
        elif kind == "ended":
            self._end(name, value)

    def _end(self, name: str, future: "Future") -> None:
        from distributed import KilledWorker

        del self._futures[name]
        if future.status == "cancelled":  # which nobody but a lost scheduler does here
            raise self._pool.lost()
        if future.status == "error":
            error = future.exception()
            if not isinstance(error, KilledWorker | RuntimeError):
                raise error
            self._again(name, str(error))
            return
        kind, value = future.result()
        if kind == "refused":
            raise InputError(f"{name}: {value}")
        if kind == "stopped":
            self._again(name, "it was stopped from outside")
            return
        self._done(name, value)
        del self._parts[name]

    def _again(self, name: str, why: str) -> None:
        self._deaths[name] = self._deaths.get(name, 0) + 1
        if self._deaths[name] >= _MOST_DEATHS:
            raise NoWorkersError(
                f"{name} was lost {_MOST_DEATHS} times in a row without progress ({why}); see the workers' logs, and "
                "go on with --resume, where the command has it"
            )
        logger.warning("%s was lost (%s); it is done again, from its last checkpoint if it has one", name, why)
        self._submit(self._parts[name])

    def _stop(self) -> None:
        """Have all parts stop, and wait for their checkpoints."""
        from distributed import wait

        try:
            self._client.run(stop_all, self._topic)
            wait(list(self._futures.values()), timeout=_LONGEST_STOP_SECONDS)
        except (OSError, TimeoutError, RuntimeError):
            logger.warning("not all parts have stopped in time; they will notice that nobody waits for them")
        for name, future in self._futures.items():  # what came to its end meanwhile counts
            if future.status == "finished" and future.result()[0] == "done":
                self._done(name, future.result()[1])

    def close(self) -> None:
        try:
            if self._client.status == "running":
                self._client.unsubscribe_topic(self._topic)
                self._client.cancel(list(self._futures.values()), force=True)
        except (OSError, TimeoutError, RuntimeError):
            pass  # the scheduler is gone with them
