"""The modes of a molecule of which only mean squared distances are known.

In: distances between beads. Out: the Gaussian of their positions.
Source: docs/method.md, eq. 21.
"""

import numpy as np


def gaussian_modes(square: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvectors (n - 1, n) and eigenvalues (n - 1,) of the bead-bead covariance <x_i . x_j> / 3 of centred frames.

    square (n, n): mean squared distances D2, from which the covariance is -1/2 J D2 J / 3 with the centring J. Means
    over other molecules need not belong to any arrangement of beads in space, and give negative variances where they do
    not. Nothing is then known to better than the most negative of them, so no variance is taken to be smaller than its
    size, or than `smallest`: stiffer modes would count twice what the shells of bonds and angles hold, and bend it
    where shells overlap.
    Source: Torgerson, Psychometrika 17, 401 (1952) (double centring).
    """
    centring = np.eye(len(square)) - 1.0 / len(square)
    inside = np.linalg.eigh(centring)[1][:, 1:]  # the centred subspace
    variances, vectors = np.linalg.eigh(inside.T @ (-centring @ square @ centring / 6.0) @ inside)
    return (inside @ vectors).T, np.maximum(variances, max(smallest, -variances[0]))
