"""Reading a checkpoint, and how it becomes a trained energy again.

In: model.ckpt, Lightning's own state and a TrainingRecord. Out: the record, and the experts with their averaged
weights. A checkpoint is of one molecule, or transferable: of any molecule of known types, once it is bound to it.
Longer than other files, since both kinds of checkpoint and what reads and changes them belong together.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fpforce.forcefield.artifact import describe_file
from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.forcefield.transferable.recognise import recognise
from fpforce.forcefield.wall import Wall, distant_pairs
from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import damage_as_value_error, refuse_damaged_zip
from fpforce.molecule.beads import BeadTable
from fpforce.training.checkpoint.record import CHECKPOINT_VERSION, TrainingRecord
from fpforce.training.data.earlier import EarlierData
from fpforce.training.models import build_model
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.experts import Expert, Experts, covering
from fpforce.training.models.transferable import TransferableEnergy, build_transferable
from fpforce.training.recipe.models import PAIRS, wall_of
from fpforce.training.recipe.plan import ExpertPlan, plan_experts
from fpforce.training.recipe.read import parse_recipe
from fpforce.training.recipe.sections import Recipe

EXTRA_KEY = "fpforce"
CHECKPOINT_NAME = "model.ckpt"


@dataclass(frozen=True)
class AnyCheckpoint:
    """What both kinds of checkpoint have: the record, and the averaged weights of all experts by `<number>.<name>`."""

    path: Path
    record: TrainingRecord
    weights: dict[str, Tensor]

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, by which samples and force fields name the training that they came from."""
        return sha256(self.path.read_bytes()).hexdigest()

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the training, as it was when the file was read."""
        return parse_recipe(_as_it_was(self.record.recipe), f"recipe in {self.path}")

    @cached_property
    def plans(self) -> tuple[ExpertPlan, ...]:
        """What the recipe asks of each expert, the smallest t first."""
        return plan_experts(self.recipe)

    def covering(self, t: float) -> int:
        """Number of the trained expert whose interval holds t; InputError where there is none."""
        trained = [number for number, record in enumerate(self.record.experts) if record.steps]
        return trained[covering([self.plans[number] for number in trained], t)]

    def weights_of(self, number: int) -> dict[str, Tensor]:
        """Averaged weights of one expert by name."""
        prefix = f"{number}."
        return {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}

    @property
    def data(self) -> EarlierData:
        """What further data of this training must agree with."""
        return EarlierData(self.path, self.record.normalisation, self.trained_on)

    @property
    def trained_on(self) -> BeadTable | Knowledge:
        """The beads of the one molecule, or what is known of the types of many."""
        raise NotImplementedError


@dataclass(frozen=True)
class Checkpoint(AnyCheckpoint):
    """A checkpoint of one molecule.

    shared: the transferable checkpoint that was bound to this molecule, or None where it was trained on this one alone.
    """

    shared: "TransferableCheckpoint | None" = None

    @property
    def beads(self) -> BeadTable:
        return BeadTable.from_dict(self.record.beads)

    @property
    def trained_on(self) -> BeadTable:
        return self.beads

    def model(self, number: int = 0) -> DiffusionEnergy | DiffusionScore:
        """A trained expert in float32 with averaged weights and what a denoising fit has added, in evaluation mode; by
        default that of the smallest t.
        """
        if self.shared is not None:
            return self.shared.model(number).bind(self.beads).eval().requires_grad_(False)
        with _weights_that_fit(self.path):
            model, calibration = self._model(number), self.record.calibration
            levels = None if calibration is None or calibration.levels is None else calibration.levels.get(number)
            if calibration is not None and levels is not None:
                model.network.add_levels(levels, calibration.constants(number))
            return model

    def _model(self, number: int) -> DiffusionEnergy | DiffusionScore:
        weights = self.weights_of(number)
        pairs = (
            torch.stack([weights["prior.first"], weights["prior.second"]], 1).tolist()
            if "prior.first" in weights
            else []
        )
        model = build_model(
            self.plans[number],
            self.record.check_frames,
            [tuple(pair) for pair in pairs],
            self.beads,
            self.record.scale_nm,
        )
        model.load_state_dict(weights)
        return model.float().eval().requires_grad_(False)

    def wall(self, number: int = 0) -> Wall | None:
        """The wall of the force field that this expert is, or None."""
        wall = wall_of(self.plans[number].model)
        if wall == PAIRS:
            pairs, found = distant_pairs(self.beads), self.record.wall_distances_nm
            if found is None or len(found) != len(pairs):
                had = "no" if found is None else len(found)
                raise InputError(
                    f"{self.path} has {had} distances of the wall for {len(pairs)} pairs of beads; train anew"
                )
            return Wall(pairs, found.numpy()) if len(pairs) else None
        if not wall:
            return None
        assert self.record.smallest_distances is not None  # a training of such a model begins with them
        return Wall.of(self.beads, self.record.smallest_distances)

    def calibrated_model(self, number: int, t_eval: float) -> DiffusionEnergy | DiffusionScore:
        """As `model`, at t_eval alone, with the last layer as calibrated, where that was done for t_eval."""
        model, calibration = self.model(number), self.record.calibration
        model.network = model.network.settled(t_eval)
        if calibration is not None and calibration.t_eval == t_eval:
            layer = model.network.readout()
            assert layer is not None  # or it could not have been calibrated
            with torch.no_grad():
                layer.weight += calibration.shift[: layer.in_features]
            if calibration.shift[layer.in_features :].any():
                if calibration.pairs is not None:
                    model.network.have_pairs(**calibration.pairs)
                model.network.add_modes(calibration.shift[layer.in_features :])
        return model

    def experts(self, device: torch.device | str = "cpu") -> Experts:
        """The experts whose training has at least begun, each with its interval of t, on `device`."""
        return Experts(
            tuple(
                Expert(self.model(number).to(device), plan.t_min, plan.t_max)
                for number, (plan, record) in enumerate(zip(self.plans, self.record.experts, strict=True))
                if record.steps
            )
        )


@dataclass(frozen=True)
class TransferableCheckpoint(AnyCheckpoint):
    """A checkpoint of any molecule of known types: it can be bound to one."""

    @cached_property
    def knowledge(self) -> Knowledge:
        """What the model knows of types of beads."""
        return Knowledge.from_dict(self.of_many["knowledge"])

    @property
    def of_many(self) -> dict:
        """What the record says of the molecules that it was trained on (TrainingRecord.transferable)."""
        assert self.record.transferable is not None
        return self.record.transferable

    @property
    def trained_on(self) -> Knowledge:
        return self.knowledge

    def model(self, number: int = 0) -> TransferableEnergy:
        """A trained expert in float32 with averaged weights, in evaluation mode; it is of no molecule yet."""
        with _weights_that_fit(self.path):
            model = build_transferable(self.plans[number], self.knowledge, [], self.record.scale_nm)
            model.load_state_dict(self.weights_of(number))
        return model.float().eval().requires_grad_(False)

    def bind(self, topology: object | None) -> Checkpoint:
        """The checkpoint of the molecule of a topology, recognised as TransferableForceField.bind recognises it.

        Raises InputError without a topology, and for a molecule that is not of known types.
        """
        if topology is None:
            count = len(self.of_many["trained_on"])
            raise InputError(
                f"{self.path} is transferable, trained on {count} molecule{'s' if count > 1 else ''}: "
                "say which molecule is meant, with a topology (--topology FILE.pdb)"
            )
        found = recognise(topology, self.knowledge)
        frame = np.zeros((len(found.beads), 3)) if found.positions_nm is None else found.positions_nm
        return self.bind_beads(found.beads, torch.from_numpy(frame))

    def bind_beads(self, beads: BeadTable, start_positions_nm: Tensor) -> Checkpoint:
        """The checkpoint of a molecule with these beads; start_positions_nm (beads, 3) is a frame of it."""
        lengths = self.knowledge.bond_lengths(beads)
        return self.bind_entries(
            {
                "beads": beads.to_dict(),
                "start_positions_nm": start_positions_nm,
                "check_frames": self.record.normalisation.from_nm(start_positions_nm)[None].float(),
                "bond_lengths_nm": {name: (self.record.scale_nm * values).tolist() for name, values in lengths.items()},
            }
        )

    def bind_entries(self, molecule: dict) -> Checkpoint:
        """The checkpoint of a molecule of which `molecule` has the record's entries: beads and what goes with them."""
        return Checkpoint(self.path, replace(self.record, **molecule), self.weights, shared=self)


