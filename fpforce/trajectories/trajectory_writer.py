"""Trajectory files that can be appended to, cut back, and read at any moment: .xtc, .dcd and .h5.

mdtraj writes the frames. Its XTC and DCD files cannot be reopened for writing, but frames of both formats are
self-contained blocks of bytes: each batch of frames is written by mdtraj to a scratch file and its bytes go to the end
of the trajectory. Cutting back to a checkpoint is then a truncation. These files grow in place, under their own names;
what makes an unfinished one safe is the checkpoint, which says how much of it is whole.
"""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.trajectories.collected import pieces_of


def open_trajectory(path: str | Path, beads: BeadTable, kept: int = 0) -> "_BlockTrajectory | _Hdf5Trajectory":
    """The writer for `path`, chosen by its extension.

    beads: the BeadTable of every frame.
    kept: 0 starts a new file; a value of an earlier writer's `extent` keeps the file up to there and drops the rest.
    Raises InputError for an unknown extension.
    """
    writer = _WRITERS[check_extension(path)]
    return writer(Path(path), beads, kept)


def check_extension(path: str | Path) -> str:
    """The extension of `path` if frames can be written in that format, else InputError."""
    extension = Path(path).suffix.lower()
    if extension not in _WRITERS:
        raise InputError(f"output {path} has extension {extension or '(none)'!r}; choose one of {', '.join(_WRITERS)}")
    if extension == ".h5":
        try:
            import tables  # noqa: F401
        except ImportError:
            raise InputError(
                f"output {path}: .h5 needs PyTables (pip install tables); or choose .xtc or .dcd"
            ) from None
    return extension


def write_xtc(path: Path, positions_nm: np.ndarray, step_ps: float, first: int = 0) -> None:
    """Write a whole .xtc of positions (F, n, 3) nm, so many ps apart, a piece at a time; `first` is the number of the
    first frame, by which its time goes. OSError for a full disk, of which mdtraj says nothing.
    """
    written = 0
    with open(path, "wb") as file:
        for piece in pieces_of(positions_nm):
            numbers = np.arange(written, written + len(piece))
            file.write(_xtc_bytes(piece, step_ps * (first + numbers), step=numbers.astype(np.int32)))
            written += len(piece)


def _xtc_bytes(positions_nm: np.ndarray, times_ps: np.ndarray, **more: np.ndarray) -> bytes:
    from mdtraj.formats import XTCTrajectoryFile

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder, "frames.xtc")
        try:
            with XTCTrajectoryFile(str(scratch), "w") as writer:
                writer.write(np.asarray(positions_nm, np.float32), time=np.asarray(times_ps, np.float32), **more)
        except RuntimeError as error:  # as mdtraj has it where the disk is full
            raise OSError(errno.ENOSPC, f"temporary files cannot be written ({error})", str(scratch)) from error
        with XTCTrajectoryFile(str(scratch)) as written:
            _require_complete(len(written.read()[0]) == len(positions_nm), scratch)
        return scratch.read_bytes()


class _BlockTrajectory:
    """A file of self-contained frame blocks; `extent` is its length in bytes."""

    def __init__(self, path: Path, beads: BeadTable, kept: int) -> None:
        self._path = path
        self._file = open(path, "r+b" if kept else "w+b", buffering=0)
        if kept and os.fstat(self._file.fileno()).st_size < kept:
            self._file.close()
            raise InputError(f"{path} is shorter than its checkpoint says ({kept} bytes); start again with --overwrite")
        self._file.truncate(kept)
        self.extent = kept

    def append(self, positions_nm: np.ndarray, times_ps: np.ndarray, steps: np.ndarray) -> None:
        """Add frames: positions (F, n, 3) nm, times (F,) ps, steps (F,). A failed write leaves the file as it was."""
        try:
            self._write_all(self._encode(positions_nm, times_ps, steps))
        except OSError:
            self._file.truncate(self.extent)
            raise
        self.extent = self._file.seek(0, os.SEEK_END)

    def sync(self) -> None:
        """Bring all to the disk; FileNotFoundError where the file was removed or replaced meanwhile."""
        os.fsync(self._file.fileno())
        if not os.path.samestat(os.stat(str(self._path)), os.fstat(self._file.fileno())):
            raise FileNotFoundError(errno.ENOENT, "replaced by another file meanwhile", str(self._path))

    def close(self) -> None:
        self._file.close()

    def _encode(self, positions_nm: np.ndarray, times_ps: np.ndarray, steps: np.ndarray) -> bytes:
        """The frames as bytes of the format."""
        raise NotImplementedError

    def _write_all(self, data: bytes) -> None:
        self._file.seek(self.extent)
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[self._file.write(remaining) :]


