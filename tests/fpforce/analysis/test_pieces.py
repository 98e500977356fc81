"""Frames that go by in pieces give the figures of all frames at once, and long ones are summed without loss."""

import math
import tracemalloc

import numpy as np
import pytest
from deeptime.markov import TransitionCountEstimator

from fpforce.analysis import AssessmentSettings, ReplicaFrames, assess, frame_source, sampled_frames, time_series
from fpforce.analysis.correlation import statistical_inefficiency
from fpforce.analysis.kinetics import KineticsCounter, States, count_transitions
from fpforce.analysis.report_json import summarise
from fpforce.analysis.sample import FINE_BINS, CellCounter
from fpforce.analysis.sampled_frames import Sampler, sample_of
from fpforce.analysis.tica import TicaPlane
from fpforce.analysis.time_series import ObservedSeries, SeriesRecorder, Stretches
from fpforce.molecule.beads import Bead, BeadTable


def chain(beads=6):
    entries = tuple(Bead("CA", "ALA", i, i + 1, "A", "C", 12.0, (i,), ("CA",)) for i in range(beads))
    return BeadTable(entries, tuple((i, i + 1) for i in range(beads - 1)), "ca")


def hopping(rng, frames, beads=6):
    """A chain that hops between a bent and a stretched state, with thermal noise."""
    state, along = np.cumsum(rng.random(frames) < 0.02) % 2, np.arange(beads)
    bent = np.stack([0.30 * along, 0.12 * (along - 2.5) ** 2, 0.05 * along * (along % 2)], axis=1)
    straight = np.stack([0.38 * along, 0.10 * (along % 2), 0.02 * along**2], axis=1)
    noise = 0.02 * rng.normal(size=(frames, beads, 3))
    return (np.where(state[:, None, None] == 1, straight, bent) + noise).astype(np.float32)


def simulations(rng, failed_at=None):
    made = []
    for name in ("one", "two"):
        frames = np.stack([hopping(rng, 300) for _ in range(6)], axis=1)
        frames[17, 2] = np.nan
        valid = np.ones(frames.shape[:2], dtype=bool)
        valid[failed_at:, 4] = False
        made.append(ReplicaFrames(frames, valid, name, 2.0, 1 if failed_at else 0))
    return made


@pytest.mark.parametrize("frames", [7, 331])
def test_figures_do_not_depend_on_the_size_of_the_pieces(monkeypatch, frames):
    rng = np.random.default_rng(0)
    sets = {"reference": [hopping(rng, n) for n in (1500, 900, 1200)], "training": [hopping(rng, 2000)]}
    runs, iid = simulations(rng, failed_at=200), hopping(rng, 800)
    settings = AssessmentSettings(discard=0.3, thinnings=2)

    def figures():
        found = assess(
            chain(),
            sets["reference"],
            runs,
            training=sets["training"],
            iid=iid,
            iid_log_weights=np.linspace(0.0, 1.0, len(iid)),
            settings=settings,
        )
        return summarise(found, training_record={}, simulation_records=[{}], provenance={})

    whole = figures()
    monkeypatch.setattr(frame_source, "_MOST_FRAMES_OF_A_PIECE", frames)
    in_pieces = figures()
    assert whole["simulation"]["non_finite_frames"] == 2
    assert_alike(whole, in_pieces)


def assert_alike(one, other, place=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), place
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_alike(*pair, f"{place}/{number}")
    elif isinstance(one, float):
        # rounding of the covariances of TICA moves frames over the edges of its bins now and then
        assert other == pytest.approx(one, rel=2e-3, abs=2e-3), place
    else:
        assert one == other, place


def autoregressive(rng, times, series, memory):
    x = np.empty((times, series))
    x[0] = rng.normal(size=series)
    for t in range(1, times):
        x[t] = memory * x[t - 1] + math.sqrt(1.0 - memory**2) * rng.normal(size=series)
    return x


@pytest.mark.parametrize("memory", [0.0, 0.7, 0.97])
@pytest.mark.parametrize("width", [1, 8, 50])
def test_statistical_inefficiency_of_sums_over_stretches_is_that_of_frames(memory, width):
    # of an autoregressive process (1 + memory) / (1 - memory), whatever the stretches
    values = autoregressive(np.random.default_rng(1), 40_000, 6, memory)
    recorder = SeriesRecorder(["x"], Stretches(width, 0, 0, len(values)), 6)
    for start in range(0, len(values), 937):
        part = values[start : start + 937]
        recorder.add(start, slice(0, 6), np.ones(part.shape, dtype=bool), {"x": part})
    one = recorder.observed("x")
    found = statistical_inefficiency(one.sums, one.frames, one.squares)
    assert found == pytest.approx((1.0 + memory) / (1.0 - memory), rel=0.12)
    if width == 1:
        assert found == pytest.approx(statistical_inefficiency(values), rel=1e-9)


