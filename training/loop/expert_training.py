"""What training does in a step: the Lightning module that holds all experts and trains one of them.

In: a recipe and a TrainingSet. Out: losses, and a TrainingRecord of how the training went.
Longer than other files, since Lightning wants the hooks of a module in one class.
"""

import copy
import math
import time
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fpforce.foundation.errors import InputError
from fpforce.molecule.space import MOLECULE, space_of
from fpforce.training.checkpoint.checkpoint import CHECKPOINT_NAME, EXTRA_KEY, AnyCheckpoint
from fpforce.training.checkpoint.record import LOSS_TERMS, TrainingRecord
from fpforce.training.data.dataset import NoisedBatches, Points, TrainingSet
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.loop.compiled_step import step_function
from fpforce.training.loop.flow_pool import T_TOP, FlowPool
from fpforce.training.loop.learning_rate import learning_rate
from fpforce.training.loop.outliers import scale_down
from fpforce.training.loop.processes import agreed, laid_out, of_all, require_shares
from fpforce.training.loop.step import StepDraws, StepLosses
from fpforce.training.loop.step_gradient import StepFunction
from fpforce.training.loop.uncopied import Uncopied
from fpforce.training.losses.anchor import anchor_loss, anchor_loss_of_molecules
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.flow import FlowPoints, flow_loss
from fpforce.training.losses.fokker_planck import fokker_planck_loss, perturb, residuals
from fpforce.training.losses.force_loss import ForceLoss
from fpforce.training.losses.time_sampling import ResidualTimes, TimeSampler
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.molecule import Rows
from fpforce.training.models.neighbours import warn_of_small_cutoff
from fpforce.training.models.transferable import TransferableEnergy
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.training.recipe.resumption import changes_of_weights
from fpforce.training.recipe.sections import Recipe

Value = TypeVar("Value")


