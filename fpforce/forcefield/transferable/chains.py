"""The constants of one chain of a model that knows chains of any length by stretches of beads and by pairs of beads
farther apart (kind `chain`), by the names that they have in an `internal` model of one molecule.

In: the shared weights at one noise level, the types of the beads, the statistics of their distances. Out: arrays.
The sum over stretches and over pairs is one that `internal` can say too: stretches with places of their own, series of
pair distances, and a network on all distances that adds nothing. So every backend evaluates a bound chain.
Source: docs/method.md, eq. 43.
"""

from collections.abc import Mapping

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable

ENDS = 3  # within a chain, its first bead, its last
SEPARATIONS = 8  # classes of how far apart two beads are along the chain


def inputs_of_stretches(beads: int, window: int, pairs: np.ndarray) -> np.ndarray:
    """The features (windows, inputs) that a stretch of `window` beads sees, by their numbers among the internal
    coordinates of so many beads: both of every pair of its own, and four of every dihedral.

    pairs (pairs, 2): in the order of the features, at least those that lie in a stretch. window: at least 4 and at most
    `beads`.
    """
    numbers = {(i, j): k for k, (i, j) in enumerate(pairs.tolist())}
    turns = beads - 3
    rows = []
    for start in range(beads - window + 1):
        stretch = range(start, start + window)
        own = [numbers[i, j] for i in stretch for j in stretch if i < j]
        turned = [2 * len(pairs) + part * turns + k for part in range(4) for k in stretch[:-3]]
        rows.append([*own, *(len(pairs) + k for k in own), *turned])
    return np.array(rows, dtype=np.int64)


def ends_of(beads: int) -> np.ndarray:
    """(n,) whether a bead is within the chain, 0, its first, 1, or its last, 2."""
    ends = np.zeros(beads, dtype=np.int64)
    ends[0], ends[-1] = 1, 2
    return ends


def separation_classes(apart: np.ndarray, window: int) -> np.ndarray:
    """Of numbers of beads along the chain, `window` or more: half powers of two of their ratio to it."""
    return np.clip(np.floor(2.0 * np.log2(apart / window) + 1e-9), 0, SEPARATIONS - 1).astype(np.int64)


def require_longer(beads: BeadTable, window: int) -> None:
    """Raise InputError for a chain that is no longer than a stretch."""
    if len(beads) <= window:
        raise InputError(
            f"{beads.residues} has {len(beads)} beads, and model.window = {window} (kind chain) is for chains of more; "
            "leave it out, or train with a shorter window"
        )


def constants_of_chain(
    names: np.ndarray,
    residues: np.ndarray,
    statistics: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    window: int,
) -> dict[str, np.ndarray]:
    """What the `internal` network of a chain of n beads has of its own, by name.

    names, residues (n,): indices of the beads' words. statistics: mean and variance (pairs,) of the distances.
    weights: those of a shared network at one noise level.
    """
    beads, depth = len(names), sum(name.startswith("windows.hidden.") for name in weights) // 2
    first, second = np.triu_indices(beads, k=1)
    pairs = np.stack([first, second], axis=1)
    embedded = sum(
        weights[f"{kind}.weight"][index]
        for kind, index in (("names", names), ("residues", residues), ("ends", ends_of(beads)))
    )
    stretches = np.lib.stride_tricks.sliding_window_view(embedded, window, axis=0).swapaxes(1, 2)
    stretches = stretches.reshape(beads - window + 1, -1)
    own = stretches @ weights["of_stretches.weight"].T + weights["of_stretches.bias"]
    width = own.shape[1] // (depth + 1)
    parts = own.reshape(len(own), depth + 1, width).swapaxes(0, 1)
    # An `internal` network of one neuron a layer that adds nothing.
    features = 2 * len(pairs) + 4 * (beads - 3)
    nothing = {"out.weight": (1, 1), "gate.weight": (1, 5), "gate.bias": (1,)}
    for k in range(depth):
        nothing |= {f"hidden.{k}.weight": (1, features if k == 0 else 1), f"hidden.{k}.bias": (1,)}
        nothing |= {f"conditions.{k}.weight": (1, 5), f"conditions.{k}.bias": (1,)}
    bends = np.arange(beads - 2)
    return (
        {f"coordinates.{name}": values for name, values in statistics.items()}
        | {"coordinates.first": first, "coordinates.second": second}
        | {"coordinates.bends": bends * (2 * beads - bends - 1) // 2 + 1}
        | {name: np.zeros(shape, dtype=np.float32) for name, shape in nothing.items()}
        | {
            "windows.inputs": inputs_of_stretches(beads, window, pairs),
            "windows.places": parts[:depth].copy(),
            "windows.out": parts[depth].copy(),
            "series.weights": np.zeros((2, 2 * beads - 5, weights["series_orders"].item()), dtype=np.float32),
        }
        | _series_of_pairs(embedded, pairs, weights, window)
    )


def _series_of_pairs(
    embedded: np.ndarray, pairs: np.ndarray, weights: Mapping[str, np.ndarray], window: int
) -> dict[str, np.ndarray]:
    """Those of the pairs (i, j), j - i other than 2, with nothing for pairs that lie in a stretch."""
    apart = pairs[:, 1] - pairs[:, 0]
    pairs, apart = pairs[apart != 2], apart[apart != 2]
    of_beads = embedded @ weights["pairs.of_beads.weight"].T  # (n, 2 functions): added, multiplied
    added, multiplied = np.split(of_beads, 2, axis=1)
    i, j = pairs.T
    amounts = added[i] + added[j] + multiplied[i] * multiplied[j]
    amounts += weights["pairs.separations.weight"][separation_classes(np.maximum(apart, window), window)]
    amounts[apart < window] = 0.0
    return {
        "pair_series.pairs": pairs,
        "pair_series.centres": np.full(len(pairs), weights["pairs.centre"].item(), dtype=np.float32),
        "pair_series.widths": np.full(len(pairs), weights["pairs.width"].item(), dtype=np.float32),
        "pair_series.weights": np.einsum("pm,mcn->cpn", amounts, weights["pairs.functions"]),
        "pair_series.smooth": np.array(weights["coordinates.blurs"][0]),
    }
