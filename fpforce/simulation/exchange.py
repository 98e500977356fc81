"""Temperature replica exchange: the ladder of temperatures, the probability with which neighbours on it swap, what a
swap does to velocities, which pairs are offered one in turn, how often swaps were accepted.

LangevinMiddleIntegrator keeps velocities that lag by half a kick, v = w - (dt / 2) F / m. The velocities of the whole
step, w, have the Maxwell distribution of the temperature whatever the positions are, so w is what a swap scales.
Scaling v instead biases the coldest rung where swaps are frequent (benchmarks/physics/reference_exchange_bias.py
measures it).

Sources: Sugita and Okamoto, Chem. Phys. Lett. 314 (1999) 141, eq. 14 and 16 (the exchange; docs/method.md, eq. 33);
Zhang, Liu, Yan, Tuckerman and Liu, J. Phys. Chem. A 123 (2019) 6056 (the integrator).
"""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError

logger = logging.getLogger("fpforce")

FEWEST_SWAPS = 0.1  # accepted of those offered, of a ladder that is worth its price


def geometric_ladder(coldest_k: float, hottest_k: float | None, rungs: int) -> tuple[float, ...]:
    """Temperatures with equal ratios, for which swaps are accepted about equally often; a tuple, in K.

    hottest_k: None is twice the coldest.
    """
    if rungs < 1 or coldest_k <= 0.0 or not np.isfinite(coldest_k):
        raise InputError(f"{rungs} rungs from {coldest_k:g} K: give at least 1 rung and a temperature above 0")
    if rungs == 1:
        return (float(coldest_k),)
    hottest_k = 2.0 * coldest_k if hottest_k is None else hottest_k
    if not hottest_k > coldest_k or not np.isfinite(hottest_k):
        raise InputError(f"top temperature {hottest_k:g} K: give one above the coldest, {coldest_k:g} K")
    return (float(coldest_k), *(round(float(t), 2) for t in np.geomspace(coldest_k, hottest_k, rungs)[1:]))


def acceptance(cold_energy: ArrayLike, hot_energy: ArrayLike, cold_k: float, hot_k: float) -> np.ndarray:
    """Probability, of the shape of the energies, with which what is at cold_k and what is at hot_k (K) change places.

    cold_energy, hot_energy: kJ/mol of either at its place before.
    """
    exponent = (1.0 / cold_k - 1.0 / hot_k) / BOLTZMANN_KJ_PER_MOL_K * (np.asarray(cold_energy) - hot_energy)
    return np.exp(np.minimum(0.0, exponent))


class SwapCount:
    """Which neighbours on a ladder are offered a swap, every other pair in turn, and how often they took it.

    Attributes: sweeps that are done; attempts and accepted (rungs - 1,), of the pairs of a rung and the next.
    """

    def __init__(self, rungs: int) -> None:
        self.sweeps = 0
        self.attempts, self.accepted = (np.zeros(rungs - 1, dtype=int) for _ in range(2))

    def pairs(self) -> range:
        """The colder rung of each pair that is offered a swap in the present sweep."""
        return range(self.sweeps % 2, len(self.attempts), 2)

    def add(self, rung: int, attempts: int, accepted: int) -> None:
        """Count swaps between a rung and the next."""
        self.attempts[rung] += attempts
        self.accepted[rung] += accepted


def half_kicks(forces: np.ndarray, masses_da: ArrayLike, timestep_fs: float) -> np.ndarray:
    """Half a step's change of the velocities (..., n, 3), nm/ps, from forces (..., n, 3) in kJ/mol/nm.

    masses_da: (n,), above 0.
    """
    return 0.5e-3 * timestep_fs / np.asarray(masses_da)[:, None] * forces


def scaled_velocities(velocities: np.ndarray, kicks: np.ndarray, factor: float | np.ndarray) -> np.ndarray:
    """LangevinMiddleIntegrator's velocities (..., n, 3) after a swap, which scales those of the whole step by `factor`.

    velocities, kicks: of one place and time, kicks as of `half_kicks`. factor: sqrt(temperature after / before), a
    number or of a shape that fits; where it is 1 the velocities stay the same to the last bit.
    """
    return np.where(factor == 1.0, velocities, factor * (velocities + kicks) - kicks)


def accepted_swaps(metadata: dict) -> tuple[float | None, ...]:
    """Part of the swaps offered between neighbouring rungs, of a simulation's sidecar; None where none was, empty
    without exchange.
    """
    swaps = metadata.get("swaps", {"accepted": [], "attempts": []})
    return tuple(a / n if n else None for a, n in zip(swaps["accepted"], swaps["attempts"], strict=True))


def warn_of_ladder(metadata: dict) -> None:
    """Say of a simulation's sidecar where the ladder does not connect, and whether it is too hot for the molecule."""
    ladder, parts = metadata["ladder_k"] or (), accepted_swaps(metadata)
    poor = [
        f"{low:g} and {high:g} K: {part:.0%}"
        for low, high, part in zip(ladder, ladder[1:], parts, strict=False)
        if part is not None and part < FEWEST_SWAPS
    ]
    if poor:
        logger.warning(
            "few swaps are accepted between %s: the ladder hardly helps; give more --rungs, or a lower "
            "--top-temperature-k",
            ", ".join(poor),
        )
    hot = sum(failure["rung"] > 0 for failure in metadata["failed"].values()) if ladder else 0
    if hot:
        logger.warning(
            "%d of %d failed replicas broke on a hot rung; give a lower --top-temperature-k",
            hot,
            len(metadata["failed"]),
        )


def ladder_text(ladder_k: Sequence[float] | None) -> str:
    """A ladder, or None for one rung, in words."""
    return "one rung" if ladder_k is None else f"{', '.join(f'{t:g}' for t in ladder_k)} K"
