"""Calibration by likelihoods: what the losses at small t cannot see, the ODE knows, and the last layer takes over.

The exact case is a mixture of two separated Gaussians, whose weights are known; the trained one is a short training.
"""

import math
import threading

import numpy as np
import pytest
import torch

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.training.calibration import stages
from fpforce.training.calibration.last_layer import STIFFNESS, last_layer_inputs
from fpforce.training.calibration.likelihood_fit import astray, log_likelihoods, smooth_shift
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.diffusion import alpha, centred, sigma_squared
from fpforce.training.export import export
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.experts import Expert, Experts
from fpforce.training.train import train

BEADS, WEIGHTS, VARIANCE, T_EVAL = 4, (0.95, 0.05), 0.05, 1e-3
CENTRE = centred(torch.tensor([[1.0, 0, 0], [0, 0, 0], [-1.0, 0, 0], [0, 0, 0]], dtype=torch.float64))


class TwoGaussians(torch.nn.Module):
    """-ln density of a mixture in the centred subspace, its parts around CENTRE and -CENTRE with WEIGHTS and
    VARIANCE.
    """

    def forward(self, x, t):
        spread = (alpha(t).square() * VARIANCE + sigma_squared(t))[:, None]
        centres = torch.stack([CENTRE, -CENTRE])[None] * alpha(t)[:, None, None, None]
        energies = 0.5 * (x[:, None] - centres).square().sum((2, 3)) / spread
        dimension = 3 * (BEADS - 1)
        return (0.5 * dimension * torch.log(2 * math.pi * spread))[:, 0] - torch.logsumexp(
            torch.log(torch.tensor(WEIGHTS, dtype=torch.float64)) - energies, 1
        )


def points(count):
    """As many from either part, and which are of the second."""
    generator = torch.Generator().manual_seed(3)
    second = torch.arange(count) % 2 == 1
    x = centred(torch.randn(count, BEADS, 3, generator=generator, dtype=torch.float64)) * VARIANCE**0.5
    return x + torch.where(second[:, None, None], -CENTRE, CENTRE), second


def test_a_frame_whose_likelihood_went_astray_changes_next_to_nothing():
    generator = torch.Generator().manual_seed(1)
    second = torch.arange(400) % 10 == 0
    inputs = torch.cat([second[:, None].double(), torch.randn(400, 5, generator=generator, dtype=torch.float64)], 1)
    slopes = torch.eye(6, dtype=torch.float64)
    slopes[0, 0] = 0.0
    excess = 3.0 * second + 0.1 * torch.randn(
        400, generator=generator, dtype=torch.float64
    )  # 30 deviations, but of a basin
    clean, spoilt = smooth_shift(inputs, excess, slopes), excess.clone()
    assert clean[0].item() == pytest.approx(-3.0, abs=0.1)
    spoilt[[7, 13]] = torch.tensor([-364.0, math.nan], dtype=torch.float64)
    shift = smooth_shift(inputs, spoilt, slopes)
    torch.testing.assert_close(shift, clean, rtol=0, atol=0.03)
    assert astray(spoilt + inputs @ shift).nonzero().flatten().tolist() == [7, 13]
    with pytest.raises(InputError, match="no frame has a finite log likelihood"):
        smooth_shift(inputs, torch.full_like(excess, math.nan), slopes)


def test_a_wrong_basin_weight_is_found_and_taken_out():
    exact = DiffusionEnergy(TwoGaussians())
    x, second = points(60)
    log_density = log_likelihoods(Experts((Expert(exact, 1e-5, 1.0),)), x, T_EVAL, torch.Generator(), threading.Event())
    excess = exact(x, torch.tensor([T_EVAL], dtype=torch.float64)) + log_density
    # The ODE has the weights, 0.95 and 0.05, by itself, as far as its steps are small where the parts join.
    assert excess.abs().max() < 0.15 and abs(excess[second].mean() - excess[~second].mean()) < 0.03
    # An energy with the second part 0.7 kT too high, whose last layer has that among directions in which forces change.
    inputs = torch.cat([second[:, None].double(), x.flatten(1)], 1)
    slopes = torch.eye(inputs.shape[1], dtype=torch.float64)
    slopes[0, 0] = 0.0
    shift = smooth_shift(inputs, excess + 0.7 * second, slopes)
    moved = inputs @ shift
    assert (moved[second].mean() - moved[~second].mean()).item() == pytest.approx(-0.7, abs=0.05)
    assert (moved + 0.7 * second).std() < 0.1


def test_what_changes_forces_is_followed_as_far_as_it_is_worth_them():
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(1000, 2, generator=generator, dtype=torch.float64)
    slopes = torch.diag(torch.tensor([0.0, 3.0 / STIFFNESS], dtype=torch.float64))
    shift = smooth_shift(h, -h @ torch.tensor([0.5, 0.5], dtype=torch.float64), slopes)
    assert shift[0].item() == pytest.approx(0.5, rel=0.05) and shift[1].item() == pytest.approx(0.5 / 4.0, rel=0.1)


def test_stopped_likelihoods_are_none():
    stop = threading.Event()
    stop.set()
    assert log_likelihoods(Experts(()), points(2)[0], T_EVAL, torch.Generator(), stop) is None


