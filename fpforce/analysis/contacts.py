"""Contact maps of a protein's CA chain.

In: frames (F, beads, 3) in nm. Out: how often each pair of residues is in contact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpforce.analysis.folding import CONTACT_NM, contact_pairs
from fpforce.analysis.observables import bond_lengths

_CHUNK_PAIRS = 4_000_000  # distances held at once


@dataclass(frozen=True)
class MapDifference:
    """Of one contact map from the reference's: root mean square and largest over the pairs, and the pair, by residue.

    `pair` are positions in the chain from 0.
    """

    root_mean_square: float
    largest: float
    pair: tuple[int, int]


def contact_map(positions_nm: np.ndarray, chain: Sequence[int]) -> np.ndarray:
    """Part of the frames in which two CA beads are within CONTACT_NM, (m, m), symmetric; nan nearer than 3 residues."""
    pairs = contact_pairs(chain)
    hits, step = np.zeros(len(pairs)), max(1, _CHUNK_PAIRS // len(pairs))
    for first in range(0, len(positions_nm), step):
        hits += np.sum(bond_lengths(positions_nm[first : first + step], pairs) < CONTACT_NM, axis=0)
    frequencies = np.full((len(chain), len(chain)), np.nan)
    where = contact_pairs(range(len(chain)))
    frequencies[where[:, 0], where[:, 1]] = frequencies[where[:, 1], where[:, 0]] = hits / len(positions_nm)
    return frequencies


def map_difference(one: np.ndarray, other: np.ndarray) -> MapDifference:
    """MapDifference of two contact maps (m, m)."""
    where = contact_pairs(range(len(one)))
    change = np.abs(one - other)[where[:, 0], where[:, 1]]
    worst = int(np.argmax(change))
    pair = int(where[worst, 0]), int(where[worst, 1])
    return MapDifference(float(np.sqrt(np.mean(change**2))), float(change[worst]), pair)
