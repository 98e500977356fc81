"""A part of some work, and the one process that does parts one after the other.

In: functions with their arguments. Out: what they return, as it comes, with what they tell on the way.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from fpforce.foundation.arguments import require_whole
from fpforce.foundation.errors import InputError
from fpforce.foundation.signals import stop_signals

logger = logging.getLogger("fpforce")


@dataclass(frozen=True)
class Part:
    """A function of a module and its arguments, all of which can be pickled.

    The function takes `told`, too, a function of one argument for its progress, and where own_process is False
    `stopped`, which says whether to give up. Called a second time, after a loss, it goes on from what it left.
    own_process: it is called in a process of its own, stops on SIGTERM with KeyboardInterrupt, and takes no other part
    with it where it crashes.
    """

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    own_process: bool = True


class Pool(Protocol):
    """Where parts are done. `slots`: how many at a time, as far as is known now."""

    @property
    def slots(self) -> int: ...

    def run(self, parts: Iterable[Part], told: Callable[[str, Any], None], done: Callable[[str, Any], None]) -> bool:
        """Do all parts, and say whether Ctrl-C or SIGTERM stopped that before the end.

        told, done: called with a part's name and what it tells, or returns. Parts are taken from `parts` when there is
        room for them. Raises InputError where one cannot be done; the others have been stopped then.
        """
        ...


class OneProcess:
    """This process, which does one part after the other."""

    slots = 1

    def run(self, parts: Iterable[Part], told: Callable[[str, Any], None], done: Callable[[str, Any], None]) -> bool:
        with stop_signals() as stop:
            for part in parts:
                if stop.is_set():
                    return True
                result = _call(part, partial(told, part.name), stop)
                if result is None:
                    return True
                done(part.name, result[0])
        return False


def _call(part: Part, told: Callable[[Any], None], stop: threading.Event) -> tuple[Any] | None:
    """What a part returns; None where it was stopped."""
    arguments = dict(part.arguments) | {"told": told} | ({} if part.own_process else {"stopped": stop.is_set})
    try:
        return (part.function(**arguments),)
    except KeyboardInterrupt:
        return None


@dataclass(frozen=True)
class Where:
    """Where parts are done: by `workers` processes of this machine, by the workers of a Dask scheduler, or, with
    neither, by this process.

    scheduler: its address, such as tcp://host:8786, or the path of a scheduler.json.
    """

    workers: int | None = None
    scheduler: str | Path | None = None

    @property
    def many(self) -> bool:
        """Whether Dask is asked for."""
        return self.workers is not None or self.scheduler is not None

    def check(self) -> None:
        """Raise InputError for both at once, and for a number of workers below 1."""
        if self.workers is not None:
            require_whole("workers", self.workers, 1)
            if self.scheduler is not None:
                raise InputError(
                    f"--workers {self.workers} starts workers on this machine, and those of --scheduler "
                    f"{self.scheduler} are there already; give one of the two"
                )

    def require(self) -> None:
        """Raise NoWorkersError where Dask is asked for and missing, or its scheduler does not answer."""
        if self.many:
            from fpforce.distributed.cluster import require

            require(self)

    def pool(self) -> AbstractContextManager[Pool]:
        """The pool, open while the context lasts. Raises InputError where Dask is missing or the scheduler does not
        answer.
        """
        if not self.many:
            return nullcontext(OneProcess())
        from fpforce.distributed.cluster import cluster

        return cluster(self)
