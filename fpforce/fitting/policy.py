"""What a fit does next, by the diagnosis of its last round.

In: the rounds so far, the causes that the last report names, and the minutes that are left. Out: a `RoundPlan`, or None
where nothing that is left to try is likely to help, or fits into the time. Nothing is read or run here, and the same
history gives the same plan.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fpforce.analysis.causes import (
    BONDS,
    INCONSISTENT,
    LEFT_THE_DATA,
    NOT_SAMPLED,
    ONE_BASIN,
    SAMPLES_UNKNOWN,
    TOO_FEW_DATA,
    UNDERTRAINED,
)
from fpforce.analysis.model_causes import MORE_ROUNDS
from fpforce.analysis.next_commands import LADDER

TRAIN, SAMPLE, EXPORT, SIMULATE, EVALUATE = "train", "sample", "export", "simulate", "evaluate"
ALL_STAGES = (TRAIN, EXPORT, SAMPLE, SIMULATE, EVALUATE)

FIRST, TRAIN_LONGER, FLOW, CALIBRATE, SIMULATE_LONGER, EXCHANGE, SHORTER_STEP = (
    "first training",
    "longer training",
    "training with the Fokker-Planck equation along the flow",
    "calibration by rounds of simulation",
    "longer simulation",
    "temperature exchange",
    "shorter time step",
)
# For each cause what may mend it, the likeliest first. The rest cannot be mended here: reference, temperature, and what
# the training frames do not hold, which is not among the causes of a Situation. TOO_FEW_DATA is of those that the model
# knows better than others.
REMEDIES = {
    NOT_SAMPLED: (SIMULATE_LONGER, EXCHANGE),
    ONE_BASIN: (EXCHANGE,),
    LEFT_THE_DATA: (SHORTER_STEP, TRAIN_LONGER, FLOW),
    BONDS: (SHORTER_STEP, TRAIN_LONGER),
    INCONSISTENT: (CALIBRATE, FLOW, TRAIN_LONGER),
    TOO_FEW_DATA: (FLOW,),
    UNDERTRAINED: (TRAIN_LONGER, FLOW),
    SAMPLES_UNKNOWN: (TRAIN_LONGER,),
}
_REPEATED = (TRAIN_LONGER, SIMULATE_LONGER)
FEWEST_ROUNDS = 2  # of calibration that are worth a round of the fit
FLOW_WEIGHT = 0.05

# Of all minutes: a fit that is too short for a second round spends most on the first training; one of any length spends
# no less on it, and keeps time for two rounds more where there is any.
ONE_ROUND_MINUTES = 15.0
_TRAINING_OF_ONE, _TRAINING_OF_MANY, _SIMULATION_OF_TRAINING = 0.55, 0.2, 0.6
_CALIBRATION = 0.3  # of a training's time, where it ends with rounds of simulation by itself
OTHER_STAGES = 0.12  # of the time that a round takes: export, samples, evaluation, and starting all of them


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """One round. Folders and files are named relative to the fit's folder.

    action: one of the kinds above. changes: `key=value` of the recipe. init: the checkpoint whose weights a new
    training starts from; `resume`: go on with the one in `training`. simulation: folder of the trajectories, which
    are gone on with where an earlier round has made them.
    """

    action: str
    stages: tuple[str, ...]
    training: str
    changes: tuple[str, ...] = ()
    init: str | None = None
    resume: bool = False
    model: str
    samples: str
    simulation: str
    simulate_minutes: float | None = None
    simulate_ps: float | None = None
    timestep_fs: float
    rungs: int = 1

    def record(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def of(record: dict[str, Any]) -> "RoundPlan":
        """From what `record` gave, read back from a file."""
        return RoundPlan(**record | {name: tuple(record[name]) for name in ("stages", "changes")})


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a plan depends on. `max_minutes` in all, `left` of them; `max_steps`: of the recipe, None where it leaves
    the length to the fit; `most_minutes`: of a training, by the recipe; `simulate_ps`: None for a share of the time.
    calibrates: whether a training ends with rounds of simulation by itself; calibratable: whether its last layer can
    be; rounds: of calibration that the last model has had, at so many rungs, each of round_seconds. causes: those of
    the last report that need no other data, the likeliest first; stuck: replicas do not leave the basin that they start
    in; stopped_early: the last training, since it would have memorised.
    """

    max_minutes: float
    left: float
    timestep_fs: float
    max_steps: int | None = None
    most_minutes: float | None = None
    simulate_ps: float | None = None
    calibrates: bool = False
    calibratable: bool = True
    rounds: int = 0
    rungs: int = 1
    round_seconds: float = 0.0
    causes: Sequence[str] = field(default=())
    stuck: bool = False
    stopped_early: bool = False


