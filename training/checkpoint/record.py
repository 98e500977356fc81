"""What a training writes down of itself: the recipe, the data, the molecule, and how far each expert has come.

Plain values and tensors, so that nothing has to be unpickled to read them back (training.checkpoint.checkpoint).
Longer than other files, since all that a checkpoint keeps besides weights is found in one place.
"""

import importlib.metadata
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.recipe.models import PAIRS, wall_of
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.training.recipe.sections import Recipe

CHECKPOINT_VERSION = 4  # 4: frames held out and the flow's teacher are in the record
LOSS_TERMS = ("denoising", "fokker_planck", "anchor", "flow")
WATCHED = ("step", "denoising", "held_out_denoising", "fokker_planck", "held_out_fokker_planck")


@dataclass
class ExpertRecord:
    """How the training of one expert went; `steps` is 0 until it begins.

    The curves hold one entry for every log_every_steps steps: the means of each loss term over these steps. window
    holds the terms of every step since the last entry, in the order of LOSS_TERMS. watched: losses of the averaged
    weights on training frames and on frames held out, an entry a measurement; gap: that of loop.gap, in kT, and its
    samples_above. best: step, held-out loss and averaged weights by name of the last measurement whose held-out
    denoising loss was next to the least (loop.early_stopping.keep_best); None without held-out frames. stopped_early:
    because the held-out loss rose. teacher: step, averaged weights by name and loss, as it is minimised, of the energy
    whose flow is followed (loop.flow_pool), once there is one; let_go where it is followed no more, or, with
    samples_above and without weights, never was. usual_norm: of a gradient (loop.outliers), of steps with the Fokker-
    Planck term and of those without.
    """

    device: str = ""
    seconds: float = 0.0
    steps: int = 0
    curves: dict = field(default_factory=lambda: {name: [] for name in ("step", *LOSS_TERMS)})
    window: list[list[float]] = field(default_factory=list)
    watched: dict = field(default_factory=lambda: {name: [] for name in WATCHED})
    gap: dict = field(default_factory=lambda: {"step": [], "kt": []})
    best: dict | None = None
    stopped_early: bool = False
    teacher: dict | None = None
    usual_norm: dict[str, float] = field(default_factory=dict)

    @property
    def follows_flow(self) -> bool:
        """Whether the energy learns from a teacher's flow."""
        return self.teacher is not None and not self.teacher.get("let_go")

    def close_window(self) -> dict[str, float]:
        """Append the window's means to the curves, and return them by name."""
        means = dict(zip(LOSS_TERMS, torch.tensor(self.window).mean(0).tolist(), strict=True))
        for name, value in ({"step": self.steps} | means).items():
            self.curves[name].append(value)
        self.window.clear()
        return means

    def progress(self, plan: ExpertPlan) -> float:
        """Part of the plan that is done, by steps or by time, whichever is further."""
        if self.stopped_early:
            return 1.0
        by_time = 0.0 if plan.max_minutes is None else self.seconds / (60.0 * plan.max_minutes)
        return max(self.steps / plan.max_steps, by_time)


