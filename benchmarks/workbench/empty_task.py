"""A task without work, which workers of Dask find where this folder's parent is on their path."""

from collections.abc import Callable
from typing import Any


def nothing(told: Callable[[Any], None], stopped: Callable[[], bool] | None = None) -> None:
    """Return at once."""