def first_round(now: Situation) -> RoundPlan:
    """Train, export, sample, simulate, evaluate."""
    share = _TRAINING_OF_ONE * min(now.max_minutes, ONE_ROUND_MINUTES)
    share = max(share, _TRAINING_OF_MANY * now.max_minutes)
    minutes = min(share * (1.0 - _CALIBRATION if now.calibrates else 1.0), now.most_minutes or float("inf"))
    simulate = None if now.simulate_ps is not None else _SIMULATION_OF_TRAINING * share
    return RoundPlan(
        action=FIRST,
        stages=ALL_STAGES,
        training="train_1",
        changes=_length(now, minutes, 1),
        model="round_1/model.pt",
        samples="round_1/iid.xtc",
        simulation="round_1",
        simulate_minutes=simulate,
        simulate_ps=now.simulate_ps,
        timestep_fs=now.timestep_fs,
    )


def next_round(plans: Sequence[RoundPlan], now: Situation) -> RoundPlan | None:
    """The plan of the round after these, by the first cause for which something is left to try and time to do it."""
    done = [plan.action for plan in plans]
    for cause in now.causes:
        for action in _remedies(cause, now):
            if action in done and action not in _REPEATED and not (action == CALIBRATE and _is_hotter(plans)):
                continue
            if (action == CALIBRATE and not now.calibratable) or (action == TRAIN_LONGER and now.stopped_early):
                continue
            plan = _plan(action, plans, now)
            if plan is not None:
                return plan
    return None


def _is_hotter(plans: Sequence[RoundPlan]) -> bool:
    """Whether simulations have more temperatures than at any calibration so far."""
    return all(plan.rungs < plans[-1].rungs for plan in plans if plan.action == CALIBRATE)


def _remedies(cause: str, now: Situation) -> tuple[str, ...]:
    found = REMEDIES.get(cause, ())
    if cause == NOT_SAMPLED and now.stuck:
        return tuple(reversed(found))
    return found


