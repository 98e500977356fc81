"""What the degrees of freedom of a system are: the one place that tells a molecule from a particle in a potential.

Several beads are a molecule, whose energy depends on neither its place nor its orientation: its degrees of freedom are
all coordinates but those of the centre of mass. One bead has nothing inside to learn; it is a particle in an external
potential, and its degrees of freedom are x and y, where the potential acts. Positions are (..., beads, 3) throughout,
so that files, OpenMM and the networks see one shape; what is no degree of freedom is projected out.

Arrays and tensors go through the same code: both know mean(axis=, keepdims=).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


@dataclass(frozen=True)
class MoleculeSpace:
    """Beads in their centre-of-mass frame; the energy is invariant under rotation and translation."""

    name = "molecule"

    def dimension(self, beads: int) -> int:
        """D = 3 (beads - 1)."""
        return 3 * (beads - 1)

    def project(self, x: Array) -> Array:
        """x (..., beads, 3) moved to zero mean over beads."""
        return x - x.mean(axis=-2, keepdims=True)

    def basis(self, beads: int) -> "torch.Tensor":
        """Orthonormal basis, a float64 tensor (D, beads, 3)."""
        import torch

        projector = torch.eye(beads, dtype=torch.float64) - 1.0 / beads
        modes = torch.linalg.eigh(projector)[1][:, 1:].T
        basis = torch.einsum("ki,ab->kaib", modes, torch.eye(3, dtype=torch.float64))
        return basis.reshape(-1, beads, 3)

    def origin(self, positions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """(3,) point that is subtracted from all frames (frames, beads, 3): none, each has a centre of its own."""
        return np.zeros(3)

    def spread(self, x: Array, weights: np.ndarray | None = None) -> Any:
        """Standard deviation of all coordinates of projected x, of frames with weights (frames,)."""
        return x.std() if weights is None else np.sqrt(np.average((x**2).mean(axis=(1, 2)), weights=weights))

    def equivalent(self, x: Array, rotation: Array, shift: Array) -> Array:
        """Frames that must have the energies of x (frames, beads, 3): turned by (3, 3) and moved by (3,)."""
        return x @ rotation.T + shift


@dataclass(frozen=True)
class PlaneSpace:
    """x and y of one bead in a fixed external potential; nothing is invariant but the idle z."""

    name = "plane"

    def dimension(self, beads: int) -> int:
        """D = 2."""
        return 2

    def project(self, x: Array) -> Array:
        """x (..., 1, 3) moved to z = 0."""
        flat = x + 0.0
        flat[..., 2] = 0.0
        return flat

    def basis(self, beads: int) -> "torch.Tensor":
        """Orthonormal basis, a float64 tensor (2, 1, 3)."""
        import torch

        return torch.eye(3, dtype=torch.float64)[:2, None]

    def origin(self, positions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """(3,) mean of all frames (frames, 1, 3) by their weights, a constant: places differ in energy."""
        flat = self.project(positions)
        return flat.mean(axis=(0, 1)) if weights is None else np.average(flat.mean(axis=1), axis=0, weights=weights)

    def spread(self, x: Array, weights: np.ndarray | None = None) -> Any:
        """Standard deviation of both coordinates of x, whose mean is zero, of frames with weights (frames,)."""
        if weights is None:
            return x[..., :2].std()
        return np.sqrt(np.average((x[..., :2] ** 2).mean(axis=(1, 2)), weights=weights))

    def equivalent(self, x: Array, rotation: Array, shift: Array) -> Array:
        """Frames that must have the energies of x (frames, 1, 3): moved along z."""
        shifts = x * 0.0 + shift
        return x + (shifts - self.project(shifts))


MOLECULE, PLANE = MoleculeSpace(), PlaneSpace()


def space_of(beads: int) -> MoleculeSpace | PlaneSpace:
    """The space of a system of so many beads."""
    return PLANE if beads == 1 else MOLECULE
