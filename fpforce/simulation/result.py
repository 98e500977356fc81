"""What a simulation reached."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SimulationResult:
    """What a simulation reached.

    frames: saved_times * replicas. Speeds are of the whole run, resumed parts included, of shards those of this call;
    ns_per_day is summed over replicas, of their coldest rungs. steps, saved_times: of shards those of the one that is
    furthest behind. accepted_swaps: part of those offered, between neighbouring rungs, None where none
    was; empty without exchange. failed: replica -> dict of `step`, `frame` (first saved time that is not valid),
    `reason`, `rung` (0 is the coldest) and its `temperature_k`.
    """

    output: Path
    trajectories: list[Path]
    topology: Path
    steps: int
    saved_times: int
    frames: int
    steps_per_second: float
    ns_per_day: float
    backend: str
    platform: str
    failed: dict[int, dict]
    accepted_swaps: tuple[float | None, ...] = ()
