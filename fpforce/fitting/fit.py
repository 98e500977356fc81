"""The verb `fit`: a recipe in, a force field out that was judged, or the reason why it is not good enough.

Rounds of train, export, sample, simulate and evaluate follow each other, each planned by the diagnosis of the one
before (policy.py), until one passes, the minutes are spent, or nothing is left to try. What is done is in fit.json
(journal.py), by which an interrupted fit goes on.
"""

import contextlib
import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpforce.analysis.causes import UNDERTRAINED
from fpforce.analysis.convergence import NOT_CONVERGED
from fpforce.analysis.criteria import FAIL, PASS
from fpforce.analysis.run_facts import rungs_of
from fpforce.fitting.journal import JOURNAL_NAME, Journal
from fpforce.fitting.judged_by import prepare
from fpforce.fitting.policy import (
    EVALUATE,
    EXPORT,
    FIRST,
    SAMPLE,
    SIMULATE,
    TRAIN,
    RoundPlan,
    Situation,
    first_round,
    next_round,
)
from fpforce.fitting.settings import FitSettings
from fpforce.fitting.stages import Stages
from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError, NoWorkersError
from fpforce.foundation.locking import Lock

if TYPE_CHECKING:
    from fpforce.analysis.report import Report
    from fpforce.training.recipe.sections import Recipe

logger = logging.getLogger("fpforce")

# Of a verdict, by the names of Situation: what the next round depends on.
TOLD = ("causes", "stuck", "rounds", "rungs", "round_seconds", "stopped_early")
RESULTS = ("model.ckpt", "model.pt", "report.html", "report.json")


@dataclass(frozen=True)
class FitResult:
    """What a fit came to. `model`, `report`: of its best round; `rounds`: how many; `sentence` says it all."""

    status: str
    model: Path
    report: Path
    rounds: int
    minutes: float
    sentence: str


def fit(recipe: "Recipe", settings: FitSettings | None = None, *, show_progress: bool = True) -> FitResult:
    """Train a force field and go on until its simulation is that of held-out data, or the minutes are spent.

    Everything lands in the recipe's output folder: fit.json, data/, train_N/ and round_N/; and of the best round
    model.ckpt, model.pt, report.html and report.json. Ctrl-C stops with everything kept that `resume` needs, and raises
    KeyboardInterrupt.
    Raises InputError for data that cannot be read, an output folder that holds another fit, and a resumed fit with
    another recipe.
    """
    settings = settings or FitSettings()
    settings.check()
    settings.where.require()
    folder = recipe.output.resolve()
    if settings.resume and not (folder / JOURNAL_NAME).is_file():
        raise InputError(f"nothing to resume: {folder / JOURNAL_NAME} does not exist; start without --resume")
    if not (settings.resume or settings.overwrite) and folder.exists() and any(folder.iterdir()):
        raise InputError(f"output {folder} is not empty; --resume goes on with a fit, --overwrite replaces it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the output folder {folder}: {error.strerror}") from None
    with contextlib.closing(Lock(folder / "fit.lock", folder)):
        if settings.resume:
            journal = Journal.go_on(folder, _begun_with(recipe, settings))
        else:
            _clear(folder)
            journal = Journal.begin(folder, _begun_with(recipe, settings))
        try:
            return _Fit(recipe, settings, folder, journal, show_progress).run()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; {folder} holds all that is done: go on with --resume") from None


