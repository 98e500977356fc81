"""Seeds for every purpose from the one seed of a run.

In: the run's seed, and what the random numbers are for: words and numbers. Out: whole numbers for the generators of
OpenMM, torch and numpy. Two purposes, or two seeds, share no random numbers, which sums such as seed + round would do.
"""

from hashlib import sha256

import numpy as np

_LARGEST = 2**31 - 1  # of OpenMM's seeds; 0 it takes for "choose at random"


def seeds(seed: int, *purpose: int | str, count: int = 1) -> list[int]:
    """`count` seeds from 1 to 2^31 - 1 for one purpose, such as `seeds(3, "noise", rung, count=2)`.

    The same arguments give the same seeds on every machine; those of a larger count begin with those of a smaller one.
    """
    parts = tuple(part if isinstance(part, str) else int(part) for part in purpose)
    key = tuple(int(word) for word in np.frombuffer(sha256(repr(parts).encode()).digest()[:16], dtype="<u4"))
    words = np.random.SeedSequence(seed, spawn_key=key).generate_state(count, np.uint64)
    return [int(word % np.uint64(_LARGEST)) + 1 for word in words]
