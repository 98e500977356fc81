"""Rounds of calibration: the energy differs by a shift of its last layer alone, and rounds that went wrong are told.

Longer than other files, since all its tests share one calibrated training.
"""

import dataclasses
import math
import shutil
from threading import Event

import numpy as np
import pytest
import torch

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.training.calibration import policy, resolution, rounds
from fpforce.training.calibration.last_layer import (
    last_layer_inputs,
)
from fpforce.training.calibration.newton import NewtonStep
from fpforce.training.calibration.rounds import _take
from fpforce.training.checkpoint.checkpoint import read_checkpoint, replace_record
from fpforce.training.checkpoint.record import CalibrationRecord
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.export import export
from fpforce.training.recipe.read import load_recipe
from fpforce.training.recipe.sections import CalibrationRecipe, RunRecipe
from fpforce.training.train import train

CALIBRATED = (
    "calibration.rounds=2",
    "calibration.replicas=64",
    "calibration.picoseconds=4",
    "calibration.timestep_fs=1",
)


@pytest.fixture(scope="module", params=["internal", "graph_transformer"])
def calibrated(request, small_recipe, tmp_path_factory):
    """(path, recipe) of a short training that ended with two rounds."""
    kind = ("model.kind=graph_transformer", "model.head_width=8") if request.param == "graph_transformer" else ()
    recipe = small_recipe(
        tmp_path_factory.mktemp("calibrated"), "run.max_steps=200", "optimizer.warmup_steps=10", *kind, *CALIBRATED
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolution, "ENOUGH", 0.5)  # 51 values for 60 functions and more: such rounds follow noise, too
        return train(recipe, show_progress=False), recipe


def test_calibrated_energy_differs_by_the_shift_alone(calibrated, tmp_path, alanine_frames):
    checkpoint = read_checkpoint(calibrated[0])
    for name, option in (("with.pt", False), ("without.pt", True)):
        export(calibrated[0], tmp_path / name, uncalibrated=option)
    r = torch.tensor(alanine_frames.positions_nm[:50], dtype=torch.float64)
    with_it, without = (
        torch.jit.load(str(tmp_path / name)).energies(r.reshape(-1, 3)) for name in ("with.pt", "without.pt")
    )
    x = (r - r.mean(1, keepdim=True)) / fpforce.load(tmp_path / "with.pt").scale_nm
    energy, pairs = checkpoint.model().double(), checkpoint.record.calibration.pairs
    if pairs is not None:
        energy.network.have_pairs(**pairs)
    h = last_layer_inputs(energy, x, 1e-5, modes=True)
    kt = fpforce.load(tmp_path / "with.pt").kt_kj_per_mol
    expected = kt * h @ checkpoint.record.calibration.shift
    assert expected.std() > 1e-3 * kt
    torch.testing.assert_close(with_it - without, expected, rtol=0, atol=1e-3 * kt)
    assert fpforce.load(tmp_path / "with.pt").metadata["training"]["calibration"]["rounds"] == 2
    assert fpforce.load(tmp_path / "without.pt").metadata["training"]["calibration"] is None


def test_calibration_goes_on_with_resume_from_the_rounds_it_has(calibrated, small_recipe):
    path, recipe = calibrated
    before = read_checkpoint(path).record
    longer = recipe.model_copy(update={"calibration": recipe.calibration.model_copy(update={"rounds": 3})})
    after = read_checkpoint(train(longer, resume=True, show_progress=False)).record
    assert after.calibration.done == 3 and after.calibration.seconds[:2] == before.calibration.seconds
    assert after.expert.steps == before.expert.steps
    np.testing.assert_array_equal(after.calibration.relative_entropy[:2], before.calibration.relative_entropy)
    assert after.recipe["calibration"]["rounds"] == load_recipe(path.with_name("recipe.yaml")).calibration.rounds == 3


