"""The pictures of the consistency report, as self-contained SVG text.

In: an `Assessment` or curves from a model's metadata. Out: SVG strings; nothing is written here. Colours are those of
Okabe and Ito, which colour-blind readers tell apart: one for each set of frames, the same in every picture.
"""

import functools
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fpforce.analysis.divergences import free_energy_kt
from fpforce.analysis.geometry import GeometryDistance
from fpforce.analysis.plane_assessment import PlaneAssessment
from fpforce.analysis.planes import PhiPsiPlane, Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

COLOURS = {
    "reference": "#333333",
    "simulation": "#0072B2",
    "training": "#E69F00",
    "iid": "#009E73",
    "reweighted": "#CC79A7",
}
START_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
TITLES = {"reference": "Reference", "simulation": "Simulation", "training": "Training set", "iid": "iid samples"}
HIGHEST_KT = 8.0
LARGEST_DIFFERENCE_KT = 2.0
MOST_HISTOGRAMS = 12
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#222222",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "fpforce",
}


def styled(picture: Callable[..., "Figure"]) -> Callable[..., str]:
    """Draw with the report's style and return the figure as SVG text."""

    @functools.wraps(picture)
    def draw(*args: Any, **options: Any) -> str:
        import matplotlib

        text = io.StringIO()
        with matplotlib.rc_context(cast(Any, _STYLE)):
            picture(*args, **options).savefig(text, format="svg", dpi=160, metadata={"Date": None, "Creator": None})
        return text.getvalue()

    return draw


@styled
def free_energy_maps(result: PlaneAssessment) -> "Figure":
    """Free-energy maps of every set on one scale, with simulation minus reference after the first two.

    With iid samples, simulation minus iid comes last.
    """
    names = [name for name in TITLES if name in result.histograms]
    counts = result.histograms
    compared = ("reference", "iid") if "iid" in names else ("reference",)
    panels = len(names) + len(compared)
    columns = panels if panels <= 4 else 3
    rows = -(-panels // columns)
    figure, axes = subplots(rows, columns, width=10.5, height=rows * (7.6 / columns + 1.1), share=True)
    differences = (axes[2], axes[panels - 1])[: len(compared)]
    maps = [axis for axis in axes if axis not in differences]
    for axis, name in zip(maps, names, strict=False):
        surface = free_energy_kt(counts[name])
        image = _mesh(axis, result.plane, np.where(surface <= HIGHEST_KT, surface, np.nan), "viridis", 0, HIGHEST_KT)
        axis.set_title(f"{TITLES[name]}\n{counts[name].sum():,.0f} frames")
    limit = LARGEST_DIFFERENCE_KT
    for axis, other in zip(differences, compared, strict=False):
        both = (counts[other] > 0) & (counts["simulation"] > 0)
        p, q = (np.where(both, counts[name] / counts[name].sum(), np.nan) for name in (other, "simulation"))
        change = _mesh(axis, result.plane, np.log(p / q), "PuOr_r", -limit, limit)
        title = TITLES[other] if other == "iid" else TITLES[other].lower()
        axis.set_title(f"Simulation − {title}\nbins that both visit")
    for axis in maps[len(names) :]:
        axis.set_axis_off()
    for axis in axes[::columns]:
        axis.set_ylabel(result.plane.axis_labels[1])
    for axis in axes[-columns:]:
        axis.set_xlabel(result.plane.axis_labels[0])
    _colour_bar(figure, image, axes, "free energy / kT", "max")
    _colour_bar(figure, change, axes, "difference / kT", "both")
    return figure


@styled
def free_energy_profiles(result: PlaneAssessment, rng: np.random.Generator) -> "Figure":
    """Free energy along each coordinate, the reference with its 95 % band from a block bootstrap over time."""
    figure, axes = subplots(1, 2, width=10.5, height=3.3)
    for k, axis in enumerate(axes):
        edges = result.plane.edges[k]
        centres = 0.5 * (edges[1:] + edges[:-1])
        low, high = _reference_band(result.reference_blocks.sum(axis=2 - k), rng)
        axis.fill_between(centres, low, high, color=COLOURS["reference"], alpha=0.18, lw=0, label="reference, 95 %")
        for name in ("reference", "training", "iid", "simulation"):
            if name in result.histograms:
                counts = result.histograms[name].sum(axis=1 - k)
                style = dict(lw=2.2) if name == "simulation" else dict(lw=1.4)
                axis.plot(centres, _finite(free_energy_kt(counts)), color=COLOURS[name], label=TITLES[name], **style)
        if result.weights is not None:
            counts = result.histograms["reweighted"].sum(axis=1 - k)
            counts[counts < 1.0 / result.weights.effective] = 0.0  # less than one of the samples that count
            reweighted: dict[str, Any] = dict(color=COLOURS["reweighted"], label="iid, reweighted", lw=1.4, ls="--")
            axis.plot(centres, _finite(free_energy_kt(counts)), **reweighted)
        axis.set(xlabel=result.plane.axis_labels[k], xlim=(edges[0], edges[-1]), ylim=(-0.3, None))
        _angle_ticks(axis.xaxis, result.plane)
    axes[0].set_ylabel("free energy / kT")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=9)
    return figure


