"""When a training looks at held-out frames, and what it does about what it sees.

In: the module in training and the averaged weights. Out: entries of the record and of the logs, the weights that were
best on held-out frames, and an early end where these get worse. When depends on steps alone, so that a resumed run does
the same.
"""

import copy
import logging
import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging

from fpforce.training.checkpoint.record import ExpertRecord
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.loop.flow_pool import T_TOP
from fpforce.training.loop.gap import gap_kt, samples_above
from fpforce.training.loop.held_out_losses import Losses, Watched
from fpforce.training.models.contract import DiffusionEnergy

logger = logging.getLogger("fpforce")

EVERY_LOGS = 10  # entries of the training's own logs between two measurements
GAP_EVERY = 10  # measurements between two of the gap, which takes seconds
# Times the least held-out loss: later weights, which have seen smaller learning rates, count as good.
NEXT_TO_BEST = 1.01
WORSE = 1.03  # times the least: what has come this far up is memorising, and goes on doing so
FAR_ABOVE = 0.5  # kT a degree of freedom, as much as it has in equilibrium: samples so far above the data are wrong
KNOWN_BETTER = 0.05  # of the held-out loss, by which the training frames' is lower, from where on a word is due


class AveragedWeights(WeightAveraging):
    """Lightning's averaging of weights, of which others may see the average."""

    def averaged_expert(self, module: ExpertTraining) -> torch.nn.Module:
        """The expert in training, with averaged weights; of no use for training on."""
        return self._average_model.module.experts[module.record.active]