@dataclass
class CalibrationRecord:
    """How far the calibration has come: the shift (features,) of the last layer's weights that belongs to t_eval; where
    rounds have modes (training.models.contract.Network.modes), their weights are behind it. pairs: what
    training.models.contract.Network.have_pairs takes, where these have distances of pairs; None without.

    levels: by number of an expert, what the denoising fit has added to it at every t (training.models.contract.Network.
    add_levels), and denoising: summaries of these fits (training.calibration.denoising_fit); None without.
    samples: number of the model's own samples that it was calibrated to; 0 where it was the training data. settings:
    those of the last rounds, by the names of the recipe's calibration, and `ladder_since`, the number of rounds before
    those at as many temperatures. likelihood: summary of the LikelihoodFit
    (training.calibration.likelihood_fit), None without one. positions_nm (rungs, replicas, beads, 3):
    where the replicas are, None before the first round. relative_entropy (nats), effective (part of the frames) and
    seconds have an entry a round, as in training.calibration.newton.NewtonStep. best: relative entropy, number, shift,
    last positions and `last` of the round whose simulation was the nearest to the data. undone: numbers of the rounds
    that went back to such a one. first, last: shift, averages (features,) of the simulation under it, and free energy
    (kT, over that of the first) of these rounds. stiffness: of each round, in units of the smallest
    (training.calibration.newton.chosen_stiffness). held_out: by how many nats frames that no training saw became more
    likely, and the standard error of that; None without such frames. refused: it went away from them, so the shift is
    the first round's again.
    """

    t_eval: float
    shift: Tensor
    levels: dict[int, Tensor] | None = None
    denoising: dict[int, dict] | None = None
    likelihood: dict | None = None
    positions_nm: Tensor | None = None
    relative_entropy: list[float] = field(default_factory=list)
    effective: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: dict | None = None
    undone: list[int] = field(default_factory=list)
    first: dict | None = None
    last: dict | None = None
    stiffness: list[float] = field(default_factory=list)
    held_out: dict | None = None
    refused: bool = False
    samples: int = 0
    settings: dict = field(default_factory=dict)
    pairs: dict | None = None

    def applies_at(self, t: float) -> bool:
        """Whether an energy at t has any of it."""
        return self.t_eval == t or self.levels is not None

    def for_another_t_eval(self) -> "CalibrationRecord | None":
        """What of it holds at any t: the denoising fit, or nothing."""
        if self.levels is None:
            return None
        return CalibrationRecord(self.t_eval, torch.zeros_like(self.shift), self.levels, self.denoising)

    def constants(self, number: int) -> Tensor | None:
        """What the denoising fit of an expert has added at each level besides its weights; None of an earlier
        version.
        """
        found = (self.denoising or {}).get(number, {}).get("constants")
        return None if found is None else torch.tensor(found, dtype=torch.float64)

    @property
    def target(self) -> str:
        """What it was calibrated to: samples or data."""
        return "samples" if self.samples else "data"

    @property
    def done(self) -> int:
        """Finished rounds."""
        return len(self.seconds)

    def add(
        self,
        change: Tensor,
        relative_entropy: float,
        effective: float,
        seconds: float,
        positions_nm: Tensor,
        after_nm: Tensor,
    ) -> None:
        """Account for a finished round, which ended at positions_nm (rungs, replicas, beads, 3); the next one begins at
        after_nm.
        """
        if self.best is None or relative_entropy < self.best["relative_entropy"]:
            self.best = {
                "relative_entropy": relative_entropy,
                "round": self.done + 1,
                "shift": self.shift,
                "positions_nm": positions_nm,
                "last": self.last,
            }
        self.shift, self.positions_nm = self.shift + change, after_nm
        self._append(relative_entropy, effective, seconds)

    def undo(self, relative_entropy: float, seconds: float) -> None:
        """Account for a finished round that goes back to the best one instead of making a step."""
        assert self.best is not None
        self.undone.append(self.done + 1)
        self.shift, self.positions_nm = self.best["shift"], self.best["positions_nm"]
        self.last = self.best.get("last", self.last)
        self._append(relative_entropy, 1.0, seconds)

    def _append(self, relative_entropy: float, effective: float, seconds: float) -> None:
        self.relative_entropy.append(relative_entropy)
        self.effective.append(effective)
        self.seconds.append(seconds)

    def summary(self) -> dict:
        """What travels in model.pt."""
        return {
            "t_eval": self.t_eval,
            "samples": self.samples,
            "denoising": self.denoising,
            "likelihood": self.likelihood,
            "rounds": self.done,
            "replicas": 0 if self.positions_nm is None else self.positions_nm.shape[1],
            "settings": self.settings,
            "relative_entropy": self.relative_entropy,
            "undone": self.undone,
            "stiffness": self.stiffness,
            "held_out": self.held_out,
            "refused": self.refused,
            "seconds": sum(self.seconds),
        }


