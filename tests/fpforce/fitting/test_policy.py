"""What a fit does next follows from the diagnosis, and never from more time than is left."""

import dataclasses
from types import SimpleNamespace

import pytest

from fpforce.analysis import causes
from fpforce.analysis.criteria import Check
from fpforce.fitting import policy
from fpforce.fitting.fit import _verdict
from fpforce.fitting.policy import RoundPlan, Situation, first_round, next_round

HOUR = Situation(max_minutes=60.0, left=60.0, timestep_fs=4.0)


def after_first(now=HOUR, left=20.0, **verdict):
    first = first_round(now)
    return first, next_round([first], dataclasses.replace(now, left=left, **verdict))


@pytest.mark.parametrize("minutes", [2.0, 13.0, 20.0, 60.0, 600.0])
def test_first_round_leaves_time_for_the_other_stages(minutes):
    now = dataclasses.replace(HOUR, max_minutes=minutes, left=minutes)
    plan = first_round(now)
    training = policy._minutes(plan.changes)
    assert training + plan.simulate_minutes <= (1.0 - policy.OTHER_STAGES) * minutes + 1e-9
    if minutes >= 60.0:
        assert training + plan.simulate_minutes <= minutes / 3.0, "two rounds more fit"


def test_a_training_that_calibrates_by_itself_leaves_time_for_it():
    minutes = [
        policy._minutes(first_round(dataclasses.replace(HOUR, calibrates=calibrates)).changes)
        for calibrates in (False, True)
    ]
    assert minutes[1] == pytest.approx(0.7 * minutes[0])


def test_recipes_that_count_steps_keep_them():
    now = dataclasses.replace(HOUR, max_steps=500, most_minutes=8.0, simulate_ps=30.0)
    plan = first_round(now)
    assert plan.changes == ("run.max_steps=500", "run.max_minutes=8.0000")
    assert plan.simulate_minutes is None and plan.simulate_ps == 30.0


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (causes.UNDERTRAINED, policy.TRAIN_LONGER),
        (causes.INCONSISTENT, policy.CALIBRATE),
        (causes.TOO_FEW_DATA, policy.FLOW),
        (causes.NOT_SAMPLED, policy.SIMULATE_LONGER),
        (causes.BONDS, policy.SHORTER_STEP),
        (causes.LEFT_THE_DATA, policy.SHORTER_STEP),
    ],
)
def test_each_cause_has_its_remedy(cause, expected):
    _, plan = after_first(causes=(cause,))
    assert plan.action == expected


def test_a_fit_tries_nothing_where_only_other_data_help():
    finding = causes.Finding(causes.TOO_FEW_DATA, "", "", "", needs_data=True)
    memorised = dataclasses.replace(finding, needs_data=False)
    bonds = dataclasses.replace(finding, cause=causes.BONDS, needs_data=False)
    actions = []
    for diagnosis in [(finding,), (memorised,), (finding, bonds)]:
        _, plan = after_first(causes=_verdict(a_report(diagnosis))["causes"])
        actions.append(plan and plan.action)
    assert actions == [None, policy.FLOW, policy.SHORTER_STEP]


def test_what_may_be_chance_makes_a_round_no_better_than_a_miss():
    missed = Check("excess_js", "", 0.02, 0.01, False)
    chance = Check("excess_js", "", 0.02, 0.01, None, standard_error=0.02, unclear=True)
    short = Check("excess_js", "", None, 0.01, None)
    assert [_verdict(a_report((), one))["missed"] for one in (missed, chance, short)] == [1, 1, 0]


def a_report(diagnosis, *checks):
    """As much of a Report as the journal of a fit keeps."""
    distance = SimpleNamespace(excess_js=None, js_floor=None, js=SimpleNamespace(value=0.1))
    return SimpleNamespace(
        figures={"training": {}},
        assessment=SimpleNamespace(
            status="fail",
            checks=checks,
            diagnosis=diagnosis,
            convergence_verdict="converged",
            divergences={"simulation": distance},
        ),
    )


@pytest.mark.parametrize("cause", [causes.REFERENCE_TOO_SHORT, causes.WRONG_TEMPERATURE])
def test_what_no_round_can_mend_ends_the_fit(cause):
    assert after_first(causes=(cause,))[1] is None


def test_stuck_simulations_exchange_temperatures_and_others_go_on():
    first, longer = after_first(causes=(causes.NOT_SAMPLED,))
    _, exchange = after_first(causes=(causes.NOT_SAMPLED,), stuck=True)
    assert longer.simulation == first.simulation and longer.stages == (policy.SIMULATE, policy.EVALUATE)
    assert exchange.rungs == 4 and exchange.simulation == "round_2" and exchange.model == first.model


