"""Temperature replica exchange: the ladder of temperatures, and the probability with which neighbours on it swap.

Source: Sugita and Okamoto, Chem. Phys. Lett. 314 (1999) 141, eq. 14 (criterion) and 12 (velocities, times sqrt(new / old)).
"""

import numpy as np

from fpforce.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.errors import InputError


def geometric_ladder(coldest_k, hottest_k, rungs):
    """Temperatures with equal ratios, for which swaps are accepted about equally often; a tuple, in K."""
    if rungs < 1 or coldest_k <= 0.0 or not np.isfinite(coldest_k):
        raise InputError(f"{rungs} rungs from {coldest_k:g} K: give at least 1 rung and a temperature above 0")
    if rungs == 1:
        return (float(coldest_k),)
    if not hottest_k > coldest_k or not np.isfinite(hottest_k):
        raise InputError(f"top temperature {hottest_k:g} K: give one above the coldest, {coldest_k:g} K")
    return (float(coldest_k), *(round(float(t), 2) for t in np.geomspace(coldest_k, hottest_k, rungs)[1:]))


def acceptance(cold_energy, hot_energy, cold_k, hot_k):
    """Probability, of the shape of the energies, with which what is at cold_k and what is at hot_k (K) change places.

    cold_energy, hot_energy: kJ/mol of either at its place before.
    """
    exponent = (1.0 / cold_k - 1.0 / hot_k) / BOLTZMANN_KJ_PER_MOL_K * (np.asarray(cold_energy) - hot_energy)
    return np.exp(np.minimum(0.0, exponent))
