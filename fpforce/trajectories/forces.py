"""Forces that come with trajectories -> forces on the beads, in kJ/mol/nm.

In: arrays of forces beside the trajectories, one file each. Out: BeadForces, frame by frame those of the BeadFrames.
What cannot be right (another shape, an unknown unit, NaN, constraints that the map does not respect) is refused here;
whether the numbers fit the positions is judged by fpforce.trajectories.virial.
"""

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import numpy_file
from fpforce.trajectories.files import existing_file, is_array
from fpforce.trajectories.force_map import (
    MappedAtoms,
    group_weights,
    optimal_weights,
    refuse_joined_beads,
    refuse_undeclared_constraints,
    rigid_groups,
)

logger = logging.getLogger("fpforce")

_COMPONENTS_A_WEIGHT = 20  # components of forces in the data for each weight of the least noisy map
# kJ/mol/nm in one unit; CODATA 2018 for eV, hartree and bohr.
KJ_PER_MOL_NM = {
    "kJ/mol/nm": 1.0,
    "kJ/mol/angstrom": 10.0,
    "kcal/mol/nm": 4.184,
    "kcal/mol/angstrom": 41.84,
    "eV/angstrom": 964.853321,
    "hartree/bohr": 49614.7526,
}


@dataclass(frozen=True, kw_only=True)
class ForceFiles:
    """Where forces are, and how to take them.

    paths: one .npz (with `forces`) or .npy for each trajectory, of shape (frames, atoms, 3) like its positions, or
    (frames, beads, 3) where they have been mapped already; then an .npz may hold their `force_variances` too. unit: a
    key of KJ_PER_MOL_NM. constraints: "h-bonds" (every hydrogen is held by the atom that it is bonded to), "none", or
    pairs of atom indices. optimal: the least noisy map (`force_map.optimal_weights`) instead of the plain sum over
    rigid groups.
    """

    paths: tuple[Path, ...]
    unit: str = "kJ/mol/nm"
    constraints: str | tuple[tuple[int, int], ...] = "h-bonds"
    optimal: bool = False

    def __post_init__(self) -> None:
        if self.unit not in KJ_PER_MOL_NM:
            raise InputError(f"force_unit = {self.unit!r} is unknown: give one of {', '.join(KJ_PER_MOL_NM)}")
        if isinstance(self.constraints, str) and self.constraints not in ("h-bonds", "none"):
            raise InputError(f"constraints = {self.constraints!r} is unknown: give 'h-bonds', 'none' or pairs of atoms")


@dataclass(frozen=True)
class BeadForces:
    """Forces on the beads, float32 (frames, n, 3) in kJ/mol/nm.

    `sources` are the files, `sha256` that of their contents in order, `unit` the one they were declared to have.
    variances: of the same shape, of averaged forces (fpforce.reference.mean_forces), None where any file has none.
    """

    kj_per_mol_nm: np.ndarray
    sources: tuple[str, ...]
    sha256: str
    unit: str
    variances: np.ndarray | None = None

    def of(self, chosen: np.ndarray) -> "BeadForces":
        """Those of the chosen frames."""
        variances = None if self.variances is None else self.variances[chosen]
        return replace(self, kj_per_mol_nm=self.kj_per_mol_nm[chosen], variances=variances)

    def __len__(self) -> int:
        return len(self.kj_per_mol_nm)


