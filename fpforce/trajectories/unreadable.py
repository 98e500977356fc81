"""Why a file could not be read, in words: what it is instead, what is missing, what would do.

In: a path, the topology that it was to go with, and the error of its reader. Out: an InputError.
"""

import lzma
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fpforce.foundation.errors import InputError
from fpforce.trajectories import second_reader
from fpforce.trajectories.formats import format_of, packing_of, readable, unpacked
from fpforce.trajectories.quiet import native_output_silenced

if TYPE_CHECKING:
    import mdtraj

_TOPOLOGY_ALONE = (".psf", ".prmtop", ".parm7", ".prm7", ".top", ".itp", ".tpr", ".hoomdxml", ".xml")
FRAME_BY_FRAME = (
    ".xtc",
    ".trr",
    ".dcd",
    ".xyz",
    ".xyz.gz",
    ".mdcrd",
    ".lammpstrj",
)  # can be read up to where they are damaged
_HDF5 = (".h5", ".hdf5", ".lh5")
_ARCHIVES = (".zip", ".zst", ".7z", ".tar", ".tgz")


def is_topology_alone(path: str | Path) -> bool:
    """Whether files of this format have no coordinates."""
    return format_of(path) in _TOPOLOGY_ALONE


def unreadable(path: Path, topology: "mdtraj.Topology", error: Exception, from_the_start: bool = False) -> InputError:
    """The InputError that says why mdtraj could not read a trajectory with this topology.

    from_the_start: no frame comes before the damage.
    """
    if isinstance(error, InputError):
        return error
    if isinstance(error, ImportError):
        return InputError(f"{path}: {missing_package(error)}")
    import mdtraj

    if is_topology_alone(path):
        return InputError(
            f"{path} has no coordinates: it is a topology; give it as the topology, and a trajectory of its atoms"
        )
    if format_of(path) not in mdtraj.FormatRegistry.loaders and not second_reader.reads_trajectory(path):
        return InputError(
            f"{path} has extension {path.suffix or '(none)'!r}, and neither this nor the content tells a format that "
            f"can be read: {'unpack it, or ' if path.suffix.lower() in _ARCHIVES else ''}give an .xtc, .dcd, .trr, "
            ".nc, .h5, .gro, .lammpstrj or .pdb by its own name"
        )
    if format_of(path) in _HDF5 and _has_no_topology(path):
        return lacks_topology(path)
    held = _atoms_in(path)
    if held is not None and held != topology.n_atoms:
        return other_count(path, held, topology.n_atoms)
    if any(words in str(error) for words in ("might not contain the same atoms", "is likely incorrect")):
        return InputError(
            f"{path} holds another number of atoms than its topology ({topology.n_atoms}): give the topology of "
            "exactly these atoms"
        )
    return InputError(
        f"{path} cannot be read as a trajectory ({reason(error)}): truncated or damaged? copy it again, "
        f"{_what_is_left(path, from_the_start)}"
    )


def _what_is_left(path: Path, from_the_start: bool) -> str:
    """What else to do about a damaged file: to take the frames before the damage, where this can be."""
    if packing_of(path) and not _unpacks(path):
        return "or make it anew; of a packed file that is cut no frames can be taken"
    if format_of(path) not in FRAME_BY_FRAME:
        return "or make it anew; of this format the frames before the damage cannot be taken"
    if from_the_start:
        return "or make it anew; no whole frame comes before the damage"
    return "or set data.readable_frames = true to take the frames before the damage"


def _unpacks(path: Path) -> bool:
    try:
        unpacked(path)
    except (OSError, EOFError, lzma.LZMAError):
        return False
    return True


def ends_within_a_frame(path: Path, whole: int) -> InputError:
    """The InputError for a trajectory of so many whole frames and a part of one."""
    return InputError(
        f"{path} is truncated: it ends within a frame, after {whole} whole ones; copy it again, or set "
        "data.readable_frames = true to take these"
    )


def lacks_topology(path: Path) -> InputError:
    """The InputError for a file in mdtraj's HDF5 that does not name its atoms, which mdtraj cannot do without."""
    return InputError(
        f"{path} has no topology inside, without which its format is not read: write it with mdtraj.Trajectory(xyz, "
        "topology).save(...), or give its coordinates as .xtc, .dcd or .npz with a topology file"
    )


def _has_no_topology(path: Path) -> bool:
    import mdtraj

    with suppress(Exception), native_output_silenced(), readable(path) as name, mdtraj.open(name) as file:
        return file.topology is None
    return False


def other_count(path: Path, held: int, expected: int) -> InputError:
    """The InputError for a trajectory of another number of atoms than its topology's."""
    return InputError(
        f"{path} holds {held} atoms, but its topology has {expected}: give the topology of exactly these atoms"
    )


def missing_package(error: ImportError) -> str:
    """What to install, in words, to read a file of which reading raised the error."""
    name = error.name or next(iter(re.findall(r'"(\w+)" package', str(error))), "")
    if not name:
        return f"reading this format needs a package that is not installed: {reason(error)}"
    return f"reading this format needs the package {name}: pip install {name}"


def reason(error: Exception) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" #\t")]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _atoms_in(path: Path) -> int | None:
    """Number of atoms that the file itself claims, or None where mdtraj cannot tell."""
    import mdtraj

    try:
        with native_output_silenced(), readable(path) as name, mdtraj.open(name) as file:
            first = file.read(1)
        return int((first[0] if isinstance(first, tuple) else first).shape[1])
    except Exception:
        return None
