"""Start frames are found in the most distant states of the data, and the time step follows the stiffest bond."""

import numpy as np
import pytest

from fpforce.analysis.observables import bond_lengths, dihedrals
from fpforce.analysis.planes import choose_planes
from fpforce.fitting.states import dense_half, find_states
from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.molecule.beads import Bead, BeadTable
from fpforce.simulation.time_step import time_step_fs


def chain(beads):
    entries = tuple(Bead("X", "UNK", k, k, "A", "C", 12.0, (k,), ("X",)) for k in range(beads))
    return BeadTable(entries, tuple((k, k + 1) for k in range(beads - 1)), "groups")


def bent(rng, angles):
    """Three beads (frames, 3, 3) with bonds of 0.15 nm and these angles."""
    zero, one = np.zeros_like(angles), np.ones_like(angles)
    points = [(one, zero, zero), (zero, zero, zero), (np.cos(angles), np.sin(angles), zero)]
    frames = 0.15 * np.stack([np.stack(point, -1) for point in points], axis=-2)
    return frames + 0.002 * rng.normal(size=frames.shape)


def angle_of(frame):
    first, second = frame[0] - frame[1], frame[2] - frame[1]
    return np.arccos(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def switching(rng, centres, frames=6000, stay=200, width=0.08):
    """A trajectory of angles that dwells around one of the centres for `stay` frames at a time, in random order."""
    which = np.repeat(rng.integers(len(centres), size=frames // stay), stay)
    return np.asarray(centres)[which] + width * rng.normal(size=len(which))


def test_the_two_basins_of_a_molecule_are_found_wherever_the_trajectory_is():
    rng = np.random.default_rng(0)
    frames = bent(rng, switching(rng, (1.2, 2.6)))
    states = find_states(chain(3), frames, choose_planes(chain(3), [frames]))
    found = sorted(angle_of(frames[k]) for k in states)
    assert len(states) == 2 and found == pytest.approx([1.2, 2.6], abs=0.2)


def test_single_frames_far_out_are_no_states():
    rng = np.random.default_rng(1)
    angles = switching(rng, (1.2, 2.2))
    angles[::1500] = 3.1
    frames = bent(rng, angles)
    states = find_states(chain(3), frames, choose_planes(chain(3), [frames]))
    assert max(angle_of(frames[k]) for k in states) < 2.6


def test_the_only_basin_gives_its_two_most_distant_parts():
    rng = np.random.default_rng(2)
    frames = bent(rng, rng.normal(1.9, 0.15, 4000))
    states = find_states(chain(3), frames, choose_planes(chain(3), [frames]))
    low, high = sorted(angle_of(frames[k]) for k in states)
    assert len(states) == 2 and high - low > 1.5 * 0.15, "by one and a half standard deviations"


def test_rare_basin_of_alanine_dipeptide_is_a_state(alanine_frames):
    beads, frames = alanine_frames.beads, alanine_frames.positions_nm
    phi = dihedrals(frames, [beads.phi_psi[0]["phi"]])[:, 0]
    assert 0.005 < np.mean(phi > 0) < 0.05, "it is rare"
    states = find_states(beads, frames, choose_planes(beads, [frames]))
    assert sorted(phi[states] > 0) == [False, True]


def test_states_are_the_same_whatever_frame_is_first_found():
    rng = np.random.default_rng(3)
    frames = bent(rng, switching(rng, (1.2, 2.6)))
    planes = choose_planes(chain(3), [frames])
    assert find_states(chain(3), frames, planes) == find_states(chain(3), frames, planes)


def test_densest_is_in_the_middle_of_a_cloud():
    rng = np.random.default_rng(4)
    features = np.concatenate([rng.normal(0.0, 1.0, (300, 2)), [[9.0, 9.0]]])
    half = dense_half(features, np.arange(301))
    assert len(half) == 151 and 300 not in half
    assert np.linalg.norm(features[half], axis=1).max() < np.quantile(np.linalg.norm(features, axis=1), 0.7)


def test_time_step_of_a_backbone_is_that_of_the_examples(alanine_frames):
    assert time_step_fs(alanine_frames.beads, alanine_frames.positions_nm, 300.0) == 4.0


def test_time_step_is_that_of_a_harmonic_bond():
    # k = kT / variance, omega = sqrt(k / reduced mass); 1 / omega, to half a femtosecond
    rng = np.random.default_rng(5)
    for width_nm, expected in ((0.0025, 4.0), (0.0015, 2.5), (0.03, 4.0)):
        frames = np.zeros((20_000, 2, 3))
        frames[:, 1, 0] = rng.normal(0.15, width_nm, 20_000)
        omega = np.sqrt(BOLTZMANN_KJ_PER_MOL_K * 300.0 / bond_lengths(frames, [(0, 1)]).var() / 6.0)
        allowed = min(4.0, np.round(2 * 1000.0 / omega) / 2)
        assert time_step_fs(chain(2), frames, 300.0) == allowed == pytest.approx(expected, abs=0.51)
