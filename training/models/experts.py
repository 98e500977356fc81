"""Experts: several models, each for its own interval of diffusion time, used as one.

In: trained models and the ends of their intervals. Out: the expert for a given t, and the experts of a descent from
large to small t, so that sampling changes from one to the next exactly at the boundaries.
Source: arXiv 2506.17139, section 3 (mixture of experts over the diffusion time).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fpforce.foundation.errors import InputError


class ScoreModel(Protocol):
    """What sampling needs of a model, conservative or not."""

    def score(self, x: Tensor, t: Tensor, create_graph: bool = False) -> Tensor:
        """grad log q_t (batch, beads, 3) at x (batch, beads, 3), t (batch,) or (1,)."""


class Interval(Protocol):
    """A part (t_min, t_max] of the diffusion times, which prints as that."""

    @property
    def t_min(self) -> float:
        """Where it begins."""

    @property
    def t_max(self) -> float:
        """Where it ends."""


def covering(intervals: Sequence[Interval], t: float) -> int:
    """Number of the trained expert whose interval holds t (its smallest time included); InputError where none does."""
    for number, interval in enumerate(intervals):
        if interval.t_min <= t <= interval.t_max:
            return number
    raise InputError(
        f"t = {t:g} is not covered by the trained experts, which cover {_listed(intervals)}; choose a t "
        "in there, or train an expert for it"
    )


@dataclass(frozen=True)
class Expert:
    """A model trained over (t_min, t_max]."""

    model: ScoreModel
    t_min: float
    t_max: float

    def __str__(self) -> str:
        return f"({self.t_min:g}, {self.t_max:g}]"


@dataclass(frozen=True)
class Experts:
    """Experts of adjoining intervals, the one of the smallest t first."""

    parts: tuple[Expert, ...]

    def __len__(self) -> int:
        return len(self.parts)

    def descent(self, t_start: float, t_end: float) -> list[Expert]:
        """The experts from t_start down to t_end, the first and last cut to what of their intervals lies there.

        Raises InputError where the trained experts leave a part uncovered.
        """
        if not self.parts or t_start > self.parts[-1].t_max or t_end < self.parts[0].t_min:
            raise InputError(
                f"samples need experts from t = {t_end:g} to {t_start:g}, but those that are trained cover "
                f"{_listed(self.parts)}; train the missing ones, with the last t_max = {t_start:g}"
            )
        return [
            Expert(expert.model, max(expert.t_min, t_end), min(expert.t_max, t_start))
            for expert in reversed(self.parts)
            if expert.t_max > t_end and expert.t_min < t_start
        ]


def _listed(intervals: Sequence[Interval]) -> str:
    return ", ".join(map(str, intervals)) or "nothing"