def test_a_stretch_begins_where_frames_begin_to_count(monkeypatch):
    monkeypatch.setattr(time_series, "_MOST_POINTS", 1)
    monkeypatch.setattr(time_series, "_FEWEST_TIMES", 10)
    stretches = Stretches.of(1000, 3, start=333)
    assert stretches.width == 100 and stretches.points == 11
    recorder = SeriesRecorder(["x"], stretches, 3)
    values = np.random.default_rng(2).normal(size=(1000, 3))
    for start in range(0, 1000, 77):
        part = values[start : start + 77]
        recorder.add(start, slice(0, 3), np.ones(part.shape, dtype=bool), {"x": part})
    one = recorder.observed("x")
    assert one.counted.sum() == 3 * 667
    np.testing.assert_allclose(one.counted_sums.sum(axis=0), values[333:].sum(axis=0))
    assert one.squares == pytest.approx(np.sum(values[333:] ** 2))
    assert stretches.middles[0] == 16.0 and stretches.middles[-1] == 966.0  # of times 0-32 and 933-999


def test_long_trajectories_are_summed_over_stretches(monkeypatch):
    monkeypatch.setattr(time_series, "_MOST_POINTS", 2000)
    one = ObservedSeries.of([np.ones(5000), np.zeros(1500)])
    assert one.sums.shape == (1000, 2) and one.stretches.width == 5
    assert one.frames.sum() == 6500 and one.sums.sum() == 5000.0


def test_every_frame_is_as_likely_in_the_sample_and_all_are_where_they_are_few():
    numbers = np.arange(500)
    positions = np.repeat(numbers[:, None, None], 3, axis=2).astype(np.float32)
    counts = np.zeros(500)
    for seed in range(400):
        sampler = Sampler(1, seed, most=50)
        for start in range(0, 500, 60):
            part = numbers[start : start + 60]
            sampler.add(positions[part], 0, part, 0 * part, part // 100)
        found = sampler.sampled()
        assert len(found) == 50 and (np.diff(found.time) > 0).all()
        np.testing.assert_array_equal(found.positions_nm[:, 0, 0], found.time)
        np.testing.assert_array_equal(found.block, found.time // 100)
        counts[found.time] += 1
    # 40 times each, by a binomial of 400 draws at 0.1
    assert np.sum((counts - 40.0) ** 2 / 36.0) == pytest.approx(500, abs=5 * math.sqrt(1000))
    few = sample_of([frame_source.ArrayFrames(positions[:, None])])
    np.testing.assert_array_equal(few.positions_nm, positions)


def test_of_many_frames_a_sample_is_compared(monkeypatch):
    rng = np.random.default_rng(3)
    reference, runs = [hopping(rng, n) for n in (1500, 900)], simulations(rng)
    everything = assess(chain(), reference, runs, settings=AssessmentSettings(thinnings=2))
    monkeypatch.setattr(sampled_frames, "_MOST_BYTES", 12 * 6 * 400)
    found = assess(chain(), reference, runs, settings=AssessmentSettings(thinnings=2))
    assert len(found.bonds[0].reference) <= 400 < len(everything.bonds[0].reference) == 900
    assert found.frames_sampled == len(found.bonds[0].reference) and everything.frames_sampled == 900
    assert found.frames == everything.frames and found.frames_compared == everything.frames_compared
    # lengths of 0.39 and 0.57 nm, as often: 5 standard errors of the mean of 160
    mean, expected = (one.bonds[0].reference.mean() for one in (found, everything))
    assert mean == pytest.approx(expected, abs=5.0 * 0.09 / math.sqrt(160))


def test_transitions_and_pairs_of_states_are_counted_across_pieces():
    rng = np.random.default_rng(4)
    frames = hopping(rng, 3000)
    plane = TicaPlane.fit(chain(), [frame_source.ArrayFrames(frames[:, None])], 10)
    points = plane.coordinates(frames)
    states = States.of(plane, points)
    counter = KineticsCounter("x", 1.0, plane, states)
    for start in range(0, 3000, 7):  # shorter than the lag
        counter.add((0, 0), points[start : start + 7])
    counter.add((0, 1), points[:9])  # no longer than the lag: no pair
    whole = states.clusters.transform(points)
    for lag in (10, 20):
        expected = TransitionCountEstimator(lag, "sliding").fit_fetch([whole])
        np.testing.assert_array_equal(
            counter.pairs[lag][: expected.n_states, : expected.n_states], expected.count_matrix
        )
        np.testing.assert_array_equal(counter.visits[lag][: expected.n_states], expected.state_histogram)
    up, down = count_transitions(points[:, 0], *states.cores)
    assert (counter.up, counter.down) == (up, down) and up > 10


def test_memory_of_counting_does_not_grow_with_the_frames():
    """Five times the frames in the same cells; what waits to be counted together has a bound."""

    def peak(pieces):
        rng, counter = np.random.default_rng(0), CellCounter(1, np.zeros(20, dtype=int), FINE_BINS**2)
        tracemalloc.start()
        try:
            for _ in range(pieces):
                counter.add(rng.integers(0, 20, 50_000), rng.integers(0, 4000, (50_000, 1)))
            assert len(counter.sample()) == 50_000 * pieces
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(60) < 1.5 * peak(12)
