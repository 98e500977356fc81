"""The figure of benchmarks/studies/muller_brown.py: free-energy maps of every variant beside the exact one, and the
residuals.

In: the results with their bin counts. Out: a PNG.
"""

from pathlib import Path

import numpy as np

from fpforce.analysis.divergences import free_energy_kt
from fpforce.potentials import MULLER_BROWN, ExactDensity

HIGHEST_KT, COMPARED_KT, LARGEST_DIFFERENCE_KT = 10.0, 8.0, 2.0
ROWS = (("iid", "iid samples"), ("simulation", "simulation"), ("energy", "force field, E"))
COLOURS = {
    "diffusion": "#D55E00",
    "mixture": "#E69F00",
    "fokker_planck": "#0072B2",
    "both": "#009E73",
    "diffusion_no_prior": "#CC79A7",
    "fokker_planck_no_prior": "#56B4E9",
}


def draw(results: list[dict], path: Path) -> None:
    """Maps: a column for each variant, rows of samples, simulation, energy, and energy minus exact; left the exact map
    and the residuals.
    """
    from matplotlib.figure import Figure

    density = ExactDensity.of(MULLER_BROWN)
    figure = Figure(figsize=(2.2 * (len(results) + 1), 8.4), layout="constrained")
    axes = figure.subplots(len(ROWS) + 1, len(results) + 1, sharex="col")
    image = _map(axes[0, 0], density, density.probabilities)
    axes[0, 0].set_title("exact", fontsize=9)
    axes[0, 0].tick_params(labelbottom=True)
    for column, result in enumerate(results, start=1):
        for row, (name, label) in enumerate(ROWS):
            _map(axes[row, column], density, np.array(result["counts"][name], dtype=float))
            if column == 1:
                axes[row, column].set_ylabel(label, fontsize=9)
        change = _difference(axes[-1, column], density, np.array(result["counts"]["energy"]))
        axes[0, column].set_title(f"{result['variant'].replace('_', ' ')}\nt = {result['t_eval']:g}", fontsize=9)
        axes[-1, column].set_xlabel("x / nm", fontsize=8)
    axes[-1, 1].set_ylabel("E minus exact", fontsize=9)
    for axis in axes[1:, 0]:
        axis.remove()
    grid = axes[0, 0].get_gridspec()
    lines = _residuals(figure.add_subplot(grid[1:3, 0]), results)
    beside = figure.add_subplot(grid[3, 0])
    beside.axis("off")
    beside.legend(handles=lines, fontsize=8, frameon=False, loc="upper center").set_in_layout(False)
    for shown, rows, label, extend in (
        (image, axes[:3, 1:], "free energy / kT", "max"),
        (change, axes[3:, 1:], "difference / kT", "both"),
    ):
        bar = figure.colorbar(shown, ax=list(rows.ravel()), label=label, extend=extend, shrink=0.8, aspect=25, pad=0.01)
        bar.outline.set_visible(False)
    figure.savefig(path, dpi=100)


def _map(axis, density: ExactDensity, weights: np.ndarray):
    surface = _without_outermost(free_energy_kt(weights))
    image = axis.pcolormesh(
        *density.edges, np.where(surface <= HIGHEST_KT, surface, np.nan).T, cmap="viridis", vmin=0.0, vmax=HIGHEST_KT
    )
    _finish(axis, density, "#FFFFFF")
    return image


def _difference(axis, density: ExactDensity, probabilities: np.ndarray):
    """-ln of the model's density less that of the exact one, where the latter's free energy is below 8 kT."""
    shown = free_energy_kt(density.probabilities) <= COMPARED_KT
    with np.errstate(divide="ignore", invalid="ignore"):
        change = _without_outermost(np.where(shown, np.log(density.probabilities) - np.log(probabilities), np.nan))
    limit = LARGEST_DIFFERENCE_KT
    image = axis.pcolormesh(*density.edges, change.T, cmap="PuOr_r", vmin=-limit, vmax=limit)
    _finish(axis, density, "#888888")
    return image


def _without_outermost(values: np.ndarray) -> np.ndarray:
    """Values (bins, bins) with NaN in the outermost bins, which collect all that lies beyond the edges."""
    inner = np.full_like(values, np.nan)
    inner[1:-1, 1:-1] = values[1:-1, 1:-1]
    return inner


def _finish(axis, density: ExactDensity, colour: str) -> None:
    axis.set_facecolor("#F4F4F4")
    centres = [0.5 * (edges[1:] + edges[:-1]) for edges in density.edges]
    axis.contour(*centres, free_energy_kt(density.probabilities).T, levels=(2, 4, 6), colors=colour, linewidths=0.6)
    axis.tick_params(labelsize=6.5)


def _residuals(axis, results: list[dict]) -> list:
    """Draws them, and returns the lines for a legend."""
    lines = []
    for result in results:
        if result["variant"] in COLOURS:
            order = np.argsort(result["residual"]["t"], kind="stable")
            t, residual = (np.array(result["residual"][name])[order] for name in ("t", "residual"))
            lines += axis.loglog(
                t, residual, color=COLOURS[result["variant"]], lw=1.4, label=result["variant"].replace("_", " ")
            )
    axis.set_xlabel("diffusion time t", fontsize=8)
    axis.set_title("Fokker-Planck residual", fontsize=9)
    axis.tick_params(labelsize=6.5)
    axis.grid(True, which="major", color="#EEEEEE")
    return lines