def read_checkpoint(path: str | Path) -> Checkpoint | TransferableCheckpoint:
    """Read model.ckpt without unpickling anything but plain values and tensors.

    Raises InputError for a missing or damaged file, a model.pt, and a checkpoint of another program or version.
    """
    path = Path(path)
    if not path.is_file():
        if str(path).startswith("pretrained:"):
            raise InputError(f"{path} is a force field that comes with the package, which has no checkpoint")
        raise InputError(f"checkpoint {path} does not exist; fpforce-train makes it")
    kind = describe_file(path)
    if kind in ("model", "torchscript"):
        raise InputError(
            f"{path} is an exported model (.pt), not a training checkpoint; give the model.ckpt it came from"
        )
    try:
        refuse_damaged_zip(path)
        content = _load(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a readable checkpoint: it is truncated, damaged or of another program; "
            "fpforce-train makes the right kind"
        ) from error
    if not isinstance(content, dict) or EXTRA_KEY not in content:
        raise InputError(f"{path} is a checkpoint of another program; fpforce-train makes the right kind")
    extra = content[EXTRA_KEY]
    if not isinstance(extra, dict) or not isinstance(extra.get("version"), int):
        raise InputError(f"{path} says no version of its record: it is damaged; fpforce-train makes the right kind")
    if extra["version"] > CHECKPOINT_VERSION:
        raise InputError(
            f"{path} has checkpoint version {extra['version']}, newer than this fpforce "
            f"({CHECKPOINT_VERSION}); update fpforce"
        )
    if extra["version"] < CHECKPOINT_VERSION:
        raise InputError(
            f"{path} has checkpoint version {extra['version']}, and this fpforce reads {CHECKPOINT_VERSION}: "
            "train anew, or use the fpforce that wrote it"
        )
    try:
        with damage_as_value_error():
            return _checked(path, content)
    except ValueError as error:
        raise InputError(
            f"{path}: its record does not describe a training ({error}): it is damaged; fpforce-train makes the right "
            "kind"
        ) from error