class ForceReader:
    """Reads the forces of one trajectory after the other and maps them to beads.

    `atoms` are those of the beads' molecules, of `points` per frame in the files; every stride-th frame is taken.
    """

    def __init__(self, files: ForceFiles, atoms: MappedAtoms, points: int, stride: int) -> None:
        self.files, self.atoms, self.points, self.stride = files, atoms, points, stride
        self._pieces: list[np.ndarray] = []
        self._variances: list[np.ndarray | None] = []
        rigid = rigid_groups(atoms, files.constraints)
        refuse_joined_beads(atoms, rigid)
        if files.constraints == "h-bonds" and len(rigid) == len(atoms.indices):
            logger.warning(
                "forces: no hydrogens are listed; the forces on those that were constrained must have been added to "
                "the "
                "forces of the atoms that hold them, or the result is wrong and no check can tell"
            )
        self.weights = group_weights(atoms, rigid)
        if files.optimal:
            self.weights = optimal_weights(atoms, rigid, self._covariance(rigid))

    def add(self, trajectory: Path, xyz: np.ndarray) -> None:
        """Read the forces that belong to `trajectory`, the next one, of which xyz (frames, atoms, 3) in nm was read."""
        path = self.files.paths[len(self._pieces)]
        forces, of_atoms = self._read(path)
        if len(forces) != len(xyz):
            after = f" after data.stride = {self.stride}" if self.stride > 1 else ""
            raise InputError(
                f"{path} holds forces of {len(forces)} frames{after}, and {trajectory} has {len(xyz)}: give the forces "
                "of exactly the trajectory's frames"
            )
        if of_atoms:
            refuse_undeclared_constraints(self.atoms, self.weights, xyz, path)
            forces = np.einsum("na,fad->fnd", self.weights, forces, optimize=True)
        self._pieces.append(forces.astype(np.float32))
        are_mapped = not of_atoms or self.points == len(self.atoms.groups)
        self._variances.append(self._read_variances(path, forces.shape) if are_mapped else None)

    def collected(self) -> BeadForces:
        """All that was added."""
        digest = hashlib.sha256()
        for path in self.files.paths:
            digest.update(path.read_bytes())
        known = [part for part in self._variances if part is not None]
        return BeadForces(
            np.concatenate(self._pieces),
            tuple(map(str, self.files.paths)),
            digest.hexdigest(),
            self.files.unit,
            np.concatenate(known) if len(known) == len(self._pieces) else None,
        )

    def _read_variances(self, path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
        """Variances of averaged forces, float32 (frames, beads, 3) in (kJ/mol/nm)^2; None where the file has none."""
        with numpy_file(path) as content:
            if isinstance(content, np.ndarray) or "force_variances" not in content.files:
                return None
            found = content["force_variances"][:: self.stride].astype(np.float64)
        if found.shape != shape or not np.isfinite(found).all() or (found < 0.0).any():
            raise InputError(
                f"{path}: force_variances of shape {found.shape} must be finite, not negative, and of the shape "
                f"{shape} of the forces: mend them, or leave them out"
            )
        return (found * KJ_PER_MOL_NM[self.files.unit] ** 2).astype(np.float32)

    def _covariance(self, rigid: list[list[int]]) -> np.ndarray:
        """Sum over all frames of the dot products between the forces on the rigid groups, (groups, groups)."""
        total, frames = np.zeros((len(rigid), len(rigid))), 0
        for path in self.files.paths:
            forces, of_atoms = self._read(path)
            if of_atoms:
                groups = np.stack([forces[:, members].sum(1) for members in rigid], 1)
                total += np.tensordot(groups, groups, ([0, 2], [0, 2]))
                frames += len(forces)
        if frames and _COMPONENTS_A_WEIGHT * len(rigid) > 3 * frames:
            raise InputError(
                f"{', '.join(map(str, self.files.paths))}: {frames} frames are too few for the weights of {len(rigid)} "
                f"rigid "
                "groups of atoms, which would be fitted to chance: give more frames, or set data.force_map = sum"
            )
        if frames and not np.trace(total) > 0.0:
            raise InputError(
                f"{', '.join(map(str, self.files.paths))}: all forces are zero; give those of the simulation, or leave "
                "data.forces out"
            )
        return total if frames else np.eye(len(rigid))

    def _read(self, path: Path) -> tuple[np.ndarray, bool]:
        """Forces of a file in kJ/mol/nm, float64 (frames, atoms or beads, 3), and whether they are of the atoms."""
        path = existing_file(path, "forces")
        if not is_array(path):
            raise InputError(f"forces {path}: only .npy and .npz arrays hold forces: write them into one")
        try:
            with numpy_file(path) as content:
                if not isinstance(content, np.ndarray):
                    if "forces" not in content.files:
                        raise InputError(f"{path} holds {sorted(content.files)}: name the array of forces `forces`")
                    content = content["forces"]
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise InputError(f"{path} cannot be read as a numpy file ({reason}): truncated? make it anew") from None
        beads = len(self.atoms.groups)
        if (
            content.ndim != 3
            or content.shape[1] not in (self.points, beads)
            or content.shape[2] != 3
            or not np.issubdtype(content.dtype, np.floating)
        ):
            allowed = f"{self.points}" if beads == self.points else f"{self.points} (atoms) or {beads} (beads)"
            raise InputError(
                f"{path} holds forces as {content.dtype} of shape {content.shape}: they must be floating-point "
                f"(frames, points, 3) with {allowed} points, as the trajectory has"
            )
        of_atoms = content.shape[1] == self.points
        forces = content[:: self.stride, self.atoms.indices] if of_atoms else content[:: self.stride]
        forces = forces.astype(np.float64)
        finite = np.isfinite(forces).all(axis=(1, 2))
        if not finite.all():
            frame = int(np.argmin(finite)) * self.stride
            raise InputError(
                f"{path}: the forces of frame {frame} (counted from 0) are NaN or infinite: leave the frame out, of "
                "the trajectory too"
            )
        return forces * KJ_PER_MOL_NM[self.files.unit], of_atoms
