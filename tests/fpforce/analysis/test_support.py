"""How much of a simulation is outside of what its model has seen, and that it never passes then.

Simulations are made of frames of the reference, right or mirrored; the model is the small one, trained for seconds.
"""

import dataclasses

import numpy as np
import pytest

import fpforce
from fpforce.analysis import AssessmentSettings, ReplicaFrames, assess, causes
from fpforce.analysis.criteria import Thresholds
from fpforce.analysis.divergences import js_divergence
from fpforce.analysis.run_facts import RunFacts
from fpforce.analysis.support import SupportSource
from fpforce.analysis.support_figures import support_picture

pytest.importorskip("torch", reason="the network is evaluated by torch")
TIMES, REPLICAS = 100, 20


@pytest.fixture(scope="module")
def frames(alanine):
    """(21417, 5, 3) nm in an order without time."""
    found = fpforce.read_bead_frames(alanine / "reference.xtc", alanine / "alanine_dipeptide.pdb", beads="backbone5")
    return np.random.default_rng(0).permutation(found.positions_nm.astype(float))


@pytest.fixture(scope="module")
def judged(small_model, frames):
    """judged(wrong) -> the Assessment of two simulations, in which the part `wrong` of the frames is mirrored."""
    field, size = fpforce.load(small_model), TIMES * REPLICAS
    source = SupportSource.of(field, [frames[2 * size :]])

    def make(wrong):
        rng, simulations = np.random.default_rng(1), []
        for k in range(2):
            own = frames[k * size : (k + 1) * size].copy()
            own[rng.random(size) < wrong] *= [1.0, 1.0, -1.0]
            simulations.append(ReplicaFrames(own.reshape(TIMES, REPLICAS, 5, 3), name=f"from_{k}", time_step_ps=0.5))
        settings = AssessmentSettings(support=source, facts=RunFacts())
        return assess(field.beads, [frames[2 * size :]], simulations, settings=settings)

    return make


def check_of(assessment):
    return next(check for check in assessment.checks if check.name == "outside_support")


def test_a_simulation_of_right_frames_is_as_far_out_as_the_reference(judged):
    found = judged(0.0)
    assert found.support.outside == pytest.approx(found.support.floor, abs=0.015)
    assert check_of(found).passed and check_of(found).applies


def test_a_simulation_outside_its_data_never_passes_and_is_told_what_to_do(judged):
    found = judged(0.2)
    assert found.support.excess == pytest.approx(0.2, abs=0.06)
    assert check_of(found).passed is False and found.status != "pass"
    finding = next(one for one in found.diagnosis if one.cause == causes.LEFT_THE_DATA)
    assert "outside of what the model has seen" in finding.text
    assert finding.command.startswith("fpforce-train") and "loss.flow_weight=0.05" in finding.command


def test_what_has_been_tried_is_not_named_again(judged):
    found, facts = judged(0.2), RunFacts()
    tried = dataclasses.replace(facts, training=dataclasses.replace(facts.training, flow_weight=0.05))
    from fpforce.analysis.diagnosis import diagnose

    figures = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    told = diagnose(figures, found.checks, found.status, Thresholds(), tried)
    command = next(one for one in told if one.cause == causes.LEFT_THE_DATA).command
    assert "--resume" in command and "flow_weight" not in command


def test_the_time_at_which_frames_went_astray_is_seen(small_model, frames):
    """Mirrored in the last quarter of the time alone."""
    field = fpforce.load(small_model)
    own = frames[: TIMES * REPLICAS].reshape(TIMES, REPLICAS, 5, 3).copy()
    own[75:] *= [1.0, 1.0, -1.0]
    settings = AssessmentSettings(support=SupportSource.of(field, [frames[4000:]]))
    simulation = ReplicaFrames(own, name="astray", time_step_ps=0.5)
    series = assess(field.beads, [frames[4000:]], [simulation], settings=settings).support.simulations[0]
    late = series.time > 0.75 * TIMES * 0.5
    assert series.outside_in_time[~late].max() < 0.1 < 0.7 < series.outside_in_time[late].min()


def test_distances_are_written_frame_by_frame(judged, tmp_path):
    from fpforce.analysis.report import _replace_support

    support = judged(0.1).support
    _replace_support(tmp_path / "support.npz", support)
    with np.load(tmp_path / "support.npz") as arrays:
        for one in support.simulations:
            time, replica, distance = (arrays[f"{one.name}/{name}"] for name in ("saved_time", "replica", "distance"))
            assert len(distance) == TIMES * REPLICAS and set(replica) == set(range(REPLICAS))
            counted = distance[time >= TIMES // 2]
            assert (counted > 1.0).mean() == pytest.approx(one.outside)
    _replace_support(tmp_path / "support.npz", None)
    assert not (tmp_path / "support.npz").exists(), "of an earlier report"


def test_what_may_be_outside_is_what_the_js_divergence_allows():
    """A part p where no data are adds p ln(2) / 2 to the divergence, to first order in p."""
    p, bins = Thresholds().outside_support, 10
    right = np.append(np.full(bins, 1.0 / bins), 0.0)
    assert js_divergence((1 - p) * right + p * np.eye(bins + 1)[-1], right) == pytest.approx(
        Thresholds().excess_js, rel=0.05
    )


def test_a_file_that_says_nothing_goes_by_one_half_of_the_reference(small_model, frames):
    field = fpforce.load(small_model)
    old = dataclasses.replace(field, metadata={k: v for k, v in field.metadata.items() if k != "support"})
    source = SupportSource.of(old, [frames[:8000]])
    assert source.meter is not None and source.meter(source.floor_nm).share == pytest.approx(0.01, abs=0.012)
    few = SupportSource.of(old, [frames[:500]])
    assert few.meter is None and "too few" in few.no_meter


def test_the_picture_shows_every_simulation(judged):
    assert support_picture(judged(0.1).support).count("<path") > 10
