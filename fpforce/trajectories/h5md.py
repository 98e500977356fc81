"""What of H5MD is not read, or not as it is meant, said before it is read.

In: a file of this format. Out: an InputError that names the data set and what would do. Its reader (MDAnalysis) knows
few units, wants the time of each frame, and takes numbers as they are stored; what HDF5 itself packs, as by gzip or
scale-offset, comes out of the library as it was.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fpforce.foundation.errors import InputError

_LENGTHS = ("nm", "pm", "Angstrom")
_TIMES = ("ps", "fs", "ns")
_PACKED_BY_HAND = {"scale_factor": 1.0, "add_offset": 0.0}  # of NetCDF, which H5MD has not, and what changes nothing
_FRAMES_TO_COMPARE = 20
_REPACK = "write it with gzip or without a filter, as `h5repack -f GZIP=4 old.h5md new.h5md` does where the filter is"


def refuse_unread(path: Path) -> None:
    """Raise InputError where positions, times or the box of an H5MD file would not be read, or not as they are."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError:  # its reader says so
        return
    with file:
        groups = list(file.get("particles", {}))
        group = file[f"particles/{groups[0]}"] if groups else {}
        if "position/value" not in group:
            raise InputError(
                f"{path} has no positions of particles (particles/*/position/value): write them, or give another file"
            )
        for name in ("position", "velocity", "force"):
            if f"{name}/value" in group:
                _check_numbers(group[f"{name}/value"], path)
                _check_unit(group[f"{name}/value"], path, name.replace("position", "length"))
                if len(group[f"{name}/value"]) < len(group["position/value"]):  # more are passed over
                    _check_count(group[f"{name}/value"], group["position/value"], path)
        _check_times(group["position"], path)
        _check_order(group, path)
        if "box" not in group or "dimension" not in group["box"].attrs:
            raise InputError(
                f"{path}: particles/{groups[0]}/box with its attribute `dimension`, which H5MD demands, is missing: "
                "write them, with dimension = 3 and boundary = none where there is no box"
            )
        edges = group.get("box/edges")
        if isinstance(edges, h5py.Dataset):
            raise InputError(
                f"{path}: {edges.name} is one box for all frames, which is not read: write the box of each frame, as "
                "box/edges/value with step and time, or make molecules whole and leave box/edges out"
            )
        if edges is not None and "value" in edges:
            _check_numbers(edges["value"], path)
            _check_count(edges["value"], group["position/value"], path)
            unit, other = (_text(data.attrs.get("unit")) for data in (edges["value"], group["position/value"]))
            if unit is not None and _one_name(unit) != _one_name(other):
                raise InputError(
                    f"{path}: {edges.name} is in {unit!r} and positions in {other!r}: write both in one unit"
                )


def _check_numbers(data: Any, path: Path) -> None:
    """Refuse a data set of a filter that is not there, or whose numbers are not what they stand for."""
    import h5py

    create = data.id.get_create_plist()
    for number in range(create.get_nfilters()):
        code, _, _, name = create.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            called = f" ({name.decode(errors='replace')})" if name else ""
            raise InputError(
                f"{path}: {data.name} is packed by HDF5 filter {code}{called}, which is not installed: {_REPACK}"
            )
    by_hand = [name for name, neutral in _PACKED_BY_HAND.items() if np.any(data.attrs.get(name, neutral) != neutral)]
    if by_hand:
        raise InputError(
            f"{path}: {data.name} is to be multiplied or shifted by its attribute {by_hand[0]}, which H5MD does not "
            "have: write the values themselves, in a type of floating point"
        )


def _check_count(data: Any, positions: Any, path: Path) -> None:
    """Refuse a data set of other frames than those of positions: its reader takes the k-th to belong to the k-th."""
    if len(data) != len(positions):
        raise InputError(
            f"{path}: {data.name} holds {len(data)} frames and {positions.name} {len(positions)}: write both at the "
            "same steps, or, where molecules are whole, leave it out"
        )


def _check_order(group: Any, path: Path) -> None:
    """Refuse particles that change places, as where each processor writes its own; some frames are compared."""
    import h5py

    ids = group.get("id/value")
    if not isinstance(ids, h5py.Dataset) or len(ids.shape) < 2:
        return
    for frame in np.unique(np.linspace(0, len(ids) - 1, _FRAMES_TO_COMPARE).astype(int)):
        if (ids[frame] != ids[0]).any():
            raise InputError(
                f"{path}: by {ids.name} particles stand in another order in frame {frame} (counted from 0) than in "
                "frame 0, and they are read as they stand: sort each frame by its ids when writing the file"
            )


def _check_unit(data: Any, path: Path, kind: str) -> None:
    """Refuse a data set without a unit, or of one that is not read."""
    from MDAnalysis.coordinates.H5MD import H5MDReader

    given, known = data.attrs.get("unit"), H5MDReader._unit_translation[kind]
    unit = _text(given)
    if unit in known and isinstance(given, str):
        return
    if unit in known:
        raise InputError(
            f"{path}: {data.name} has its unit as text of fixed length, which is not read: set it anew as text of "
            f"variable length, as h5py does by file[{data.name!r}].attrs['unit'] = {unit!r}"
        )
    usual = {"length": _LENGTHS, "time": _TIMES}.get(kind, tuple(known)[:3])
    what = "has no attribute `unit`" if unit is None else f"is in {unit!r}, a unit that is not read"
    remedy = "set it" if unit is None else "convert it"
    others = "" if kind in ("length", "time") else ", or leave it out"
    raise InputError(f"{path}: {data.name} {what}: {remedy} to {', '.join(usual[:-1])} or {usual[-1]}{others}")


def _check_times(group: Any, path: Path) -> None:
    """Refuse steps and times that are written as an interval, or not at all."""
    for name in ("step", "time"):
        if name not in group or group[name].shape == ():
            have = "stands for all frames by one interval" if name in group else "is missing"
            raise InputError(
                f"{path}: {group.name}/{name} {have}, which is not read: write the {name} of each frame, or give the "
                "trajectory as .xtc, .dcd or .h5 of mdtraj"
            )
    _check_unit(group["time"], path, "time")


def _one_name(unit: str | None) -> str | None:
    """A unit of length by one of its names: Angstrom has three."""
    from MDAnalysis.coordinates.H5MD import H5MDReader

    return None if unit is None else H5MDReader._unit_translation["length"].get(unit, unit)


def _text(value: Any) -> str | None:
    """An attribute, of text of either kind, as str."""
    return value.decode(errors="replace") if isinstance(value, bytes) else None if value is None else str(value)
