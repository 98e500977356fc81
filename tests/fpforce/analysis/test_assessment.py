"""The whole assessment on real data: an honest run passes, and every wrong one is found out."""

import math
from pathlib import Path

import numpy as np
import pytest

from fpforce.analysis import AssessmentSettings, ReplicaFrames, assess, causes
from fpforce.analysis.observables import dihedrals
from fpforce.analysis.planes import PhiPsiPlane, TicaPlane, choose_planes, upper_basin
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"
ALL_FRAMES = AssessmentSettings(discard=0.0, thinnings=3)
REPLICAS = 32


@pytest.fixture(scope="module")
def runs():
    """Two independent runs of the same ensemble, with the phi angles of the first and the bead table."""
    from fpforce.trajectories.bead_frames import read_bead_frames

    first, second = (
        read_bead_frames(EXAMPLE / name, EXAMPLE / "alanine_dipeptide.pdb", beads="backbone5")
        for name in ("train.xtc", "reference.xtc")
    )
    phi = dihedrals(first.positions_nm, [first.beads.phi_psi[0]["phi"]])[:, 0]
    return first.beads, first.positions_nm, second.positions_nm, phi


def two_starts(frames, phi, chosen, replicas=REPLICAS):
    """The chosen frames as simulations of `replicas` each, said to start from a phi < 0 and a phi > 0 frame."""
    times = len(chosen) // (2 * replicas)
    series = frames[chosen[: times * 2 * replicas]].reshape(2 * replicas, times, *frames.shape[1:]).swapaxes(0, 1)
    starts = frames[np.argmax(phi < 0)], frames[np.argmax(phi > 0)]
    return [
        ReplicaFrames(series[:, k::2], name=name, start_nm=start)
        for k, (name, start) in enumerate(zip(("negative", "positive"), starts, strict=True))
    ]


def check(assessment, name):
    return next(c for c in assessment.checks if c.name == name)


def test_an_honest_independent_run_passes(runs):
    beads, frames, reference, phi = runs
    result = assess(beads, [reference], two_starts(frames, phi, np.arange(len(frames))), settings=ALL_FRAMES)
    assert result.status == "pass", [c for c in result.checks if not c.passed]
    assert result.converged and result.frames_compared == len(reference) // 2


def test_figures_of_the_carried_data_are_those_of_its_own_check(runs):
    # JS 0.0171 and PMF error 0.299 of the two runs at 21,417 frames before XTC rounded them to 0.001 nm; free energies
    # from data.json beside the files
    beads, frames, reference, phi = runs
    result = assess(
        beads, [reference], two_starts(frames, phi, np.arange(len(frames))), training=[frames], settings=ALL_FRAMES
    )
    training = result.divergences["training"]
    assert training.js.value == pytest.approx(0.0171, abs=0.0005)
    assert training.pmf_error.value == pytest.approx(0.299, abs=0.01)
    assert result.divergences["simulation"].js_floor.value == pytest.approx(training.js.value, abs=1e-3)
    assert training.js_floor is None, "the training set, which is the floor, has no floor of its own"
    free_energies = result.planes[0].free_energies_kt
    assert free_energies["reference"].value == pytest.approx(3.8146, abs=1e-3)
    assert free_energies["training"].value == pytest.approx(3.7873, abs=1e-3)
    assert 0.1 < free_energies["reference"].standard_error < 0.4


@pytest.mark.parametrize(
    ("phase", "status"),
    [(-2.0, "fail"), (-math.pi / 4, "not judged"), (math.pi / 2, "fail"), (math.pi, "not judged")],
)
def test_a_smooth_tilt_of_one_and_a_half_kt_in_phi_never_passes(runs, phase, status):
    # frames of the honest run accepted in proportion to exp(-U), U = 0.75 cos(phi - phase): distinct, no weights.
    # Without sampling noise they cost 0.011, 0.014, 0.004 and 0.014 in JS, which these 20,000 frames know to 0.004,
    # and the first and third 1.4 and 1.2 kT between the basins
    beads, frames, reference, phi = runs
    rng = np.random.default_rng(1)
    kept = np.exp(-0.75 * (np.cos(phi - phase) + 1.0))
    chosen = np.flatnonzero(rng.random(len(phi)) < kept / kept.max())
    tilted = assess(beads, [reference], two_starts(frames, phi, chosen), settings=ALL_FRAMES)
    assert tilted.status == status
    assert not all(check(tilted, n).passed for n in ("excess_js", "excess_pmf_error", "free_energy_error_kt"))
    if status == "not judged":
        assert [one.cause for one in tilted.diagnosis] == [causes.REFERENCE_TOO_SHORT]
    same_size = np.sort(rng.permutation(len(phi))[: len(chosen)])
    honest = assess(beads, [reference], two_starts(frames, phi, same_size), settings=ALL_FRAMES)
    assert honest.status == "pass", "the failure must be due to the tilt, not to the number of frames"


