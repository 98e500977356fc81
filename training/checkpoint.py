"""What a checkpoint says beyond Lightning's own state, and how it becomes a trained energy again.

In: model.ckpt. Out: a TrainingRecord (plain values and tensors, so that nothing has to be unpickled) and the energy
with its averaged weights.
"""

import importlib.metadata
import pickle
import subprocess
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import fpforce
from fpforce.artifact import describe_file
from fpforce.beads import BeadTable
from fpforce.errors import InputError
from fpforce.training.dataset import TrainingSet
from fpforce.training.model_recipe import has_wall
from fpforce.training.models import build_model
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.experts import Expert, Experts
from fpforce.training.models.transferable import TransferableEnergy, build_transferable
from fpforce.training.molecules import MoleculeSet
from fpforce.training.plan import ExpertPlan, plan_experts
from fpforce.training.recipe import Recipe, parse_recipe
from fpforce.transferable.knowledge import Knowledge
from fpforce.transferable.recognise import recognise
from fpforce.wall import Wall

EXTRA_KEY = "fpforce"
CHECKPOINT_VERSION = 2
LOSS_TERMS = ("denoising", "fokker_planck", "anchor")


@dataclass
class ExpertRecord:
    """How the training of one expert went; `steps` is 0 until it begins.

    The curves hold one entry for every log_every_steps steps: the means of each loss term over these steps. window holds
    the terms of every step since the last entry, in the order of LOSS_TERMS.
    """

    device: str = ""
    seconds: float = 0.0
    steps: int = 0
    curves: dict = field(default_factory=lambda: {name: [] for name in ("step", *LOSS_TERMS)})
    window: list[list[float]] = field(default_factory=list)

    def close_window(self) -> dict[str, float]:
        """Append the window's means to the curves, and return them by name."""
        means = dict(zip(LOSS_TERMS, torch.tensor(self.window).mean(0).tolist(), strict=True))
        for name, value in ({"step": self.steps} | means).items():
            self.curves[name].append(value)
        self.window.clear()
        return means

    def progress(self, plan: ExpertPlan) -> float:
        """Part of the plan that is done, by steps or by time, whichever is further."""
        by_time = 0.0 if plan.max_minutes is None else self.seconds / (60.0 * plan.max_minutes)
        return max(self.steps / plan.max_steps, by_time)