class Watching(pl.Callback):
    """Measures the averaged weights on training and held-out frames, keeps the best, and stops where it gets worse."""

    def __init__(self, averaging: AveragedWeights):
        self._averaging = averaging
        self._watched: dict[str, Watched] = {}

    def on_train_start(self, trainer: pl.Trainer, module: ExpertTraining) -> None:
        data = module.training_set
        if isinstance(data, TrainingSet) and data.held_out is not None:
            like, width = module.frames, module.recipe.loss.fokker_planck_sigma
            self._watched = {
                name: Watched(frames.to(like), module.plan, width)
                for name, frames in (("", data.by_weight), ("held_out_", data.held_out))
            }

    def on_train_batch_start(self, trainer: pl.Trainer, module: ExpertTraining, batch: int, batch_idx: int) -> None:
        asked = module.recipe.loss.flow_weight is not None
        due = module.wants_flow and module.progress >= module.recipe.loss.flow_begin
        if due and (asked or memorises(module.record.expert)):
            record = module.record.expert
            teacher = {"step": module.global_step, "weights": self._averaging.averaged_expert(module).state_dict()}
            earlier = record.best is not None and record.best["step"] < record.watched["step"][-1]
            if record.best is not None and earlier:
                teacher = record.best
            if not self._may_teach(module, teacher):
                return
            if earlier:
                self._go_back_to(module, teacher["weights"])
            self._follow(module, teacher)
            logger.info(
                "from step %d on the energy follows the probability flow of the averaged weights of step %d",
                module.global_step,
                teacher["step"],
            )

    def _may_teach(self, module: ExpertTraining, teacher: dict[str, Any]) -> bool:
        """Whether samples of these weights are near held-out frames, or the recipe asks for the flow whatever they are;
        if not, nothing is learned from the flow in this training.
        """
        held_out = self._watched.get("held_out_")
        if held_out is None or module.recipe.loss.flow_weight is not None:
            return True
        energy = copy.deepcopy(self._averaging.averaged_expert(module))
        energy.load_state_dict(teacher["weights"])
        above = samples_above(energy, module.frames, held_out.frames, module.plan)
        if above <= FAR_ABOVE:
            return True
        module.record.expert.teacher = {"step": module.global_step, "let_go": True, "samples_above": above}
        logger.warning(
            "step %d: the model's own samples are %s, so that they are nothing to learn from, and the energy does not "
            "follow its probability flow",
            module.global_step,
            _how_far(above),
        )
        return False

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: ExpertTraining, outputs: Any, batch: int, batch_idx: int
    ) -> None:
        every = EVERY_LOGS * module.recipe.run.log_every_steps
        done = module.progress >= 1.0
        if not self._watched or not (done or trainer.global_step % every == 0):
            return
        expert, record = self._averaging.averaged_expert(module), module.record.expert
        losses = {name: watched.losses(expert) for name, watched in self._watched.items()}
        entry = note(record, losses[""], losses["held_out_"])
        held_out = losses["held_out_"].minimised(module.plan.fokker_planck_weight)
        keep_best(record, held_out, expert.state_dict())
        risen = record.best is not None and held_out > WORSE * record.best["loss"]
        if self._gap_is_due(module, expert, done):
            entry["gap_kt"] = gap_kt(expert, module.frames, module.plan)
            unseen = self._watched["held_out_"].frames
            entry["samples_above"] = samples_above(expert, module.frames, unseen, module.plan)
            record.gap["step"].append(record.steps)
            record.gap["kt"].append(entry["gap_kt"])
            record.gap.setdefault("samples_above", []).append(entry["samples_above"])  # none of an earlier version
        for log in module.loggers:
            log.log_metrics(entry, trainer.global_step)
        training = losses[""].minimised(module.plan.fokker_planck_weight)
        if leads_astray(record, training, module.plan.fokker_planck_weight):
            self._let_flow_go(module, training)
        elif risen and not done:
            self._stop_memorising(trainer, module, held_out)

    def _let_flow_go(self, module: ExpertTraining, loss: float) -> None:
        """Go back to the weights that the energy had before it followed its flow, and train on without."""
        record = module.record.expert
        teacher = record.teacher
        assert teacher is not None
        before = loss_before(record, module.plan.fokker_planck_weight)
        self._go_back_to(module, teacher["weights"])
        record.best = None
        teacher["let_go"] = True
        logger.warning(
            "step %d: the loss of training frames, with the Fokker-Planck term, has risen from %.4f to %.4f since the "
            "energy follows its flow; from the weights of step %d on it does without",
            record.steps,
            before,
            loss,
            teacher["step"],
        )

    def _go_back_to(self, module: ExpertTraining, weights: dict[str, torch.Tensor]) -> None:
        for expert in (module.expert, self._averaging.averaged_expert(module)):
            expert.load_state_dict(weights)

    def _follow(self, module: ExpertTraining, teacher: dict[str, Any]) -> None:
        """Let the energy follow the flow of these weights, of which a measurement may be as old as their step."""
        weight = module.plan.fokker_planck_weight
        module.follow_flow_of(teacher["weights"], known_at(module.record.expert, teacher["step"], weight))

    def _stop_memorising(self, trainer: pl.Trainer, module: ExpertTraining, loss: float) -> None:
        """Stop, or where the energy has not followed its flow yet, go back to the best weights and begin with that."""
        record = module.record.expert
        best = record.best
        assert best is not None
        rise = (
            f"on held-out frames the loss, with the Fokker-Planck term, has risen from {best['loss']:.4f} at step "
            f"{best['step']} to {loss:.4f}"
        )
        if module.wants_flow and self._may_teach(module, best):
            self._go_back_to(module, best["weights"])
            self._follow(module, best)
            logger.warning(
                "step %d: %s; from the weights of step %d on the energy follows their probability flow",
                record.steps,
                rise,
                best["step"],
            )
            return
        logger.warning(
            "stopped at step %d: %s; the weights of step %d are kept. More frames would help, a longer training would "
            "not",
            record.steps,
            rise,
            best["step"],
        )
        record.stopped_early = trainer.should_stop = True

    def _gap_is_due(self, module: ExpertTraining, expert: torch.nn.Module, done: bool) -> bool:
        if not isinstance(expert, DiffusionEnergy) or module.plan.t_min >= T_TOP:
            return False
        return done or len(module.record.expert.watched["step"]) % GAP_EVERY == 0


