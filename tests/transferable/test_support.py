"""The support of a force field for many molecules, bound to a sequence that it was never trained on.

The weights are random, and the frames are drawn from analytic distributions of internal coordinates: the distances of
the types that the model knows are right, what its last layer makes of a frame is arbitrary.
"""

import json

import numpy as np
import pytest

import fpforce
from fpforce.foundation.errors import InputError


def test_frames_of_an_unseen_sequence_are_mostly_inside(each_model, unseen_pdb, peptide):
    found = fpforce.support(each_model, peptide("VA", frames=500, seed=5), unseen_pdb)
    assert found.share < 0.15 and found.calibrated_on == "training molecules, each measured by the others"
    assert not any(name.startswith("energy") for name in found.names), "each molecule has a zero of its own"


def test_overlapping_beads_of_an_unseen_sequence_are_outside(each_model, unseen_pdb, peptide):
    frames = peptide("VA", frames=200, seed=5).positions_nm.astype(float)
    frames[:, -1] = frames[:, 0] + 0.05 * (frames[:, -1] - frames[:, 0])
    assert fpforce.support(each_model, frames, unseen_pdb).share > 0.95


def test_a_bound_force_field_needs_no_topology_and_an_unbound_one_does(each_model, unseen_pdb, peptide):
    frames, field = peptide("VA", frames=50, seed=5), fpforce.load(each_model)
    bound = fpforce.support(field.bind(unseen_pdb), frames)
    np.testing.assert_array_equal(bound.distances, fpforce.support(field, frames, unseen_pdb).distances)
    with pytest.raises(InputError, match="say for which molecule"):
        fpforce.support(field, frames)


def test_what_is_known_of_ranges_is_of_the_molecule(each_model, unseen_pdb):
    bound = fpforce.load(each_model).bind(unseen_pdb)
    low_nm, high_nm = bound.ranges_nm()
    assert (low_nm < high_nm).all() and len(low_nm) == len(bound.beads) * (len(bound.beads) - 1) // 2
    assert json.dumps(bound.metadata["support"])