@styled
def population_history(result: PlaneAssessment, discard: float) -> "Figure":
    """Population of the upper basin against time, one line per start, with the reference.

    The scale is that of the reference and the counted time; a simulation may leave it while it forgets its start.
    """
    figure, (axis,) = subplots(1, 1, width=10.5, height=3.2)
    end = max(series.time[-1] for series in result.series)
    reference = result.populations["reference"]
    low, high = np.nan_to_num(reference.range95)
    highest = [high]
    axis.axhspan(max(low, 0.0), high, color=COLOURS["reference"], alpha=0.15, lw=0)
    axis.axhline(reference.value, color=COLOURS["reference"], lw=1.2, ls="--", label="reference, 95 %")
    for colour, series in zip(START_COLOURS * len(result.series), result.series, strict=False):
        error = 2.0 * np.nan_to_num(series.standard_error)
        lower, upper = np.clip([series.mean - error, series.mean + error], 0.0, 1.0)
        axis.fill_between(series.time, lower, upper, color=colour, alpha=0.2, lw=0)
        axis.plot(series.time, series.mean, color=colour, label=series.name)
        highest.append(np.nan_to_num(upper[series.time >= discard * end]).max(initial=0.0))
    if discard > 0:
        axis.axvspan(0, discard * end, color="#000000", alpha=0.05, lw=0)
        place = dict(transform=axis.get_xaxis_transform(), ha="left", va="top", color="#777777")
        axis.text(0.01 * end, 0.97, "discarded", **place)
    axis.set(xlabel=f"time / {result.series[0].time_unit}", ylabel=f"population, {result.plane.basin_names[1]}")
    axis.set(xlim=(0, end), ylim=(0.0, min(1.02, max(1.3 * max(highest), 0.01))))
    axis.legend(loc="upper right", fontsize=9)
    return figure


@styled
def geometry_histograms(
    distances: Sequence[GeometryDistance], quantity: str, unit: str, scale: float = 1.0
) -> "Figure":
    """Distributions of bonds or angles, simulation over reference, with W1; at most the worst MOST_HISTOGRAMS."""
    shown = distances
    if len(distances) > MOST_HISTOGRAMS:
        shown = sorted(distances, key=lambda d: d.w1, reverse=True)[:MOST_HISTOGRAMS]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = subplots(rows, columns, width=2.65 * columns, height=2.3 * rows)
    for axis, distance in zip(axes, shown, strict=False):
        reference, simulation = scale * distance.reference, scale * distance.simulation
        both = np.concatenate([reference, simulation])
        # Rice's rule, 2 N^(1/3) bins
        bins = int(np.clip(2.0 * len(simulation) ** (1.0 / 3.0), 8, 60))
        low, high = np.quantile(both, [0.0002, 0.9998])
        edges = np.linspace(low, high, bins + 1)
        axis.hist(reference, bins=edges, density=True, color="#BBBBBB", label=TITLES["reference"])
        line = dict(histtype="step", color=COLOURS["simulation"], lw=1.6)
        axis.hist(simulation, bins=edges, density=True, label=TITLES["simulation"], **line)
        axis.set_title(distance.name.replace(":", " – "), fontsize=9)
        w1, floor = scale * distance.w1, scale * distance.w1_floor
        axis.set_xlabel(f"{quantity} / {unit}\n$W_1$ = {w1:.2g} {unit} (floor {floor:.2g})", fontsize=8.5)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    axes[0].legend(fontsize=7.5, loc="upper right", handlelength=1.0)
    return figure


