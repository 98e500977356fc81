"""Frames that return: as they are, and moved and turned as trjconv -center and -fit write them."""

import time

import mdtraj
import numpy as np
import pytest

from fpforce.trajectories import moved_copies, repeats
from fpforce.trajectories.repeats import repeat_warnings

BEADS, FRAMES = 10, 400


def chain(frames, seed=0, beads=BEADS):
    """Frames (frames, beads, 3) in nm of a chain of bonds of 0.38 nm that bends and turns about one fold."""
    generator = np.random.default_rng(seed)
    fold = np.random.default_rng(0).normal(size=(beads, 3))
    steps = fold + 0.2 * generator.normal(size=(frames, beads, 3))
    return (0.38 * steps / np.linalg.norm(steps, axis=-1, keepdims=True)).cumsum(axis=1).astype(np.float32)


def as_xtc_writes(positions):
    return np.round(positions / 1e-3).astype(np.float32) * np.float32(1e-3)


def fitted(positions):
    """Frames superposed on the first one, as trjconv -fit rot+trans."""
    frames = mdtraj.Trajectory(positions.copy(), None)
    return frames.superpose(frames, 0).xyz


def centred(positions):
    return positions - positions.mean(axis=1, keepdims=True) + 5.0


@pytest.mark.parametrize("change", [centred, fitted, lambda p: fitted(centred(p))[::3], lambda p: p])
@pytest.mark.parametrize("beads", [8, 10, 60])
def test_copies_that_are_centred_or_fitted_are_repeats(tmp_path, change, beads):
    exact = chain(FRAMES, beads=beads)
    pieces = [as_xtc_writes(exact), as_xtc_writes(change(as_xtc_writes(exact)))]
    count = len(pieces[1])
    assert repeats.repeats(pieces) == ([0, count], {(0, 1): count})
    assert repeats.repeats(pieces, tmp_path) == ([0, count], {(0, 1): count})
    (line,) = repeat_warnings(["md.xtc", "md_fit.xtc"], pieces, {(0, 1): count})
    assert line.startswith(f"{count} frames of md_fit.xtc (all of them) are in md.xtc too")


def test_copies_of_a_stiff_molecule_are_repeats():
    exact = chain(1) + 0.003 * np.random.default_rng(1).normal(size=(40, BEADS, 3)).astype(np.float32)
    pieces = [as_xtc_writes(exact), as_xtc_writes(centred(exact)), as_xtc_writes(fitted(exact))]
    assert repeats.repeats(pieces) == ([0, 40, 40], {(0, 1): 40, (0, 2): 40})


@pytest.mark.parametrize("beads", [3, 4, 5, 7])
@pytest.mark.parametrize("part", [slice(None), slice(None, None, 3), slice(120, 300), slice(7, None, 5)])
@pytest.mark.parametrize("first", [True, False])
def test_moved_parts_of_few_beads_are_repeats(beads, part, first):
    """As `trjconv -fit -skip 3` writes them, whichever is given first; independent runs share none."""
    bonds_vibrate = 0.02 * np.random.default_rng(1).normal(size=(FRAMES, beads, 3)).astype(np.float32)
    exact = as_xtc_writes(chain(FRAMES, beads=beads) + bonds_vibrate)
    copy = as_xtc_writes(fitted(exact[part]) + np.float32([1.0, -2.0, 3.0]))
    others = [as_xtc_writes(chain(count, seed, beads)) for seed, count in ((5, FRAMES), (6, 2 * FRAMES), (7, 50))]
    pieces = [others[0], *((exact, copy) if first else (copy, exact)), *others[1:]]
    assert repeats.repeats(pieces) == ([0, 0, len(copy), 0, 0], {(1, 2): len(copy)})
    assert repeats.repeats([exact, copy[::-1]]) == ([0, 0], {})


