"""The folding temperature of a bead model, and how often a trajectory folds.

In: an OpenMM System and a function that tells of positions whether they are folded. Out: the temperature at which half
of the equilibrium is, from a replica exchange over a ladder whose rungs are reweighted to every temperature between.
Source: Shirts and Chodera, J. Chem. Phys. 129 (2008) 124105, eq. 11 and 13 (the reweighting).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.reference.replica_exchange import ReplicaExchange
from fpforce.simulation.exchange import geometric_ladder

if TYPE_CHECKING:
    import openmm

FOLDED_ABOVE = 0.5  # part of the native contacts
_MOST_LADDERS = 4
_TOLERANCE = 1e-8


@dataclass(frozen=True, kw_only=True)
class Scan:
    """How the folding temperature is looked for; the ladder moves up or down until both states are on it."""

    coldest_k: float
    hottest_k: float
    rungs: int = 6
    sweeps: int = 400
    steps_per_sweep: int = 400
    discarded_sweeps: int = 80
    timestep_fs: float = 15.0
    friction_per_ps: float = 0.2
    seed: int = 1


def find_folding_temperature(
    system: "openmm.System",
    starts_nm: Sequence[np.ndarray],
    is_folded: Callable[[np.ndarray], np.ndarray],
    scan: Scan,
) -> dict[str, Any]:
    """The temperature at which half of the equilibrium is folded, with the scan that it rests on.

    Args:
        system: of the molecule.
        starts_nm: (n, 3) each, taken by the replicas in turn: one that is folded and one that is not.
        is_folded: of positions (frames, n, 3), (frames,) bool.
        scan: Scan.

    Returns:
        JSON-able: `temperature_k`, `temperatures_k`, `folded` at each of them, `swap_acceptance`.

    Raises:
        InputError: the molecule is folded, or unfolded, at every temperature that was tried.
    """
    low, high = scan.coldest_k, scan.hottest_k
    for _ in range(_MOST_LADDERS):
        found = _scan_ladder(system, starts_nm, is_folded, scan, geometric_ladder(low, high, scan.rungs))
        if found["temperature_k"] is not None:
            return found
        ratio = np.sqrt(high / low) if found["folded"][0] > 0.5 else np.sqrt(low / high)
        low, high = low * ratio, high * ratio
    raise InputError(
        f"no folding temperature between {low:.0f} and {high:.0f} K: {found['folded'][0]:.0%} are folded at the one "
        f"and {found['folded'][-1]:.0%} at the other; give --temperature-k"
    )


def count_foldings(contact_fraction: np.ndarray) -> int:
    """How often a trajectory, (frames,), went from the middle of its unfolded state to that of its folded state.

    The states are the frames below and above FOLDED_ABOVE, their middles the medians.
    """
    folded = contact_fraction > FOLDED_ABOVE
    if folded.all() or not folded.any():
        return 0
    low, high = np.median(contact_fraction[~folded]), np.median(contact_fraction[folded])
    reached = np.where(contact_fraction >= high, 1, np.where(contact_fraction <= low, 0, -1))
    reached = reached[reached >= 0]
    return int(np.count_nonzero((reached[1:] == 1) & (reached[:-1] == 0)))


def reweighted(energies: np.ndarray, sampled_k: ArrayLike, wanted_k: ArrayLike) -> np.ndarray:
    """Weights (wanted temperatures, samples) that turn samples of several temperatures into those of another.

    energies: kJ/mol, (sampled temperatures, samples of each). Each row of the result sums to one.
    """
    kt = BOLTZMANN_KJ_PER_MOL_K * np.asarray(sampled_k)
    flat = energies.ravel() - energies.min()
    samples = energies.shape[1]
    free = np.zeros(len(kt))
    for _ in range(10_000):
        mixture = _log_sum(free[:, None] - flat[None] / kt[:, None]) + np.log(samples)
        new = -_log_sum((-flat[None] / kt[:, None] - mixture[None]).T)
        new -= new[0]
        done = np.abs(new - free).max() < _TOLERANCE
        free = new
        if done:
            break
    wanted = -flat[None] / (BOLTZMANN_KJ_PER_MOL_K * np.asarray(wanted_k))[:, None] - mixture[None]
    return np.exp(wanted - _log_sum(wanted.T)[:, None])


def _log_sum(exponents: np.ndarray) -> np.ndarray:
    """log of the sum of exp over the first axis."""
    largest = exponents.max(axis=0)
    return largest + np.log(np.exp(exponents - largest).sum(axis=0))


def _scan_ladder(
    system: "openmm.System",
    starts_nm: Sequence[np.ndarray],
    is_folded: Callable[[np.ndarray], np.ndarray],
    scan: Scan,
    temperatures_k: Sequence[float],
) -> dict[str, Any]:
    exchange = ReplicaExchange(
        system,
        starts_nm[0],
        temperatures_k,
        timestep_fs=scan.timestep_fs,
        friction_per_ps=scan.friction_per_ps,
        seed=scan.seed,
    )
    for replica in range(len(temperatures_k)):
        exchange.place(replica, starts_nm[replica % len(starts_nm)])
    energies, folded = [], []
    for sweep in range(scan.discarded_sweeps + scan.sweeps):
        exchange.advance(scan.steps_per_sweep)
        if sweep >= scan.discarded_sweeps:
            positions, potential = exchange.rung_states()
            energies.append(potential)
            folded.append(is_folded(positions))
    grid = np.geomspace(temperatures_k[0], temperatures_k[-1], 400)
    weights = reweighted(np.array(energies).T, temperatures_k, grid)
    part = weights @ np.array(folded, dtype=float).T.ravel()
    below = np.flatnonzero((part[:-1] >= 0.5) & (part[1:] < 0.5))
    temperature = None
    if len(below):
        k = below[-1]
        temperature = float(np.interp(0.5, [part[k + 1], part[k]], [grid[k + 1], grid[k]]))
    return {
        "temperature_k": temperature,
        "temperatures_k": list(temperatures_k),
        "folded": np.round(np.array(folded, dtype=float).mean(axis=0), 4).tolist(),
        "swap_acceptance": np.round(exchange.swaps.accepted / np.maximum(exchange.swaps.attempts, 1), 3).tolist(),
    }
