"""The training loop: recipe in, model.ckpt out.

Everything lands in the recipe's output folder: model.ckpt (always the latest checkpoint, replaced in one step),
recipe.yaml (the resolved recipe), logs/ (TensorBoard and CSV).
"""

import logging
import shutil
import time
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from fpforce.errors import InputError
from fpforce.trajectory import read_bead_frames
from fpforce.training.callbacks import CheckpointWriter, StepRecord, StopAfterStep, exponential_average
from fpforce.training.checkpoint import EXTRA_KEY, TrainingRecord, read_checkpoint
from fpforce.training.dataset import NoisedBatches, TrainingSet, conformation_weights
from fpforce.training.diffusion import TimeSampler
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.fokker_planck import fokker_planck_loss, perturb, residuals
from fpforce.training.models import build_energy
from fpforce.training.progress import TrainingProgress
from fpforce.training.recipe import Recipe

logger = logging.getLogger("fpforce")

CHECKPOINT_NAME = "model.ckpt"
RIGID_WIDTH_NM = 1e-3  # bonds of atoms at 300 K are some 2e-3 nm wide


def train(recipe: Recipe, *, resume: bool = False, overwrite: bool = False, show_progress: bool = True) -> Path:
    """Train the recipe's expert and return the path of model.ckpt.

    resume: go on from output/model.ckpt; the recipe must agree with the one that made it, except for the length of
        the run. overwrite: replace an earlier run. Ctrl-C stops after the step with a checkpoint and raises
        KeyboardInterrupt.
    Raises InputError for data that cannot be read or is too little, and for an output folder that holds a run.
    """
    checkpoint = _claim_output(recipe, resume, overwrite)
    if recipe.run.threads is not None:
        torch.set_num_threads(recipe.run.threads)
    torch.set_float32_matmul_precision("highest")  # the weak form subtracts scores 1e-4 apart: no TF32
    data = recipe.data
    bead_frames = read_bead_frames(data.trajectories, data.topology, beads=data.beads, length_unit=data.length_unit,
                                   stride=data.stride, allow_d_residues=data.allow_d_residues)
    training_set = TrainingSet.of(bead_frames)
    if len(training_set.frames) < recipe.optimizer.batch_size:
        raise InputError(f"{len(training_set.frames)} frames in {', '.join(training_set.sources)} are fewer than "
                         f"optimizer.batch_size={recipe.optimizer.batch_size}; give more frames or a smaller batch")
    _warn_of_rigid_bonds(training_set)
    pl.seed_everything(recipe.run.seed, verbose=False)
    module = ExpertTraining(recipe, training_set)
    writer = CheckpointWriter(recipe.output / CHECKPOINT_NAME, recipe.run.checkpoint_minutes)
    averaging = WeightAveraging(use_buffers=False, multi_avg_fn=exponential_average(recipe.optimizer.ema_decay))
    callbacks = [averaging, StepRecord(), writer, TrainingProgress(recipe, show_progress)]
    if resume:
        earlier = read_checkpoint(checkpoint).record
        module.record.refuse_other_data(earlier)
        if earlier.steps >= recipe.run.max_steps:
            logger.info("nothing left to do: %s has %d steps already; raise run.max_steps to go on", checkpoint, earlier.steps)
            return checkpoint
    _quiet_lightning()
    trainer = _trainer(recipe, callbacks)
    try:
        recipe.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the output folder {recipe.output}: {error.strerror}") from None
    if not resume:  # only now: a mistake must not cost an earlier run
        shutil.rmtree(recipe.output / "logs", ignore_errors=True)
        writer.path.unlink(missing_ok=True)
    (recipe.output / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    logger.info("training on %d frames of %d beads; output in %s", len(training_set.frames), len(training_set.beads),
                recipe.output)
    with StopAfterStep(trainer) as stop:
        trainer.fit(module, range(recipe.run.max_steps), ckpt_path=checkpoint, weights_only=True)
    if stop.requested:
        raise KeyboardInterrupt(f"stopped after step {trainer.global_step}; {writer.path} is complete, go on with --resume")
    return writer.path


def _warn_of_rigid_bonds(training_set: TrainingSet) -> None:
    """A bond that constraints held has next to no width; its force would need a time step far below 1 fs."""
    index = torch.tensor(training_set.beads.bonds, dtype=torch.long).reshape(-1, 2)
    lengths = (training_set.frames[:, index[:, 0]] - training_set.frames[:, index[:, 1]]).norm(dim=-1)
    widths_nm = lengths.double().std(0) * training_set.scale_nm
    for (i, j), width_nm in zip(index.tolist(), widths_nm.tolist(), strict=True):
        if width_nm < RIGID_WIDTH_NM:
            beads = training_set.beads.beads
            logger.warning("bond %s to %s varies by %.1e nm only, as if constrained: leave one of its beads out (hydrogens, "
                           "usually), or simulate with a far shorter --timestep-fs", beads[i], beads[j], width_nm)


def _trainer(recipe: Recipe, callbacks: list[pl.Callback]) -> pl.Trainer:
    run, logs = recipe.run, recipe.output / "logs"
    many = {"auto": torch.cuda.device_count(), -1: torch.cuda.device_count()}
    count = len(run.devices) if isinstance(run.devices, list) else many.get(run.devices, run.devices)
    # The energy's constant has no gradient, which plain DDP takes for a mistake.
    strategy = "ddp_find_unused_parameters_true" if count > 1 and run.strategy == "auto" else run.strategy
    try:
        return pl.Trainer(
            accelerator=run.accelerator, devices=run.devices, strategy=strategy, precision=run.precision,
            max_steps=run.max_steps, max_epochs=-1, callbacks=callbacks, log_every_n_steps=1,
            gradient_clip_val=recipe.optimizer.gradient_clip, default_root_dir=recipe.output,
            logger=[TensorBoardLogger(logs, name="", version="tensorboard"),
                    CSVLogger(logs, name="csv", flush_logs_every_n_steps=1)],
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise InputError(f"run.accelerator={run.accelerator}, run.devices={run.devices}, run.strategy={run.strategy} "
                         f"cannot be used here: {' '.join(str(error).split())[:200]}") from None


class ExpertTraining(pl.LightningModule):
    """One conservative expert: a step's losses, the learning rate, the record of the run."""

    def __init__(self, recipe: Recipe, training_set: TrainingSet):
        super().__init__()
        self.recipe = recipe
        self.energy = build_energy(recipe, training_set.frames, training_set.prior_pairs, training_set.beads,
                                   training_set.scale_nm)
        self.record = TrainingRecord.start(recipe, training_set)
        times = TimeSampler(recipe.diffusion.t_eval, recipe.diffusion.t_max, recipe.diffusion.v_min)
        self._batches = _Shared(NoisedBatches(
            training_set.frames, times, recipe.optimizer.batch_size, recipe.run.seed,
            conformation_weights(training_set.frames, recipe.loss.fokker_planck_evenness),
            rotate=not self.energy.network.rotation_invariant))
        self._rank = 0
        self._clock = time.monotonic()

    def configure_optimizers(self):
        settings = self.recipe.optimizer
        return torch.optim.AdamW(self.energy.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99),
                                 weight_decay=settings.weight_decay, foreach=True)

    def on_fit_start(self):
        self._batches.value.to(self.device, next(self.energy.parameters()).dtype)
        self.record.device = _device_name(self.device)
        self._rank = self.global_rank

    def on_train_start(self):
        self._clock = time.monotonic()

    def on_train_batch_start(self, batch, batch_idx):
        rate = learning_rate(self.recipe, self.global_step, self.progress)
        for group in self.optimizers().param_groups:
            group["lr"] = rate

    def training_step(self, batch, batch_idx):
        denoising, fokker_planck = self.losses(self.global_step)
        loss = denoising + self.recipe.loss.fokker_planck_weight * fokker_planck
        if not torch.isfinite(loss):
            raise InputError(f"the loss became {loss.item()} at step {self.global_step}; the last checkpoint is intact: "
                             "lower optimizer.learning_rate and start anew, or look for damaged frames")
        self.record.window.append([denoising.item(), fokker_planck.item()])
        return loss

    def losses(self, step: int) -> tuple[Tensor, Tensor]:
        """Denoising and Fokker-Planck loss of a step; the second is zero where its weight is.

        One forward pass serves the noised batch and all perturbed copies of the points of the second.
        """
        batches = self._batches.value
        noised, generator = batches.batch(step, self._rank)
        settings, size = self.recipe.loss, len(noised.x)
        if settings.fokker_planck_weight == 0:
            score = self.energy.log_density(noised.x, noised.t).score
            return denoising_loss(score, noised.t, noised.z), torch.zeros(())
        points, times = batches.spread(max(1, round(settings.fokker_planck_fraction * size)), generator)
        perturbed = perturb(points, times, settings.fokker_planck_sigma, generator)
        density = self.energy.log_density(torch.cat([noised.x, perturbed.points]), torch.cat([noised.t, perturbed.times]))
        denoising = denoising_loss(density.score[:size], noised.t, noised.z)
        residual = residuals(self.energy, density.after(size), perturbed)
        return denoising, fokker_planck_loss(residual, noised.x.shape[1])

    def record_step(self) -> None:
        """Account for a finished step: time, number, curves and logs."""
        now = time.monotonic()
        self.record.seconds += now - self._clock
        self._clock = now
        self.record.steps = self.global_step
        if self.global_step % self.recipe.run.log_every_steps == 0 or self.finished:
            denoising, fokker_planck = torch.tensor(self.record.window).mean(0).tolist()
            self.record.window.clear()
            self.record.add(self.global_step, denoising, fokker_planck)
            rate = self.optimizers().param_groups[0]["lr"]
            for log in self.loggers:
                log.log_metrics({"denoising": denoising, "fokker_planck": fokker_planck, "learning_rate": rate},
                                self.global_step)
        if self.finished:
            self.trainer.should_stop = True

    @property
    def progress(self) -> float:
        """Part of the run that is done, by steps or by time, whichever is further."""
        run = self.recipe.run
        by_time = 0.0 if run.max_minutes is None else self.record.seconds / (60.0 * run.max_minutes)
        return max(self.global_step / run.max_steps, by_time)

    @property
    def finished(self) -> bool:
        return self.trainer.strategy.reduce_boolean_decision(self.progress >= 1.0, all=False)

    def on_save_checkpoint(self, checkpoint):
        checkpoint[EXTRA_KEY] = self.record.to_dict()

    def on_load_checkpoint(self, checkpoint):
        self.record.continue_from(checkpoint[EXTRA_KEY])


def learning_rate(recipe: Recipe, step: int, progress: float) -> float:
    """Linear warm-up, then a cosine from the peak to a thousandth of it, over the part of the run that is done."""
    settings = recipe.optimizer
    warmup = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    cosine = 0.5 * (1.0 + torch.cos(torch.tensor(torch.pi * min(progress, 1.0))).item())
    return settings.learning_rate * warmup * (0.001 + 0.999 * cosine)


class _Shared:
    """Keeps the frames out of the deep copy that weight averaging makes of the module."""

    def __init__(self, value):
        self.value = value

    def __deepcopy__(self, memo):
        return self


def _claim_output(recipe: Recipe, resume: bool, overwrite: bool) -> Path | None:
    """The checkpoint to go on from, or None; refuses to replace an earlier run unasked."""
    path = recipe.output / CHECKPOINT_NAME
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; give one of them")
    if resume:
        if not path.is_file():
            raise InputError(f"nothing to resume: {path} does not exist; start without --resume")
        read_checkpoint(path).record.refuse_other_recipe(recipe)
        return path
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists; --resume goes on from it, --overwrite replaces it")
    return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _quiet_lightning() -> None:
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning.*")
    warnings.filterwarnings("ignore", module="lightning_fabric.*")