def test_short_files_beside_a_long_one_are_judged_in_a_few_passes(monkeypatch):
    """Of three beads many frames are like the first of another file, and each may begin one of a hundred strides."""
    judged = []
    shapes = moved_copies.shapes
    monkeypatch.setattr(moved_copies, "shapes", lambda piece: judged.append(len(piece)) or shapes(piece))
    pieces = [chain(20_000, beads=3), *(chain(50, seed, 3) for seed in range(1, 41))]
    assert repeats.repeats(pieces) == ([0] * 41, {})
    assert sum(judged) < 3 * sum(map(len, pieces))


@pytest.mark.parametrize("beads", [4, 5, 7])
def test_parts_of_few_beads_that_are_mirrored_or_resemble_each_other_are_no_repeats(beads):
    exact = chain(FRAMES, beads=beads)
    assert repeats.repeats([exact, exact[::3] * np.float32([-1, 1, 1])]) == ([0, 0], {})
    noise = np.random.default_rng(1).normal(size=(2, 5000, beads, 3))
    for width in (0.003, 0.006, 0.01, 0.02):
        one, other = (chain(1, beads=beads) + width * each + 3.0 * each[:, :1] for each in noise)
        assert repeats.repeats([one, other[::7]]) == ([0, 0], {})


@pytest.mark.parametrize("beads", [4, 5, 7])
def test_whole_copies_of_few_beads_are_repeats(tmp_path, beads):
    exact = as_xtc_writes(chain(FRAMES, beads=beads))
    copies = [as_xtc_writes(centred(exact)), exact, as_xtc_writes(fitted(exact))]
    wanted = [0, FRAMES, FRAMES, FRAMES], {(0, 1): FRAMES, (0, 2): FRAMES, (0, 3): FRAMES}
    assert repeats.repeats([exact, *copies]) == repeats.repeats([exact, *copies], tmp_path) == wanted
    assert repeats.repeats([exact, exact * np.float32([-1, 1, 1])]) == ([0, 0], {})
    assert repeats.repeats([chain(50_000, 1, beads), chain(50_000, 2, beads)]) == ([0, 0], {})


def test_rigid_molecules_of_few_beads_are_no_repeats():
    turned = [fitted(np.concatenate([chain(1, seed, 5), chain(1, beads=5).repeat(50, axis=0)]))[1:] for seed in (1, 2)]
    shaken = [
        t + np.random.default_rng(0).normal(size=(50, 1, 3)).astype(np.float32) * (k + 1) for k, t in enumerate(turned)
    ]
    assert repeats.repeats(shaken) == ([0, 0], {})


def test_each_frame_of_three_copies_counts_once(monkeypatch, tmp_path):
    monkeypatch.setattr(repeats, "_FRAMES_OF_A_GROUP", 50)
    monkeypatch.setattr(repeats, "PAIRS_AT_ONCE", 7)
    pieces = [as_xtc_writes(p) for p in (chain(100), chain(100)[50:], fitted(chain(100)))]
    assert repeats.repeats(pieces, tmp_path) == ([0, 50, 100], {(0, 1): 50, (0, 2): 100})


def test_mirrored_frames_are_no_repeats():
    frames = as_xtc_writes(chain(FRAMES))
    assert repeats.repeats([frames, frames * np.float32([-1, 1, 1])]) == ([0, 0], {})


def test_frames_that_resemble_each_other_are_no_repeats():
    """Beads of two chains that vibrate by 0.003 nm, as those of one crystal do."""
    generator = np.random.default_rng(1)
    one = chain(1)
    pieces = [as_xtc_writes(one + 0.003 * generator.normal(size=(5000, BEADS, 3))) for _ in range(2)]
    assert repeats.repeats(pieces) == ([0, 0], {})
    assert repeats.repeats([chain(20_000, 1), chain(20_000, 2)]) == ([0, 0], {})


def test_many_frames_are_gone_through_in_moments():
    pieces = [chain(100_000, seed) for seed in (1, 2)]
    start = time.monotonic()
    assert repeats.repeats(pieces) == ([0, 0], {})
    assert time.monotonic() - start < 30.0