class _Fit:
    """One run of a fit, from wherever its journal is."""

    def __init__(
        self, recipe: "Recipe", settings: FitSettings, folder: Path, journal: Journal, show_progress: bool
    ) -> None:
        self._recipe, self._settings, self._folder, self._journal = recipe, settings, folder, journal
        self._show_progress = show_progress

    def run(self) -> FitResult:
        journal = self._journal
        if journal.content["data"] is None:
            journal.content["data"] = prepare(self._recipe, self._settings, self._folder / "data")
            journal.write()
        self._say_data()
        while True:
            last = journal.rounds[-1] if journal.rounds else None
            if last is None or last["verdict"] is not None:
                plan = self._next_plan()
                if plan is None:
                    return self._end()
                journal.rounds.append({"plan": plan.record(), "stages": {}, "verdict": None})
                journal.write()
            self._round(len(journal.rounds) - 1)

    def _next_plan(self) -> RoundPlan | None:
        plans = [RoundPlan.of(one["plan"]) for one in self._journal.rounds]
        if not plans:
            return first_round(self._situation({}))
        verdict = self._journal.rounds[-1]["verdict"]
        if verdict["status"] == PASS or len(plans) >= (self._settings.max_rounds or math.inf):
            return None
        return next_round(plans, self._situation(verdict))

    def _situation(self, verdict: dict[str, Any]) -> Situation:
        run, journal = self._recipe.run, self._journal
        return Situation(
            max_minutes=self._settings.max_minutes,
            left=self._settings.max_minutes - journal.minutes,
            timestep_fs=journal.content["data"]["timestep_fs"],
            max_steps=run.max_steps if "max_steps" in run.model_fields_set else None,
            most_minutes=run.max_minutes,
            simulate_ps=self._settings.simulate_ps,
            calibrates=journal.content["data"].get("calibrates", False),
            calibratable=not self._recipe.experts and self._recipe.model.kind != "custom",
            **{name: verdict[name] for name in TOLD if name in verdict},
        )

    def _round(self, index: int) -> None:
        journal, plans = self._journal, [RoundPlan.of(one["plan"]) for one in self._journal.rounds]
        plan, stages = plans[index], Stages(self._folder, journal.content["data"], self._settings, self._show_progress)
        for stage in plan.stages:
            if journal.is_done(index, stage):
                continue
            self._say(index, plan, stage)
            try:
                with journal.stage(index, stage) as had_begun:
                    if stage == TRAIN:
                        stages.train(plan, had_begun)
                    elif stage == EXPORT:
                        stages.export(plan)
                    elif stage == SAMPLE:
                        stages.sample(plan)
                    elif stage == SIMULATE:
                        stages.simulate(plan, plans[:index], had_begun)
                    else:
                        assert stage == EVALUATE, stage
                        journal.rounds[index]["verdict"] = _verdict(stages.evaluate(plan, index + 1))
                        if index == self._best():
                            self._publish(index)
            except InputError as error:
                if stage not in (EXPORT, SAMPLE) or isinstance(error, NoWorkersError):
                    raise
                journal.rounds[index]["verdict"] = _unusable(error)  # of a training that is far from its end
                journal.write()
                break
        verdict = journal.rounds[index]["verdict"]
        logger.info("round %d: %s%s", index + 1, verdict["status"], f", {verdict['text']}" if verdict["text"] else "")

    def _best(self) -> int:
        """The round nearest to a pass: fewest criteria missed, then the least excess; the later of two alike."""
        known = [(k, one["verdict"]) for k, one in enumerate(self._journal.rounds) if one["verdict"] is not None]

        def distance(item: tuple[int, dict[str, Any]]) -> tuple[bool, int, float, int]:
            return item[1]["status"] != PASS, item[1]["missed"], item[1]["excess"], -item[0]

        return min(known, key=distance)[0]

    def _publish(self, index: int) -> None:
        """Copy the results of a round to the top of the fit's folder."""
        plan = RoundPlan.of(self._journal.rounds[index]["plan"])
        reports = (self._folder / f"round_{index + 1}" / name for name in RESULTS[2:])
        sources = [self._folder / plan.training / "model.ckpt", self._folder / plan.model, *reports]
        for source, name in zip(sources, RESULTS, strict=True):
            with replacing(self._folder / name) as unfinished:
                shutil.copyfile(source, unfinished)

    def _end(self) -> FitResult:
        journal = self._journal
        best = self._best()
        verdict, rounds = journal.rounds[best]["verdict"], len(journal.rounds)
        model, report = self._folder / "model.pt", self._folder / "report.html"
        after = f"after {rounds} round{'s' if rounds > 1 else ''}, {journal.minutes:.1f} min"
        if verdict["status"] == PASS:
            of = "the reference" if journal.content["data"]["note"] is None else "the frames held out"
            figures = f"JS {verdict['js']:.4f}, floor {verdict['js_floor']:.4f}"
            sentence = (
                f"pass {after}: the simulation of {model} has the distribution of {of} ({figures}); report: {report}"
            )
        else:
            why = verdict["text"] or "see the criteria that are not met"
            then = f"; next: {verdict['command']}" if verdict["command"] else ""
            where = f"; report: {report}" if report.exists() else "; there is no force field to judge"
            sentence = f"{verdict['status']} {after}: {why}{where}{then}"
        journal.content |= {"best": best + 1, "sentence": sentence}
        journal.write()
        return FitResult(verdict["status"], model, report, rounds, journal.minutes, sentence)

    def _say_data(self) -> None:
        data = self._journal.content["data"]
        if data["note"]:
            logger.info("%s", data["note"])
        for state in data["states"]:
            logger.info("start %s: frame %d, %s", state["file"], state["frame"], "; ".join(state["basins"]))

    def _say(self, index: int, plan: RoundPlan, stage: str) -> None:
        action = "" if plan.action == FIRST else f" ({plan.action})"
        lasts = ""
        if stage == SIMULATE and plan.simulate_minutes is not None:
            lasts = f" for {plan.simulate_minutes:.1f} min"
        elif stage == TRAIN:
            lasts = "".join(f", {change}" for change in plan.changes)
        logger.info(
            "round %d%s: %s%s; %.1f of %g min spent",
            index + 1,
            action,
            stage,
            lasts,
            self._journal.minutes,
            self._settings.max_minutes,
        )


