"""The verdict on little or nothing: what was not measured is not met, and one basin alone can be judged."""

import math

import numpy as np
import pytest

from fpforce.analysis import AssessmentSettings, ReplicaFrames, assess
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable

ALL_FRAMES = AssessmentSettings(discard=0.0, thinnings=2)


def chain(beads):
    """A backbone of one residue, whose phi and psi are defined for five beads, or a bare chain."""
    names = ("C", "N", "CA", "C", "N") if beads == 5 else ("X",) * beads
    residues = (("ACE", 0), ("ALA", 1), ("ALA", 1), ("ALA", 1), ("NME", 2)) if beads == 5 else (("UNK", 0),) * beads
    entries = tuple(
        Bead(name, residue, index, index + 1, "A", "C", 12.0, (k,), (name,))
        for k, (name, (residue, index)) in enumerate(zip(names, residues, strict=True))
    )
    return BeadTable(entries, tuple((k, k + 1) for k in range(beads - 1)), "groups")


def backbone(phi, psi):
    """Frames (..., 5, 3) with unit bonds and right angles at the given dihedrals."""
    phi, psi = np.asarray(phi), np.asarray(psi)
    zero, one = np.zeros_like(phi), np.ones_like(phi)
    points = [np.stack(p, -1) for p in ((zero, one, zero), (zero, zero, zero), (zero, zero, one))]
    outward = np.stack([-np.sin(phi), np.cos(phi), zero], -1)
    points.append(points[2] + outward)
    along, axis = points[2] - points[1], outward
    across = np.cross(axis, -along)
    points.append(points[3] - np.cos(psi)[..., None] * along + np.sin(psi)[..., None] * across)
    return 0.15 * np.stack(points, axis=-2)


def one_basin(rng, shape, centre=-1.2):
    return backbone(centre + 0.2 * rng.normal(size=shape), 0.5 * rng.normal(size=shape))


def outcomes(result):
    return {check.name: check.outcome for check in result.checks}


def simulations(frames_of, names=("first", "second")):
    return [ReplicaFrames(frames_of(), name=name) for name in names]


def test_independent_starts_in_the_only_basin_can_pass_without_a_free_energy_difference():
    rng = np.random.default_rng(0)
    reference = [one_basin(rng, 4000), one_basin(rng, 4000)]
    result = assess(chain(5), reference, simulations(lambda: one_basin(rng, (100, 40))), settings=ALL_FRAMES)
    assert result.convergence_verdict == "converged"
    assert "one basin on this plane (phi < 0)" in result.convergence_reason
    assert outcomes(result)["free_energy_error_kt"] == "not judged"
    (value,) = (check.value for check in result.checks if check.name == "free_energy_error_kt")
    assert value is None and result.status == "pass"
    assert result.planes[0].populations["simulation"].value == 0.0


def test_starts_that_disagree_within_the_only_basin_are_not_converged():
    rng = np.random.default_rng(1)
    reference = [one_basin(rng, 4000), one_basin(rng, 4000)]
    centres = iter((-1.0, -1.4))
    wrong = simulations(lambda: one_basin(rng, (100, 40), next(centres)))
    assert assess(chain(5), reference, wrong, settings=ALL_FRAMES).convergence_verdict == "not converged"


def test_one_start_in_the_only_basin_is_asked_for_a_second():
    rng = np.random.default_rng(2)
    result = assess(
        chain(5), [one_basin(rng, 8000)], simulations(lambda: one_basin(rng, (200, 40)), ["only"]), settings=ALL_FRAMES
    )
    assert result.status == "not judged" and "give simulations from two starts" in result.convergence_reason


def test_simulation_that_misses_a_criterion_fails_whatever_could_not_be_judged():
    rng = np.random.default_rng(2)
    elsewhere = simulations(lambda: one_basin(rng, (200, 40), centre=-0.6), ["only"])
    result = assess(chain(5), [one_basin(rng, 8000)], elsewhere, settings=ALL_FRAMES)
    assert result.convergence_verdict == "not judged" and outcomes(result)["excess_js"] == "not met"
    assert result.status == "fail"


def test_distances_of_few_frames_are_not_judged():
    rng = np.random.default_rng(3)
    reference = [one_basin(rng, 96)]
    result = assess(chain(5), reference, simulations(lambda: one_basin(rng, (10, 40))), settings=ALL_FRAMES)
    assert result.frames_compared == 48
    assert outcomes(result)["excess_js"] == outcomes(result)["excess_pmf_error"] == "not judged"
    assert result.status == "not judged"
    found = result.divergences["simulation"]
    assert found.excess_js is None and found.excess_pmf_error is None and found.js_floor.value > 0.0
    assert found.no_excess == "48 frames are compared, and an excess takes 1,000"


def test_distances_without_overlap_are_not_judged():
    # the two halves of the reference share no bin, so the floor is ln 2 and every excess at most 0
    rng = np.random.default_rng(4)
    reference = [np.concatenate([one_basin(rng, 2000, -2.6), one_basin(rng, 2000, -0.8)])]
    result = assess(chain(5), reference, simulations(lambda: one_basin(rng, (100, 40), 1.5)), settings=ALL_FRAMES)
    assert result.divergences["simulation"].js_floor.value == pytest.approx(math.log(2.0), rel=0.01)
    assert outcomes(result)["excess_js"] == "not judged" and result.status != "pass"
    assert result.divergences["simulation"].excess_js is None
    assert "hardly a bin in common (floor 0.69 of ln 2)" in result.divergences["simulation"].no_excess


def test_lost_replicas_fail_a_simulation_whose_convergence_cannot_be_judged():
    rng = np.random.default_rng(7)
    frames, valid = one_basin(rng, (100, 40)), np.ones((100, 40), dtype=bool)
    valid[60:, 3] = False
    (whole, lossy) = (
        assess(
            chain(5),
            [one_basin(rng, 3000)],
            [ReplicaFrames(frames, valid, "only", failed_replicas=lost)],
            settings=ALL_FRAMES,
        )
        for lost in (0, 1)
    )
    assert whole.status == "not judged" and "failed" not in whole.convergence_reason
    assert lossy.convergence_verdict == "not judged" and lossy.status == "fail"
    assert (
        lossy.convergence_reason.endswith("; 1 of 40 replicas failed")
        and outcomes(lossy)["failed_replicas"] == "not met"
    )


@pytest.mark.parametrize("spread_nm", [0.01, 1e-5])
def test_three_beads_are_judged_by_their_distances(spread_nm):
    rng = np.random.default_rng(5)

    def frames(shape):
        bend = 1.9 + 0.2 * rng.normal(size=shape)
        zero, one = np.zeros_like(bend), np.ones_like(bend)
        points = [(one, zero, zero), (zero, zero, zero), (np.cos(bend), np.sin(bend), zero)]
        positions = 0.15 * np.stack([np.stack(point, -1) for point in points], axis=-2)
        return positions + spread_nm * rng.normal(size=positions.shape)

    result = assess(chain(3), [frames(3000), frames(3000)], simulations(lambda: frames((100, 40))), settings=ALL_FRAMES)
    assert result.planes[0].plane.name == "TICA" and np.isfinite(result.divergences["simulation"].js.value)
    assert len(result.bonds) == 2 and len(result.angles) == 1


def test_two_beads_are_refused_with_the_reason():
    frames = np.random.default_rng(6).normal(size=(100, 2, 3))
    with pytest.raises(InputError, match="2 beads have fewer; it needs a model of at least 3"):
        assess(chain(2), [frames], simulations(lambda: frames[:, None]), settings=ALL_FRAMES)