def note(record: ExpertRecord, training: Losses, held_out: Losses) -> dict[str, float]:
    """Put a measurement into the record, and return it by name."""
    entry = {
        "denoising": training.denoising,
        "held_out_denoising": held_out.denoising,
        "fokker_planck": training.fokker_planck,
        "held_out_fokker_planck": held_out.fokker_planck,
    }
    for name, value in ({"step": record.steps} | entry).items():
        record.watched[name].append(value)
    return {f"averaged_{name}": value for name, value in entry.items()}


def keep_best(record: ExpertRecord, loss: float, weights: dict[str, torch.Tensor]) -> None:
    """Keep the weights where their loss on held-out frames, as it is minimised, is within NEXT_TO_BEST of the least so
    far; `loss` of best is that least.

    Where an energy follows its flow, later weights know more of it and are kept as long as the training goes on.
    """
    least = loss if record.best is None else min(loss, record.best["loss"])
    if loss <= (WORSE if record.follows_flow else NEXT_TO_BEST) * least:
        record.best = {
            "step": record.steps,
            "loss": least,
            "weights": {name: value.detach().cpu().clone() for name, value in weights.items()},
        }


def known_at(record: ExpertRecord, step: int, fokker_planck_weight: float) -> float | None:
    """The loss of training frames, as it is minimised, when last measured up to a step; None if it was not."""
    watched = record.watched
    known = [
        Losses(*losses).minimised(fokker_planck_weight)
        for when, *losses in zip(watched["step"], watched["denoising"], watched["fokker_planck"], strict=True)
        if when <= step
    ]
    return known[-1] if known else None


def leads_astray(record: ExpertRecord, loss: float, fokker_planck_weight: float) -> bool:
    """Whether the flow that the energy follows makes it worse: what memorises knows the training frames better, so that
    their `loss`, as it is minimised, rises for no other reason.
    """
    before = loss_before(record, fokker_planck_weight)
    return record.follows_flow and before is not None and loss > WORSE * before


def loss_before(record: ExpertRecord, fokker_planck_weight: float) -> float | None:
    """The teacher's loss of training frames, as it is minimised; None without a teacher, or if it was not measured."""
    teacher = record.teacher
    if teacher is None:
        return None
    if "loss" in teacher:
        return teacher["loss"]
    return known_at(record, teacher["step"], fokker_planck_weight)  # of an earlier version


def memorises(record: ExpertRecord) -> bool:
    """Whether training frames were known better than held-out ones by KNOWN_BETTER when last measured."""
    if not record.watched["step"]:
        return False
    return record.watched["denoising"][-1] < (1.0 - KNOWN_BETTER) * record.watched["held_out_denoising"][-1]


def _how_far(above: float) -> str:
    if math.isinf(above):
        return "scattered without bounds, unlike held-out frames"
    return f"{above:.2f} kT a degree of freedom above held-out frames in energy"


def conclude(record: ExpertRecord) -> None:
    """Say in the log what held-out frames said of a finished training."""
    if not record.watched["step"]:
        return
    last = {name: values[-1] for name, values in record.watched.items()}
    known, unknown = last["denoising"], last["held_out_denoising"]
    measured = record.gap["kt"][-1] if record.gap["kt"] else None
    finite = measured is not None and math.isfinite(measured)
    gap = f"; E + ln q of samples varies by {measured:.1f} kT" if finite else ""
    logger.info("denoising loss %.4f on training frames, %.4f on held-out ones%s", known, unknown, gap)
    if measured is not None and not finite:
        logger.warning(
            "how much E + ln q of samples varies cannot be measured: samples of the model diverge along its "
            "probability flow, as of one that was trained for few steps, or on frames that are nearly rigid; train "
            "longer, and look at samples and simulations before you use it"
        )
    above = record.gap.get("samples_above", [0.0])[-1]
    if above > FAR_ABOVE:
        logger.warning(
            "the model's own samples are %s: they are wrong, for lack of frames or of steps; a simulation may be right "
            "all the same, which fpforce-evaluate tells",
            _how_far(above),
        )
    if memorises(record):
        logger.warning(
            "training frames are known better than held-out ones by %.0f%%: the frames are too few for this model, "
            "which has begun to memorise them; more, or more independent, frames would help",
            100 * (1.0 - known / unknown),
        )
