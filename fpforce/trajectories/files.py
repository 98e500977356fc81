"""Trajectory and topology files -> coordinates in nm, with every way a file can be unreadable named.

mdtraj reads the molecular formats, MDAnalysis some more (second_reader.py), numpy bare arrays (arrays.py);
unreadable.py has the words for what cannot be read.
"""

import glob
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.bonds_by_distance import SampleFrames
from fpforce.molecule.periodic import box_vectors_of, unfold
from fpforce.trajectories import second_reader
from fpforce.trajectories.atom_frames import AtomFrames, frames_without_box, has_volume, mean_box
from fpforce.trajectories.collected import steps_of
from fpforce.trajectories.file_notices import notices
from fpforce.trajectories.formats import format_of, readable, unpacked
from fpforce.trajectories.quiet import native_output_silenced
from fpforce.trajectories.streamed import medians
from fpforce.trajectories.text_boxes import give_boxes
from fpforce.trajectories.text_ends import whole_frames_before_end
from fpforce.trajectories.topology_files import put_right
from fpforce.trajectories.trr import frames_with_positions
from fpforce.trajectories.unreadable import FRAME_BY_FRAME, ends_within_a_frame, unreadable

if TYPE_CHECKING:
    import mdtraj

ARRAY_SUFFIXES = (".npy", ".npz")

_TOPOLOGY_INSIDE = (
    ".pdb", ".pdb.gz", ".gro", ".h5", ".hdf5", ".lh5", ".cif", ".pdbx", ".mmcif", ".gsd", ".cif.gz", ".pdbx.gz",
    ".mmcif.gz", ".arc",
)  # fmt: skip
_READ_WHOLE = (".gro", ".rst7", ".restrt", ".inpcrd", ".ncrst", ".arc")  # of these load_frame reads no frame
_TIME_INSIDE = (".xtc", ".trr", ".h5", ".hdf5", ".lh5", ".nc", ".netcdf", ".ncdf", ".dtr", ".stk", ".gro")


