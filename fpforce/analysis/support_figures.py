"""The picture of how far simulations are from what their model has seen."""

from typing import TYPE_CHECKING

import numpy as np

from fpforce.analysis.figures import COLOURS, START_COLOURS, styled, subplots
from fpforce.analysis.support import SupportAssessment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 4.0  # of the distances shown


@styled
def support_picture(support: SupportAssessment) -> "Figure":
    """Part of the frames outside against time, and part of the counted frames beyond a distance."""
    figure, (left, right) = subplots(1, 2, width=10.5, height=3.5)
    left.axhline(100 * support.floor, color=COLOURS["reference"], lw=1.0, ls="--")
    right.axvspan(1.0, LARGEST, color="#FBF1EB", lw=0, zorder=0)
    right.text(1.03, 1.3, "outside", color="#A8653C", va="bottom")
    right.plot(*_beyond(support.reference.distances), color=COLOURS["reference"], ls="--", label="reference")
    for number, one in enumerate(support.simulations):
        style = {"color": START_COLOURS[number % len(START_COLOURS)], "label": one.name}
        left.plot(one.time, 100 * one.outside_in_time, **style)
        right.plot(*_beyond(one.counted.distances), **style)
    left.set_ylim(0.0, max(5.0, 1.05 * left.get_ylim()[1]))
    left.set_xlabel(f"time / {support.simulations[0].time_unit}")
    left.set_ylabel("frames outside / %")
    right.set(xlim=(0.0, LARGEST), yscale="log", ylim=(4e-4, 2.5))
    right.set_xlabel("distance from the support")
    right.set_ylabel("part of the frames farther away")
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=6)
    return figure


def _beyond(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances, and the part of the frames that is farther away than each."""
    at = np.linspace(0.0, LARGEST, 161)
    return at, 1.0 - np.searchsorted(np.sort(distances), at, side="right") / len(distances)