def _checked(path: Path, content: dict) -> Checkpoint | TransferableCheckpoint:
    """The checkpoint, of which the parts have been made once: nearly any error where they do not fit together."""
    weights = {name.removeprefix("experts."): value for name, value in content["state_dict"].items()}
    record = TrainingRecord.from_dict(content[EXTRA_KEY])
    checkpoint: Checkpoint | TransferableCheckpoint
    if record.transferable is None:
        checkpoint = Checkpoint(path, record, weights)
    else:
        checkpoint = TransferableCheckpoint(path, record, weights)
    if len(checkpoint.plans) != len(record.experts) or not 0 <= record.active < len(record.experts):
        raise ValueError(
            f"{len(record.experts)} experts of {len(checkpoint.plans)}, of which {record.active} is active"
        )
    if not all(isinstance(value, Tensor) for value in (*weights.values(), record.check_frames)):
        raise ValueError("weights or frames are no tensors")
    _ = checkpoint.trained_on, record.normalisation.length_nm()
    return checkpoint


@contextmanager
def _weights_that_fit(path: Path) -> Iterator[None]:
    """InputError where weights do not go into the model that the record describes."""
    try:
        with damage_as_value_error():
            yield
    except ValueError as error:
        what = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: its weights do not fit its record ({what}): it is damaged; train anew") from error


def _load(path: Path) -> Any:
    """The plain values and tensors of a checkpoint, in which nothing is unpickled but these."""
    with damage_as_value_error():
        return torch.load(path, map_location="cpu", weights_only=True)


def of_one_molecule(checkpoint: AnyCheckpoint, topology: object | None) -> Checkpoint:
    """The checkpoint of one molecule: itself, or a transferable one bound to the molecule of a topology.

    Raises InputError for a transferable one without a topology, and for one of a molecule with a topology.
    """
    if isinstance(checkpoint, TransferableCheckpoint):
        return checkpoint.bind(topology)
    assert isinstance(checkpoint, Checkpoint)
    if topology is not None:
        raise InputError(
            f"{checkpoint.path} was trained on one molecule; leave the topology out, or give a transferable checkpoint"
        )
    return checkpoint


def replace_record(path: Path, record: TrainingRecord) -> None:
    """Put another record into a checkpoint, in one step."""
    content = _load(path)
    content[EXTRA_KEY] = record.to_dict()
    _replace(path, content)


def replace_weights(path: Path, number: int, weights: dict[str, Tensor]) -> None:
    """Put other averaged weights of one expert, by name, into a checkpoint, in one step."""
    content = _load(path)
    content["state_dict"] |= {f"experts.{number}.{name}": value for name, value in weights.items()}
    _replace(path, content)


def _replace(path: Path, content: dict) -> None:
    buffer = io.BytesIO()  # torch says nothing of a full disk that a command could show
    torch.save(content, buffer)
    with replacing(path) as unfinished:
        unfinished.write_bytes(buffer.getbuffer())


def _as_it_was(recipe: dict) -> dict:
    """A recorded recipe with what ones of earlier versions did not say, since there was nothing else."""

    def whole(model: dict | None) -> dict | None:
        return {"window": 0} | model if model and model.get("kind", "internal") == "internal" else model

    experts = [expert | {"model": whole(expert.get("model"))} for expert in recipe.get("experts") or ()]
    return recipe | {"model": whole(recipe.get("model"))} | ({"experts": experts} if experts else {})
