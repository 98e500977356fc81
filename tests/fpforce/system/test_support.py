"""The support of a force field tells frames that are wrong from frames that are right: neither all nor none is flagged.

The model is the small one of kind `internal`, trained for seconds; what is right is the held-out reference of alanine
dipeptide.
"""

import json
import math
import shutil
import zipfile

import numpy as np
import pytest

import fpforce
from fpforce.forcefield.support import FEWEST, FLAGGED, Edges
from fpforce.foundation.errors import InputError
from fpforce.system import support as room

torch = pytest.importorskip("torch", reason="the network is evaluated by torch")


@pytest.fixture(scope="module")
def reference(alanine):
    """(21417, 5, 3) nm: the runs that nothing was trained on, in an order without time."""
    frames = fpforce.read_bead_frames(alanine / "reference.xtc", alanine / "alanine_dipeptide.pdb", beads="backbone5")
    return np.random.default_rng(0).permutation(frames.positions_nm.astype(float))


@pytest.fixture(scope="module")
def field(small_model):
    return fpforce.load(small_model)


def without_support(path, model):
    """A copy of a model.pt as an earlier version wrote it."""
    with zipfile.ZipFile(model) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as old:
        for entry in whole.infolist():
            if entry.filename.endswith("/extra/support.safetensors"):
                continue
            content = whole.read(entry)
            if entry.filename.endswith("/extra/fpforce.json"):
                content = json.dumps({k: v for k, v in json.loads(content).items() if k != "support"}).encode()
            old.writestr(entry, content)
    return path


def test_most_of_the_reference_is_inside_and_some_is_not(field, reference):
    """The edge stands on some 200 frames in five blocks of time, of which 1% are two: so is what it flags."""
    found = fpforce.support(field, reference)
    assert 0.0 < found.share < 0.05
    assert found.distances.shape == (len(reference),) and np.isfinite(found.distances).all()
    assert found.calibrated_on == "frames held out of the training"


def test_one_in_a_hundred_of_frames_like_the_held_out_ones_is_flagged(field, reference):
    known, others = reference[:8000], reference[8000:16000]
    share = fpforce.support(field, others, held_out=known).share
    error = math.sqrt(FLAGGED * (1 - FLAGGED) * (2 / len(known) + 1 / len(others)))  # the edge is from half of `known`
    assert abs(share - FLAGGED) < 4 * error


def test_mirror_images_are_outside_of_a_chiral_model(field, reference):
    mirrored = fpforce.support(field, reference[:2000] * [1.0, 1.0, -1.0])
    assert mirrored.share > 0.8
    assert not any("distances" in name for name in list(mirrored.reasons())[:1]), "distances are the same in a mirror"


def test_overlapping_beads_are_outside(field, reference):
    clashing = reference[:2000].copy()
    clashing[:, 4] = clashing[:, 0] + 0.5 * (clashing[:, 4] - clashing[:, 0])
    assert fpforce.support(field, clashing).share > 0.99


@pytest.mark.parametrize(("noise_nm", "at_least"), [(0.01, 0.8), (0.1, 1.0)])
def test_frames_are_the_farther_out_the_more_they_are_blurred(field, reference, noise_nm, at_least):
    blurred = reference[:2000] + np.random.default_rng(1).normal(size=(2000, 5, 3)) * noise_nm
    assert fpforce.support(field, blurred).share >= at_least


def test_turned_and_moved_frames_are_as_far(field, reference):
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    moved = reference[:200] @ turn.T + [1.0, -2.0, 3.0]
    found, same = fpforce.support(field, moved).distances, fpforce.support(field, reference[:200]).distances
    np.testing.assert_allclose(found, same, atol=5e-3)  # single precision of the network


def test_bead_frames_are_taken_too(field, alanine, reference):
    frames = fpforce.read_bead_frames(
        alanine / "reference.xtc", alanine / "alanine_dipeptide.pdb", beads="backbone5", stride=100
    )
    assert len(fpforce.support(field, frames).distances) == len(frames)


def test_a_file_of_an_earlier_version_says_what_to_do(tmp_path, small_model, reference):
    old = without_support(tmp_path / "old.pt", small_model)
    with pytest.raises(InputError, match="does not say which frames its model has seen.*held_out"):
        fpforce.support(old, reference[:10])
    assert 0.0 < fpforce.support(old, reference[2000:], held_out=reference[:2000]).share < 0.05


def test_damage_to_what_a_file_says_is_refused(tmp_path, small_model, reference):
    broken = tmp_path / "broken.pt"
    shutil.copy(small_model, broken)
    field = fpforce.load(broken)
    field.metadata["support"] = field.metadata["support"] | {"spans": [1.0]}
    with pytest.raises(InputError, match="what it says of its support is damaged"):
        fpforce.support(field, reference[:10])


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (np.zeros((3, 4, 3)), r"frames has shape \(3, 4, 3\).*\(frames, 5, 3\)"),
        (np.full((2, 5, 3), np.nan), "frame 0 is not finite"),
        (np.zeros((0, 5, 3)), "frames has shape"),
    ],
)
def test_unusable_frames_are_refused(field, frames, words):
    with pytest.raises(InputError, match=words):
        fpforce.support(field, frames)


def test_too_few_held_out_frames_are_refused(field, reference):
    with pytest.raises(InputError, match="399 held-out frames are too few.*at least 400"):
        fpforce.support(field, reference[:10], held_out=reference[:399])


def test_what_is_missing_for_it_is_named(field, reference, monkeypatch):
    monkeypatch.setattr(room, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(InputError, match="needs torch.*pip install"):
        fpforce.support(field, reference[:10])


def test_the_edge_is_where_one_in_a_hundred_held_out_frames_is_beyond():
    """Of three measures of independent normal distributions: the share that is flagged is that of their largest."""
    rng = np.random.default_rng(3)
    held_out, others = ({str(k): rng.normal(k, 10.0**k, 200_000) for k in range(3)} for _ in range(2))
    edges = Edges.at(held_out, "normal")
    assert edges.distances(others).share == pytest.approx(FLAGGED, abs=0.002)
    strange = {name: values + 10.0 ** int(name) * 10.0 * (name == "1") for name, values in others.items()}
    assert edges.distances(strange).share > 0.99
    assert list(edges.distances(strange).reasons())[0] == "1"


def test_what_is_not_finite_is_infinitely_far():
    edges = Edges.at({"a": np.arange(FEWEST, dtype=float)}, "numbers")
    assert np.isinf(edges.distances({"a": np.array([np.nan, np.inf])}).distances).all()
    with pytest.raises(InputError, match="give at least 100"):
        Edges.at({"a": np.arange(FEWEST - 1, dtype=float)}, "numbers")
