"""What an evaluation takes for independent: one file under two names is refused, shared frames are warned of."""

import json
import logging
import os
import shutil

import numpy as np
import pytest

import fpforce
from fpforce.analysis import evaluate
from fpforce.analysis.frame_source import ArrayFrames
from fpforce.analysis.independence import sha256_of, shared_frame_warnings, trained_on_warnings
from fpforce.analysis.shared_frames import shared_parts
from fpforce.foundation.errors import InputError
from fpforce.simulation.files import SimulationFiles

FRAMES, REPLICAS, TIMES = 1200, 20, 50


@pytest.fixture(scope="module")
def frames(alanine):
    return fpforce.read_bead_frames(alanine / "train.xtc", alanine / "alanine_dipeptide.pdb", beads="backbone5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model_writer, modules, frames):
    """model.pt, a simulation of frames of the data, and two trajectories, a.npy and b.npy, of others."""
    folder, positions = tmp_path_factory.mktemp("independence"), frames.positions_nm
    model = model_writer(
        folder / "model.pt", modules(5, 20000.0, 0.15), frames.beads, positions[0].astype(float), training={"steps": 1}
    )
    files = SimulationFiles(folder / "run.xtc", frames.beads, REPLICAS, per_replica=False)
    files.start(positions[0])
    for k, frame in enumerate(positions[: TIMES * REPLICAS].reshape(TIMES, REPLICAS, 5, 3)):
        files.append(frame, 0.5 * k, k)
    metadata = {
        "replicas": REPLICAS,
        "trajectories": ["run.xtc"],
        "saved_times": TIMES,
        "failed": {},
        "frame_interval_ps": 0.5,
        "model_sha256": fpforce.load(model).sha256,
        "start": {"positions_nm": positions[0].tolist()},
    }
    files.save({}, metadata)
    files.close()
    for number, name in enumerate("ab", start=1):
        np.save(folder / f"{name}.npy", positions[FRAMES * number : FRAMES * (number + 1)])
    return folder


def judge(folder, output, reference, **options):
    return evaluate(folder / "model.pt", reference, folder / "run.xtc", output=output, **options)


@pytest.mark.parametrize("link", [shutil.copy, os.link, os.symlink], ids=["copy", "hard link", "link"])
def test_a_reference_under_another_name_is_no_second_one(folder, tmp_path, link):
    link(folder / "a.npy", tmp_path / "again.npy")
    with pytest.raises(InputError, match=r"again\.npy is (the same file as reference|given twice, also as) .*a\.npy"):
        judge(folder, tmp_path / "report", [folder / "a.npy", tmp_path / "again.npy"])
    with pytest.raises(InputError, match=r"training .*again\.npy is the same file as reference .*a\.npy.*held out"):
        judge(folder, tmp_path / "report", folder / "a.npy", training=tmp_path / "again.npy")


def test_the_reference_as_training_set_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(InputError, match=r"training a\.xtc is the same file as reference a\.xtc"):
        evaluate(tmp_path / "no.pt", "a.xtc", "run.xtc", training="a.xtc", output=tmp_path / "report")


def test_shared_frames_are_named_in_the_log_the_report_and_its_json(folder, tmp_path, caplog):
    centred = np.load(folder / "a.npy")
    centred = np.round(centred - centred.mean(axis=1, keepdims=True) + 3.0, 3)  # as in an .xtc
    np.save(tmp_path / "centred.npy", centred)
    with caplog.at_level(logging.WARNING, logger="fpforce"):
        report = judge(folder, tmp_path / "r", [folder / "a.npy", folder / "b.npy"], training=tmp_path / "centred.npy")
    (told,) = json.loads(report.json_path.read_text())["provenance"]["warnings"]
    assert "a.npy are in training" in told and "centred.npy, too" in told and "trained on" in told
    assert told in caplog.text and told in report.html_path.read_text()
    assert "independent" not in report.figures["comparison"]["floor"]


def test_independent_runs_share_nothing(folder, tmp_path):
    report = judge(folder, tmp_path / "report", folder / "a.npy", training=folder / "b.npy")
    assert report.figures["provenance"]["warnings"] == []
    assert report.figures["comparison"]["floor"] == "the training set against the reference"


def source(positions_nm):
    return ArrayFrames(np.asarray(positions_nm, dtype=np.float32)[:, None])


def test_a_run_cut_out_of_another_and_turned_is_found_in_it(frames):
    positions = frames.positions_nm
    turned = positions[2000:2300, :, [1, 2, 0]] + 5.0  # a rotation of the axes
    whole, other = source(positions[:6000]), source(positions[6000:])
    assert shared_parts([whole, source(turned)])[1, 0] == pytest.approx(1.0, abs=0.05)
    assert shared_parts([whole, other]) == {}


def test_half_of_a_run_that_another_holds_is_told_as_half(frames):
    positions = frames.positions_nm
    found = shared_parts([source(positions[:1000]), source(positions[500:1500])])
    assert found == {(0, 1): pytest.approx(0.5, abs=0.02), (1, 0): pytest.approx(0.5, abs=0.02)}


def test_frames_that_repeat_within_a_file_are_found_too(frames):
    positions = frames.positions_nm
    twice = source(np.repeat(positions[:300], 2, axis=0))
    assert shared_parts([source(positions[:300]), twice])[0, 1] == 1.0


@pytest.mark.parametrize("spread_nm", [0.1, 0.003], ids=["soft", "nearly rigid"])
@pytest.mark.parametrize("beads", [4, 12])
def test_independent_draws_from_one_distribution_share_nothing(beads, spread_nm):
    rng = np.random.default_rng(0)
    mean = np.cumsum(rng.normal(scale=0.2, size=(beads, 3)), axis=0)
    draws = [source(mean + spread_nm * rng.normal(size=(20_000, beads, 3))) for _ in range(2)]
    assert shared_parts(draws) == {}


def test_more_frames_than_are_worth_two_passes_are_not_compared(frames, monkeypatch, caplog):
    both, files = [ArrayFrames(frames.positions_nm[:300, None])] * 2, [{"path": "a.xtc"}, {"path": "b.xtc"}]
    assert len(shared_frame_warnings(both, files)) == 1
    monkeypatch.setattr("fpforce.analysis.independence.MOST_COMPARED", 599)
    with caplog.at_level("INFO", logger="fpforce"):
        assert shared_frame_warnings(both, files) == []
    assert "600 frames are not looked through" in caplog.text


def test_three_beads_are_not_compared(frames):
    three = source(frames.positions_nm[:100, :3])
    assert shared_parts([three, three]) == {}


def test_a_reference_that_the_model_names_as_its_training_data_is_warned_of(folder, tmp_path):
    def described(name, sha256):
        return [{"path": str(folder / name), "sha256": sha256}]

    copied = shutil.copy(folder / "a.npy", tmp_path / "copy.npy")
    own = sha256_of(folder / "a.npy")
    only = {"sources": ["elsewhere.xtc"], "data_sha256": own}
    several = {"sources": [str(folder / "b.npy"), str(copied)], "data_sha256": 64 * "0"}
    for record in (only, several):
        (line,) = trained_on_warnings("model.pt", record, described("a.npy", own))
        assert "a.npy is what model.pt was trained on" in line and "held out" in line
    assert trained_on_warnings("model.pt", {}, described("a.npy", own)) == []
    assert trained_on_warnings("model.pt", only, described("b.npy", sha256_of(folder / "b.npy"))) == []