@pytest.mark.parametrize("phase", [-math.pi / 4, math.pi])
def test_a_smooth_tilt_of_three_kt_in_phi_fails(runs, phase):
    beads, frames, reference, phi = runs
    kept = np.exp(-1.5 * (np.cos(phi - phase) + 1.0))
    chosen = np.flatnonzero(np.random.default_rng(1).random(len(phi)) < kept / kept.max())
    tilted = assess(beads, [reference], two_starts(frames, phi, chosen), settings=ALL_FRAMES)
    assert tilted.status == "fail" and check(tilted, "excess_js").passed is False


def test_losing_the_positive_basin_fails_although_it_costs_little_js(runs):
    beads, frames, reference, phi = runs
    result = assess(beads, [reference], two_starts(frames, phi, np.flatnonzero(phi < 0)), settings=ALL_FRAMES)
    assert result.status == "fail"
    assert check(result, "excess_js").passed
    assert check(result, "free_energy_error_kt").value == math.inf


def test_simulations_that_remember_their_start_are_not_converged(runs):
    beads, frames, reference, phi = runs
    negative, positive = np.flatnonzero(phi < 0), np.flatnonzero(phi > 0)
    stuck = np.concatenate([negative[: 400 * REPLICAS // 2], np.resize(positive, 400 * REPLICAS // 2)])
    series = frames[stuck].reshape(2, REPLICAS, -1, *frames.shape[1:]).swapaxes(1, 2)
    simulations = [ReplicaFrames(s, name=name) for s, name in zip(series, ("negative", "positive"), strict=True)]
    result = assess(beads, [reference], simulations, settings=ALL_FRAMES)
    assert result.status == "not converged" and not result.passed
    assert "disagree" in result.convergence_reason


def test_one_start_alone_is_not_judged(runs):
    beads, frames, reference, phi = runs
    simulations = two_starts(frames, phi, np.arange(len(frames)))[:1]
    assert assess(beads, [reference], simulations, settings=ALL_FRAMES).status == "not judged"


def test_a_replica_frozen_half_way_is_counted_and_its_good_frames_are_kept(runs):
    beads, frames, reference, phi = runs
    first, second = two_starts(frames, phi, np.arange(len(frames)))
    times = len(first.positions_nm)
    valid = np.ones((times, REPLICAS), dtype=bool)
    valid[times // 2 :, 3] = False
    frozen = ReplicaFrames(first.positions_nm, valid, first.name, failed_replicas=1, start_nm=first.start_nm)
    result = assess(beads, [reference], [frozen, second], settings=ALL_FRAMES)
    assert result.failed_replicas == 1
    assert result.frames["simulation"] == 2 * REPLICAS * times - (times - times // 2)
    assert result.status == "fail" and not check(result, "failed_replicas").passed


def test_a_simulation_whose_every_replica_failed_has_not_converged(runs):
    beads, frames, reference, phi = runs
    first, second = two_starts(frames, phi, np.arange(len(frames)))
    times = len(first.positions_nm)
    valid = np.ones((times, REPLICAS), dtype=bool)
    valid[times // 2 :] = False
    lost = ReplicaFrames(first.positions_nm, valid, first.name, failed_replicas=REPLICAS, start_nm=first.start_nm)
    assert assess(beads, [reference], [first, second], settings=ALL_FRAMES).converged
    result = assess(beads, [reference], [lost, second], settings=ALL_FRAMES)
    assert not result.converged and result.status == "not converged"
    assert f"every replica failed in {first.name}" in result.convergence_reason


def test_frames_that_are_not_finite_are_counted_and_left_out(runs):
    beads, frames, reference, phi = runs
    first, second = two_starts(frames, phi, np.arange(len(frames)))
    broken = first.positions_nm.copy()
    broken[-5:, 0] = np.nan
    result = assess(beads, [reference], [ReplicaFrames(broken, None, first.name), second], settings=ALL_FRAMES)
    assert result.non_finite_frames == 5 and not check(result, "non_finite_frames").passed
    assert result.frames["simulation"] == 2 * REPLICAS * len(broken) - 5
    assert np.isfinite(result.divergences["simulation"].js.value)


def test_stretched_bonds_fail(runs):
    beads, frames, reference, phi = runs
    result = assess(beads, [reference], two_starts(1.003 * frames, phi, np.arange(len(frames))), settings=ALL_FRAMES)
    assert result.status == "fail" and not check(result, "bond_w1_nm").passed
    # bonds of 0.133 to 0.155 nm, shifted by 0.3 %
    assert max(bond.w1 for bond in result.bonds) == pytest.approx(0.003 * 0.155, rel=0.2)
    assert check(result, "excess_js").passed, "dihedrals do not change with the scale"


def test_bonds_of_few_frames_are_held_to_what_independent_frames_are(runs):
    # 0.2 pm is less than what two honest sets of so few frames of soft bonds are apart.
    beads, frames, reference, phi = runs
    rng = np.random.default_rng(0)

    def softened(positions, stretch=0.0):
        scaled = 1.0 + 0.05 * rng.normal(size=(len(positions), 1, 1)) + stretch
        return (scaled * positions).astype(np.float32)

    few, chosen = softened(reference[::8]), np.arange(0, len(frames), 8)
    honest = assess(beads, [few], two_starts(softened(frames), phi, chosen), settings=ALL_FRAMES)
    assert max(bond.w1 for bond in honest.bonds) > 2e-4 and check(honest, "bond_w1_nm").passed
    wrong = assess(beads, [few], two_starts(softened(frames, 0.008), phi, chosen), settings=ALL_FRAMES)
    assert not check(wrong, "bond_w1_nm").passed


def test_discarding_leaves_out_the_start_of_every_replica(runs):
    beads, frames, reference, phi = runs
    simulations = two_starts(frames, phi, np.arange(len(frames)))
    times = len(simulations[0].positions_nm)
    result = assess(beads, [reference], simulations, settings=AssessmentSettings(discard=0.75, thinnings=1))
    assert result.frames["simulation"] == 2 * REPLICAS * (times - math.ceil(0.75 * times))
    with pytest.raises(InputError, match="discard = 1.0"):
        AssessmentSettings(discard=1.0)


def test_positions_of_other_beads_are_refused(runs):
    beads, frames, reference, phi = runs
    with pytest.raises(InputError, match="reference positions have shape"):
        assess(beads, [reference[:, :4]], two_starts(frames, phi, np.arange(640)))


def alpha_carbon_chain(beads=6):
    entries = tuple(Bead("CA", "ALA", i, i + 1, "A", "C", 12.0, (i,), ("CA",)) for i in range(beads))
    return BeadTable(entries, tuple((i, i + 1) for i in range(beads - 1)), "ca")


def two_state_chain(rng, frames, beads=6, slow=0.01):
    """A chain that hops between a bent and a stretched state with probability `slow` a frame, with thermal noise."""
    state = np.cumsum(rng.random(frames) < slow) % 2
    along = np.arange(beads)
    bent = np.stack([0.30 * along, 0.12 * (along - 2.5) ** 2, 0.05 * along * (along % 2)], axis=1)
    straight = np.stack([0.38 * along, 0.10 * (along % 2), 0.02 * along**2], axis=1)
    return np.where(state[:, None, None] == 1, straight, bent) + 0.02 * rng.normal(size=(frames, beads, 3)), state == 1


def test_without_phi_and_psi_the_plane_is_tica_and_its_barrier_separates_the_states():
    rng = np.random.default_rng(0)
    table = alpha_carbon_chain()
    frames, state = two_state_chain(rng, 4000)
    (plane,) = choose_planes(table, [frames])
    assert isinstance(plane, TicaPlane)
    low, high = (plane.coordinates(frames[s])[:, 0].mean() for s in (state, ~state))
    assert plane.split == pytest.approx(0.5 * (low + high), abs=0.2 * abs(high - low)), "in the middle of the gap"
    agreement = np.mean(upper_basin(plane, plane.coordinates(frames)) == state)
    assert max(agreement, 1.0 - agreement) > 0.99


def test_assessment_on_the_tica_plane_tells_right_from_wrong():
    rng = np.random.default_rng(1)
    table = alpha_carbon_chain()
    reference = [two_state_chain(rng, 4000)[0] for _ in range(2)]

    def simulations(noise):
        series = [np.stack([two_state_chain(rng, 200, slow=0.2)[0] for _ in range(20)], axis=1) for _ in range(2)]
        return [ReplicaFrames(s + noise * rng.normal(size=s.shape), name=f"start {k}") for k, s in enumerate(series)]

    right, wrong = (assess(table, reference, simulations(noise), settings=ALL_FRAMES) for noise in (0.0, 0.03))
    assert right.planes[0].plane.name == "TICA"
    excess = [result.divergences["simulation"].excess_js.value for result in (right, wrong)]
    assert excess[0] < 0.05 < excess[1]


def test_every_residue_with_both_dihedrals_has_its_own_plane(runs):
    beads, frames, reference, _ = runs
    planes = choose_planes(beads, [reference])
    assert [plane.name for plane in planes] == ["ALA2"]
    assert planes[0].axis_labels == (r"$\phi$ / rad", r"$\psi$ / rad")
    assert isinstance(planes[0], PhiPsiPlane)


def test_a_dipeptide_without_caps_is_judged_by_the_torsions_around_its_peptide_bond():
    rng = np.random.default_rng(0)
    names = [("ALA", 0, name) for name in ("N", "CA", "C")] + [("SER", 1, name) for name in ("N", "CA", "C")]
    beads = BeadTable(
        tuple(
            Bead(name, residue, r, r + 1, "A", name[0], 12.0, (i,), (name,))
            for i, (residue, r, name) in enumerate(names)
        ),
        tuple((i, i + 1) for i in range(5)),
        "name N or name CA or name C",
    )
    positions = rng.normal(size=(100, 6, 3))
    (plane,) = choose_planes(beads, [positions])
    assert (plane.name, plane.basin_names) == ("ALA1-SER2", ("phi < 0", "phi > 0"))
    assert plane.axis_labels == (r"$\phi$ of SER2 / rad", r"$\psi$ of ALA1 / rad")
    np.testing.assert_array_equal(plane.coordinates(positions), dihedrals(positions, [(2, 3, 4, 5), (0, 1, 2, 3)]))
