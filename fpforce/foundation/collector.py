"""Python's collector of cyclic garbage, kept from going through a million new objects time and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect no garbage within the block, which makes many objects that stay, such as the atoms and bonds of a large
    system: of the time for these a third went into looking for cycles among them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
