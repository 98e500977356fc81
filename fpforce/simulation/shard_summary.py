"""What the sidecars of shards say of the simulation that they make."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def summary_of_shards(listed: Sequence[dict], sidecars: Sequence[dict | None]) -> dict:
    """What the sidecars of shards, None for those not begun, say of the simulation that they make.

    listed: its entry `shards`. steps and saved_times are those of the shard that is furthest behind and ahead.
    """
    begun = [each for each in sidecars if each is not None]
    firsts = np.cumsum([0, *(shard["replicas"] for shard in listed)])
    summary = {
        "replicas": int(firsts[-1]),
        "steps": min(each["steps"] for each in begun) if len(begun) == len(sidecars) else 0,
        "saved_times": max((each["saved_times"] for each in begun), default=0),
        "seconds": sum(each["seconds"] for each in begun),
        "backend": ", ".join(sorted({each["backend"] for each in begun})),
        "platform": ", ".join(sorted({each["platform"] for each in begun})),
        "trajectories": [
            str(Path(shard["output"]).with_name(name))
            for shard, each in zip(listed, sidecars, strict=True)
            if each is not None
            for name in each["trajectories"]
        ],
        "failed": {
            str(first + int(replica)): info
            for first, each in zip(firsts.tolist(), sidecars, strict=False)
            if each is not None
            for replica, info in each["failed"].items()
        },
    }
    swaps = [each["swaps"] for each in begun if "swaps" in each]
    if swaps:
        summary["swaps"] = {name: np.sum([each[name] for each in swaps], axis=0).tolist() for name in swaps[0]}
    return summary
