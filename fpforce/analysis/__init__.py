"""Consistency of a force field: its simulations and samples against reference trajectories.

`assess` works on arrays; `evaluate` reads files, calls it, and writes `report.html` and `report.json`.
"""

from importlib import import_module
from typing import Any

_HOME_OF = {
    "Assessment": "fpforce.analysis.assessment",
    "AssessmentSettings": "fpforce.analysis.settings",
    "ReplicaFrames": "fpforce.analysis.replica_frames",
    "assess": "fpforce.analysis.assessment",
    "Report": "fpforce.analysis.report",
    "evaluate": "fpforce.analysis.report",
}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    try:
        home = _HOME_OF[name]
    except KeyError:
        raise AttributeError(f"module 'fpforce.analysis' has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
