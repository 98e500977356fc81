"""Experts: several models, each for its own interval of diffusion time, used as one.

In: trained models and the ends of their intervals. Out: the model for a given t, and the stretches of a descent from
large to small t, so that sampling changes from one expert to the next exactly at the boundaries.
Source: arXiv 2506.17139, section 3 (mixture of experts over the diffusion time).
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fpforce.foundation.errors import InputError


class ScoreModel(Protocol):
    """What sampling needs of a model, conservative or not."""

    def score(self, x: Tensor, t: Tensor, create_graph: bool = False) -> Tensor:
        """grad log q_t (batch, beads, 3) at x (batch, beads, 3), t (batch,) or (1,)."""


@dataclass(frozen=True)
class Expert:
    """A model trained over (t_min, t_max]; None stands for one that is not needed."""

    model: ScoreModel | None
    t_min: float
    t_max: float

    def __str__(self):
        return f"({self.t_min:g}, {self.t_max:g}]"


@dataclass(frozen=True)
class Stretch:
    """A part of a descent in diffusion time, from t_start down to t_end, that one expert covers."""

    model: ScoreModel
    t_start: float
    t_end: float


@dataclass(frozen=True)
class Experts:
    """Experts of adjoining intervals, the one of the smallest t first."""

    parts: tuple[Expert, ...]

    def __len__(self):
        return len(self.parts)

    def at(self, t: float) -> Expert:
        """The expert whose interval holds t (its smallest time included); InputError where none does."""
        for expert in self.parts:
            if expert.t_min <= t <= expert.t_max:
                return expert
        raise InputError(
            f"t = {t:g} is not covered by the trained experts, which cover {self._covered()}; choose a t "
            "in there, or train an expert for it"
        )

    def descent(self, t_start: float, t_end: float) -> list[Stretch]:
        """The stretches from t_start down to t_end; InputError where the trained experts leave a part uncovered."""
        if not self.parts or t_start > self.parts[-1].t_max or t_end < self.parts[0].t_min:
            raise InputError(
                f"samples need experts from t = {t_end:g} to {t_start:g}, but those that are trained cover "
                f"{self._covered()}; train the missing ones, with the last t_max = {t_start:g}"
            )
        return [
            Stretch(expert.model, min(expert.t_max, t_start), max(expert.t_min, t_end))
            for expert in reversed(self.parts)
            if expert.t_max > t_end and expert.t_min < t_start
        ]

    def _covered(self) -> str:
        return ", ".join(map(str, self.parts)) or "nothing"
