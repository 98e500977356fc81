"""Reading a checkpoint, and how it becomes a trained energy again.

In: model.ckpt, Lightning's own state and a TrainingRecord. Out: the record, and the experts with their averaged
weights.
"""

import pickle
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fpforce.forcefield.artifact import describe_file
from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.forcefield.transferable.recognise import recognise
from fpforce.forcefield.wall import Wall
from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.training.checkpoint.record import CHECKPOINT_VERSION, TrainingRecord
from fpforce.training.models import build_model
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.experts import Expert, Experts
from fpforce.training.models.transferable import TransferableEnergy, build_transferable
from fpforce.training.recipe.models import has_wall
from fpforce.training.recipe.plan import ExpertPlan, plan_experts
from fpforce.training.recipe.read import parse_recipe
from fpforce.training.recipe.sections import Recipe

EXTRA_KEY = "fpforce"
CHECKPOINT_NAME = "model.ckpt"


@dataclass(frozen=True)
class Checkpoint:
    """A read model.ckpt: the record, and the averaged weights of all experts by `<number of the expert>.<name>`.

    bound: of a transferable model, whether the record's molecule is the one that is asked for (`of_molecule`).
    """

    path: Path
    record: TrainingRecord
    weights: dict[str, Tensor]
    bound: bool = False

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, by which samples and force fields name the training that they came from."""
        return sha256(self.path.read_bytes()).hexdigest()

    @property
    def recipe(self) -> Recipe:
        return parse_recipe(self.record.recipe, f"recipe in {self.path}")

    @property
    def plans(self) -> tuple[ExpertPlan, ...]:
        """What the recipe asks of each expert, the smallest t first."""
        return plan_experts(self.recipe)

    @property
    def beads(self) -> BeadTable:
        return BeadTable.from_dict(self.record.beads)

    def covering(self, t: float) -> int:
        """Number of the trained expert whose interval holds t; InputError where there is none."""
        trained = [number for number, record in enumerate(self.record.experts) if record.steps]
        intervals = Experts(
            tuple(Expert(None, self.plans[number].t_min, self.plans[number].t_max) for number in trained)
        )
        return trained[intervals.parts.index(intervals.at(t))]

    @cached_property
    def knowledge(self) -> Knowledge | None:
        """What a transferable model knows of types of beads; None for a model of one molecule."""
        record = self.record.transferable
        return None if record is None else Knowledge.from_dict(record["knowledge"])

    def of_molecule(self, molecule: dict) -> "Checkpoint":
        """A transferable checkpoint for one molecule, of which `molecule` has the record's entries: beads and what goes
        with them.
        """
        return replace(self, record=replace(self.record, **molecule), bound=True)

    def bound_to(self, topology) -> "Checkpoint":
        """The checkpoint of one molecule: itself, or a transferable one for the molecule of a topology
        (TransferableForceField.bind).

        Raises InputError for a transferable one without a topology, and for one of a molecule with a topology.
        """
        if self.knowledge is None or self.bound:
            if topology is not None:
                raise InputError(
                    f"{self.path} was trained on one molecule; leave the topology out, or give a transferable "
                    f"checkpoint"
                )
            return self
        if topology is None:
            self.refuse_unbound()
        found = recognise(topology, self.knowledge)
        frame = np.zeros((len(found.beads), 3)) if found.positions_nm is None else found.positions_nm
        return self.of_beads(found.beads, torch.from_numpy(frame))

    def refuse_unbound(self) -> None:
        """Raise InputError for a transferable checkpoint that is of no molecule."""
        if self.knowledge is not None and not self.bound:
            count = len(self.record.transferable["trained_on"])
            raise InputError(
                f"{self.path} is transferable, trained on {count} molecule{'s' if count > 1 else ''}: "
                "say which molecule is meant, with a topology (--topology FILE.pdb)"
            )

    def of_beads(self, beads: BeadTable, start_positions_nm: Tensor) -> "Checkpoint":
        """A transferable checkpoint for any molecule of known types; start_positions_nm (beads, 3) is a frame of it."""
        lengths = self.knowledge.bond_lengths(beads)
        return self.of_molecule(
            {
                "beads": beads.to_dict(),
                "start_positions_nm": start_positions_nm,
                "check_frames": (start_positions_nm - start_positions_nm.mean(0))[None].float() / self.record.scale_nm,
                "bond_lengths_nm": {name: (self.record.scale_nm * values).tolist() for name, values in lengths.items()},
            }
        )

    def shared_model(self, number: int = 0) -> TransferableEnergy:
        """A trained expert of a transferable checkpoint, not bound to a molecule."""
        model = build_transferable(self.plans[number], self.knowledge, [], self.record.scale_nm)
        model.load_state_dict(self.weights_of(number))
        return model.float().eval().requires_grad_(False)

    def weights_of(self, number: int) -> dict[str, Tensor]:
        """Averaged weights of one expert by name."""
        prefix = f"{number}."
        return {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}

    def model(self, number: int = 0) -> DiffusionEnergy | DiffusionScore:
        """A trained expert in float32 with averaged weights, in evaluation mode; by default that of the smallest t."""
        if self.knowledge is not None:
            self.refuse_unbound()
            return self.shared_model(number).bind(self.beads).eval().requires_grad_(False)
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
        return Wall.of(self.beads, self.record.smallest_distances) if has_wall(self.plans[number].model) else None

    def calibrated_model(self, number: int, t_eval: float) -> DiffusionEnergy | DiffusionScore:
        """As `model`, with the last layer as calibrated, where that was done for t_eval."""
        model, calibration = self.model(number), self.record.calibration
        if calibration is not None and calibration.t_eval == t_eval:
            with torch.no_grad():
                model.network.readout().weight += calibration.shift
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

    def refuse_other_scope(self, *, many: bool) -> None:
        """Raise InputError for a transferable checkpoint where one molecule is trained on, and the reverse."""
        if many != (self.knowledge is not None):
            raise InputError(
                f"{self.path} was trained on {'one molecule' if many else 'many molecules'}, and the recipe has data."
                f"{'molecules' if many else 'trajectories'}; give a checkpoint and a recipe of one kind"
            )

    def refuse_other_beads(self, beads: BeadTable) -> None:
        """Raise InputError unless `beads` are those that the checkpoint was trained on."""
        ours, theirs = ([*map(str, table.beads), *table.bonds] for table in (self.beads, beads))
        if ours != theirs:
            raise InputError(
                f"{self.path} was trained on the beads {', '.join(map(str, self.beads.beads))}, and the recipe's "
                f"data give {', '.join(map(str, beads.beads))}, or other bonds; both must be the same molecule"
            )


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read model.ckpt without unpickling anything but plain values and tensors.

    Raises InputError for a missing or damaged file, a model.pt, and a checkpoint of another program or version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist; fpforce-train makes it")
    kind = describe_file(path)
    if kind in ("model", "torchscript"):
        raise InputError(
            f"{path} is an exported model (.pt), not a training checkpoint; give the model.ckpt it came from"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is not a readable checkpoint: it is truncated, damaged or of another program; "
            "fpforce-train makes the right kind"
        ) from error
    if not isinstance(content, dict) or EXTRA_KEY not in content:
        raise InputError(f"{path} is a checkpoint of another program; fpforce-train makes the right kind")
    extra = content[EXTRA_KEY]
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
    weights = {name.removeprefix("experts."): value for name, value in content["state_dict"].items()}
    return Checkpoint(path, TrainingRecord.from_dict(extra), weights)


def replace_record(path: Path, record: TrainingRecord) -> None:
    """Put another record into a checkpoint, in one step."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    content[EXTRA_KEY] = record.to_dict()
    with replacing(path) as unfinished:
        torch.save(content, unfinished)