class _XtcTrajectory(_BlockTrajectory):
    def _encode(self, positions_nm: np.ndarray, times_ps: np.ndarray, steps: np.ndarray) -> bytes:
        # A zero box says "no periodic cell"; mdtraj's default is a cell of 1 nm.
        box = np.zeros((len(positions_nm), 3, 3), np.float32)
        return _xtc_bytes(positions_nm, times_ps, step=np.asarray(steps % 2**31, np.int32), box=box)


class _DcdTrajectory(_BlockTrajectory):
    """DCD has no times; its header holds the number of frames, kept up to date here."""

    _HEADER_BYTES = 276
    _FRAMES_AT, _LAST_STEP_AT = 8, 20

    def __init__(self, path: Path, beads: BeadTable, kept: int) -> None:
        super().__init__(path, beads, kept)
        self._frame_bytes = 3 * (4 * len(beads) + 8)
        if kept:
            self._update_header()

    def append(self, positions_nm: np.ndarray, times_ps: np.ndarray, steps: np.ndarray) -> None:
        super().append(positions_nm, times_ps, steps)
        self._update_header()

    def _encode(self, positions_nm: np.ndarray, times_ps: np.ndarray, steps: np.ndarray) -> bytes:
        from mdtraj.formats import DCDTrajectoryFile

        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder, "frames.dcd")
            with DCDTrajectoryFile(str(scratch), "w") as writer:
                writer.write(10 * np.asarray(positions_nm, np.float32))
            data = scratch.read_bytes()
        _require_complete(len(data) == self._HEADER_BYTES + len(positions_nm) * self._frame_bytes, scratch)
        return data[self._HEADER_BYTES :] if self.extent else data

    def _update_header(self) -> None:
        frames = (self.extent - self._HEADER_BYTES) // self._frame_bytes
        for offset in (self._FRAMES_AT, self._LAST_STEP_AT):
            os.pwrite(self._file.fileno(), int(frames).to_bytes(4, "little"), offset)


class _Hdf5Trajectory:
    """mdtraj's HDF5 format, open only while frames are written; `extent` is its number of frames.

    A process killed in the very moment of writing can leave an HDF5 file unreadable; .xtc and .dcd do not have this.
    """

    def __init__(self, path: Path, beads: BeadTable, kept: int) -> None:
        self._path, self._beads, self.extent = path, beads, kept
        if not kept:
            from mdtraj.formats import HDF5TrajectoryFile

            with HDF5TrajectoryFile(str(path), "w") as file:
                file.topology = beads.to_mdtraj()
            return
        import tables

        with tables.open_file(str(path), "r+") as file:
            if file.root.coordinates.nrows < kept:
                raise InputError(
                    f"{path} is shorter than its checkpoint says ({kept} frames); start again with --overwrite"
                )
            file.root.coordinates.truncate(kept)
            file.root.time.truncate(kept)

    def append(self, positions_nm: np.ndarray, times_ps: np.ndarray, steps: np.ndarray) -> None:
        """Add frames: positions (F, n, 3) nm, times (F,) ps."""
        from mdtraj.formats import HDF5TrajectoryFile

        positions_nm = np.asarray(positions_nm, np.float32)
        # HDF5 cannot undo a failed write, so the space is checked first.
        disk = os.statvfs(self._path.parent)
        if disk.f_bavail * disk.f_frsize < 2 * positions_nm.nbytes + 2**20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        with HDF5TrajectoryFile(str(self._path), "a") as file:
            file.write(positions_nm, time=np.asarray(times_ps, np.float32))
        self.extent += len(positions_nm)

    def sync(self) -> None:
        with open(self._path, "rb") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        pass


_WRITERS: dict[str, type[_BlockTrajectory] | type[_Hdf5Trajectory]] = {
    ".xtc": _XtcTrajectory,
    ".dcd": _DcdTrajectory,
    ".h5": _Hdf5Trajectory,
}


def _require_complete(complete: bool, scratch: Path) -> None:
    """mdtraj does not report a full disk: a scratch file that is not whole is taken as one."""
    if not complete:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(scratch.parent))