@dataclass
class CalibrationRecord:
    """How far the calibration has come: the shift (features,) of the last layer's weights that belongs to t_eval.

    likelihood: summary of training.likelihood_fit.LikelihoodFit, or None without one. positions_nm (replicas, beads, 3):
    where the replicas are, None before the first round. relative_entropy (nats), effective (part of the frames) and seconds
    have an entry a round, as in training.calibration.NewtonStep. best: relative entropy, number, shift and last positions of the
    round whose simulation was the nearest to the data. undone: numbers of the rounds that went back to such a one.
    """

    t_eval: float
    shift: Tensor
    likelihood: dict | None = None
    positions_nm: Tensor | None = None
    relative_entropy: list[float] = field(default_factory=list)
    effective: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: dict | None = None
    undone: list[int] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Finished rounds."""
        return len(self.seconds)

    def add(self, change: Tensor, relative_entropy: float, effective: float, seconds: float, positions_nm: Tensor) -> None:
        """Account for a finished round."""
        if self.best is None or relative_entropy < self.best["relative_entropy"]:
            self.best = {"relative_entropy": relative_entropy, "round": self.done + 1, "shift": self.shift, "positions_nm": positions_nm}
        self.shift, self.positions_nm = self.shift + change, positions_nm
        self._append(relative_entropy, effective, seconds)

    def undo(self, relative_entropy: float, seconds: float) -> None:
        """Account for a finished round that goes back to the best one instead of making a step."""
        self.undone.append(self.done + 1)
        self.shift, self.positions_nm = self.best["shift"], self.best["positions_nm"]
        self._append(relative_entropy, 1.0, seconds)

    def _append(self, relative_entropy: float, effective: float, seconds: float) -> None:
        self.relative_entropy.append(relative_entropy)
        self.effective.append(effective)
        self.seconds.append(seconds)

    def summary(self) -> dict:
        """What travels in model.pt."""
        return {"t_eval": self.t_eval, "likelihood": self.likelihood, "rounds": self.done,
                "replicas": 0 if self.positions_nm is None else len(self.positions_nm),
                "relative_entropy": self.relative_entropy,
                "undone": self.undone, "seconds": sum(self.seconds)}


@dataclass
class TrainingRecord:
    """Everything export needs besides the weights, and how the training went.

    origin_nm (3,), subtracted from positions before they are divided by scale_nm, is zero for a molecule.
    check_frames (256, beads, 3) are normalised training frames for the checks at export. experts: one record for each
    expert of the recipe, the smallest t first; `active` is the one in training, or trained last. hand_overs: the score's
    jump at each boundary between trained experts, as of training.hand_over. initial: path and hash of the checkpoint
    that the weights started from, or None. calibration: None unless the training ended with one. forces: the record of
    the data's forces (training.force_scores), or None. transferable: None for one molecule, else `knowledge` of the types
    (fpforce.transferable), the names `trained_on`, and of a few `molecules` the entries that differ between them by name; the
    record's own are then the first one's. smallest_distances: of the data, as in fpforce.wall, where a model of the recipe has
    a wall.
    """

    recipe: dict
    beads: dict
    scale_nm: float
    bond_lengths_nm: dict
    start_positions_nm: Tensor
    check_frames: Tensor
    data_sha256: str
    sources: list[str]
    versions: dict
    commit: str | None
    experts: list[ExpertRecord]
    active: int
    hand_overs: list[dict[str, float]] = field(default_factory=list)
    initial: dict[str, str] | None = None
    calibration: CalibrationRecord | None = None
    forces: dict | None = None
    smallest_distances: list[dict] | None = None
    origin_nm: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    transferable: dict | None = None
    version: int = CHECKPOINT_VERSION

    @staticmethod
    def start(recipe: Recipe, training_set: TrainingSet | MoleculeSet) -> "TrainingRecord":
        """The record of a run that begins."""
        return TrainingRecord(
            recipe=recipe.model_dump(mode="json"),
            scale_nm=training_set.scale_nm,
            data_sha256=training_set.data_sha256,
            sources=list(training_set.sources),
            versions=_versions(),
            commit=_commit(),
            experts=[ExpertRecord() for _ in plan_experts(recipe)],
            active=len(plan_experts(recipe)) - 1,
            **training_set.record(),
            smallest_distances=training_set.smallest_distances() if any(has_wall(p.model) for p in plan_experts(recipe)) else None,
        )

    @property
    def expert(self) -> ExpertRecord:
        """That of the expert in training."""
        return self.experts[self.active]

    def samples(self) -> list[tuple[BeadTable, Tensor]]:
        """The molecule, or a few of those of a transferable model, with normalised frames (frames, beads, 3)."""
        records = [asdict(self)] if self.transferable is None else self.transferable["molecules"].values()
        return [(BeadTable.from_dict(record["beads"]), record["check_frames"]) for record in records]

    def to_dict(self) -> dict:
        """Plain values and tensors only."""
        return asdict(self)

    @staticmethod
    def from_dict(content: dict) -> "TrainingRecord":
        """The record that `to_dict` gave."""
        calibration = content.get("calibration")
        return TrainingRecord(**content | {
            "experts": [ExpertRecord(**expert) for expert in content["experts"]],
            "calibration": None if calibration is None else CalibrationRecord(**calibration),
        })

    def continue_from(self, earlier: "TrainingRecord") -> None:
        """Take over how far an earlier run had come."""
        self.experts, self.active = earlier.experts, earlier.active
        self.hand_overs, self.initial = earlier.hand_overs, earlier.initial

    def refuse_other_data(self, earlier: "TrainingRecord") -> None:
        """Raise InputError, naming what differs, unless an earlier part of the run was trained on the same data."""
        differing = []
        if self.data_sha256 != earlier.data_sha256:
            ours, theirs = ((record.transferable or {}).get("trained_on", []) for record in (self, earlier))
            differing += [f"molecule {name} is missing" for name in theirs if name not in ours]
            differing += [f"molecule {name} is new" for name in ours if name not in theirs]
            differing = differing or [f"{' or '.join(self.sources)} changed"]
        if (self.forces or {}).get("sha256") != (earlier.forces or {}).get("sha256"):
            differing.append(f"the forces of {' or '.join((self.forces or earlier.forces)['sources'])} changed")
        if differing:
            raise InputError(f"--resume with other data than the run began with: {', '.join(differing)}; bring the earlier files back, or "
                             "start anew with --overwrite")

    def refuse_other_recipe(self, recipe: Recipe) -> None:
        """Raise InputError unless `recipe` differs from the recorded one in the run's length and in places only.

        Where the data lie may change, too: what they are is compared by refuse_other_data; and how a graph transformer finds
        its pairs. A calibration may be added.
        """
        free = ("max_steps", "max_minutes", "checkpoint_minutes", "threads", "compile", "accelerator", "devices", "strategy",
                "trajectories", "molecules", "topology", "forces", "neighbours")
        recorded = parse_recipe(self.recipe, "the recipe of the run")  # with the defaults of keys that it was begun without
        ours, theirs = _flat(recorded.model_dump(mode="json")), _flat(recipe.model_dump(mode="json"))
        for key in sorted(ours.keys() | theirs.keys()):
            if key.split(".")[-1] in free or key == "output" or key.startswith("calibration."):
                continue
            if ours.get(key) != theirs.get(key):
                raise InputError(f"--resume with another recipe: {key} was {ours.get(key)!r}, is {theirs.get(key)!r}; "
                                 "undo the change, or start anew with --overwrite")


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
        intervals = Experts(tuple(Expert(None, self.plans[number].t_min, self.plans[number].t_max) for number in trained))
        return trained[intervals.parts.index(intervals.at(t))]

    @cached_property
    def knowledge(self) -> Knowledge | None:
        """What a transferable model knows of types of beads; None for a model of one molecule."""
        record = self.record.transferable
        return None if record is None else Knowledge.from_dict(record["knowledge"])

    def of_molecule(self, molecule: dict) -> "Checkpoint":
        """A transferable checkpoint for one molecule, of which `molecule` has the record's entries: beads and what goes with them."""
        return replace(self, record=replace(self.record, **molecule), bound=True)

    def bound_to(self, topology) -> "Checkpoint":
        """The checkpoint of one molecule: itself, or a transferable one for the molecule of a topology (ForceField.bind).

        Raises InputError for a transferable one without a topology, and for one of a molecule with a topology.
        """
        if self.knowledge is None or self.bound:
            if topology is not None:
                raise InputError(f"{self.path} was trained on one molecule; leave the topology out, or give a transferable checkpoint")
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
            raise InputError(f"{self.path} is transferable, trained on {count} molecule{'s' if count > 1 else ''}: "
                             "say which molecule is meant, with a topology (--topology FILE.pdb)")

    def of_beads(self, beads: BeadTable, start_positions_nm: Tensor) -> "Checkpoint":
        """A transferable checkpoint for any molecule of known types; start_positions_nm (beads, 3) is a frame of it."""
        lengths = self.knowledge.bond_lengths(beads)
        return self.of_molecule({
            "beads": beads.to_dict(), "start_positions_nm": start_positions_nm,
            "check_frames": (start_positions_nm - start_positions_nm.mean(0))[None].float() / self.record.scale_nm,
            "bond_lengths_nm": {name: (self.record.scale_nm * values).tolist() for name, values in lengths.items()}})

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
        pairs = torch.stack([weights["prior.first"], weights["prior.second"]], 1).tolist() if "prior.first" in weights else []
        model = build_model(self.plans[number], self.record.check_frames, [tuple(pair) for pair in pairs], self.beads,
                            self.record.scale_nm)
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
        return Experts(tuple(
            Expert(self.model(number).to(device), plan.t_min, plan.t_max)
            for number, (plan, record) in enumerate(zip(self.plans, self.record.experts, strict=True)) if record.steps
        ))

    def refuse_other_scope(self, *, many: bool) -> None:
        """Raise InputError for a transferable checkpoint where one molecule is trained on, and the reverse."""
        if many != (self.knowledge is not None):
            raise InputError(f"{self.path} was trained on {'one molecule' if many else 'many molecules'}, and the recipe has data."
                             f"{'molecules' if many else 'trajectories'}; give a checkpoint and a recipe of one kind")

    def refuse_other_beads(self, beads: BeadTable) -> None:
        """Raise InputError unless `beads` are those that the checkpoint was trained on."""
        ours, theirs = ([*map(str, table.beads), *table.bonds] for table in (self.beads, beads))
        if ours != theirs:
            raise InputError(f"{self.path} was trained on the beads {', '.join(map(str, self.beads.beads))}, and the recipe's "
                             f"data give {', '.join(map(str, beads.beads))}, or other bonds; both must be the same molecule")


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read model.ckpt without unpickling anything but plain values and tensors.

    Raises InputError for a missing or damaged file, a model.pt, and a checkpoint of another program or version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist; fpforce-train makes it")
    kind = describe_file(path)
    if kind in ("model", "torchscript"):
        raise InputError(f"{path} is an exported model (.pt), not a training checkpoint; give the model.ckpt it came from")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a readable checkpoint: it is truncated, damaged or of another program; "
                         "fpforce-train makes the right kind") from error
    if not isinstance(content, dict) or EXTRA_KEY not in content:
        raise InputError(f"{path} is a checkpoint of another program; fpforce-train makes the right kind")
    extra = content[EXTRA_KEY]
    if extra["version"] > CHECKPOINT_VERSION:
        raise InputError(f"{path} has checkpoint version {extra['version']}, newer than this fpforce "
                         f"({CHECKPOINT_VERSION}); update fpforce")
    if extra["version"] < CHECKPOINT_VERSION:
        raise InputError(f"{path} has checkpoint version {extra['version']}, and this fpforce reads {CHECKPOINT_VERSION}: "
                         "train anew, or use the fpforce that wrote it")
    weights = {name.removeprefix("experts."): value for name, value in content["state_dict"].items()}
    return Checkpoint(path, TrainingRecord.from_dict(extra), weights)


def replace_record(path: Path, record: TrainingRecord) -> None:
    """Put another record into a checkpoint, in one step."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    content[EXTRA_KEY] = record.to_dict()
    unfinished = path.with_name(path.name + ".part")
    try:
        torch.save(content, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _flat(section: dict, prefix: str = "") -> dict:
    """A nested mapping as one with dotted keys; the sections of a list are numbered."""
    flat = {}
    for key, value in section.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _versions() -> dict[str, str]:
    versions = {"fpforce": fpforce.__version__}
    for package in ("torch", "pytorch-lightning", "numpy", "mdtraj", "openmm"):
        versions[package] = importlib.metadata.version(package)
    return versions


def _commit() -> str | None:
    """Commit of the source tree, when the package runs from one."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True,
                                timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