@pytest.fixture(scope="module")
def fitted(small_recipe, tmp_path_factory):
    """(path, recipe) of a short training that ended with a likelihood fit."""
    recipe = small_recipe(
        tmp_path_factory.mktemp("fitted"),
        "run.max_steps=200",
        "optimizer.warmup_steps=10",
        "calibration.likelihood_frames=40",
    )
    return train(recipe, show_progress=False), recipe


def test_fit_brings_energy_and_likelihood_together(fitted, tmp_path):
    fit = read_checkpoint(fitted[0]).record.calibration.likelihood
    assert fit["frames"] == 40 and 0.0 < fit["spread_after_kt"] < fit["spread_before_kt"]
    energies = []
    for name, option in (("with.pt", False), ("without.pt", True)):
        export(fitted[0], tmp_path / name, uncalibrated=option)
        model = fpforce.load(tmp_path / name)
        energies.append(torch.jit.load(str(tmp_path / name)).energies(torch.tensor(model.positions_nm).reshape(-1, 3)))
    assert energies[0].item() != energies[1].item()
    assert fpforce.load(tmp_path / "with.pt").metadata["training"]["calibration"]["likelihood"] == fit


def test_fit_of_a_poor_model_is_cut_where_the_data_would_no_longer_count(fitted):
    path, recipe = fitted
    checkpoint = read_checkpoint(path)
    h = last_layer_inputs(checkpoint.model(), checkpoint.record.check_frames.float(), recipe.diffusion.evaluated_at)
    weights = torch.softmax(-(h @ checkpoint.record.calibration.shift), 0)
    assert 0.4 < 1.0 / (len(h) * weights.square().sum()) < 0.99  # 0.5 on the frames it was cut on, which are others


def test_resume_adds_what_is_missing_and_rounds_follow_the_fit(fitted, small_recipe):
    path, recipe = fitted
    before = read_checkpoint(path).record.calibration
    asked = recipe.calibration.model_copy(update={"rounds": 1, "replicas": 16, "picoseconds": 4, "timestep_fs": 0.5})
    after = read_checkpoint(
        train(recipe.model_copy(update={"calibration": asked}), resume=True, show_progress=False)
    ).record.calibration
    assert after.done == 1 and after.likelihood == before.likelihood and after.positions_nm.shape[:2] == (1, 16)
    assert np.any(after.shift[: len(before.shift)].numpy() != before.shift.numpy())


def test_fit_after_rounds_without_one_is_refused(fitted, monkeypatch):
    path, recipe = fitted
    checkpoint = read_checkpoint(path)
    checkpoint.record.calibration.likelihood, checkpoint.record.calibration.seconds = None, [1.0]
    monkeypatch.setattr(stages, "read_checkpoint", lambda _: checkpoint)
    with pytest.raises(InputError, match="1 rounds of calibration.*set it to 0"):
        stages.calibrate(path, recipe, None)


def test_other_number_of_frames_repeats_the_fit_and_none_leaves_it_with_a_word(small_recipe, tmp_path, caplog):
    def run(frames, resume=True):
        recipe = small_recipe(tmp_path / "run", "run.max_steps=60", f"calibration.likelihood_frames={frames}")
        return read_checkpoint(train(recipe, resume=resume, show_progress=False)).record.calibration

    first, more = run(20, resume=False), run(30)
    assert first.likelihood["frames"] == 20 and more.likelihood["frames"] == 30
    assert np.any(first.shift.numpy() != more.shift.numpy())
    for frames in (30, 0):
        with caplog.at_level("INFO", logger="fpforce"):
            assert run(frames).likelihood == more.likelihood
        assert (
            "(denoising_fit False, likelihood_frames 30, rounds 0)" in caplog.text and "--uncalibrated" in caplog.text
        )
        caplog.clear()
    with pytest.raises(InputError, match="rounds of calibration.*set it to 30 as it was then"):
        train(
            small_recipe(
                tmp_path / "run",
                "run.max_steps=60",
                "calibration.likelihood_frames=30",
                "calibration.rounds=1",
                "calibration.replicas=8",
                "calibration.picoseconds=2",
                "calibration.timestep_fs=0.5",
            ),
            resume=True,
            show_progress=False,
        )
        run(40)


def test_interrupted_fit_leaves_a_training_without_calibration_whose_recipe_asks_for_one(
    small_recipe, tmp_path, monkeypatch
):
    train(small_recipe(tmp_path / "run", "run.max_steps=20"), show_progress=False)
    monkeypatch.setattr("fpforce.training.calibration.likelihood_fit.log_likelihoods", lambda *_: None)
    asked = small_recipe(tmp_path / "run", "run.max_steps=20", "calibration.likelihood_frames=20")
    with pytest.raises(KeyboardInterrupt, match="go on with --resume"):
        train(asked, resume=True, show_progress=False)
    record = read_checkpoint(tmp_path / "run" / "model.ckpt").record
    assert record.calibration is None and record.recipe["calibration"]["likelihood_frames"] == 20
    assert "likelihood_frames: 20" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_model_that_does_not_reach_noise_is_refused_before_it_is_trained(small_recipe, tmp_path):
    with pytest.raises(InputError, match="likelihood_frames = 40 follows the model to t = 1.*up to 0.6"):
        small_recipe(tmp_path, "diffusion.t_max=0.6", "calibration.likelihood_frames=40")
