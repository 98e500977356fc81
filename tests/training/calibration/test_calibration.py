"""Calibration: the last layer of an energy is moved to where simulations have the data's averages, and nothing else
moves.
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
from fpforce.training.calibration import rounds
from fpforce.training.calibration.last_layer import (
    MODES_HELD,
    MODES_SMOOTH,
    STIFFNESS,
    last_layer_inputs,
    last_layer_slopes,
)
from fpforce.training.calibration.newton import NewtonStep, chosen_stiffness, nearer, newton_step
from fpforce.training.calibration.rounds import _take
from fpforce.training.checkpoint.checkpoint import read_checkpoint, replace_record
from fpforce.training.checkpoint.record import CalibrationRecord
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.export import export
from fpforce.training.models.local_series import ORDERS, modes_of
from fpforce.training.recipe.read import load_recipe
from fpforce.training.recipe.sections import CalibrationRecipe, RunRecipe
from fpforce.training.train import train

CALIBRATED = (
    "calibration.rounds=2",
    "calibration.replicas=64",
    "calibration.picoseconds=4",
    "calibration.timestep_fs=1",
)


def freely(data_mean, h, gain=1.0):
    """A step from no shift, with forces that may change."""
    features = h.shape[1]
    nothing = torch.zeros(features + 1, features, dtype=torch.float64)
    return newton_step(data_mean, h, nothing[1:], nothing[0], gain)


def test_step_gives_two_states_the_weights_of_the_data():
    # h = 1 in a state of weight p, else 0. With a shift w of E = w h the weight is p e^-w / (1 - p + p e^-w): q for
    # w = ln(p (1 - q) / (q (1 - p))).
    p, q = 0.30, 0.20
    h = torch.zeros(1000, 1, dtype=torch.float64)
    h[:300] = 1.0
    step = freely(torch.tensor([q], dtype=torch.float64), h)
    assert step.change.item() == pytest.approx(math.log(p * (1 - q) / (q * (1 - p))), rel=1e-3)


def test_step_moves_a_gaussian_onto_the_means_of_the_data():
    # exp(-w.h) moves a Gaussian's mean by -C w, so w = C^-1 (<h>_simulation - <h>_data).
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    h = torch.randn(200_000, 5, generator=generator, dtype=torch.float64) @ mixing.T + 3.0
    covariance = mixing @ mixing.T
    shift = 0.2 * torch.randn(5, generator=generator, dtype=torch.float64)
    shift = shift / torch.sqrt(shift @ covariance @ shift) * 0.4
    step = freely(3.0 - covariance @ shift, h)
    # 0.4 kT of standard deviation, known to 1 / sqrt(200,000) in each of five whitened directions.
    error = step.change - shift
    assert torch.sqrt(error @ covariance @ error) < 0.02
    # The relative entropy of two Gaussians that are C w apart is w.C w / 2.
    assert step.relative_entropy == pytest.approx(0.5 * 0.4**2, rel=0.05)


def test_step_is_cut_where_the_reweighted_frames_would_be_too_few():
    # The data lie three standard deviations away: all the way there, some e^-9 of the frames would count.
    h = torch.randn(5000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = freely(torch.tensor([3.0], dtype=torch.float64), h)
    assert step.change.item() < 0.0 and 0.49 < step.effective < 0.75


def test_step_goes_some_way_where_the_simulation_hardly_has_the_basin_of_the_data():
    # 20 of 10,000 frames are where the data have 40 %: one kT of standard deviation is some 22 kT between the two.
    h = (torch.arange(10_000) < 20).double()[:, None]
    step = freely(torch.tensor([0.4], dtype=torch.float64), h)
    assert step.change.item() < -1.0 and step.effective >= 0.49


def test_gain_scales_the_step():
    h = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole, half = (freely(torch.tensor([0.3, -0.2], dtype=torch.float64), h, gain).change for gain in (1.0, 0.5))
    torch.testing.assert_close(half, 0.5 * whole)


def test_step_moves_basins_freely_and_forces_hardly():
    """h: in which of two states, and a coordinate that both share, along which a shift is a force."""
    generator = torch.Generator().manual_seed(0)
    state = (torch.arange(10_000) % 10 == 0).double()
    h = torch.stack([state, torch.randn(10_000, generator=generator, dtype=torch.float64)], 1)
    slopes = torch.diag(torch.tensor([0.0, 9.0], dtype=torch.float64)) / STIFFNESS
    data_mean = torch.tensor([0.05, 0.3], dtype=torch.float64)
    none = torch.zeros(2, dtype=torch.float64)
    step = newton_step(data_mean, h, slopes, none, gain=1.0)
    # The state as without a penalty, and of the coordinate 1/(1 + 9).
    assert step.change[0].item() == pytest.approx(math.log(0.1 * 0.95 / (0.05 * 0.9)), rel=0.02)
    assert step.change[1].item() == pytest.approx(-0.03, abs=0.005)
    # The penalty holds the whole shift back, so that a second step goes no further.
    settled = newton_step(data_mean, torch.stack([h[:, 0], h[:, 1] + 0.03], 1), slopes, step.change, gain=1.0)
    assert abs(settled.change[1].item()) < 0.01


def test_slopes_are_what_the_gradient_of_a_shift_is(small_checkpoint):
    checkpoint = read_checkpoint(small_checkpoint)
    energy, x = checkpoint.model().double(), checkpoint.record.check_frames[:100].double()
    slopes, layer = last_layer_slopes(energy, x, 1e-5), energy.network.readout()
    shift = torch.randn(layer.in_features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.full((1,), 1e-5, dtype=torch.float64)
    before = energy.score(x, t)
    layer.weight.data += shift
    change = (energy.score(x, t) - before).square().sum((1, 2)).mean()
    assert (shift @ slopes @ shift).item() == pytest.approx(change.item(), rel=1e-6)


def test_modes_are_held_back_by_a_part_of_the_forces_that_they_change_and_by_their_roughness(small_checkpoint):
    checkpoint = read_checkpoint(small_checkpoint)
    energy, x = checkpoint.model().double(), checkpoint.record.check_frames[:50].double()
    slopes, features = last_layer_slopes(energy, x, 1e-5, modes=True), energy.network.readout().in_features
    assert len(slopes) == features + 2 * (2 + 3) * ORDERS  # two dihedrals and three 1-3 distances
    torch.testing.assert_close(slopes[:features, :features], last_layer_slopes(energy, x, 1e-5))
    weights = torch.randn(len(slopes) - features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.full((1,), 1e-5, dtype=torch.float64)
    before = energy.score(x, t)
    energy.network.add_modes(weights)
    change = (energy.score(x, t) - before).square().sum((1, 2)).mean()
    # A series w_n cos n phi has the squared slope n^2 w_n^2 / 2 in the mean, whichever the frames are.
    rough = (weights.reshape(-1, ORDERS) * torch.arange(1, ORDERS + 1)).square().sum()
    held = weights @ slopes[features:, features:] @ weights
    expected = MODES_HELD * change.item() + MODES_SMOOTH * rough.item()
    assert held.item() == pytest.approx(expected, rel=1e-6)


def test_a_step_along_the_modes_of_a_dihedral_finds_its_potential():
    # Simulated without a potential, data of p ~ exp(-u): the step is the Fourier series of u.
    phi = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2.0 * math.pi
    h = modes_of(torch.cos(phi)[:, None], torch.sin(phi)[:, None], ORDERS, 0.0).flatten(1)
    wanted = torch.zeros(2, ORDERS, dtype=torch.float64)
    wanted[0, 0], wanted[0, 2], wanted[1, 1] = -0.3, 0.4, 0.2
    weights = torch.softmax(-h @ wanted.flatten(), 0)
    step = freely(weights @ h, h)
    torch.testing.assert_close(step.change, wanted.flatten(), atol=2e-3, rtol=0)


@pytest.fixture(scope="module", params=["internal", "graph_transformer"])
def calibrated(request, small_recipe, tmp_path_factory):
    """(path, recipe) of a short training that ended with two rounds."""
    kind = ("model.kind=graph_transformer", "model.head_width=8") if request.param == "graph_transformer" else ()
    recipe = small_recipe(
        tmp_path_factory.mktemp("calibrated"), "run.max_steps=200", "optimizer.warmup_steps=10", *kind, *CALIBRATED
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "ENOUGH", 0.8)  # 51 values for 60 functions: rounds as short as these follow noise, too
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
    h = last_layer_inputs(checkpoint.model().double(), x, 1e-5, modes=True)
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
    first = {name: value[:features] for name, value in record.calibration.first.items()}
    best = record.calibration.best | {"shift": record.calibration.best["shift"][:features]}
    shift = record.calibration.shift[:features]
    record.calibration = dataclasses.replace(record.calibration, shift=shift, first=first, best=best)
    replace_record(tmp_path / "run" / path.name, record)
    update = {"calibration": recipe.calibration.model_copy(update={"rounds": 3}), "output": tmp_path / "run"}
    after = read_checkpoint(train(recipe.model_copy(update=update), resume=True, show_progress=False))
    assert after.record.calibration.done == 3 and len(after.record.calibration.shift) == features
    assert after.calibrated_model(0, 1e-5) is not None


@pytest.mark.parametrize(
    ("replicas", "picoseconds", "series", "enough"),
    [(64, 15, True, True), (64, 14, True, False), (64, 15, False, False)],
)
def test_modes_are_for_rounds_that_say_enough_of_them(small_checkpoint, replicas, picoseconds, series, enough, caplog):
    # 60 functions of five beads, three values for each, and one of these every 5 ps.
    checkpoint = read_checkpoint(small_checkpoint)
    settings = CalibrationRecipe(replicas=replicas, picoseconds=picoseconds, series=series)
    with caplog.at_level("INFO", logger="fpforce"):
        assert rounds._says_enough(checkpoint.model(), checkpoint.record.check_frames.float(), settings) == enough
    assert ("179 values for 60 functions" in caplog.text) == (series and not enough)


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
    for change, message in (
        ({"replicas": 16}, "replicas = 64, which go on; set it back to that from 16"),
        ({"rungs": 2}, "rungs = 1, which go on; set it back to that from 2"),
    ):
        other = recipe.calibration.model_copy(update={"rounds": 9} | change)
        with pytest.raises(InputError, match=f"with calibration.{message}"):
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
    ],
)
def test_steps_go_all_the_way_while_rounds_come_nearer(entropies, without):
    assert rounds.rounds_without_gain(entropies) == without


def test_round_that_makes_things_far_worse_goes_back_to_the_best_one(caplog):
    record, settings = (
        CalibrationRecord(1e-5, torch.zeros(1)),
        CalibrationRecipe(rounds=4, replicas=2, picoseconds=100.0),
    )
    nats = (0.03, 0.02, 0.55, 0.05)  # 0.55 is ten times 0.02 and 0.5 above it
    for number, value in enumerate(nats):
        positions = torch.full((1, 2, 5, 3), float(number))
        with caplog.at_level("WARNING", logger="fpforce"):
            _take(record, NewtonStep(torch.ones(1), value, 0.9), 1.0, positions, settings)
        if number == 2:  # the second round simulated the shift that the first made, 1
            assert record.shift.item() == 1.0 and record.positions_nm[0, 0, 0, 0] == 1.0
    assert record.undone == [3] and record.relative_entropy == list(nats) and record.done == 4
    assert record.shift.item() == 2.0
    for part in ("round 3 of 4", "0.55 nats apart", "0.02 in round 2", "more than 2 replicas", "100 ps"):
        assert part in caplog.text
    assert CalibrationRecord(**dataclasses.asdict(record)).summary()["undone"] == [3]


@pytest.mark.parametrize(("frames", "least", "most"), [(80, 10.0, 1000.0), (80_000, 1.0, 1.0)])
def test_the_fewer_frames_the_stiffer(frames, least, most):
    """Forty features, one of which changes no force. Of few frames its average alone is worth following."""
    generator = torch.Generator().manual_seed(2)
    shifted = torch.full((40,), 0.05, dtype=torch.float64)
    shifted[0] = 1.0
    data = torch.randn(frames, 40, generator=generator, dtype=torch.float64) + shifted
    simulated = torch.randn(50, 800, 40, generator=generator, dtype=torch.float64)
    slopes = torch.diag(torch.tensor([0.0] + 39 * [0.1 / STIFFNESS], dtype=torch.float64))
    none = torch.zeros(40, dtype=torch.float64)
    factor = chosen_stiffness(data, simulated, slopes, none)
    assert least <= factor <= most
    step = newton_step(data.mean(0), simulated.flatten(0, 1), slopes, none, gain=0.1, stiffness=factor)
    # Nats that are left between the truth and the simulation under the step, which is a tenth of the way for both
    left = 0.5 * (shifted + 10.0 * step.change).square().sum()
    unchecked = newton_step(data.mean(0), simulated.flatten(0, 1), slopes, none, gain=0.1)
    assert left <= 0.5 * (shifted + 10.0 * unchecked.change).square().sum() + 1e-9


def test_rounds_that_lead_away_from_held_out_frames_are_taken_back(caplog):
    """Gaussian h of two features: energies shifted by -m.h have averages m, and the log likelihoods are known."""
    generator = torch.Generator().manual_seed(0)
    held_out = torch.randn(4000, 2, generator=generator, dtype=torch.float64) + torch.tensor([1.0, 0.0])
    origin, ahead = torch.zeros(2, dtype=torch.float64), torch.tensor([0.8, 0.0], dtype=torch.float64)
    for simulated, nats in ((ahead, 0.5 * (1.0 - 0.2**2)), (-ahead, 0.5 * (1.0 - 1.8**2))):
        record = CalibrationRecord(1e-5, torch.ones(2), first={"shift": torch.zeros(2), "mean": origin})
        with caplog.at_level("WARNING", logger="fpforce"):
            rounds._judge(record, -simulated, simulated, held_out)
        assert record.held_out["nats"] == pytest.approx(nats, abs=0.05)
        assert record.held_out["error"] == pytest.approx(0.8 / math.sqrt(4000), rel=0.6)
        assert record.refused == (nats < 0.0) and record.shift.sum() == (0.0 if nats < 0.0 else 2.0)
    assert "taken back" in caplog.text and CalibrationRecord(**dataclasses.asdict(record)).summary()["refused"]


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


def test_an_average_of_correlated_frames_is_not_taken_for_better_known_than_it_is():
    """Blocks of 500 frames that are all alike: eight independent values, whatever their number."""
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(8, 1, generator=generator, dtype=torch.float64).repeat_interleave(500, 0)
    ahead = torch.ones(1, dtype=torch.float64)
    _, error = nearer(-ahead, 0.0 * ahead, ahead, h)
    assert error == pytest.approx(float(h[::500].std()) / math.sqrt(8), rel=0.01)


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
        lambda *_, **rest: NewtonStep(torch.zeros(_[3].shape), 3.0, 1.0),
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
        drawn.append(arguments[-1])
        raise InterruptedError

    monkeypatch.setattr(rounds, "PersistentReplicas", simulation)
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


def test_a_score_cannot_be_calibrated(small_recipe, tmp_path):
    with pytest.raises(InputError, match="calibration.rounds.*conservative"):
        small_recipe(tmp_path, *CALIBRATED, "experts=[{t_max: 1, conservative: false}]")