def _plan(action: str, plans: Sequence[RoundPlan], now: Situation) -> RoundPlan | None:
    """The last plan with one thing changed; None where too little time is left for it."""
    last, number = plans[-1], len(plans) + 1
    usable = (1.0 - OTHER_STAGES) * now.left
    if usable <= 0.0:
        return None
    here = f"round_{number}"
    simulated = sum(plan.simulate_minutes or 0.0 for plan in plans if plan.simulation == last.simulation)
    anew = dataclasses.replace(last, action=action, changes=(), init=None, resume=False, simulation=here)
    if action in (SIMULATE_LONGER, EXCHANGE, SHORTER_STEP):
        minutes = None if now.simulate_ps is not None else min(usable, 3.0 * simulated)
        if minutes is not None and minutes < 0.5 * simulated:
            return None
        plan = dataclasses.replace(anew, stages=(SIMULATE, EVALUATE), simulate_minutes=minutes)
        if action == SIMULATE_LONGER:  # on top of what there is
            return dataclasses.replace(
                plan, simulation=last.simulation, simulate_ps=None if last.simulate_ps is None else 2 * last.simulate_ps
            )
        if action == EXCHANGE:
            return dataclasses.replace(plan, rungs=LADDER)
        return dataclasses.replace(plan, timestep_fs=last.timestep_fs / 2)
    simulate = None if now.simulate_ps is not None else min(plans[0].simulate_minutes or 0.0, 0.375 * usable)
    train = usable - (simulate or 0.0)
    if simulate is not None and simulate < 0.3 * (plans[0].simulate_minutes or 0.0):
        return None
    model = dataclasses.replace(
        anew, stages=ALL_STAGES, model=f"{here}/model.pt", samples=f"{here}/iid.xtc", simulate_minutes=simulate
    )
    if action == CALIBRATE:
        seconds = now.round_seconds * max(last.rungs, now.rungs) / now.rungs
        more = min(MORE_ROUNDS, int(60.0 * train / seconds)) if seconds else MORE_ROUNDS
        if more < FEWEST_ROUNDS:
            return None
        own = ("calibration.r", "calibration.most_rounds")
        kept = (one for one in _keeping(plans, _length_so_far(plans)) if not one.startswith(own))
        return dataclasses.replace(
            model,
            resume=True,
            changes=(
                *kept,
                f"calibration.rounds={now.rounds + more}",
                "calibration.most_rounds=0",
                *_temperatures(last, now),
            ),
        )
    of_training = sum(plan.training == last.training and plan.action in (FIRST, FLOW, TRAIN_LONGER) for plan in plans)
    earlier = _minutes(_length_so_far(plans)) or 0.0
    if action == TRAIN_LONGER:
        minutes = earlier + min(train, earlier) if earlier else None
        kept = (
            one for one in _keeping(plans, _length(now, minutes, 1 + of_training)) if "calibration.rungs" not in one
        )
        return dataclasses.replace(model, resume=True, changes=(*kept, *_temperatures(last, now)))
    return dataclasses.replace(
        model,
        training=f"train_{number}",
        init=f"{last.training}/model.ckpt",
        changes=(
            *_length(now, min(train, earlier) if earlier else None, 1),
            f"loss.flow_weight={FLOW_WEIGHT}",
            *_temperatures(last, now),
        ),
    )


def _temperatures(last: RoundPlan, now: Situation) -> tuple[str, ...]:
    """What has a calibration exchange temperatures where simulations had to: replicas of one do not leave the states
    whose weights are wrong.
    """
    rungs = max(last.rungs, now.rungs)
    return () if rungs == 1 else (f"calibration.rungs={rungs}",)


def _length(now: Situation, minutes: float | None, times: int) -> tuple[str, ...]:
    """Changes to the recipe that make a training so long; `times` as many steps where the recipe counts these."""
    steps = 1_000_000 if now.max_steps is None else times * now.max_steps
    return (f"run.max_steps={steps}", *([] if minutes is None else [f"run.max_minutes={minutes:.4f}"]))


def _length_so_far(plans: Sequence[RoundPlan]) -> tuple[str, ...]:
    """The changes by which the training of the last plan has its length, from the plan that gave it."""
    last = next(plan for plan in reversed(plans) if plan.training == plans[-1].training and plan.changes)
    return tuple(change for change in last.changes if change.startswith("run.max_"))


def _keeping(plans: Sequence[RoundPlan], length: tuple[str, ...]) -> tuple[str, ...]:
    """A new length beside whatever else the training of the last plan was given."""
    kept: dict[str, None] = {}
    for plan in plans:
        if plan.training == plans[-1].training:
            kept |= dict.fromkeys(change for change in plan.changes if not change.startswith("run.max_"))
    return (*length, *kept)


def _minutes(changes: Sequence[str]) -> float | None:
    return next((float(c.partition("=")[2]) for c in changes if c.startswith("run.max_minutes=")), None)
