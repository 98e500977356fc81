"""Forces that come with trajectories -> forces on the beads, in kJ/mol/nm.

In: arrays of forces beside the trajectories, one file each. Out: BeadForces, frame by frame those of the BeadFrames.
What cannot be right (another shape, an unknown unit, NaN, constraints that the map does not respect) is refused here;
whether the numbers fit the positions is judged by fpforce.trajectories.virial.
"""

import hashlib
import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import numpy_file
from fpforce.trajectories.arrays import ArrayReader, opened
from fpforce.trajectories.collected import Collected
from fpforce.trajectories.files import existing_file, is_array
from fpforce.trajectories.force_map import (
    MappedAtoms,
    group_weights,
    optimal_weights,
    refuse_joined_beads,
    refuse_undeclared_constraints,
    rigid_groups,
)
from fpforce.trajectories.formats import unpacked

logger = logging.getLogger("fpforce")

_BYTES_AT_ONCE = 64 << 20  # of forces on all atoms
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
    folder: where forces are collected, instead of in memory.
    """

    def __init__(
        self,
        files: ForceFiles,
        atoms: MappedAtoms,
        points: int,
        stride: int,
        trajectories: int,
        folder: Path | None = None,
    ) -> None:
        if len(files.paths) != trajectories:
            raise InputError(f"{len(files.paths)} files of forces for {trajectories} trajectories: give one for each")
        self.files, self.atoms, self.points, self.stride = files, atoms, points, stride
        self._forces, self._variances = Collected(folder, "forces"), Collected(folder, "variances")
        self._added = self._with_variances = 0
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

    def add(self, trajectory: Path, frames: int, xyz: np.ndarray) -> None:
        """Read the forces that belong to `trajectory`, the next one, of so many frames, of which xyz (some, atoms, 3)
        in nm are the first.
        """
        number = self._added
        self.refuse_other_frames(number, trajectory, frames)
        self.refuse_rigid_bonds(number, xyz)
        for forces in self.pieces(number, 0, frames):
            self._forces.add(forces)
        if self.has_variances(number):
            self._with_variances += 1
            for variances in self.variance_pieces(number, 0, self._frames_at_once):
                self._variances.add(variances)
        self._added += 1

    def refuse_other_frames(self, number: int, trajectory: Path, frames: int) -> None:
        """InputError unless the forces of a trajectory are of so many frames as were read of it."""
        path = self.files.paths[number]
        with self._opened(path) as array:
            found = -(-array.shape[0] // self.stride)
        if found != frames:
            after = f" after data.stride = {self.stride}" if self.stride > 1 else ""
            raise InputError(
                f"{path} holds forces of {found} frames{after}, and {trajectory} has {frames}: give the forces "
                "of exactly the trajectory's frames"
            )

    def refuse_rigid_bonds(self, number: int, xyz: np.ndarray) -> None:
        """InputError where atoms xyz (frames, atoms, 3) in nm of a trajectory are held by constraints that the map does
        not know.
        """
        path = self.files.paths[number]
        with self._opened(path) as array:
            of_atoms = array.shape[1] == self.points
        if of_atoms:
            refuse_undeclared_constraints(self.atoms, self.weights, xyz, path)

    def pieces(self, number: int, skip: int, frames: int) -> Iterator[np.ndarray]:
        """Forces on the beads, float32 (frames, beads, 3) in kJ/mol/nm, of the trajectory of this number from the frame
        `skip` on, at most so many at once.
        """
        for forces, of_atoms in self._read(self.files.paths[number], skip, frames):
            mapped = np.einsum("na,fad->fnd", self.weights, forces, optimize=True) if of_atoms else forces
            yield mapped.astype(np.float32)

    def has_variances(self, number: int) -> bool:
        """Whether the file of this trajectory holds forces that are averages, with their variances."""
        path = self.files.paths[number]
        with self._opened(path) as array:
            mapped = array.shape[1] == len(self.atoms.groups)
        if not mapped or not zipfile.is_zipfile(path):
            return False
        with numpy_file(path) as content:
            return "force_variances" in content.files

    def variance_pieces(self, number: int, skip: int, frames: int) -> Iterator[np.ndarray]:
        """Variances of averaged forces, float32 (frames, beads, 3) in (kJ/mol/nm)^2, as `pieces`."""
        path = self.files.paths[number]
        with self._opened(path) as array:
            shape = array.shape
        with self._opened(path, "force_variances") as array:
            for start in range(skip * self.stride, max(array.shape[0], 1), frames * self.stride):
                found = array.read(start, frames * self.stride)[:: self.stride].astype(np.float64)
                if array.shape != shape or not np.isfinite(found).all() or (found < 0.0).any():
                    raise InputError(
                        f"{path}: force_variances of shape {array.shape} must be finite, not negative, and of the "
                        f"shape {shape} of the forces: mend them, or leave them out"
                    )
                yield (found * KJ_PER_MOL_NM[self.files.unit] ** 2).astype(np.float32)

    def collected(self) -> BeadForces:
        """All that was added."""
        return BeadForces(
            self._forces.array(),
            tuple(map(str, self.files.paths)),
            self.sha256(),
            self.files.unit,
            self._variances.array() if self._with_variances == self._added else None,
        )

    def sha256(self) -> str:
        """Of the files' contents in order."""
        digest = hashlib.sha256()
        for path in self.files.paths:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    def _covariance(self, rigid: list[list[int]]) -> np.ndarray:
        """Sum over all frames of the dot products between the forces on the rigid groups, (groups, groups)."""
        total, frames = np.zeros((len(rigid), len(rigid))), 0
        for path in self.files.paths:
            for forces, of_atoms in self._read(path, 0, self._frames_at_once):
                if of_atoms:
                    groups = np.stack([forces[:, members].sum(1) for members in rigid], 1)
                    total += np.tensordot(groups, groups, ([0, 2], [0, 2]))
                    frames += len(forces)
        free = len(rigid) > len(self.atoms.groups)  # else there is one valid map, and nothing to fit
        if free and frames and _COMPONENTS_A_WEIGHT * len(rigid) > 3 * frames:
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

    @property
    def _frames_at_once(self) -> int:
        return max(1, _BYTES_AT_ONCE // (24 * max(self.points, 1)))

    def _read(self, path: Path, skip: int, frames: int) -> Iterator[tuple[np.ndarray, bool]]:
        """Forces of a file in kJ/mol/nm, float64 (frames, atoms or beads, 3), and whether they are of the atoms."""
        at_once = min(frames, self._frames_at_once)
        with self._opened(path) as array:
            of_atoms = array.shape[1] == self.points
            for start in range(skip * self.stride, array.shape[0], at_once * self.stride):
                content = array.read(start, at_once * self.stride)[:: self.stride]
                forces = (content[:, self.atoms.indices] if of_atoms else content).astype(np.float64)
                finite = np.isfinite(forces).all(axis=(1, 2))
                if not finite.all():
                    frame = start + int(np.argmin(finite)) * self.stride
                    raise InputError(
                        f"{path}: the forces of frame {frame} (counted from 0) are NaN or infinite: leave the frame "
                        "out, of the trajectory too"
                    )
                yield forces * KJ_PER_MOL_NM[self.files.unit], of_atoms

    @contextmanager
    def _opened(self, path: Path, name: str = "forces") -> Iterator["ArrayReader | _WholeArray"]:
        """The array of forces, or of their variances; InputError for one that cannot be such."""
        path = existing_file(path, "forces")
        if not is_array(path):
            raise InputError(f"forces {path}: only .npy and .npz arrays hold forces: write them into one")
        with opened(path, name) as reader:
            array = reader or _WholeArray(path, name)
            beads, shape = len(self.atoms.groups), array.shape
            if (
                len(shape) != 3
                or shape[1] not in (self.points, beads)
                or shape[2] != 3
                or not np.issubdtype(array.dtype, np.floating)
            ):
                allowed = f"{self.points}" if beads == self.points else f"{self.points} (atoms) or {beads} (beads)"
                raise InputError(
                    f"{path} holds {name} as {array.dtype} of shape {shape}: they must be floating-point "
                    f"(frames, points, 3) with {allowed} points, as the trajectory has"
                )
            yield array


class _WholeArray:
    """An array that can be read as a whole alone, such as one in Fortran's order, with the methods of ArrayReader."""

    def __init__(self, path: Path, name: str) -> None:
        try:
            with numpy_file(unpacked(path)) as content:
                self._content = content if isinstance(content, np.ndarray) else content[name]
        except (OSError, ValueError, EOFError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise InputError(f"{path} cannot be read as a numpy file ({reason}): truncated? make it anew") from None
        self.shape, self.dtype = self._content.shape, self._content.dtype

    def read(self, first: int, count: int) -> np.ndarray:
        return self._content[first : first + count]
