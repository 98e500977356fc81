"""How fine a round of calibration can resolve the distributions of dihedrals, angles and other distances.

In: an energy, the data, and how many replicas a round has. Out: whether it can have modes at all, of how many orders
those of pair distances may be, and how long it should be for them. A round tells an average as well as its independent
values allow.
"""

import logging
import math

import torch
from torch import Tensor

from fpforce.foundation.seeds import seeds
from fpforce.training.data.dataset import noised
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.recipe.sections import CalibrationRecipe

logger = logging.getLogger("fpforce")

FORGOTTEN_PS = 5.0  # in which a replica forgets a dihedral or an angle, more or less
# Of these values for each function. Averages of n functions over m values are n / 2m nats apart by noise alone, more
# where functions are nearly the same. What a round is told to be away from the data is larger where that matters, and
# later rounds average it.
ENOUGH = 2.0
SHORTEST_PS, LONGEST_PS = 60.0, 120.0  # of a round by default
PAIR_ORDERS = 4  # at most, of the series of a pair's distance
MOST_FUNCTIONS = 6000  # whose equations take a gigabyte
QUARTILE_FRAMES = 20_000  # by which these distances are resolved


def says_enough(energy: DiffusionEnergy, data: Tensor, settings: CalibrationRecipe) -> bool:
    """Whether the recipe asks for modes, there are any, and a round has ENOUGH independent values for each."""
    functions = _functions(energy, data) if settings.series else 0
    if not functions:
        return False
    longest = settings.picoseconds or LONGEST_PS
    enough = _enough(functions, longest, settings)
    if not enough:
        logger.info(
            "rounds of %d replicas and %g ps say too little of the distributions of dihedrals and angles: "
            "%d values for %d functions; they move the last layer alone",
            settings.replicas,
            longest,
            settings.replicas * longest / FORGOTTEN_PS,
            functions,
        )
    return enough


def orders_of_pairs(energy: DiffusionEnergy, data: Tensor, settings: CalibrationRecipe) -> int:
    """The most orders of pair distances, up to PAIR_ORDERS, for which a round has ENOUGH independent values for each
    function, and the data a frame; or 0. How far averages over so few are followed, newton.chosen_stiffness finds out.
    """
    local, pairs = _functions(energy, data), len(energy.network.series_pairs())
    longest = settings.picoseconds or LONGEST_PS
    for orders in range(PAIR_ORDERS if pairs else 0, 0, -1):
        functions = local + 2 * orders * pairs
        if functions <= MOST_FUNCTIONS and functions <= len(data) and _enough(functions, longest, settings):
            return orders
    if pairs:
        logger.info(
            "rounds of %d replicas and %g ps, or %d frames of the data, say too little of the distributions of %d "
            "distances: they move dihedrals and angles alone",
            settings.replicas,
            longest,
            len(data),
            pairs,
        )
    return 0


def picoseconds(energy: DiffusionEnergy, data: Tensor, settings: CalibrationRecipe) -> float:
    """How long a round is by default: SHORTEST_PS, or as long as its functions need, up to LONGEST_PS."""
    needed = ENOUGH * _functions(energy, data) * FORGOTTEN_PS / settings.replicas
    return min(max(SHORTEST_PS, float(math.ceil(needed))), LONGEST_PS)


def in_words(modes: bool, pairs: dict | None) -> str:
    """What rounds move beside the last layer: for a log."""
    if not modes:
        return ""
    others = f", and of {len(pairs['centres'])} other distances up to order {pairs['orders']}" if pairs else ""
    return f" with series of dihedrals and angles{others}"


def resolved_pairs(
    energy: DiffusionEnergy, data: Tensor, t_eval: float, settings: CalibrationRecipe, seed: int, *, noisy: bool
) -> dict | None:
    """How distances of pairs are resolved, as CalibrationRecord.pairs has it; None where rounds cannot tell them.

    noisy: whether the data (frames, beads, 3) have the noise of t_eval.
    """
    orders = orders_of_pairs(energy, data, settings)
    if not orders:
        return None
    some = data[:: -(-len(data) // QUARTILE_FRAMES)]
    of_its_own = torch.Generator().manual_seed(seeds(seed, "pair distances")[0])
    some = some if noisy else noised(some, t_eval, of_its_own)
    return energy.network.resolution_of_pairs(some) | {"orders": orders}


def _functions(energy: DiffusionEnergy, data: Tensor) -> int:
    """The modes that are not always zero."""
    found = energy.network.modes(data[:8], torch.zeros(1, dtype=data.dtype))
    return 0 if found is None else int(found.any(0).sum())


def _enough(functions: int, length_ps: float, settings: CalibrationRecipe) -> bool:
    return settings.replicas * length_ps / FORGOTTEN_PS >= ENOUGH * functions
