"""The one frame from which every replica of a simulation starts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.transferable.bound import BoundForceField
from fpforce.foundation.errors import InputError
from fpforce.molecule.chirality import d_residues
from fpforce.molecule.periodic import box_vectors_of, whole_frame
from fpforce.simulation.replicas import BondLimits
from fpforce.trajectories.files import existing_file, holds_topology, load_frame
from fpforce.trajectories.formats import format_of, readable
from fpforce.trajectories.several_chains import whole_beads
from fpforce.trajectories.text_boxes import give_boxes
from fpforce.trajectories.topology_files import read_topology

if TYPE_CHECKING:
    import mdtraj


def read_start_frame(
    force_field: ForceField, start: str | Path | np.ndarray | None = None, topology: str | Path | None = None
) -> tuple[np.ndarray, dict]:
    """Positions (n, 3) in nm, float64, centred (in the plane: at z = 0), with a record of where they come from.

    start: None takes the model's own start frame; `FILE` or `FILE:index` (from 0, negative from the end) takes that
        frame of any file mdtraj reads, of the beads or of the source molecule; an (n, 3) array is used as it is. Of a
        transferable force field the beads may be in another order.
    topology: a topology file, for trajectory formats without one; without it they must hold the beads.
    Raises InputError when the file cannot be read or the frame does not fit the beads.
    """
    own_nm = force_field.positions_nm
    if start is None and own_nm is None:
        raise InputError(
            f"the topology that {force_field.path} was bound to has no coordinates to start from; give a frame "
            "(--start)"
        )
    record: dict[str, Any]
    if isinstance(start, str | Path):
        path, index = _split_index(str(start))
        positions_nm = _read(force_field, path, index, topology)
        record = {"source": path, "frame": index}
    elif start is not None:
        positions_nm, record = np.asarray(start, dtype=float), {"source": "array", "frame": None}
    else:
        positions_nm = np.asarray(own_nm)
        record = {"source": force_field.metadata.get("bound_to", "model"), "frame": None}
    if positions_nm.shape != (len(force_field.beads), 3):
        raise InputError(
            f"start frame: positions of shape {positions_nm.shape} do not fit the "
            f"{len(force_field.beads)} beads of {force_field.path}"
        )
    problem = BondLimits.of(force_field).broken(positions_nm[None])
    if problem:
        raise InputError(f"start frame from {record['source']}: {problem[0]}; check the frame, and that its unit is nm")
    positions_nm = np.asarray(positions_nm, dtype=float)
    return force_field.space.project(positions_nm), record


def _split_index(start: str) -> tuple[str, int]:
    """`file:index` -> (file, index); the index is 0 when left out."""
    path, colon, index = start.rpartition(":")
    if not colon or Path(start).exists():
        return start, 0
    try:
        return path, int(index)
    except ValueError:
        raise InputError(
            f"start {start!r}: {index!r} after the colon is not a frame number; give FILE or FILE:index"
        ) from None


def _read(force_field: ForceField, start: str, index: int, topology: Any) -> np.ndarray:
    import mdtraj

    path = existing_file(start, "start file")
    if format_of(path) not in mdtraj.FormatRegistry.loaders:
        raise InputError(
            f"start file {path} has extension {path.suffix or '(none)'!r}, which mdtraj does not read; give a frame "
            "as .pdb, .gro, .xtc, .dcd or .h5"
        )
    if topology is not None:
        topology = read_topology(topology)
    elif not holds_topology(path):
        topology = force_field.beads.to_mdtraj()
    arguments = {} if topology is None else {"top": topology}
    try:
        _require_frame(path, index)
        with readable(path) as name:
            frames = mdtraj.load(name, **arguments) if index < 0 else load_frame(path, index, topology)
        give_boxes(frames, path, slice(None) if index < 0 else index)
        frame = frames[index if index < 0 else 0]
    except InputError:
        raise
    except IndexError:
        raise InputError(f"start file {path} has no frame {index}; check its number of frames") from None
    except Exception as error:
        raise InputError(
            f"start file {path}, frame {index}: cannot be read with {_described(topology)} ({error}); if it holds "
            "the source molecule, give its topology too (--start-topology)"
        ) from error
    try:
        if isinstance(
            force_field, BoundForceField
        ):  # bound to its molecule by what a topology says, as the start now is
            return force_field.positions_of(frame)
        supplies = force_field.beads.match(frame.topology)
    except InputError as error:
        raise InputError(f"start file {path}: {error}") from error
    if supplies == "source":
        whole_frame(frame)
    _check_chirality(force_field, frame, path)
    positions_nm = force_field.beads.positions(frame.xyz, frame.topology)[0]
    return whole_beads(positions_nm, box_vectors_of(frame), force_field.beads)


def _require_frame(path: Path, index: int) -> None:
    """Raise InputError for a frame beyond either end; a file that cannot be counted is left to the reader."""
    import mdtraj

    try:
        with readable(path) as name, mdtraj.open(name) as file:
            frames = len(file)
    except Exception:
        return
    if not -frames <= index < frames:
        raise InputError(f"start file {path} has no frame {index}: it has {frames} frames, 0 to {frames - 1}")


def _check_chirality(force_field: ForceField, frame: "mdtraj.Trajectory", path: Path) -> None:
    """Raise InputError for D residues, unless the model was trained on such."""
    recipe = force_field.metadata.get("training", {}).get("recipe") or {}
    found = d_residues(frame.xyz, frame.topology)
    if found and not (recipe.get("data") or {}).get("allow_d_residues"):
        raise InputError(
            f"start file {path}: {found[0][0]} is a D amino acid, which the model was not trained on: the frame is "
            "mirrored; give one of an L molecule"
        )


def _described(topology: "mdtraj.Topology | None") -> str:
    return "its own topology" if topology is None else f"a topology of {topology.n_atoms} atoms"
