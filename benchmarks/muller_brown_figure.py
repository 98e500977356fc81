"""The figure of benchmarks/muller_brown.py: free-energy maps of every variant beside the exact one, and the residuals.

In: the results with their bin counts. Out: a PNG.
"""

from pathlib import Path

import numpy as np

from fpforce.analysis.divergences import free_energy_kt
from fpforce.potentials import MULLER_BROWN, ExactDensity

HIGHEST_KT = 10.0
ROWS = (("iid", "iid samples"), ("simulation", "simulation"), ("energy", "exp(-E)"))
COLOURS = {"diffusion": "#D55E00", "mixture": "#E69F00", "fokker_planck": "#0072B2", "both": "#009E73"}


def draw(results: list[dict], path: Path) -> None:
    """Maps: a column for each variant, rows of samples, simulation and energy; left the exact map and the residuals."""
    from matplotlib.figure import Figure

    density = ExactDensity.of(MULLER_BROWN)
    figure = Figure(figsize=(2.25 * (len(results) + 1), 6.6), layout="constrained")
    axes = figure.subplots(len(ROWS), len(results) + 1)
    image = _map(axes[0, 0], density, density.probabilities, "exact")
    for column, result in enumerate(results, start=1):
        for row, (name, label) in enumerate(ROWS):
            title = f"{result['variant'].replace('_', ' ')}, t = {result['t_eval']:g}" if row == 0 else ""
            _map(axes[row, column], density, np.array(result["counts"][name], dtype=float), title)
            if column == 1:
                axes[row, column].set_ylabel(label)
    _residuals(axes[1, 0], results)
    axes[2, 0].set_axis_off()
    bar = figure.colorbar(image, ax=axes, label="free energy / kT", extend="max", shrink=0.6, aspect=30, pad=0.01)
    bar.outline.set_visible(False)
    figure.savefig(path, dpi=110)


def _map(axis, density: ExactDensity, weights: np.ndarray, title: str):
    surface = free_energy_kt(weights)
    shown = np.where(surface <= HIGHEST_KT, surface, np.nan).T
    axis.set_facecolor("#F4F4F4")
    image = axis.pcolormesh(*density.edges, shown, cmap="viridis", vmin=0.0, vmax=HIGHEST_KT, rasterized=True)
    centres = [0.5 * (edges[1:] + edges[:-1]) for edges in density.edges]
    exact = free_energy_kt(density.probabilities).T
    axis.contour(*centres, exact, levels=(2, 4, 6, 8), colors="#FFFFFF", linewidths=0.4, alpha=0.7)
    axis.set_title(title, fontsize=8.5)
    axis.tick_params(labelsize=6.5)
    return image


def _residuals(axis, results: list[dict]) -> None:
    for result in results:
        if result["variant"] in COLOURS:
            order = np.argsort(result["residual"]["t"], kind="stable")
            t, residual = (np.array(result["residual"][name])[order] for name in ("t", "residual"))
            axis.loglog(t, residual, color=COLOURS[result["variant"]], lw=1.3, label=result["variant"].replace("_", " "))
    axis.set_xlabel("diffusion time t", fontsize=7.5)
    axis.set_title("Fokker-Planck residual", fontsize=8.5)
    axis.tick_params(labelsize=6.5)
    axis.legend(fontsize=6, frameon=False)