class ExpertTraining(pl.LightningModule):
    """All experts of a recipe, one of which is being trained: a step's losses, the learning rate, the record of the
    run.

    `begin` chooses the expert; the others are constants meanwhile, but travel in every checkpoint.
    """

    def __init__(self, recipe: Recipe, plans: tuple[ExpertPlan, ...], training_set: TrainingSet | MoleculeSet):
        super().__init__()
        self.recipe, self.plans = recipe, plans
        if recipe.loss.flow_weight and isinstance(training_set, MoleculeSet):
            raise InputError(
                f"loss.flow_weight = {recipe.loss.flow_weight:g} is for one molecule, and data.molecules has several; "
                "set it to 0"
            )
        molecules = training_set.molecules.values() if isinstance(training_set, MoleculeSet) else [training_set]
        largest = max(molecules, key=lambda one: len(one.beads))
        for cutoff_nm in {cutoff_nm for plan in self.plans if (cutoff_nm := getattr(plan.model, "cutoff_nm", None))}:
            warn_of_small_cutoff(largest.frames, largest.scale_nm, cutoff_nm)
        self.experts = nn.ModuleList(map(training_set.build, self.plans))
        self.record = TrainingRecord.start(recipe, plans, training_set)
        self._data = Uncopied(training_set)
        self._force_loss = Uncopied(_force_loss(training_set))
        self._conformation_weights = Uncopied(training_set.conformation_weights(recipe.loss.fokker_planck_evenness))
        self._share, self._shares = 0, 1  # of every batch, among the processes that train together
        self.asked_to_stop = self.stopping = False  # by a signal here, and by what all have agreed on
        self.compiling = self._has_fokker_planck = False
        self._clock = time.monotonic()

    def begin(self, number: int) -> None:
        """Make expert `number` the one that is trained."""
        self.record.active, self.record.calibration = number, None
        for k, expert in enumerate(self.experts):
            expert.requires_grad_(k == number)
        # By whether they have the Fokker-Planck term; made when first needed, when all weights are where they belong.
        self._steps: Uncopied[dict[bool, StepFunction]] = Uncopied({})
        self._flow: Uncopied[FlowPool | None] = Uncopied(None)
        times = TimeSampler(self.plan.t_min, self.plan.t_max, self.plan.v_min)
        self._batches: Uncopied[NoisedBatches] = Uncopied(
            self.training_set.batches(
                times,
                self.recipe.optimizer.batch_size,
                (self.recipe.run.seed, number),
                self._conformation_weights.value,
                rotate=self._rotates(),
            )
        )

    def _rotates(self) -> bool:
        """Whether batches are rotated at random: of a molecule whose network does not see that orientations are
        alike.
        """
        molecule = space_of(self.training_set.frames.shape[1]) is MOLECULE
        return molecule and not self.expert.network.rotation_invariant

    @property
    def training_set(self) -> TrainingSet | MoleculeSet:
        """What all experts are trained on."""
        return self._data.value

    @property
    def frames(self) -> Tensor:
        """The frames that batches are drawn from, where and as precisely as the expert computes."""
        return self._batches.value.frames

    @property
    def plan(self) -> ExpertPlan:
        """That of the expert in training."""
        return self.plans[self.record.active]

    @property
    def expert(self) -> DiffusionEnergy | DiffusionScore | TransferableEnergy:
        """The expert in training."""
        return self._expert(self.record.active)

    @property
    def numbers_of_a_frame(self) -> int:
        """How many numbers a frame takes in the largest array of the network in training."""
        return self.expert.network.numbers_of_a_frame(self.frames.shape[1])

    def _expert(self, number: int) -> DiffusionEnergy | DiffusionScore | TransferableEnergy:
        expert = self.experts[number]
        assert isinstance(expert, DiffusionEnergy | DiffusionScore | TransferableEnergy)
        return expert

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.recipe.optimizer
        return torch.optim.AdamW(
            self.expert.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        self.scale_down(self.global_step, self._has_fokker_planck)

    def scale_down(self, step: int, has_fokker_planck: bool) -> None:
        """Scale down the gradient of a step that is an outlier among those with, or without, the term."""
        settings, norms = self.recipe.optimizer, self.record.expert.usual_norm
        kind = "with" if has_fokker_planck else "without"  # the rarer the term, the larger its weight
        usual = scale_down(self.expert.parameters(), norms.get(kind), step, settings.gradient_clip, settings.outlier)
        if usual is not None:
            norms[kind] = usual

    def on_fit_start(self) -> None:
        dtype = next(self.expert.parameters()).dtype
        self._batches.value.to(self.device, dtype)
        if self._force_loss.value is not None:
            self._force_loss.value.to(self.device, dtype)
        self.record.expert.device = _device_name(self.device)
        self._share, self._shares = self.global_rank, self.trainer.world_size
        require_shares(self.recipe.optimizer.batch_size, self._shares)
        if self._shares > 1:
            for weight in self.expert.parameters():
                weight.register_hook(laid_out)

    def on_train_start(self) -> None:
        self._clock = time.monotonic()

    def on_train_batch_start(self, batch: int, batch_idx: int) -> None:
        rate = learning_rate(self.recipe.optimizer, self.global_step, self.progress)
        for group in self.optimizers().param_groups:
            group["lr"] = rate

    def training_step(self, batch: int, batch_idx: int) -> Tensor:
        draws = self.draw(self.global_step).share(self._share, self._shares)
        steps = self._steps.value
        self._has_fokker_planck = has_fokker_planck = draws.perturbed is not None
        if has_fokker_planck not in steps:
            self.compiling = True
            try:
                steps[has_fokker_planck] = step_function(self, draws._replace(flow=None))
            finally:
                self.compiling = False
        losses, loss = steps[has_fokker_planck](draws._replace(flow=None))
        if draws.flow is not None:
            losses = losses._replace(flow=flow_loss(self._energy(), draws.flow))
            loss = loss + self.plan.flow_weight * losses.flow
        *terms, value = torch.stack([*(getattr(losses, name) for name in LOSS_TERMS), loss]).tolist()
        if not math.isfinite(value):
            kept = (
                "the last checkpoint is intact"
                if (self.recipe.output / CHECKPOINT_NAME).exists()
                else "no checkpoint was written yet"
            )
            raise InputError(
                f"the loss became {value} at step {self.global_step}; {kept}: "
                "lower optimizer.learning_rate and start anew, or look for damaged frames"
            )
        self.record.expert.window.append(terms)
        return loss

    def draw(self, step: int) -> StepDraws:
        """Batch, times and noise of a step, a function of the seed and the step alone."""
        batches, settings = self._batches.value, self.recipe.loss
        noised, generator = batches.batch(step)
        perturbed = weights = boundary = rows = None
        if self.plan.fokker_planck_weight and step % settings.fokker_planck_every == 0:
            count = max(self._shares, round(settings.fokker_planck_fraction * len(noised.x)))
            times, weights = ResidualTimes(batches.times)(count, generator, noised.x)
            weights = settings.fokker_planck_every * weights
            points, times, rows = batches.spread(count, generator, at=times)
            perturbed = perturb(
                points, times, settings.fokker_planck_sigma, generator, None if rows is None else rows.mask
            )
        if self.plan.anchor_weight:
            boundary = batches.spread(len(noised.x), generator, at=self.plan.t_max)
        return StepDraws(noised, perturbed, weights, boundary, rows, self._flow_points(step, generator))

    def follow_flow_of(self, weights: dict[str, Tensor], loss: float | None) -> None:
        """Make the expert with these averaged weights the teacher whose probability flow is followed from this step on.

        loss: theirs on training frames, as it is minimised, None where it was not measured. What was best on held-out
        frames before is forgotten: it has not learned from the flow.
        """
        weights = {name: value.detach().cpu().clone() for name, value in weights.items()}
        self.record.expert.teacher = {"step": self.global_step, "weights": weights, "loss": loss}
        self.record.expert.best = None

    @property
    def wants_flow(self) -> bool:
        """Whether the plan asks for the integral form and there is no teacher yet."""
        wanted = self.plan.flow_weight and isinstance(self.expert, DiffusionEnergy) and self.plan.t_min < T_TOP
        return bool(wanted) and self.record.expert.teacher is None

    def _flow_points(self, step: int, generator: torch.Generator) -> FlowPoints | None:
        """Points of the teacher's flow, where one is followed."""
        teacher = self.record.expert.teacher
        if teacher is None or not self.record.expert.follows_flow:
            return None
        if self._flow.value is None:
            energy = copy.deepcopy(self._energy())
            energy.load_state_dict(teacher["weights"])
            seed = (self.recipe.run.seed, self.record.active, 0)
            assert isinstance(self.training_set, TrainingSet)  # many molecules are refused
            frames = self.training_set.by_weight.to(self.frames)
            self._flow.value = FlowPool(energy, frames, self.plan.t_min, self.plan.t_max, seed)
        return self._flow.value.draw(step - teacher["step"], generator)

    def _energy(self) -> DiffusionEnergy:
        assert isinstance(self.expert, DiffusionEnergy)
        return self.expert

    def forward(self, draws: StepDraws) -> StepLosses:
        """The loss terms; one forward pass serves the noised batch and all copies of the points of the Fokker-Planck
        term.
        """
        noised, perturbed, beads = draws.noised, draws.perturbed, draws.noised.x.shape[1]
        mask = None if noised.rows is None else noised.rows.mask
        fokker_planck = anchor = noised.x.new_zeros(())
        if perturbed is None:
            score = _energy_of(self.expert, noised.rows).score(noised.x, noised.t, create_graph=True)
        else:
            rows = several = draws.perturbed_rows
            if several is not None:
                assert noised.rows is not None  # both are drawn from the same molecules
                rows = noised.rows.followed_by(several.repeat(3))
            expert = _energy_of(self.expert, rows)
            density = expert.log_density(
                torch.cat([noised.x, perturbed.points]), torch.cat([noised.t, perturbed.times])
            )
            score, around = density.score[: len(noised.x)], density.after(len(noised.x))
            residual = residuals(_energy_of(self.expert, several), around, perturbed)
            fokker_planck = fokker_planck_loss(residual, beads, draws.weights, perturbed.mask)
        if draws.boundary is not None:
            anchor = self._anchor(draws.boundary, beads)
        if noised.force is None:
            denoising = denoising_loss(score, noised.t, noised.z, mask)
        else:
            assert self._force_loss.value is not None  # forces come from a training set that has them
            denoising = self._force_loss.value(score, noised.x, noised.t, noised.z, noised.force)
        return StepLosses(denoising, fokker_planck, anchor, anchor.new_zeros(()))

    def _anchor(self, boundary: Points, beads: int) -> Tensor:
        x, t, rows = boundary
        ours, theirs = (
            _energy_of(expert, rows)(x, t) for expert in (self.expert, self._expert(self.record.active + 1))
        )
        if rows is None:
            return anchor_loss(ours, theirs, beads, of_all)
        return anchor_loss_of_molecules(ours, theirs, beads, rows, of_all)

    def weighted(self, losses: StepLosses) -> Tensor:
        """The loss: the sum of its terms, by the plan's weights."""
        return (
            losses.denoising
            + self.plan.fokker_planck_weight * losses.fokker_planck
            + self.plan.anchor_weight * losses.anchor
        )

    def record_step(self) -> None:
        """Account for a finished step: time, number, curves and logs."""
        now, record = time.monotonic(), self.record.expert
        seconds, self.stopping = agreed(record.seconds + now - self._clock, self.asked_to_stop, self.device)
        record.seconds, self._clock = seconds, now
        record.steps = self.global_step
        if self.global_step % self.recipe.run.log_every_steps == 0 or self.finished:
            means = record.close_window()
            rate = self.optimizers().param_groups[0]["lr"]
            for log in self.loggers:
                log.log_metrics(means | {"learning_rate": rate}, self.global_step)
        if self.finished or self.stopping:
            self.trainer.should_stop = True

    @property
    def progress(self) -> float:
        """Part of the expert's training that is done, by steps or by time, whichever is further."""
        return self.record.expert.progress(self.plan)

    @property
    def finished(self) -> bool:
        return self.progress >= 1.0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[EXTRA_KEY] = self.record.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.record.continue_from(TrainingRecord.from_dict(checkpoint[EXTRA_KEY]))

    def take_over(self, earlier: AnyCheckpoint) -> None:
        """Go on from the averaged weights of an earlier part of the run, in which no expert is unfinished."""
        self.experts.load_state_dict(earlier.weights)
        self.record.continue_from(earlier.record)

    def start_from(self, initial: AnyCheckpoint) -> None:
        """Give every expert the weights and statistics of the one in `initial` that covers the end of its interval."""
        for number, (plan, expert) in enumerate(zip(self.plans, self.experts, strict=True)):
            try:
                source = initial.covering(plan.t_max)
            except InputError as error:
                key = f"experts.{number}.t_max" if self.recipe.experts else "diffusion.t_max"
                raise InputError(
                    f"{key} = {plan.t_max:g} is beyond what {initial.path} was trained for ({error}); lower it, or "
                    "train anew without --init"
                ) from None
            changes = changes_of_weights(self.recipe, number, plan, initial.plans[source])
            if changes:
                raise InputError(
                    f"the expert over {plan} cannot start from that over {initial.plans[source]} of {initial.path}: "
                    f"{'; '.join(changes)}; set it in the recipe as it was, or train anew without --init"
                )
            expert.load_state_dict(initial.weights_of(source))
        self.record.initial = {"path": str(initial.path), "sha256": initial.sha256}


def _energy_of(
    expert: DiffusionEnergy | DiffusionScore | TransferableEnergy, rows: Rows | None
) -> DiffusionEnergy | DiffusionScore:
    """The expert, for the molecules of a batch where there are several."""
    if isinstance(expert, TransferableEnergy):
        assert rows is not None
        return expert.of(rows)
    return expert


def _force_loss(training_set: TrainingSet | MoleculeSet) -> ForceLoss | None:
    """That of a molecule's forces, where there are any."""
    if not isinstance(training_set, TrainingSet) or training_set.forces is None:
        return None
    forces = training_set.forces
    return ForceLoss(training_set.frames, forces.values, training_set.prior_pairs, forces.noise, training_set.weights)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