@styled
def fokker_planck_residual(curve: dict[str, list[float]]) -> "Figure":
    """Residual of the Fokker-Planck equation against diffusion time, from `{"t": [...], "residual": [...]}`."""
    figure, (axis,) = subplots(1, 1, width=5.1, height=3.1)
    residual = np.array(curve["residual"], dtype=float)  # nan where it is null
    axis.loglog(curve["t"], np.maximum(np.abs(residual), 1e-12), color=COLOURS["simulation"], marker="o", ms=4)
    axis.set(xlabel="diffusion time $t$", ylabel="Fokker–Planck residual")
    axis.grid(True, which="major", color="#EEEEEE")
    return figure


@styled
def training_curves(curves: dict[str, list[float]]) -> "Figure":
    """Losses against steps, from `{"step": [...], "denoising": [...], "fokker_planck": [...]}`; one panel for each that
    was on.
    """
    terms = [name for name in ("denoising", "fokker_planck") if _usable(curves.get(name))]
    figure, axes = subplots(1, len(terms), width=5.1 * len(terms), height=3.1)
    for axis, name, colour in zip(axes, terms, (COLOURS["simulation"], "#D55E00"), strict=False):
        values = np.array(curves[name], dtype=float)
        axis.plot(curves["step"], values, color=colour)
        axis.set(xlabel="training step", ylabel=f"{name.replace('fokker_planck', 'Fokker–Planck')} loss")
        if np.nanmin(values) > 0:
            axis.set_yscale("log")
        axis.grid(True, which="major", color="#EEEEEE")
    return figure


def has_training_curves(curves: dict[str, list[float]]) -> bool:
    """Whether there is anything to draw in `training_curves`."""
    return any(_usable(curves.get(name)) for name in ("denoising", "fokker_planck"))


def _usable(values: Any) -> bool:
    """Not empty, and not 0 throughout, as of a loss that the training left out."""
    values = np.array([] if values is None else values, dtype=float)
    return (np.isfinite(values) & (values != 0.0)).any()


def subplots(
    rows: int, columns: int, *, width: float, height: float, share: bool = False
) -> tuple["Figure", np.ndarray]:
    """A figure of width and height in inches and its axes, flat."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share).ravel()


def _mesh(axis: "Axes", plane: Plane, values: np.ndarray, colours: Any, low: float, high: float) -> Any:
    axis.set_facecolor("#F4F4F4")
    image = axis.pcolormesh(*plane.edges, values.T, cmap=colours, vmin=low, vmax=high, rasterized=True)
    axis.set(xlim=plane.edges[0][[0, -1]], ylim=plane.edges[1][[0, -1]])
    if plane.split_axis < 2:
        line = (axis.axvline, axis.axhline)[plane.split_axis]
        line(plane.split, color="#888888", lw=0.7, ls=":")
    if plane.periodic:
        axis.set_aspect("equal")
    _angle_ticks(axis.xaxis, plane)
    _angle_ticks(axis.yaxis, plane)
    return image


def _colour_bar(figure: "Figure", image: Any, axes: Any, label: str, extend: str) -> None:
    bar = figure.colorbar(image, ax=list(axes), label=label, extend=extend, shrink=0.8, pad=0.015, aspect=25)
    bar.outline.set_visible(False)


def _angle_ticks(axis: "XAxis | YAxis", plane: Plane) -> None:
    if isinstance(plane, PhiPsiPlane):
        axis.set_ticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"])


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _reference_band(
    counts: np.ndarray, rng: np.random.Generator, resamples: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """95 % range of the free energy per bin, drawing blocks of time, of counts (blocks, bins), with replacement."""
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1.0 / len(counts)), size=resamples) @ counts
    lowest = free_energy_kt(counts.sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        free_energy = -np.log(drawn / counts.sum(axis=0).max())
    ceiling = _finite(lowest)[np.isfinite(lowest)].max() + 2.0
    low, high = np.quantile(np.minimum(free_energy, ceiling), [0.025, 0.975], axis=0)
    visited = np.isfinite(lowest)
    return np.where(visited, low, np.nan), np.where(visited, high, np.nan)
