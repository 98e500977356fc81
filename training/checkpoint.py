"""What a checkpoint says beyond Lightning's own state, and how it becomes a trained energy again.

In: model.ckpt. Out: a TrainingRecord (plain values and tensors, so that nothing has to be unpickled) and the energy
with its averaged weights.
"""

import importlib.metadata
import pickle
import subprocess
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

import fpforce
from fpforce.artifact import describe_file
from fpforce.beads import BeadTable
from fpforce.errors import InputError
from fpforce.training.dataset import TrainingSet
from fpforce.training.models import build_energy
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.experts import Expert, Experts
from fpforce.training.recipe import Recipe, parse_recipe

EXTRA_KEY = "fpforce"
CHECKPOINT_VERSION = 1


@dataclass
class TrainingRecord:
    """Everything export needs besides the weights, and how the training went.

    check_frames (256, beads, 3) are normalised training frames for the checks at export. The curves hold one entry for
    every log_every_steps steps: the means of both losses over these steps. window holds both losses of every step since
    the last entry.
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
    device: str = ""
    seconds: float = 0.0
    steps: int = 0
    curves: dict = field(default_factory=lambda: {"step": [], "denoising": [], "fokker_planck": []})
    window: list[list[float]] = field(default_factory=list)
    version: int = CHECKPOINT_VERSION

    @staticmethod
    def start(recipe: Recipe, training_set: TrainingSet) -> "TrainingRecord":
        """The record of a run that begins."""
        return TrainingRecord(
            recipe=recipe.model_dump(mode="json"),
            beads=training_set.beads.to_dict(),
            scale_nm=training_set.scale_nm,
            bond_lengths_nm=training_set.bond_lengths_nm(),
            start_positions_nm=training_set.frames[0] * training_set.scale_nm,
            check_frames=training_set.check_frames(),
            data_sha256=training_set.data_sha256,
            sources=list(training_set.sources),
            versions=_versions(),
            commit=_commit(),
        )

    def add(self, step: int, denoising: float, fokker_planck: float) -> None:
        """Append to the curves."""
        for key, value in zip(self.curves, (step, denoising, fokker_planck), strict=True):
            self.curves[key].append(value)

    def to_dict(self) -> dict:
        """Plain values and tensors only."""
        return asdict(self)

    def continue_from(self, earlier: dict) -> None:
        """Take over how far an earlier run had come."""
        self.seconds, self.steps = earlier["seconds"], earlier["steps"]
        self.curves, self.window = earlier["curves"], earlier["window"]

    def refuse_other_data(self, earlier: "TrainingRecord") -> None:
        """Raise InputError unless an earlier part of the run was trained on the same data."""
        if earlier.data_sha256 != self.data_sha256:
            raise InputError(f"--resume with other data: {', '.join(self.sources)} changed since the run began; bring the "
                             "earlier files back, or start anew with --overwrite")

    def refuse_other_recipe(self, recipe: Recipe) -> None:
        """Raise InputError unless `recipe` differs from the recorded one in the run's length and place only."""
        free = ("max_steps", "max_minutes", "checkpoint_minutes", "threads", "accelerator", "devices", "strategy")
        ours, theirs = _flat(self.recipe), _flat(recipe.model_dump(mode="json"))
        for key in sorted(ours.keys() | theirs.keys()):
            if key.split(".")[-1] in free or key == "output":
                continue
            if ours.get(key) != theirs.get(key):
                raise InputError(f"--resume with another recipe: {key} was {ours.get(key)!r}, is {theirs.get(key)!r}; "
                                 "undo the change, or start anew with --overwrite")


@dataclass(frozen=True)
class Checkpoint:
    """A read model.ckpt: the record and the averaged weights."""

    path: Path
    record: TrainingRecord
    weights: dict[str, Tensor]

    @property
    def recipe(self) -> Recipe:
        return parse_recipe(self.record.recipe, f"recipe in {self.path}")

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, by which samples and force fields name the training that they came from."""
        return sha256(self.path.read_bytes()).hexdigest()

    @property
    def beads(self) -> BeadTable:
        return BeadTable.from_dict(self.record.beads)

    def energy(self) -> DiffusionEnergy:
        """The trained energy in float32 with averaged weights, in evaluation mode."""
        pairs = torch.stack([self.weights["prior.first"], self.weights["prior.second"]], 1).tolist() \
            if "prior.first" in self.weights else []
        energy = build_energy(self.recipe, self.record.check_frames, [tuple(pair) for pair in pairs])
        energy.load_state_dict(self.weights)
        return energy.float().eval().requires_grad_(False)

    def experts(self, device: torch.device | str = "cpu") -> Experts:
        """The trained experts, each with its interval of t, on `device`."""
        diffusion = self.recipe.diffusion
        return Experts((Expert(self.energy().to(device), diffusion.t_eval, diffusion.t_max),))


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
    weights = {name.removeprefix("energy."): value for name, value in content["state_dict"].items()}
    return Checkpoint(path, TrainingRecord(**extra), weights)


def _flat(section: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in section.items():
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