@dataclass
class TrainingRecord:
    """Everything export needs besides the weights, and how the training went.

    origin_nm (3,), subtracted from positions before they are divided by scale_nm, is zero for a molecule.
    check_frames (256, beads, 3) are normalised training frames for the checks at export. experts: one record for each
    expert of the recipe, the smallest t first; `active` is the one in training, or trained last. hand_overs: the
    score's jump at each boundary between trained experts, as of training.loop.hand_over. initial: path and hash of the
    checkpoint that the weights started from, or None. calibration: None unless the training ended with one. forces: the
    record of the data's forces (training.data.force_scores), or None; weights: of its frames' weights
    (fpforce.trajectories.weights), or None. transferable: None for one molecule, else
    `knowledge` of the types (fpforce.forcefield.transferable), the names `trained_on`, and of a few `molecules` the
    entries that differ between them by name; the record's own are then the first one's. smallest_distances: of the
    data, as in fpforce.forcefield.wall, where a model of the recipe has a wall by names; wall_distances_nm (pairs,):
    where one has a wall of each pair. support: frames that say what the model
    has seen, as in training.data.dataset.TrainingSet.support_frames; None in the record of an earlier version.
    unfinished_fit: weights and summary, by number of an expert, of a denoising fit that was stopped before its last
    expert.
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
    wall_distances_nm: Tensor | None = None
    origin_nm: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    transferable: dict | None = None
    weights: dict | None = None
    support: dict | None = None
    unfinished_fit: dict[int, tuple[Tensor, dict]] = field(default_factory=dict)
    version: int = CHECKPOINT_VERSION

    @staticmethod
    def start(
        recipe: Recipe, plans: tuple[ExpertPlan, ...], training_set: TrainingSet | MoleculeSet
    ) -> "TrainingRecord":
        """The record of a run that begins; plans: what the recipe asks of each expert."""
        walls = [wall_of(plan.model) for plan in plans]
        return TrainingRecord(
            recipe=recipe.model_dump(mode="json"),
            scale_nm=training_set.scale_nm,
            data_sha256=training_set.data_sha256,
            sources=list(training_set.sources),
            versions=_versions(),
            commit=_commit(),
            experts=[ExpertRecord() for _ in plans],
            active=len(plans) - 1,
            **training_set.record(),
            smallest_distances=training_set.smallest_distances() if True in walls else None,
            wall_distances_nm=training_set.wall_distances_nm()
            if PAIRS in walls and isinstance(training_set, TrainingSet)
            else None,
        )

    @property
    def normalisation(self) -> Normalisation:
        """The data's."""
        x, y, z = self.origin_nm
        return Normalisation(self.scale_nm, (x, y, z))

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
        return TrainingRecord(
            **content
            | {
                "experts": [ExpertRecord(**expert) for expert in content["experts"]],
                "calibration": None if calibration is None else CalibrationRecord(**calibration),
            }
        )

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
        for name in ("forces", "weights"):
            ours, theirs = getattr(self, name) or {}, getattr(earlier, name) or {}
            if ours.get("sha256") != theirs.get("sha256"):
                differing.append(f"the {name} of {' or '.join((ours or theirs)['sources'])} changed")
        if differing:
            raise InputError(
                f"--resume with other data than the run began with: {', '.join(differing)}; bring the earlier files "
                "back, or start anew with --overwrite"
            )


def _versions() -> dict[str, str]:
    versions = {"fpforce": fpforce.__version__}
    for package in ("torch", "pytorch-lightning", "numpy", "mdtraj", "openmm"):
        versions[package] = importlib.metadata.version(package)
    return versions


def _commit() -> str | None:
    """Commit of the source tree, when the package runs from one."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