def test_an_inconsistent_model_has_more_rounds_of_calibration_unless_it_can_have_none():
    _, plan = after_first(causes=(causes.INCONSISTENT,), rounds=5)
    assert plan.action == policy.CALIBRATE and plan.resume and "calibration.rounds=11" in plan.changes
    assert {change for change in plan.changes if "run." in change} == set(first_round(HOUR).changes)
    _, other = after_first(causes=(causes.INCONSISTENT,), calibratable=False)
    assert other.action == policy.FLOW


def test_a_calibration_exchanges_temperatures_where_simulations_had_to():
    first, exchange = after_first(causes=(causes.NOT_SAMPLED,), stuck=True)
    now = dataclasses.replace(HOUR, left=40.0, causes=(causes.INCONSISTENT,), rounds=5)
    plan = next_round([first, exchange], now)
    assert plan.action == policy.CALIBRATE and "calibration.rungs=4" in plan.changes and plan.rungs == 4
    before = next_round([first], now)
    assert not any("rungs" in change for change in before.changes)
    again = next_round([first, before, dataclasses.replace(exchange, training=before.training)], now)
    assert again.action == policy.CALIBRATE and "calibration.rungs=4" in again.changes  # which it had without
    after = next_round([first, exchange, plan], dataclasses.replace(now, rungs=4))
    assert after.action == policy.FLOW and "calibration.rungs=4" in after.changes
    longer = next_round([first, exchange, plan], dataclasses.replace(now, rungs=4, causes=(causes.UNDERTRAINED,)))
    assert longer.action == policy.TRAIN_LONGER and longer.changes.count("calibration.rungs=4") == 1
    hotter = next_round([first, exchange], dataclasses.replace(now, rungs=8))
    assert "calibration.rungs=8" in hotter.changes  # as the recipe asks


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 11), (10.0, 11), (200.0, 10), (2000.0, None)])
def test_rounds_of_calibration_fit_into_what_is_left(seconds, rounds):
    now = dict(left=30.0, causes=(causes.INCONSISTENT,), rounds=5, round_seconds=seconds)
    _, plan = after_first(**now)
    assert (f"calibration.rounds={rounds}" in plan.changes) if rounds else plan.action != policy.CALIBRATE


def test_a_training_that_stopped_early_is_not_asked_for_more():
    _, plan = after_first(causes=(causes.UNDERTRAINED,), stopped_early=True)
    assert plan.action == policy.FLOW and plan.init == "train_1/model.ckpt" and plan.training == "train_2"


def test_longer_training_goes_on_with_twice_the_time_where_there_is_so_much():
    first, plan = after_first(left=40.0, causes=(causes.UNDERTRAINED,))
    before, after = policy._minutes(first.changes), policy._minutes(plan.changes)
    assert plan.resume and plan.training == first.training and after == pytest.approx(2.0 * before)


@pytest.mark.parametrize("left", [30.0, 12.0, 6.0, 1.0, 0.0, -2.0])
def test_no_plan_takes_more_than_what_is_left(left):
    for cause in policy.REMEDIES:
        first, plan = after_first(left=left, causes=(cause,))
        if plan is None:
            continue
        more = plan.simulate_minutes or 0.0
        if plan.action == policy.TRAIN_LONGER:
            more += policy._minutes(plan.changes) - policy._minutes(first.changes)
        elif plan.action == policy.FLOW:
            more += policy._minutes(plan.changes)
        assert more <= left
    if left <= 1.0:
        assert plan is None


def test_no_remedy_but_more_of_the_same_is_tried_twice():
    plans = [first_round(HOUR)]
    for _ in range(8):
        plan = next_round(plans, dataclasses.replace(HOUR, left=40.0, causes=(causes.INCONSISTENT,)))
        plans.append(plan)
    actions = [plan.action for plan in plans]
    assert actions[:4] == [policy.FIRST, policy.CALIBRATE, policy.FLOW, policy.TRAIN_LONGER]
    assert actions.count(policy.FLOW) == actions.count(policy.CALIBRATE) == 1
    assert "loss.flow_weight=0.05" in plans[-1].changes, "what a training was given, it keeps"


def test_plans_survive_their_way_through_a_file():
    import json

    for plan in after_first(causes=(causes.INCONSISTENT,)):
        assert RoundPlan.of(json.loads(json.dumps(plan.record()))) == plan
