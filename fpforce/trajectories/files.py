"""Trajectory and topology files -> coordinates in nm, with every way a file can be unreadable named.

mdtraj reads the molecular formats; numpy reads bare arrays, whose unit the caller must declare.
"""

import glob
import struct
import zipfile
from pathlib import Path

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.periodic import make_whole
from fpforce.trajectories.quiet import native_output_silenced

ARRAY_SUFFIXES = (".npy", ".npz")
NM_PER = {"nm": 1.0, "angstrom": 0.1}

_TOPOLOGY_INSIDE = (".pdb", ".pdb.gz", ".gro", ".h5", ".hdf5", ".lh5", ".cif", ".pdbx", ".mmcif", ".mol2", ".gsd")
_TIME_INSIDE = (".xtc", ".trr", ".h5", ".hdf5", ".lh5", ".nc", ".netcdf", ".ncdf", ".dtr", ".stk", ".gro")


def existing_file(path, what):
    """The path as Path; InputError if there is no such file or it is empty."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{what} {path} is a folder: give a file in it")
    if not path.is_file():
        raise InputError(f"{what} {path} does not exist: check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{what} {path} is empty: make it anew")
    return path


def matching_files(paths):
    """A path or paths as a list of Path; what does not exist and holds *, ? or [ stands for all that it matches, by
    name.

    Raises InputError for a pattern that matches nothing.
    """
    found = []
    for path in map(Path, [paths] if isinstance(paths, (str, Path)) else paths):
        if path.exists() or not glob.has_magic(str(path)):
            found.append(path)
            continue
        matches = sorted(map(Path, glob.glob(str(path))))
        if not matches:
            raise InputError(f"no file matches {path}: check the pattern")
        found.extend(matches)
    return found


def is_array(path):
    """Whether the file is a bare numpy array."""
    return path.suffix in ARRAY_SUFFIXES


def holds_topology(path):
    """Whether files of this format name their own atoms."""
    return path.name.lower().endswith(_TOPOLOGY_INSIDE)


def read_topology(path):
    """mdtraj.Topology of a file; InputError if mdtraj cannot read it."""
    import mdtraj

    path = existing_file(path, "topology")
    try:
        return mdtraj.load_topology(str(path))
    except Exception as error:
        raise InputError(f"topology {path} cannot be read: {_reason(error)}; give a PDB, GRO, PRMTOP or PSF") from None


def load_frame(path, index, topology=None):
    """One frame (from 0) of a file as mdtraj.Trajectory; of GRO files too, which mdtraj.load_frame does not read.

    topology: for formats without one. Raises IndexError for a frame that is not there, and what mdtraj raises.
    """
    import mdtraj

    arguments = {} if topology is None else {"top": topology}
    if path.suffix.lower() == ".gro":
        return mdtraj.load(str(path), **arguments)[index]
    return mdtraj.load_frame(str(path), index, **arguments)


def read_array(path, length_unit, stride):
    """Positions (frames, atoms, 3) in nm of an .npy, or of an .npz holding `positions` or one 3-d array.

    Args:
        length_unit: "nm" or "angstrom".
        stride: take every stride-th frame.
    """
    try:
        content = np.load(path)
        array = content if isinstance(content, np.ndarray) else _positions_in(content, path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as a numpy file ({_reason(error)}): truncated? make it anew") from None
    if array.ndim != 3 or array.shape[-1] != 3 or not len(array) or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"{path} holds {array.dtype} of shape {array.shape}: positions must be floating-point (frames, beads, 3)"
        )
    return (array[::stride] * NM_PER[length_unit]).astype(np.float32)


def read_atoms(path, topology, atoms, stride):
    """Positions in nm of some atoms of a trajectory, molecules made whole across its periodic box.

    Args:
        path: trajectory in any format of mdtraj.
        topology: mdtraj topology of all atoms in the file.
        atoms: sorted indices of the wanted atoms, whole molecules.
        stride: take every stride-th frame.

    Returns:
        (frames, len(atoms), 3) float32, and the time between frames in ps (None if the format does not say).
    """
    import mdtraj

    try:
        with native_output_silenced():
            load_frame(path, 0, topology)
            part = mdtraj.load(str(path), top=topology, atom_indices=atoms, stride=stride)
            if stride > 1:
                _read_end(path)
    except ImportError as error:
        raise InputError(
            f"{path}: reading this format needs a package that is not installed: {_reason(error)}"
        ) from None
    except Exception as error:
        held = _atoms_in(path)
        if held not in (None, topology.n_atoms):
            raise InputError(
                f"{path} holds {held} atoms, but its topology has {topology.n_atoms}: give the topology of exactly "
                "these atoms"
            ) from None
        if "might not contain the same atoms" in str(error):
            raise InputError(
                f"{path} holds another number of atoms than its topology ({topology.n_atoms}): give the topology of "
                "exactly these atoms"
            ) from None
        raise InputError(
            f"{path} cannot be read as a trajectory ({_reason(error)}): truncated or damaged? cut it to its readable "
            "frames or copy it again"
        ) from None
    announced = _frames_announced_by_dcd(path) if path.suffix.lower() == ".dcd" else 0
    if part.n_frames < -(-announced // stride):
        raise InputError(
            f"{path} is truncated: its header announces {announced} frames, {part.n_frames * stride} at most follow; "
            "copy it again, or write the frames that are there into a new file"
        )
    if not part.n_frames:
        raise InputError(f"{path} holds no complete frame: truncated? make it anew")
    xyz = np.array(part.xyz, dtype=np.float32)
    if part.unitcell_vectors is not None and np.all(np.abs(np.linalg.det(part.unitcell_vectors)) > 0.0):
        make_whole(xyz, part.unitcell_vectors, part.topology)
    return xyz, _time_step(path, part.time)


def _read_end(path):
    """Read the last frame and what follows it: with a stride mdtraj passes over a file that ends within a frame."""
    import mdtraj

    if path.suffix.lower() in (".xtc", ".trr"):
        with mdtraj.open(str(path)) as file:
            file.seek(len(file) - 1)
            file.read(2)


def _positions_in(npz, path):
    with npz:
        if "positions" in npz.files:
            return npz["positions"]
        arrays = [array for array in (npz[name] for name in npz.files) if array.ndim == 3]
        if len(arrays) != 1:
            raise InputError(f"{path} holds {sorted(npz.files)}: name the array of (frames, beads, 3) `positions`")
        return arrays[0]


def _time_step(path, time):
    if not path.name.lower().endswith(_TIME_INSIDE) or len(time) < 2:
        return None
    steps = np.diff(np.asarray(time, dtype=np.float64))
    step = float(np.median(steps))
    # float32 times of long trajectories are spaced unevenly in their last digits
    return step if step > 0.0 and np.allclose(steps, step, rtol=0.0, atol=max(1e-3 * step, 1e-6 * time[-1])) else None


def _frames_announced_by_dcd(path):
    head = path.open("rb").read(12)
    if len(head) < 12:
        return 0
    order = "<" if struct.unpack("<i", head[:4])[0] == 84 else ">"
    return max(struct.unpack(order + "i", head[8:12])[0], 0)


def _atoms_in(path):
    """Number of atoms that the file itself claims, or None where mdtraj cannot tell."""
    import mdtraj

    try:
        with native_output_silenced(), mdtraj.open(str(path)) as file:
            first = file.read(1)
        return int((first[0] if isinstance(first, tuple) else first).shape[1])
    except Exception:
        return None


def _reason(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" #\t")]
    return lines[0].rstrip(".") if lines else type(error).__name__
