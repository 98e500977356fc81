"""Trajectories read a piece at a time, so that memory does not grow with their length.

In: a file, the source that knows its atoms, and how many frames to hold at once. Out: AtomFrames of consecutive pieces.
Formats of mdtraj that can be read from any frame on, .npy and .npz arrays, are read in pieces; others as one.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.periodic import box_vectors_of, unfold
from fpforce.trajectories import arrays
from fpforce.trajectories.arrays import NM_PER, check_positions
from fpforce.trajectories.atom_frames import AtomFrames, frames_without_box, mean_box
from fpforce.trajectories.file_notices import notices
from fpforce.trajectories.files import has_times, is_array, time_step
from fpforce.trajectories.formats import format_of, readable
from fpforce.trajectories.quiet import native_output_silenced
from fpforce.trajectories.sources import ListedBeads, MappedFiles
from fpforce.trajectories.trr import frames_with_positions
from fpforce.trajectories.unreadable import unreadable

if TYPE_CHECKING:
    import mdtraj

_IN_PIECES = (".xtc", ".dcd", ".trr", ".h5", ".nc")


def read_chunks(
    source: ListedBeads | MappedFiles,
    path: Path,
    length_unit: str | None,
    stride: int,
    frames: int,
    skip: int = 0,
    readable_frames: bool = False,
) -> Iterator[AtomFrames]:
    """Every stride-th frame of a file, at most so many at once, from number `skip` of these on.

    readable_frames: as of `source.read`; how many can be read is known when the file has been read as a whole.
    Raises InputError as `source.read` does.
    """
    if is_array(path):
        yield from _array_chunks(source, path, length_unit, stride, frames, skip)
    elif isinstance(source, MappedFiles) and not readable_frames and _in_pieces(path):
        yield from _mdtraj_chunks(source, path, stride, frames, skip)
    else:
        yield from _parts_of_whole(source, path, length_unit, stride, frames, skip, readable_frames)


def joined(path: Path, pieces: Sequence[AtomFrames], frames: Sequence[int], times_ps: np.ndarray | None) -> AtomFrames:
    """What the pieces of a file, of so many frames each, say together besides coordinates, which they do not hold.
    times_ps: of all frames, or None where the format has none or each piece says what the whole says.
    """
    first = pieces[0]
    boxes = {number: piece.box for number, piece in enumerate(pieces) if piece.box is not None}
    counts = [frames[number] for number in boxes]
    coordinates = next((piece.notices for piece in pieces if piece.notices), ())
    together = replace(
        first,
        times_ps=None,
        box=tuple(np.average(list(boxes.values()), axis=0, weights=counts)) if boxes else None,
        without_box=sum(piece.without_box for piece in pieces) + sum(frames) - sum(counts) if boxes else 0,
        box_problem=next((piece.box_problem for piece in pieces if piece.box_problem), None),
        notices=coordinates,
    )
    if times_ps is None:
        return together
    return replace(
        together, time_step_ps=time_step(path, times_ps), notices=(*notices(first.xyz, times_ps), *coordinates)
    )


def count_frames(source: ListedBeads | MappedFiles, path: Path, length_unit: str | None) -> int:
    """Frames of a file, by its header or by passing over it where the format allows; InputError as `read_chunks`."""
    if is_array(path):
        with arrays.opened(path) as array:
            if array is not None:
                check_positions(array.shape, array.dtype, path)
                return array.shape[0]
    if not (isinstance(source, MappedFiles) and _in_pieces(path)):
        return len(source.read(path, length_unit, 1).xyz)
    import mdtraj

    try:
        with native_output_silenced(), readable(path) as name, mdtraj.open(name) as file:
            return len(file)
    except Exception as error:
        raise unreadable(path, source.whole.topology, error) from None


def _in_pieces(path: Path) -> bool:
    if format_of(path) == ".trr":
        kept = frames_with_positions(path)
        return kept is None or bool(kept.all())
    return format_of(path) in _IN_PIECES


def _array_chunks(
    source: ListedBeads | MappedFiles, path: Path, length_unit: str | None, stride: int, frames: int, skip: int
) -> Iterator[AtomFrames]:
    assert length_unit is not None  # of an array it is declared
    with arrays.opened(path) as array:
        if array is not None:
            check_positions(array.shape, array.dtype, path)
            if array.shape[1] != source.n_points:
                raise InputError(
                    f"{path} holds {array.shape[1]} points per frame, but the topology or bead list has "
                    f"{source.n_points}"
                )
            atoms = source.indices if isinstance(source, MappedFiles) else slice(None)
            for start in range(skip * stride, array.shape[0], frames * stride):
                piece = array.read(start, frames * stride)[::stride]
                yield AtomFrames((piece[:, atoms] * NM_PER[length_unit]).astype(np.float32))
            return
    yield from _parts_of_whole(source, path, length_unit, stride, frames, skip)


def _parts_of_whole(
    source: ListedBeads | MappedFiles,
    path: Path,
    length_unit: str | None,
    stride: int,
    frames: int,
    skip: int,
    readable_frames: bool = False,
) -> Iterator[AtomFrames]:
    """Of a file that can be read as a whole alone; each says what the whole says."""
    whole = source.read(path, length_unit, stride, readable_frames)
    for start in range(skip, len(whole.xyz), frames):
        yield replace(whole, xyz=whole.xyz[start : start + frames], without_box=whole.without_box * (start == skip))


def _mdtraj_chunks(source: MappedFiles, path: Path, stride: int, frames: int, skip: int) -> Iterator[AtomFrames]:
    import mdtraj

    read = 0
    try:
        with readable(path) as name, ExitStack() as open_files:
            with native_output_silenced():
                file = open_files.enter_context(mdtraj.open(name))
            if skip:
                file.seek(skip * stride)
            while len(part := _next(file, source, frames * stride)):
                read += len(part)
                yield _whole(part[::stride], source, path)
            announced = len(file) if format_of(path) == ".dcd" else 0
    except InputError:
        raise
    except Exception as error:
        raise unreadable(path, source.whole.topology, error) from None
    if not read and not skip:
        raise InputError(f"{path} holds no complete frame: truncated? make it anew")
    if read + skip * stride < announced:
        raise InputError(
            f"{path} is truncated: its header announces {announced} frames, {read + skip * stride} follow; copy it "
            "again"
        )


def _next(file: object, source: MappedFiles, frames: int) -> "mdtraj.Trajectory":
    own_topology = () if hasattr(file, "topology") else (source.whole.topology,)  # HDF5 files have one
    with native_output_silenced():
        return file.read_as_traj(*own_topology, n_frames=frames, atom_indices=np.asarray(source.indices))  # type: ignore[attr-defined]


def _whole(part: "mdtraj.Trajectory", source: MappedFiles, path: Path) -> AtomFrames:
    """Molecules made whole across the periodic box, as of a file that is read at once."""
    xyz = np.array(part.xyz, dtype=np.float32)
    vectors = box_vectors_of(part)
    unusual = notices(xyz, None)
    problem = unfold(xyz, vectors, source.topology, source.links) if np.isfinite(xyz).all() else None
    times = np.array(part.time) if has_times(path) else None
    return AtomFrames(
        xyz,
        time_step(path, part.time),
        mean_box(vectors),
        problem,
        notices=unusual,
        times_ps=times,
        without_box=frames_without_box(vectors),
    )
