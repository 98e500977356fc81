"""How far frames of one molecule are from others, by distances, size and dihedrals.

In: positions (frames, beads, 3) of two sets in nm. Out: mean first Wasserstein distance over all pair distances, and
Jensen-Shannon divergences; both sets are thinned to the same number of frames first.
"""

import numpy as np

FRAMES, PLANE_FRAMES = 3000, 20_000


def features(x: np.ndarray) -> dict[str, np.ndarray]:
    """Pair distances, end-to-end distance, radius of gyration (nm) and dihedrals of consecutive beads (rad) of
    x (frames, beads, 3).
    """
    i, j = np.triu_indices(x.shape[1], 1)
    centred = x - x.mean(1, keepdims=True)
    return {
        "distances": np.linalg.norm(x[:, i] - x[:, j], axis=-1),
        "ends": np.linalg.norm(x[:, 0] - x[:, -1], axis=-1),
        "radius": np.sqrt(np.square(centred).sum(-1).mean(1)),
        "dihedrals": np.stack([dihedral(x[:, k : k + 4]) for k in range(x.shape[1] - 3)], -1),
    }


def dihedral(x: np.ndarray) -> np.ndarray:
    """Angles (frames,) in rad of x (frames, 4, 3)."""
    bonds = x[:, 1:] - x[:, :-1]
    planes = np.cross(bonds[:, :-1], bonds[:, 1:])
    sine = (bonds[:, 0] * planes[:, 1]).sum(-1) * np.linalg.norm(bonds[:, 1], axis=-1)
    return np.arctan2(sine, (planes[:, 0] * planes[:, 1]).sum(-1))


def compare(x: np.ndarray, reference: np.ndarray, plane: tuple[tuple[int, ...], ...]) -> dict[str, float]:
    """How far frames x are from the reference, both thinned to the same number of frames."""
    count = min(len(x), len(reference), FRAMES)
    ours, theirs = features(thinned(x, count)), features(thinned(reference, count))
    levels = (np.arange(2000) + 0.5) / 2000
    quantiles = [np.quantile(one["distances"], levels, axis=0) for one in (ours, theirs)]
    found = {"w1_nm": float(np.abs(quantiles[0] - quantiles[1]).mean()), "radius_nm": float(ours["radius"].mean())}
    for name in ("ends", "radius"):
        both = np.concatenate([ours[name], theirs[name]])
        found[f"js_{name}"] = divergence(ours[name][:, None], theirs[name][:, None], 50, [(both.min(), both.max())])
    pairs = zip(ours["dihedrals"].T, theirs["dihedrals"].T, strict=True)
    found["js_dihedrals"] = float(
        np.mean([divergence(a[:, None], b[:, None], 36, [(-np.pi, np.pi)]) for a, b in pairs])
    )
    if plane:
        count = min(len(x), len(reference), PLANE_FRAMES)
        planes = [np.stack([dihedral(thinned(one, count)[:, beads]) for beads in plane], -1) for one in (x, reference)]
        found["js_plane"] = divergence(*planes, 64, [(-np.pi, np.pi)] * 2)
    return found


def divergence(x: np.ndarray, y: np.ndarray, bins: int, ranges: list) -> float:
    """Jensen-Shannon divergence of two samples (frames, dimensions), natural logarithm."""
    p, q = (np.histogramdd(one, bins, ranges)[0].ravel() / len(one) for one in (x, y))
    middle = 0.5 * (p + q)
    return float(sum(0.5 * (one[one > 0] * np.log(one[one > 0] / middle[one > 0])).sum() for one in (p, q)))


def thinned(x: np.ndarray, count: int) -> np.ndarray:
    """As many of x (frames, ...), drawn at random: replicas follow each other in it, and an even step could miss most
    of them.
    """
    chosen = np.random.default_rng(0).choice(len(x), min(count, len(x)), replace=False)
    return x[np.sort(chosen)]