def _verdict(report: "Report") -> dict[str, Any]:
    """What the journal keeps of a report: by what rounds are compared, and the next is planned.

    `causes` are those that a round may mend: none of the data, for which no round has other frames.
    """
    a, training = report.assessment, report.figures["training"]
    calibration = training.get("calibration") or {}
    rounds = calibration.get("rounds") or 0
    first, distance = a.diagnosis[0] if a.diagnosis else None, a.divergences["simulation"]
    excess, floor = distance.excess_js, distance.js_floor
    return {
        "status": a.status,
        # What may be chance counts as missed: rounds are not the better for knowing it less.
        "missed": sum(check.passed is False or check.unclear for check in a.checks)
        + (a.convergence_verdict == NOT_CONVERGED),
        "excess": math.log(2.0) if excess is None else excess.value,
        "js": distance.js.value,
        "js_floor": None if floor is None else floor.value,
        "causes": [finding.cause for finding in a.diagnosis if not finding.needs_data],
        "text": "" if first is None else f"{first.cause}: {first.text}",
        "command": "" if first is None else first.command,
        "stuck": first is not None and "--rungs" in first.command,
        "rounds": rounds,
        "rungs": rungs_of(training.get("recipe") or {}, calibration),
        "round_seconds": calibration["seconds"] / rounds if rounds else 0.0,
        "stopped_early": any(
            (expert.get("watched") or {}).get("stopped_early") for expert in training.get("experts") or ()
        ),
    }


def _unusable(error: InputError) -> dict[str, Any]:
    """The verdict on a model that cannot be exported, or draws no samples."""
    return {
        "status": FAIL,
        "missed": 100,  # more than there are criteria
        "excess": math.log(2.0),
        "causes": [UNDERTRAINED],
        "text": f"{UNDERTRAINED}: {error}",
        "command": "",
        "stuck": False,
        "stopped_early": False,
    }


def _begun_with(recipe: "Recipe", settings: FitSettings) -> dict[str, dict[str, Any]]:
    """What a resumed fit must have in common with the one that it goes on with."""
    content = recipe.model_dump(mode="json")
    content.pop("output")
    return {"recipe": content, "options": settings.fixed()}


def _clear(folder: Path) -> None:
    """Remove what an earlier fit left; nothing else."""
    for pattern in ("data", "train_*", "round_*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
    for name in (JOURNAL_NAME, *RESULTS):
        (folder / name).unlink(missing_ok=True)
