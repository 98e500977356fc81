"""Weights of frames: read and judged, drawn by, and respected by the check of forces."""

import logging

import numpy as np
import pytest

from fpforce.analysis.frame_source import ArrayFrames
from fpforce.analysis.weighted_frames import drawn_by_weight
from fpforce.foundation.errors import InputError
from fpforce.trajectories.virial import bond_virials
from fpforce.trajectories.weights import FEWEST_EFFECTIVE, effective_number, in_proportion, read_weights

KT_300 = 8.314462618e-3 * 300.0


def saved(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, weights=values)
    else:
        np.savetxt(path, values, header="reweighted")
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".dat"])
def test_weights_of_every_kind_of_file_are_read_in_order_and_sum_to_one(tmp_path, suffix):
    first, second = np.linspace(1.0, 2.0, 180), np.linspace(2.0, 4.0, 120)
    files = [saved(tmp_path / f"{name}{suffix}", values) for name, values in (("a", first), ("b", second))]
    found = read_weights(files, [180, 120])
    together = np.concatenate([first, second])
    np.testing.assert_allclose(found.values, together / together.sum(), rtol=1e-12)
    assert found.effective == pytest.approx(together.sum() ** 2 / np.square(together).sum())
    strided = read_weights(files, [90, 60], stride=2)
    np.testing.assert_allclose(strided.values * together[::2].sum(), together[::2], rtol=1e-12)


@pytest.mark.parametrize("scale", [1e308, 1e-320])
def test_weights_whose_sum_or_quotients_would_overflow_sum_to_one(tmp_path, scale):
    values = np.linspace(1.0, 1.5, 200)
    found = read_weights([saved(tmp_path / "w.npy", scale * values)], [200])
    np.testing.assert_allclose(found.values, values / values.sum(), rtol=1e-3)  # of 1e-320 few digits are left
    assert found.values.sum() == pytest.approx(1.0) and found.effective > 190.0


@pytest.mark.parametrize(
    "values, message",
    [
        (np.ones(199), "holds 199 weights for a trajectory of 200 frames"),
        (np.where(np.arange(200) == 7, -1.0, 1.0), "frame 7 .* is -1: .*logarithms"),
        (np.where(np.arange(200) == 9, np.nan, 1.0), "frame 9 .* is nan"),
        (np.where(np.arange(200) == 3, np.inf, 1.0), "frame 3 .* is inf"),
        (np.zeros(200), "all weights are zero"),
        (np.ones((200, 2)), r"shape \(200, 2\)"),
        (np.where(np.arange(200) < 2, 1.0, 1e-9), "200 frames are worth 2 of equal weight"),
        (np.array(["a"] * 200), "shape"),
    ],
)
def test_weights_that_cannot_be_right_are_refused_with_the_figures(tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        read_weights([saved(tmp_path / "w.npy", values)], [200])


def test_file_that_holds_no_weights_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", something=np.ones(200))
    (tmp_path / "words.dat").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="name the array of weights `weights`"):
        read_weights([tmp_path / "w.npz"], [200])
    with pytest.raises(InputError, match="words.dat cannot be read as weights"):
        read_weights([tmp_path / "words.dat"], [200])
    with pytest.raises(InputError, match="does not exist"):
        read_weights([tmp_path / "none.npy"], [200])
    with pytest.raises(InputError, match="1 files of weights for 2 trajectories"):
        read_weights([tmp_path / "w.npz"], [100, 100])


def test_few_frames_that_count_are_warned_of_with_figures(tmp_path, caplog):
    heavy = np.where(np.arange(5000) < FEWEST_EFFECTIVE + 50, 1.0, 1e-6)
    with caplog.at_level(logging.INFO, logger="fpforce"):
        read_weights([saved(tmp_path / "w.npy", heavy)], [5000])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "5000 frames are worth 1" in record.getMessage()


def test_frames_come_up_as_often_as_their_weights_say_rounded_up_or_down():
    weights = np.random.default_rng(1).exponential(size=500)
    for count in (100, 500, 2000):
        times = np.bincount(in_proportion(weights, count), minlength=500)
        wanted = count * weights / weights.sum()
        assert times.sum() == count and (np.abs(times - wanted) < 1.0).all()
    offsets = np.random.default_rng(2).random(4000)
    mean = np.mean([np.bincount(in_proportion(weights, 50, offset), minlength=500) for offset in offsets], 0)
    # Unbiased over offsets; a frame's number is 0 or 1 mostly, so its mean has an error below 0.5 / sqrt(4000).
    assert np.abs(mean - 50 * weights / weights.sum()).max() < 5 * 0.5 / 4000**0.5


def test_weights_of_zero_and_one_draw_exactly_the_frames_of_weight_one():
    kept = np.random.default_rng(3).random(300) < 0.4
    np.testing.assert_array_equal(in_proportion(kept.astype(float), int(kept.sum())), np.flatnonzero(kept))


def test_training_set_of_a_report_has_as_many_frames_as_count(tmp_path):
    rng = np.random.default_rng(4)
    frames = [rng.normal(size=(count, 2, 3)) for count in (3000, 2000, 100)]
    tilt = [np.exp(0.7 * one[:, 0, 0]) for one in frames[:2]] + [np.zeros(100)]
    sources = [ArrayFrames(one[:, None]) for one in frames]
    drawn, record = drawn_by_weight(sources, [saved(tmp_path / f"{k}.npy", one) for k, one in enumerate(tilt)])
    together = np.concatenate([piece.positions_nm[:, 0] for one in drawn for piece in one.pieces()])
    assert [one.shape for one in drawn] == [(len(one.chosen), 1, 2, 3) for one in drawn]
    assert len(drawn) == 2 and len(together) == round(effective_number(np.concatenate(tilt)))
    assert record["effective_frames"] == pytest.approx(len(together), abs=1)
    # A normal distribution tilted by exp(0.7 x) has its mean at 0.7; 4 standard errors of the frames that count.
    assert together[:, 0, 0].mean() == pytest.approx(0.7, abs=4 / len(together) ** 0.5)
    assert together[:, 1, 0].mean() == pytest.approx(0.0, abs=4 / len(together) ** 0.5)


def test_virial_of_biased_frames_is_exact_by_their_weights_alone():
    """A harmonic bond sampled with a bias that makes it softer, and the forces of the potential without the bias."""
    rng, stiffness, rest, part = np.random.default_rng(5), 4000.0, 0.15, 0.3
    lengths = np.linspace(0.05, 0.3, 20001)

    def density(energy):
        weight = lengths**2 * np.exp(-energy / KT_300)
        return weight / weight.sum()

    energy = 0.5 * stiffness * (lengths - rest) ** 2
    d = np.interp(rng.random(20000), np.cumsum(density((1.0 - part) * energy)), lengths)
    directions = rng.normal(size=(20000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    positions = np.stack([0.5 * d[:, None] * directions, -0.5 * d[:, None] * directions], 1)
    pull = -stiffness * (d - rest)[:, None] * directions
    forces = np.stack([pull, -pull], 1)
    (plain,) = bond_virials(positions, forces, [(0, 1)], KT_300)
    (weighted,) = bond_virials(
        positions, forces, [(0, 1)], KT_300, np.exp(-part * 0.5 * stiffness * (d - rest) ** 2 / KT_300)
    )
    assert abs(weighted.ratio - 1.0) < 4 * weighted.error < 0.2
    assert abs(plain.ratio - 1.0) > 10 * plain.error