def existing_file(path: str | Path, what: str) -> Path:
    """The path as Path; InputError if there is no such file or it is empty."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{what} {path} is a folder: give a file in it")
    if not path.is_file():
        raise InputError(f"{what} {path} does not exist: check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{what} {path} is empty: make it anew")
    return path


def matching_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """A path or paths as a list of Path; what does not exist and holds *, ? or [ stands for all that it `matches`.

    Raises InputError for a pattern that matches nothing.
    """
    found = []
    for path in map(Path, [paths] if isinstance(paths, (str, Path)) else paths):
        here = matches(path) if glob.has_magic(str(path)) else [path]
        if not here:
            raise InputError(f"no file matches {path}: check the pattern")
        found.extend(here)
    return found


def matches(pattern: Path) -> list[Path]:
    """What a pattern stands for, by name. What exists stands for itself, as does a folder at its beginning; and [ ]
    are letters of names where nothing matches them otherwise.
    """
    if pattern.exists():
        return [pattern]
    folder = next((parent for parent in pattern.parents if parent.exists()), Path(pattern.anchor))
    rest = str(pattern.relative_to(folder))
    for inside in (rest, rest.replace("[", "[[]")):
        if found := glob.glob(str(Path(glob.escape(str(folder)), inside))):
            return sorted(map(Path, found))
    return []


def is_array(path: str | Path) -> bool:
    """Whether the file is a bare numpy array."""
    return format_of(path) in ARRAY_SUFFIXES


def holds_topology(path: str | Path) -> bool:
    """Whether files of this format name their own atoms."""
    return format_of(path) in _TOPOLOGY_INSIDE or second_reader.holds_topology(Path(path))


def load_frame(path: Path, index: int, topology: "mdtraj.Topology | None" = None) -> "mdtraj.Trajectory":
    """One frame (from 0) of a file as mdtraj.Trajectory; of those too that mdtraj.load_frame does not read.

    topology: for formats without one. Raises IndexError for a frame that is not there, and what mdtraj raises.
    """
    import mdtraj

    if topology is not None and second_reader.reads_trajectory(path):
        return second_reader.load_trajectory(path, topology, frames=index)
    if topology is None and second_reader.holds_topology(path):
        topology = second_reader.load_topology(path).topology
        frame = second_reader.load_trajectory(path, topology, frames=index)
        put_right(frame.topology, path)
        return frame
    arguments = {} if topology is None else {"top": topology}
    with readable(path) as name:
        if format_of(path) in _READ_WHOLE:
            frame = mdtraj.load(name, **arguments)[index]
        else:
            frame = mdtraj.load_frame(name, index, **arguments)
    give_boxes(frame, path, index)
    if topology is None:
        put_right(frame.topology, path)
    return frame


def sample_frames(path: Path, topology: "mdtraj.Topology") -> SampleFrames:
    """The first, middle and last frame of a trajectory as SampleFrames, of all its atoms; the first alone where the
    others cannot be reached. Frames without positions, or with some that are not finite, be it of water alone, are left
    out where others are. Raises what mdtraj raises.
    """
    import mdtraj

    with native_output_silenced():
        held = frames_with_positions(unpacked(path)) if format_of(path) == ".trr" else None
        if held is not None and held.any() and not held.all():  # of the others mdtraj gives whatever memory held
            numbers = np.flatnonzero(held)
            some = sorted({0, len(numbers) // 2, len(numbers) - 1})
            frames = [load_frame(path, int(numbers[k]), topology) for k in some]
        else:
            frames = [load_frame(path, 0, topology)]
            with suppress(Exception):  # what is wrong later in the file is named where it is read
                if second_reader.reads_trajectory(path):
                    count = second_reader.count_frames(path, topology.n_atoms)
                else:
                    with readable(path) as name, mdtraj.open(name) as file:
                        count = len(file)
                frames += [load_frame(path, index, topology) for index in sorted({count // 2, count - 1} - {0})]
    frames = [frame for frame in frames if np.isfinite(frame.xyz).all()] or frames
    xyz = np.concatenate([frame.xyz for frame in frames])
    boxes = [box for box in map(box_vectors_of, frames) if box is not None]
    vectors = np.concatenate(boxes) if len(boxes) == len(frames) else None
    if vectors is not None and not (there := has_volume(vectors)).all() and there.any():
        return SampleFrames(xyz[there], vectors[there])
    return SampleFrames(xyz, vectors)


def read_atoms(
    path: Path,
    topology: "mdtraj.Topology",
    atoms: Sequence[int],
    bonded: "mdtraj.Topology",
    stride: int,
    readable_frames: bool = False,
    links: Sequence[tuple[int, int]] = (),
) -> AtomFrames:
    """Positions in nm of some atoms of a trajectory, molecules made whole across its periodic box.

    Args:
        path: trajectory in any format of mdtraj.
        topology: mdtraj topology of all atoms in the file.
        atoms: sorted indices of the wanted atoms, whole molecules.
        bonded: mdtraj topology of these atoms with all their bonds.
        stride: take every stride-th frame.
        readable_frames: of a file that ends within a frame, as of a killed run, take the frames before it.
        links: pairs of the wanted atoms, counted among them, that are next to each other without a bond.
    """
    import mdtraj

    _refuse_scaled_coordinates(path)
    incomplete = False
    kept = frames_with_positions(unpacked(path)) if format_of(path) == ".trr" else None
    mixed = kept is not None and not kept.all()
    # mdtraj writes beyond its memory where it reads some atoms of some frames of a .trr.
    all_frames = mixed or format_of(path) == ".trr"
    try:
        if second_reader.reads_trajectory(path):
            part = second_reader.load_trajectory(path, topology, atoms, slice(None, None, stride))
        else:
            with native_output_silenced(), readable(path) as name:
                load_frame(path, 0, topology)
                if format_of(path) in _READ_WHOLE:
                    part = mdtraj.load(name, top=topology)[::stride].atom_slice(atoms)
                else:
                    part = mdtraj.load(name, top=topology, atom_indices=atoms, stride=1 if all_frames else stride)
                give_boxes(part, path, slice(None, None, stride))
                if stride > 1:
                    _read_end(path)
    except Exception as error:
        part = _complete_frames(path, topology, atoms) if readable_frames else None
        if part is None:
            raise unreadable(path, topology, error, readable_frames) from None
        give_boxes(part, path, slice(None))
        incomplete = True
        all_frames = True
    if kept is not None and mixed:
        part = part[np.flatnonzero(kept[: part.n_frames])[::stride]]
    elif all_frames:
        part = part[::stride]
    whole = whole_frames_before_end(path, topology.n_atoms)
    if whole is not None and not readable_frames:
        raise ends_within_a_frame(path, whole)
    if whole is not None:
        part, incomplete = part[: -(-whole // stride)], True
    announced = _frames_announced_by_dcd(path) if format_of(path) == ".dcd" else 0
    if part.n_frames < -(-announced // stride) and readable_frames:
        incomplete = True
    elif part.n_frames < -(-announced // stride):
        raise InputError(
            f"{path} is truncated: its header announces {announced} frames, {part.n_frames * stride} at most follow; "
            "copy it again, or set data.readable_frames = true to take the frames that are there"
        )
    if not part.n_frames:
        raise InputError(f"{path} holds no complete frame: truncated? make it anew")
    xyz = np.array(part.xyz, dtype=np.float32)
    vectors = box_vectors_of(part)
    unusual = notices(xyz, part.time if has_times(path) else None)
    problem = unfold(xyz, vectors, bonded, links) if np.isfinite(xyz).all() else None
    return AtomFrames(
        xyz,
        time_step(path, part.time),
        mean_box(vectors),
        problem,
        int((~kept).sum()) if kept is not None and mixed else 0,
        incomplete,
        unusual,
        without_box=frames_without_box(vectors),
    )


def _complete_frames(path: Path, topology: "mdtraj.Topology", atoms: Sequence[int]) -> "mdtraj.Trajectory | None":
    """The frames before one that cannot be read, as mdtraj.Trajectory; None where there are none, or the format is
    read as a whole alone.
    """
    import mdtraj

    form = format_of(path)
    if form not in FRAME_BY_FRAME:
        return None
    arguments = {"n_atoms": topology.n_atoms} if form == ".mdcrd" else {}
    frames = []
    with suppress(Exception), native_output_silenced(), readable(path) as name, mdtraj.open(name, **arguments) as file:
        while True:
            frame = file.read_as_traj(topology, n_frames=1, atom_indices=atoms)
            if not len(frame):
                break
            frames.append(frame)
    return mdtraj.join(frames, check_topology=False) if frames else None


def _refuse_scaled_coordinates(path: Path) -> None:
    """Refuse a LAMMPS dump whose columns are fractions of the box; mdtraj takes them for lengths."""
    if format_of(path) != ".lammpstrj":
        return
    with open(unpacked(path), errors="replace") as file:
        columns = next((line.split()[2:] for line in file if line.startswith("ITEM: ATOMS")), [])
    if not {"x", "xu"} & set(columns) and {"xs", "xsu"} & set(columns):
        raise InputError(
            f"{path} has scaled coordinates ({' '.join(c for c in columns if c[0] in 'xyz')}), fractions of the box: "
            "write x y z, or xu yu zu, with dump custom"
        )


def _read_end(path: Path) -> None:
    """Read the last frame and what follows it: with a stride mdtraj passes over a file that ends within a frame."""
    import mdtraj

    if format_of(path) in (".xtc", ".trr"):
        with readable(path) as name, mdtraj.open(name) as file:
            file.seek(len(file) - 1)
            file.read(2)


def has_times(path: Path) -> bool:
    """Whether frames of this format have times."""
    return format_of(path) in _TIME_INSIDE or second_reader.has_times(path)


def time_step(path: Path, time: np.ndarray) -> float | None:
    """Between frames at times (frames,) of a file, in ps; None where these are uneven, or the format has none."""
    if not has_times(path) or len(time) < 2:
        return None
    step = float(medians(lambda: (steps[:, None] for _, steps in steps_of(time)))[0])
    # float32 times of long trajectories are spaced unevenly in their last digits
    within = max(1e-3 * step, 1e-6 * float(time[-1]))
    even = step > 0.0 and all(np.allclose(steps, step, rtol=0.0, atol=within) for _, steps in steps_of(time))
    return step if even else None


def _frames_announced_by_dcd(path: Path) -> int:
    with open(unpacked(path), "rb") as file:
        head = file.read(12)
    if len(head) < 12:
        return 0
    order = "<" if struct.unpack("<i", head[:4])[0] == 84 else ">"
    return max(struct.unpack(order + "i", head[8:12])[0], 0)
