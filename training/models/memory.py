"""How much memory a training of the model `internal` takes, told before it begins.

In: the number of beads, the model's settings, the batch. Out: bytes, and an InputError where the machine has not so
much. `internal` has three features a pair of beads, so that its memory grows with the square of the beads; a
graph transformer with a cutoff grows with the beads alone.
"""

import logging
import os
from pathlib import Path

import torch

from fpforce.foundation.errors import InputError
from fpforce.training.recipe.models import InternalRecipe

logger = logging.getLogger("fpforce")

# Numbers held at once for each feature of each row of a batch, with all derivatives: measured from 40 to 80 beads, peak
# resident memory over the number of features.
NUMBERS_PER_FEATURE = 55
WEIGHT_COPIES = 6  # the weights, their gradient, its two moments, the average, and a change
WORTH_SAYING = 1e9  # bytes


def internal_memory_bytes(beads: int, settings: InternalRecipe, batch_size: int, bytes_a_number: int = 4) -> float:
    """What a training step of `internal` on so many beads holds."""
    pairs = beads * (beads - 1) // 2
    features = (3 if settings.volumes and settings.chiral else 2) * pairs + 4 * max(beads - 3, 0)
    if settings.window and settings.window < beads:
        own = settings.window * (settings.window - 1) + 4 * (settings.window - 3)
        features += (beads - settings.window + 1) * (own + settings.layers * settings.window_width)
    return features * bytes_a_number * (NUMBERS_PER_FEATURE * batch_size + WEIGHT_COPIES * settings.width)


def require_memory(
    beads: int, settings: InternalRecipe, batch_size: int, available: float, bytes_a_number: int = 4
) -> None:
    """Say what a training of `internal` will take where that is much; InputError where it is more than is available.

    available: bytes. The message has the number of beads, and the batch, that would do.
    """
    needed = internal_memory_bytes(beads, settings, batch_size, bytes_a_number)
    if needed > available:
        fitting = min(beads - 1, int(beads * (available / needed) ** 0.5) + 2)
        while fitting > 2 and internal_memory_bytes(fitting, settings, batch_size, bytes_a_number) > available:
            fitting -= 1
        batch = batch_size
        while batch > 2 and internal_memory_bytes(beads, settings, batch, bytes_a_number) > available:
            batch //= 2
        smaller = (
            f"optimizer.batch_size={batch - batch % 2} would do, too"
            if batch >= 32
            else "no batch is small enough for these"
        )
        raise InputError(
            f"model.kind = internal on {beads} beads takes some {needed / 1e9:.3g} GB with optimizer.batch_size = "
            f"{batch_size}, and {available / 1e9:.3g} GB are free: up to {fitting} beads fit ({smaller}); choose fewer "
            "beads, or set model.kind=graph_transformer model.cutoff_nm=1.0, which grows with the beads alone"
        )
    if needed > WORTH_SAYING:
        logger.info("internal on %d beads takes some %.3g GB of the %.3g GB free", beads, needed / 1e9, available / 1e9)


def free_memory_bytes(accelerator: str) -> float:
    """Memory in bytes that a training can take: of the GPU where there is one and it is wanted, else of the machine."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        limit, used = (Path("/sys/fs/cgroup", name).read_text() for name in ("memory.max", "memory.current"))
        free.append(int(limit) - int(used))
    except (OSError, ValueError, IndexError):  # another system, or no limit
        pass
    return float(min(free))