def test_rounds_of_an_earlier_version_go_on_without_modes(calibrated, small_recipe, tmp_path):
    path, recipe = calibrated
    shutil.copytree(path.parent, tmp_path / "run")
    record = read_checkpoint(tmp_path / "run" / path.name).record
    features = read_checkpoint(path).model().network.readout().in_features
    first = {name: record.calibration.first[name][:features] for name in ("shift", "mean")}
    best = record.calibration.best | {"shift": record.calibration.best["shift"][:features]}
    shift = record.calibration.shift[:features]
    record.calibration = dataclasses.replace(
        record.calibration, shift=shift, first=first, last=None, best=best, pairs=None
    )
    replace_record(tmp_path / "run" / path.name, record)
    update = {"calibration": recipe.calibration.model_copy(update={"rounds": 3}), "output": tmp_path / "run"}
    after = read_checkpoint(train(recipe.model_copy(update=update), resume=True, show_progress=False))
    assert after.record.calibration.done == 3 and len(after.record.calibration.shift) == features
    assert after.calibrated_model(0, 1e-5) is not None


@pytest.mark.parametrize(
    ("replicas", "picoseconds", "series", "enough"),
    [(64, 10, True, True), (64, 9, True, False), (64, 10, False, False)],
)
def test_modes_are_for_rounds_that_say_enough_of_them(small_checkpoint, replicas, picoseconds, series, enough, caplog):
    # 60 functions of five beads, two values for each, and one of these every 5 ps.
    checkpoint = read_checkpoint(small_checkpoint)
    settings = CalibrationRecipe(replicas=replicas, picoseconds=picoseconds, series=series)
    with caplog.at_level("INFO", logger="fpforce"):
        assert resolution.says_enough(checkpoint.model(), checkpoint.record.check_frames.float(), settings) == enough
    assert ("115 values for 60 functions" in caplog.text) == (series and not enough)


@pytest.mark.parametrize(
    ("picoseconds", "orders", "length_ps"), [(None, 4, 60.0), (20, 4, 20.0), (14, 2, 14.0), (11, 0, 11.0)]
)
def test_distances_are_resolved_as_finely_as_a_round_can_tell(small_checkpoint, picoseconds, orders, length_ps):
    # 60 functions, and 14 for each order of the seven pairs that are not two apart; 6.4 a ps can be told.
    checkpoint = read_checkpoint(small_checkpoint)
    energy, frames = checkpoint.model(), checkpoint.record.check_frames.float()
    settings = CalibrationRecipe(replicas=64, picoseconds=picoseconds)
    assert resolution.orders_of_pairs(energy, frames, settings) == orders
    assert (picoseconds or resolution.picoseconds(energy, frames, settings)) == length_ps


