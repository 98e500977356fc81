"""The exact density of a potential by quadrature, and how far samples are from it.

In: an ExternalPotential; positions in nm. Out: probabilities of the bins of a plane; JS divergence and PMF error with
their floors, which are those of independent samples of the exact density in the same number.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fpforce.analysis.divergences import BINS_PER_AXIS, bin_indices, js_divergence, pmf_error
from fpforce.potentials.external import ExternalPotential

POINTS_PER_BIN = 8  # along each axis; the midpoint rule is then exact to 1e-4 of a bin's probability
FLOOR_SAMPLES = 20


@dataclass(frozen=True)
class ExactDensity:
    """exp(-U / kT), normalised: `probabilities` (bins, bins) of the bins between two `edges` in nm, x first.

    basin_weight: the probability of the potential's basin. free_energy_kt: F(elsewhere) - F(basin).
    """

    edges: tuple[np.ndarray, np.ndarray]
    probabilities: np.ndarray
    basin_weight: float

    @staticmethod
    def of(potential: ExternalPotential) -> "ExactDensity":
        """The density on 64 x 64 bins over the potential's box, by the midpoint rule on 8 x 8 points a bin.

        What lies up to a box's width beyond an edge belongs to the outermost bin, as samples there do.
        """
        along_x, along_y = (np.linspace(low, high, BINS_PER_AXIS + 1) for low, high in potential.box_nm)
        return density_of_energy(
            lambda x, y: potential.energy(x, y) / potential.kt_kj_per_mol, (along_x, along_y), potential.in_basin
        )

    @property
    def free_energy_kt(self) -> float:
        return free_energy_kt(self.basin_weight)

    def sample_counts(self, frames: int, rng: np.random.Generator) -> np.ndarray:
        """Bin counts (bins, bins) of independent samples."""
        return rng.multinomial(frames, self.probabilities.ravel()).reshape(self.probabilities.shape)

    def counts(self, positions_nm: ArrayLike) -> np.ndarray:
        """Bin counts (bins, bins) of positions (..., 1, 3) or (..., 3); points beyond an edge count in the outermost
        bin.
        """
        points = np.asarray(positions_nm, dtype=np.float64).reshape(-1, 3)[:, :2]
        flat = np.bincount(bin_indices(points, self.edges), minlength=self.probabilities.size)
        return flat.reshape(self.probabilities.shape)


def density_of_energy(
    energy_kt: Callable[[np.ndarray, np.ndarray], np.ndarray],
    edges: tuple[np.ndarray, np.ndarray],
    in_basin: Callable[[np.ndarray, np.ndarray], np.ndarray],
    points_per_bin: int = POINTS_PER_BIN,
) -> ExactDensity:
    """The density of an energy in kT, a function of arrays x and y in nm, on the bins between `edges`."""
    x, y = (axis.ravel() for axis in np.meshgrid(*(_midpoints(edge, points_per_bin) for edge in edges), indexing="ij"))
    energy = energy_kt(x, y)
    weight = np.exp(energy.min() - energy)
    weight /= weight.sum()
    bins = tuple(len(edge) - 1 for edge in edges)
    probabilities = np.bincount(bin_indices(np.stack([x, y], axis=-1), edges), weight, minlength=bins[0] * bins[1])
    return ExactDensity(edges, probabilities.reshape(bins), float(weight[in_basin(x, y)].sum()))


@dataclass(frozen=True)
class ExactComparison:
    """Distance of `frames` samples from the exact density; floors are means over independent samples in the same
    number.
    """

    frames: int
    js: float
    js_floor: float
    pmf_error: float
    pmf_error_floor: float

    @property
    def excess_js(self) -> float:
        return self.js - self.js_floor

    @property
    def excess_pmf_error(self) -> float:
        return self.pmf_error - self.pmf_error_floor


def compare_with_exact(positions_nm: ArrayLike, density: ExactDensity, seed: int = 0) -> ExactComparison:
    """JS divergence and PMF error of positions (..., 3) in nm from the exact density, as in
    fpforce.analysis.divergences.
    """
    rng = np.random.default_rng(seed)
    exact, counts = density.probabilities.ravel(), density.counts(positions_nm).ravel()
    frames = int(counts.sum())
    drawn = np.stack([density.sample_counts(frames, rng).ravel() for _ in range(FLOOR_SAMPLES)])
    return ExactComparison(
        frames,
        float(js_divergence(counts, exact)),
        float(js_divergence(drawn, exact).mean()),
        float(pmf_error(counts, exact)),
        float(pmf_error(drawn, exact).mean()),
    )


def free_energy_kt(weight: float) -> float:
    """F(elsewhere) - F(basin) in kT from the weight of the basin."""
    with np.errstate(divide="ignore"):
        return float(np.log(weight) - np.log1p(-weight))


def _midpoints(edges: np.ndarray, points_per_bin: int) -> np.ndarray:
    """Points of the midpoint rule from one width below the edges to one above."""
    points = (len(edges) - 1) * points_per_bin
    step = (edges[-1] - edges[0]) / points
    return edges[0] + step * (np.arange(-points, 2 * points) + 0.5)
