"""Independent replicas in one System: noticing and freezing those that fail."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.molecule.beads import BeadTable

if TYPE_CHECKING:
    import openmm


@dataclass(frozen=True)
class BondLimits:
    """Bond lengths (nm) beyond which a molecule counts as broken.

    The limits are the range seen in the training data, widened at both ends by half the bond's mean: far outside what
    thermal motion reaches, well before the energy of a broken bond overflows.
    """

    pairs: np.ndarray
    names: tuple[str, ...]
    lower_nm: np.ndarray
    upper_nm: np.ndarray

    @classmethod
    def of(cls, force_field: ForceField) -> "BondLimits":
        return cls.of_bonds(force_field.beads, force_field.bonds_nm)

    @classmethod
    def of_bonds(cls, table: BeadTable, seen: Mapping[str, Any]) -> "BondLimits":
        """Of a BeadTable, with `mean`, `min` and `max` (bonds,) in nm of each of its bonds."""
        mean, low, high = (np.asarray(seen[name], dtype=float) for name in ("mean", "min", "max"))
        return cls(
            pairs=np.array(table.bonds, dtype=int).reshape(-1, 2),
            names=tuple(f"{table.beads[i]} to {table.beads[j]}" for i, j in table.bonds),
            lower_nm=np.maximum(low - 0.5 * mean, 0.0),
            upper_nm=high + 0.5 * mean,
        )

    def broken(self, positions_nm: np.ndarray) -> dict[int, str]:
        """Which replicas of positions (R, n, 3) are broken, and why."""
        with np.errstate(invalid="ignore", over="ignore"):
            lengths = np.linalg.norm(positions_nm[:, self.pairs[:, 0]] - positions_nm[:, self.pairs[:, 1]], axis=-1)
            inside = (lengths >= self.lower_nm) & (lengths <= self.upper_nm)
        finite = np.isfinite(positions_nm).all(axis=(1, 2))
        problems = {}
        for replica in np.flatnonzero(~finite | ~inside.all(axis=1)):
            if not finite[replica]:
                problems[int(replica)] = "coordinates are not finite"
                continue
            bond = int(np.flatnonzero(~inside[replica])[0])
            problems[int(replica)] = (
                f"bond {self.names[bond]} is {lengths[replica, bond]:.4g} nm, outside "
                f"{self.lower_nm[bond]:.3g} to {self.upper_nm[bond]:.3g} nm"
            )
        return problems


def freeze(
    context: "openmm.Context", system: "openmm.System", replicas: Iterable[int], positions_nm: np.ndarray
) -> None:
    """Stop some replicas for good: masses zero, velocities zero, put at positions (R, n, 3) nm; the others go on.

    replicas: their indices. Positions of the other replicas are set to their current ones unchanged.
    Velocities of the others and the state of the random numbers are kept.
    """
    n = positions_nm.shape[1]
    frozen = np.zeros(len(positions_nm), dtype=bool)
    frozen[list(replicas)] = True
    velocities = context.getState(velocities=True).getVelocities(asNumpy=True)._value.reshape(positions_nm.shape).copy()
    velocities[frozen] = 0.0
    for particle in np.flatnonzero(np.repeat(frozen, n)):
        system.setParticleMass(int(particle), 0.0)
    context.reinitialize(preserveState=True)
    context.setPositions(positions_nm.reshape(-1, 3))
    context.setVelocities(velocities.reshape(-1, 3))