@pytest.mark.parametrize(("count", "orders"), [(116, 4), (115, 3), (88, 2), (73, 0)])
def test_distances_are_resolved_as_finely_as_there_are_frames_of_the_data(small_checkpoint, count, orders):
    checkpoint = read_checkpoint(small_checkpoint)
    energy, frames = checkpoint.model(), checkpoint.record.check_frames.float()
    data = frames.repeat(-(-count // len(frames)), 1, 1)[:count]
    assert resolution.orders_of_pairs(energy, data, CalibrationRecipe(replicas=64)) == orders


def test_rounds_have_distances_of_pairs_and_the_energy_that_is_exported_has_them(calibrated, tmp_path):
    path, recipe = calibrated
    if recipe.model.kind != "internal":
        pytest.skip("the graph transformer has no series")
    calibration = read_checkpoint(path).record.calibration
    assert calibration.pairs["orders"] == 3 and len(calibration.pairs["centres"]) == 7
    assert len(calibration.shift) == read_checkpoint(path).model().network.readout().in_features + 60 + 2 * 7 * 3
    export(path, tmp_path / "model.pt")
    own = fpforce.load(tmp_path / "model.pt")
    assert own.metadata["model"]["pair_series"] and own.metadata["format_version"] == 8
    assert own.weights()["network.pair_series.weights"].shape == (2, 7, 3)


def test_a_series_of_nothing_is_not_exported(calibrated, tmp_path):
    path, _ = calibrated
    shutil.copytree(path.parent, tmp_path / "run")
    record = read_checkpoint(tmp_path / "run" / path.name).record
    features = read_checkpoint(path).model().network.readout().in_features
    record.calibration.shift[features:] = 0.0  # as where rounds are taken back
    replace_record(tmp_path / "run" / path.name, record)
    export(tmp_path / "run" / path.name, tmp_path / "model.pt")
    assert not fpforce.load(tmp_path / "model.pt").metadata["model"]["series"]


def test_replicas_that_go_on_cannot_change_their_number(calibrated):
    path, recipe = calibrated
    other = recipe.calibration.model_copy(update={"rounds": 9, "replicas": 16})
    with pytest.raises(InputError, match="with calibration.replicas = 64, which go on; set it back to that from 16"):
        train(recipe.model_copy(update={"calibration": other}), resume=True, show_progress=False)
    assert load_recipe(path.with_name("recipe.yaml")).calibration.rounds < 9


@pytest.mark.parametrize(
    ("entropies", "without"),
    [
        ([], 0),
        ([5.0], 0),
        ([5.0, 3.0], 0),
        ([5.0, 3.0, 2.9], 1),
        ([5.0, 3.0, 2.9, 2.8], 2),
        ([5.0, 3.0, 2.9, 1.0], 0),
        ([0.05, 0.9, 0.05], 2),
        ([5.0, 4.0, 3.2, 2.56], 1),  # each a fifth nearer than the one before
        ([5.0, 4.0, 3.2, 2.56, 2.05], 0),
    ],
)
def test_steps_go_all_the_way_while_rounds_come_nearer(entropies, without):
    assert policy.rounds_without_gain(_rounds_done(entropies)) == without


def _rounds_done(entropies, **settings):
    seconds = [1.0] * len(entropies)
    return CalibrationRecord(1e-5, torch.zeros(1), relative_entropy=entropies, seconds=seconds, settings=settings)


@pytest.mark.parametrize(
    ("entropies", "asked", "more"),
    [
        (8 * [1.0], {"rounds": 8}, False),
        ([], {"rounds": 0, "most_rounds": 24}, False),
        ([8.0, 4.0, 2.0], {"rounds": 0, "most_rounds": 24}, False),
        ([8.0, 4.0, 2.0], {"rounds": 3, "most_rounds": 0}, False),
        ([], {"rounds": 8, "most_rounds": 24}, True),
        (7 * [1.0], {"rounds": 8, "most_rounds": 24}, True),
        (8 * [1.0], {"rounds": 8, "most_rounds": 24}, False),
        ([8.0 * 0.8**k for k in range(8)], {"rounds": 8, "most_rounds": 24}, True),
        ([8.0 * 0.8**k for k in range(8)], {"rounds": 8}, False),
        ([8.0 * 0.8**k for k in range(24)], {"rounds": 8, "most_rounds": 24}, False),
        ([1.0, 0.1, 0.1, 0.1, 0.1], {"rounds": 4, "most_rounds": 24}, True),
        ([1.0, 0.1, 0.1, 0.1, 0.1, 0.1], {"rounds": 4, "most_rounds": 24}, False),
        ([1.0, 0.1, 0.1, 0.1, 0.1, 0.1], {"rounds": 9, "most_rounds": 4}, True),
    ],
)
def test_rounds_go_on_while_they_come_nearer(entropies, asked, more):
    record = _rounds_done(entropies)
    assert policy.rounds_are_wanted(CalibrationRecipe(**asked), record) == more
    assert not policy.rounds_are_wanted(CalibrationRecipe(**asked), dataclasses.replace(record, refused=True)) or (
        len(entropies) < asked["rounds"]
    )


def test_rounds_at_other_temperatures_are_compared_among_themselves():
    fallen, settings = [8.0, 4.0, 2.0, 2.0, 2.0, 2.0, 2.0], CalibrationRecipe(rounds=4, most_rounds=24)
    assert not policy.rounds_are_wanted(settings, _rounds_done(fallen + [3.0, 2.9], ladder_since=0))
    assert policy.rounds_are_wanted(settings, _rounds_done(fallen + [3.0, 2.9], ladder_since=7))


def test_round_that_makes_things_far_worse_goes_back_to_the_best_one(caplog):
    record, settings = (
        CalibrationRecord(1e-5, torch.zeros(1)),
        CalibrationRecipe(rounds=4, replicas=2, picoseconds=100.0),
    )
    nats = (0.03, 0.02, 0.55, 0.05)  # 0.55 is ten times 0.02 and 0.5 above it
    for number, value in enumerate(nats):
        positions = torch.full((1, 2, 5, 3), float(number))
        with caplog.at_level("WARNING", logger="fpforce"):
            _take(record, NewtonStep(torch.ones(1), value, 0.9), 1.0, positions, positions + 10.0, settings)
        assert record.positions_nm[0, 0, 0, 0] == (1.0 if number == 2 else 10.0 + number)
        if number == 2:  # the second round simulated the shift that the first made, 1
            assert record.shift.item() == 1.0
    assert record.undone == [3] and record.relative_entropy == list(nats) and record.done == 4
    assert record.shift.item() == 2.0
    for part in ("round 3 of 4", "0.55 nats apart", "0.02 in round 2", "more than 2 replicas", "100 ps"):
        assert part in caplog.text
    assert CalibrationRecord(**dataclasses.asdict(record)).summary()["undone"] == [3]


def test_rounds_that_lead_away_from_held_out_frames_are_taken_back(caplog):
    """Gaussian h of two features: energies shifted by -m.h have averages m, and the log likelihoods are known."""
    generator = torch.Generator().manual_seed(0)
    held_out = torch.randn(4000, 2, generator=generator, dtype=torch.float64) + torch.tensor([1.0, 0.0])
    origin, ahead = torch.zeros(2, dtype=torch.float64), torch.tensor([0.8, 0.0], dtype=torch.float64)
    for simulated, nats in ((ahead, 0.5 * (1.0 - 0.2**2)), (-ahead, 0.5 * (1.0 - 1.8**2))):
        record = CalibrationRecord(1e-5, origin)
        rounds._follow(record, origin)
        record.shift = -simulated
        rounds._follow(record, simulated)
        record.shift = torch.ones(2, dtype=torch.float64)
        with caplog.at_level("WARNING", logger="fpforce"):
            rounds._judge(record, held_out)
        assert record.held_out["nats"] == pytest.approx(nats, abs=0.05)
        assert record.held_out["error"] == pytest.approx(0.8 / math.sqrt(4000), rel=0.6)
        assert record.refused == (nats < 0.0) and record.shift.sum() == (0.0 if nats < 0.0 else 2.0)
    assert "taken back" in caplog.text and CalibrationRecord(**dataclasses.asdict(record)).summary()["refused"]


def test_rounds_are_judged_along_the_way_that_they_took():
    """h = 1 in a basin of weight p, else 0: its share follows a shift w as p e^-w / (1 - p + p e^-w), all at once."""
    p = 1e-5
    record = CalibrationRecord(1e-5, torch.zeros(1, dtype=torch.float64))
    for done in range(13):
        record.shift = torch.tensor([-float(done)], dtype=torch.float64)
        share = p * math.exp(done) / (1.0 - p + p * math.exp(done))
        rounds._follow(record, torch.tensor([share], dtype=torch.float64))
    held_out = torch.zeros(1000, 1, dtype=torch.float64)
    held_out[::5] = 1.0
    rounds._judge(record, held_out)
    exact = 12.0 * 0.2 - math.log(1.0 - p + p * math.exp(12.0))
    assert record.held_out["nats"] == pytest.approx(exact, abs=0.1) and exact > 1.0 and not record.refused
    assert 12.0 * (0.2 - 0.5 * (p + share)) < -1.0, "the averages of the first and the last alone say the opposite"


def test_what_is_judged_is_what_is_kept():
    """Averages -w as of a Gaussian h: round 2 has the data's, round 3 is far off and goes back to it."""
    settings, held_out = (
        CalibrationRecipe(rounds=4, replicas=2, picoseconds=60),
        torch.ones(100, 1, dtype=torch.float64),
    )
    record, shifts = CalibrationRecord(1e-5, torch.zeros(1, dtype=torch.float64)), (0.0, -1.0, 8.0)
    for shift, nats in zip(shifts, (0.5, 0.01, 40.0), strict=True):
        record.shift = torch.tensor([shift], dtype=torch.float64)
        rounds._follow(record, -record.shift)
        positions = torch.zeros(1, 2, 5, 3)
        _take(record, NewtonStep(torch.zeros(1), nats, 0.9), 1.0, positions, positions, settings)
    rounds._judge(record, held_out)
    assert record.shift.item() == -1.0 and not record.refused
    assert record.held_out["nats"] == pytest.approx(0.5)
    rounds._judge(record, -held_out)
    assert record.refused and record.shift.item() == 0.0 and record.last is record.first and record.best is None
    record.held_out = None
    rounds._judge(record, held_out)
    assert record.held_out is None, "nothing has changed"


@pytest.mark.parametrize(("held_out", "judged"), [(15, False), (16, True)])
def test_a_handful_of_held_out_frames_judges_nothing(small_recipe, tmp_path, monkeypatch, held_out, judged):
    """Their error would be no number, which no report could be written with."""
    recipe = small_recipe(tmp_path, "run.max_steps=20", "optimizer.warmup_steps=5", *CALIBRATED)
    from fpforce.training.calibration import stages

    whole = stages.calibrate_in_rounds
    monkeypatch.setattr(stages, "calibrate_in_rounds", lambda *given: whole(*given[:-1], given[-1][:held_out]))
    record = read_checkpoint(train(recipe, show_progress=False)).record.calibration
    assert record.done == 2 and (record.held_out is not None) == judged
    assert not judged or math.isfinite(record.held_out["error"])


def test_a_broken_replica_ends_only_a_calibration_that_was_asked_for(small_recipe, tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise InputError("calibration: replica 3 broke after 4 ps (bond N-CA of 0.9 nm)")

    recipe = small_recipe(tmp_path / "asked", "run.max_steps=20", "optimizer.warmup_steps=5", *CALIBRATED)
    monkeypatch.setattr("fpforce.training.train.calibrate", broken)
    with pytest.raises(InputError, match="replica 3 broke"):
        train(recipe, show_progress=False)
    monkeypatch.setattr("fpforce.training.recipe.plan._calibrates", lambda recipe: True)
    monkeypatch.setattr("fpforce.training.recipe.plan.FEW", 1)
    calibration = recipe.calibration.model_copy(update={"rounds": None})
    unasked = recipe.model_copy(update={"calibration": calibration, "output": tmp_path / "unasked"})
    with caplog.at_level("WARNING", logger="fpforce"):
        path = train(unasked, show_progress=False)
    assert "the training is done, and its calibration is not: calibration: replica 3 broke" in caplog.text
    assert read_checkpoint(path).record.calibration is None


def test_a_calibration_that_ends_far_off_is_warned_of(calibrated, small_recipe, monkeypatch, caplog):
    path, recipe = calibrated
    monkeypatch.setattr(
        "fpforce.training.calibration.rounds.newton_step",
        lambda *_, **rest: NewtonStep(torch.zeros_like(_[3]), 3.0, 1.0),
    )
    longer = recipe.model_copy(update={"calibration": recipe.calibration.model_copy(update={"rounds": 4})})
    with caplog.at_level("WARNING", logger="fpforce"):
        train(longer, resume=True, show_progress=False)
    assert (
        "the calibration is not done: data and simulation are 3 nats apart in its last round; give more rounds"
        in caplog.text
    )


def test_seed_and_round_share_no_random_numbers_with_another_seed_and_round(small_checkpoint, monkeypatch):
    """As their sum does: seed 0 in its second round, and seed 1 in its first."""
    drawn = []

    def simulation(*arguments):
        drawn.append(arguments[-2])
        raise InterruptedError

    monkeypatch.setattr(rounds, "simulate_round", simulation)
    checkpoint, settings = read_checkpoint(small_checkpoint), CalibrationRecipe(rounds=3, replicas=2)
    energy, data = checkpoint.model(), checkpoint.record.check_frames
    for seed, done in ((0, 0), (0, 1), (1, 0), (1, 1)):
        shift = torch.zeros(energy.network.readout().in_features, dtype=torch.float64)
        checkpoint.record.calibration = CalibrationRecord(1e-5, shift, seconds=[1.0] * done)
        with pytest.raises(InterruptedError):
            run = RunRecipe(seed=seed, threads=1)
            rounds.calibrate_in_rounds(
                checkpoint, energy, settings, data, run, torch.Generator(), Event(), lambda: None
            )
    assert len(set(drawn)) == 4


def test_replicas_start_from_samples_at_their_true_size():
    """A sample at t = 0.1 is alpha(0.1) = exp(-0.05475) of its size: 5% of a bond."""
    x, settings = torch.randn(20, 5, 3), CalibrationRecipe(rungs=2, replicas=3)
    start_nm = rounds._start_nm(Normalisation(0.3), x, 0.1, settings, torch.Generator().manual_seed(0))
    assert start_nm.shape == (2, 3, 5, 3)
    grown = 0.3 * x.double() * math.exp(0.05475)
    assert all((grown - one).abs().amax((1, 2)).min() < 1e-6 for one in start_nm.flatten(0, 1))


def test_further_training_drops_a_calibration_that_no_longer_fits(small_recipe, tmp_path):
    recipe = small_recipe(tmp_path / "run", "run.max_steps=40", "optimizer.warmup_steps=10", *CALIBRATED)
    train(recipe, show_progress=False)
    longer = small_recipe(tmp_path / "run", "run.max_steps=60", "optimizer.warmup_steps=10", "calibration.rounds=0")
    assert read_checkpoint(train(longer, resume=True, show_progress=False)).record.calibration is None


def test_rounds_go_on_with_an_exchange_of_temperatures(calibrated, tmp_path):
    path, recipe = calibrated
    shutil.copytree(path.parent, tmp_path / "run")
    before = read_checkpoint(path).record.calibration
    more = recipe.calibration.model_copy(update={"rounds": before.done + 2, "rungs": 3, "top_temperature_k": 500.0})
    other = recipe.model_copy(update={"calibration": more, "output": tmp_path / "run"})
    after = read_checkpoint(train(other, resume=True, show_progress=False)).record.calibration
    assert after.done == before.done + 2 and after.settings["ladder_since"] == before.done
    assert after.positions_nm.shape == (3, *before.positions_nm.shape[1:])
    assert after.relative_entropy[: before.done] == before.relative_entropy
    assert after.best is None or after.best["round"] > before.done  # how near earlier rounds came does not compare


@pytest.mark.parametrize(("nearer", "waits", "more"), [(-1e9, 0, 3), (1.0, 1, 1), (1.0, 0, 0)])
def test_a_calibration_goes_on_while_rounds_come_nearer(calibrated, tmp_path, monkeypatch, nearer, waits, more):
    path, recipe = calibrated
    shutil.copytree(path.parent, tmp_path / "run")
    had = read_checkpoint(path).record.calibration  # two rounds, or as many as other tests have made of them
    monkeypatch.setattr(policy, "NEARER", nearer)  # every round is nearer, or none is after the first
    monkeypatch.setattr(policy, "PATIENCE", had.done - 1 + waits)
    settings = recipe.calibration.model_copy(update={"rounds": had.done, "most_rounds": had.done + 3})
    other = recipe.model_copy(update={"calibration": settings, "output": tmp_path / "run"})
    for _ in range(2):  # the second has nothing left to do
        after = read_checkpoint(train(other, resume=True, show_progress=False)).record.calibration
        assert after.done == had.done + more and after.relative_entropy[: had.done] == had.relative_entropy


def test_new_rungs_begin_where_other_replicas_are():
    cold = torch.randn(1, 5, 4, 3)
    more = rounds.on_rungs(cold, 3)
    assert torch.equal(more[0], cold[0]) and torch.equal(more[1], cold[0].roll(1, 0)) and more.shape == (3, 5, 4, 3)
    assert torch.equal(rounds.on_rungs(more, 1), cold) and torch.equal(rounds.on_rungs(more, 3), more)


def test_a_score_cannot_be_calibrated(small_recipe, tmp_path):
    with pytest.raises(InputError, match="calibration.rounds.*conservative"):
        small_recipe(tmp_path, *CALIBRATED, "experts=[{t_max: 1, conservative: false}]")
