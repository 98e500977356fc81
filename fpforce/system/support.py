"""support: frames -> how far they are from what a force field's model has seen.

In: a force field and frames of its beads. Out: a `FrameSupport`. What the model has seen stands in model.pt, from
frames of its training and others held out; a file without it needs frames to go by. The network is made anew from
model.pt and evaluated by torch, some frames at once, so that a frame costs about as much as a step of a replica.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.load import AnyForceField, loaded
from fpforce.forcefield.support import FEWEST, GIVEN, Edges, FrameSupport
from fpforce.forcefield.transferable.bound import BoundForceField
from fpforce.forcefield.transferable.statistics import measure
from fpforce.foundation.errors import InputError, install_extra
from fpforce.foundation.foreign_files import damage_as_value_error
from fpforce.trajectories.bead_frames import BeadFrames

# Loaded where they are needed alone: the runtime does not lean on training.
_GAUGE, _REBUILD = "fpforce.training.modelfile.support", "fpforce.training.modelfile.rebuild"


def support(
    force_field: AnyForceField,
    frames: np.ndarray | BeadFrames,
    topology: Any = None,
    *,
    held_out: np.ndarray | BeadFrames | None = None,
) -> FrameSupport:
    """How far frames are from what the model has seen: `distances` (frames,), 1 at the edge of its support.

    The edge is where one frame in a hundred of those is that were held out of the training (docs/method.md).

    force_field: a ForceField, a TransferableForceField, or the path of model.pt.
    frames: positions (frames, n, 3) of the beads in nm, or BeadFrames.
    topology: of a transferable force field, which is bound to it (TransferableForceField.bind).
    held_out: frames of the right distribution to take the edge from instead, which the model was not trained on, at
        least 400: half of them stand for what it has seen, and the edge is where the other half has it. Needed for a
        model.pt that says nothing of its support.

    Raises InputError for frames of another shape or that are not finite, for a model.pt without a support and no
    held_out, for too few of these, and where torch or the extra `training` is missing.
    """
    field = loaded(force_field)
    if not isinstance(field, ForceField) or topology is not None:
        field = field.bound(topology)
    positions_nm = _positions(field, frames, "frames")
    meter = (
        SupportMeter.of(field) if held_out is None else SupportMeter.by(field, _positions(field, held_out, "held_out"))
    )
    return meter(positions_nm)


@dataclass(frozen=True)
class SupportMeter:
    """Measures frames of one force field; `measures` maps positions (frames, n, 3) in nm to measures by name."""

    measures: Callable[[np.ndarray], dict[str, np.ndarray]]
    edges: Edges

    def __call__(self, positions_nm: np.ndarray) -> FrameSupport:
        """FrameSupport of positions (frames, n, 3) in nm."""
        return self.edges.distances(self.measures(positions_nm))

    @classmethod
    def of(cls, force_field: ForceField) -> "SupportMeter":
        """By what model.pt says; InputError where it says nothing."""
        record = force_field.metadata.get("support")
        if record is None:
            raise InputError(
                f"{force_field.path} does not say which frames its model has seen: it was written by an earlier "
                "version, or its training had too few frames; export a newer checkpoint, or give held_out frames to go "
                "by"
            )
        from safetensors.numpy import load

        module = _module(force_field)
        try:
            with damage_as_value_error():
                edges = Edges.from_record(record)
                gauge = module.Gauge(**load(force_field.support_bytes()), energies=bool(record["energies"]))
        except ValueError as error:
            raise InputError(
                f"{force_field.path}: what it says of its support is damaged ({error}); repeat fpforce-export"
            ) from error
        if isinstance(force_field, BoundForceField):
            low_nm, high_nm = force_field.ranges_nm()
            gauge = replace(gauge, low_nm=low_nm, high_nm=high_nm)
        model = _model(force_field)
        return cls(lambda positions_nm: gauge.measures(model, positions_nm), edges)

    @classmethod
    def by(cls, force_field: ForceField, held_out_nm: np.ndarray) -> "SupportMeter":
        """By frames (frames, n, 3) in nm of the right distribution: ten blocks of them, of which every second one
        stands for what the model has seen, and the others say where the edge is.
        """
        if len(held_out_nm) < 4 * FEWEST:
            raise InputError(
                f"{len(held_out_nm)} held-out frames are too few to say what {force_field.path} has seen; give at "
                f"least {4 * FEWEST}"
            )
        module, model, blocks = _module(force_field), _model(force_field), np.array_split(held_out_nm, 10)
        known, others = np.concatenate(blocks[::2]), np.concatenate(blocks[1::2])
        ranges = measure(known, 0.0)
        t_max = float(force_field.metadata["model"]["settings"]["t_max"])
        found = module.calibrated(model, known, others, (ranges.low, ranges.high), t_max, GIVEN)
        if found is None:
            raise InputError(f"{force_field.path} is a score without an energy, which cannot say what it has seen")
        return cls(lambda positions_nm: found.gauge.measures(model, positions_nm), found.edges)


def _module(force_field: ForceField) -> Any:
    """The module that measures; InputError where torch or the training's packages are missing."""
    for name in ("torch", "pydantic"):
        if find_spec(name) is None:
            raise InputError(
                f"the support of {force_field.path} is measured by its network, which needs {name}, and that is not "
                f"installed; {install_extra('cpu', 'cuda13')}"
            )
    return import_module(_GAUGE)


def _model(force_field: ForceField) -> Any:
    """The energy as a torch module, with the weights of model.pt."""
    try:
        return import_module(_REBUILD).rebuild(force_field.description(), force_field.weights_bytes())
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the network of {force_field.path} cannot be made anew from its description and weights ({error}); repeat "
            "fpforce-export"
        ) from error


def _positions(force_field: ForceField, frames: np.ndarray | BeadFrames, name: str) -> np.ndarray:
    """Checked positions (frames, n, 3) in nm."""
    if isinstance(frames, BeadFrames):
        order = force_field.beads.order_in(frames.beads.labels, name)
        frames = frames.positions_nm[:, order]
    positions_nm, beads = np.asarray(frames), len(force_field.beads)
    if positions_nm.ndim != 3 or positions_nm.shape[1:] != (beads, 3) or not len(positions_nm):
        raise InputError(f"{name} has shape {positions_nm.shape}; {force_field.path} needs (frames, {beads}, 3), in nm")
    strange = np.flatnonzero(~np.isfinite(positions_nm).all(axis=(1, 2)))
    if len(strange):
        raise InputError(f"{name}: frame {strange[0]} is not finite; leave it out")
    return positions_nm
