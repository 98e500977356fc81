"""The pictures of a protein's part of the report, as self-contained SVG text.

In: a `ProteinAssessment`. Out: SVG strings, in the style of fpforce.analysis.figures.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fpforce.analysis.figures import COLOURS, START_COLOURS, TITLES, styled, subplots
from fpforce.analysis.folding import FOLDED_ABOVE
from fpforce.analysis.interfaces import InterfaceAssessment
from fpforce.analysis.kinetics import Kinetics
from fpforce.analysis.protein import ProteinAssessment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LABELS = 20


@styled
def contact_maps(protein: ProteinAssessment) -> "Figure":
    """Contact maps of the reference and the simulation on one scale, and their difference."""
    return _maps(protein.contact_maps, protein.residues, protein.residues)


@styled
def interface_maps(interface: InterfaceAssessment) -> "Figure":
    """The same of the contacts between two molecules, the first one's beads upwards."""
    return _maps(interface.maps, *interface.beads)


def _maps(of_sets: Mapping[str, np.ndarray], rows: Sequence[str], columns: Sequence[str]) -> "Figure":
    figure, axes = subplots(1, 3, width=10.5, height=3.7)
    maps = [of_sets[name] for name in ("reference", "simulation")]
    for axis, values, name in zip(axes, maps, ("reference", "simulation"), strict=False):
        image = axis.imshow(values, cmap="Blues", vmin=0, vmax=1, origin="lower", interpolation="nearest")
        axis.set_title(TITLES[name])
    change = maps[1] - maps[0]
    limit = max(0.05, float(np.nanmax(np.abs(change))))
    difference = axes[2].imshow(change, cmap="PuOr_r", vmin=-limit, vmax=limit, origin="lower", interpolation="nearest")
    axes[2].set_title("Simulation − reference")
    across, up = (slice(None, None, -(-len(names) // _MOST_LABELS)) for names in (columns, rows))
    for axis in axes:
        axis.set_facecolor("#F4F4F4")
        axis.set_xticks(range(len(columns))[across], columns[across], rotation=90, fontsize=7.5)
        axis.set_yticks(range(len(rows))[up], rows[up] if axis is axes[0] else [], fontsize=7.5)
    for mapped, beside, label in ((image, axes[:2], "part of the frames"), (difference, axes[2], "difference")):
        figure.colorbar(mapped, ax=beside, label=label, shrink=0.75, pad=0.02, aspect=22).outline.set_visible(False)
    return figure


@styled
def folded_distances(protein: ProteinAssessment) -> "Figure":
    """Distributions of the fraction of native contacts and of the RMSD from the folded structure, of every set."""
    figure, axes = subplots(1, 2, width=10.5, height=3.2)
    assert protein.folded is not None and protein.distances is not None, "without a folded structure"
    contacts = len(protein.folded.contacts)
    levels = (np.arange(contacts + 2) - 0.5) / contacts
    farthest = 1.05 * max(np.quantile(d.rmsd_nm, 0.999) for d in protein.distances.values())
    for name in ("reference", "training", "iid", "simulation"):
        if name in protein.distances:
            distances = protein.distances[name]
            line = dict(color=COLOURS[name], lw=2.2 if name == "simulation" else 1.4)
            edges = levels if contacts <= 40 else np.linspace(-0.0125, 1.0125, 42)
            for axis, values, bins in (
                (axes[0], distances.contact_fraction, edges),
                (axes[1], distances.rmsd_nm, np.linspace(0.0, farthest, 51)),
            ):
                part = np.histogram(values, bins=bins)[0] / len(values) / np.diff(bins)
                axis.stairs(part, bins, label=TITLES[name], **line)
    axes[0].axvline(FOLDED_ABOVE, color="#888888", lw=0.9, ls=":")
    axes[0].set(xlabel="fraction of native contacts Q", ylabel="probability density", xlim=(-0.02, 1.02))
    axes[1].set(xlabel="RMSD from the folded structure / nm", ylabel="probability density / nm⁻¹", xlim=(0, farthest))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
    return figure


@styled
def time_scales(kinetics: Kinetics) -> "Figure":
    """Implied time scales of the Markov model of every set, at the lag (filled) and twice the lag (open)."""
    from matplotlib.ticker import LogFormatter

    units = dict.fromkeys(one.time_unit for one in kinetics.time_scales if one.at_lag)
    figure, axes = subplots(1, len(units), width=5.2 * len(units), height=3.1)
    for axis, unit in zip(axes, units, strict=False):
        shown = [one for one in kinetics.time_scales if one.time_unit == unit and one.at_lag]
        for k, one in enumerate(shown):
            number = kinetics.time_scales.index(one)
            colour = START_COLOURS[(number - 1) % len(START_COLOURS)] if number else COLOURS["reference"]
            shift = 0.09 * (k - (len(shown) - 1) / 2)
            for values, face in ((one.at_lag, colour), (one.at_twice_the_lag, "none")):
                label = one.name if face == colour else None
                rank = np.arange(1, len(values) + 1) + shift
                axis.plot(rank, values, ls="none", marker="o", ms=6, mfc=face, mec=colour, color=colour, label=label)
            axis.axhline(one.lag, color=colour, lw=0.8, ls=":")
        axis.set(yscale="log", xlabel="process, slowest first", ylabel=f"implied time scale / {unit}", xticks=[1, 2, 3])
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
        axis.grid(True, axis="y", which="major", color="#EEEEEE")
        for label, face in (("at the lag (dotted line)", "#777777"), ("at twice the lag", "none")):
            axis.plot([], [], ls="none", marker="o", ms=6, mfc=face, mec="#777777", label=label)
        axis.legend(fontsize=8.5)
    return figure
