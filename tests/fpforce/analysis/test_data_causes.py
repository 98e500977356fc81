"""Training frames explain a distance only where they are off by more than the reference's own error: beads of one pair,
whose distance has a known distribution, of as many independent frames as it is drawn with.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.signal import lfilter

from fpforce.analysis import causes
from fpforce.analysis.comparison import Floor
from fpforce.analysis.criteria import Thresholds
from fpforce.analysis.data_causes import explained_by_training, is_in_the_training, too_few_frames
from fpforce.analysis.distributions import distribution_distances
from fpforce.analysis.geometry import GeometryDistance, draw_geometry, geometry_distances
from fpforce.analysis.observables import bond_lengths
from fpforce.analysis.run_facts import RunFacts
from fpforce.analysis.sample import BlockLayout, CellCounter
from fpforce.analysis.sampled_frames import SampledFrames
from fpforce.analysis.w1_errors import DistanceErrors
from fpforce.molecule.beads import Bead, BeadTable

WIDTH_NM = 0.02
BEADS = BeadTable(
    tuple(Bead(name, "X", k, k + 1, "A", "C", 12.0, (k,), (name,)) for k, name in enumerate(("A", "B"))),
    ((0, 1),),
    "groups",
)
LIMITS = Thresholds(bond_width=0.28)  # of a bond as much as of other distances


def normal(rng, frames, trajectories=1, memory=0.0):
    """Stationary values (trajectories, frames) of variance 1, correlated over so many frames."""
    if not memory:
        return rng.normal(size=(trajectories, frames))
    decay = np.exp(-1.0 / memory)
    noise = rng.normal(size=(trajectories, frames)) * np.sqrt(1.0 - decay**2)
    noise[:, 0] = rng.normal(size=trajectories)
    return lfilter([1.0], [1.0, -decay], noise, axis=1)


def gathered(values):
    """SampledFrames and Sample of trajectories (trajectories, frames) of the distance, in its standard deviations."""
    trajectories, frames = values.shape
    layout = BlockLayout.of_trajectories([frames] * trajectories)
    source, time = np.repeat(np.arange(trajectories), frames), np.tile(np.arange(frames), trajectories)
    nothing = np.zeros(frames, dtype=int)
    block = np.concatenate([layout.block(k, time[:frames], nothing) for k in range(trajectories)])
    counter = CellCounter(1, layout.trajectory, 1)
    counter.add(block, np.zeros((len(block), 1), dtype=int))
    positions = np.zeros((len(block), 2, 3))
    positions[:, 1, 0] = 0.5 + WIDTH_NM * values.ravel()
    return SampledFrames(positions, source, time, np.zeros_like(time), block), counter.sample()


def judged(rng, reference, training, simulation):
    """(distance, bond) with the limit of the distance."""
    both = {"reference": gathered(reference), "training": gathered(training), "simulation": gathered(simulation)}
    sampled, samples = ({name: one[k] for name, one in both.items()} for k in (0, 1))
    floor = Floor.choose(samples["reference"], None)
    thinned = draw_geometry(sampled, samples, floor, min(map(len, samples.values())), rng)
    (distance,) = distribution_distances(BEADS, thinned, {"training": sampled["training"].positions_nm})
    (bond,) = geometry_distances(bond_lengths, BEADS, BEADS.bonds, thinned)
    return distance, bond


def explanation(distance, frames=1000):
    figures = {"frames": {"training": frames}, "distributions": [distance], "planes": (), "bonds": ()}
    return explained_by_training(figures, {"pair_distances_w1_nm"}, LIMITS).get("pair_distances_w1_nm")


def over(distance):
    """Whether the training frames are farther off than allowed, and the simulation has theirs, whatever the errors."""
    limit = distance.limit_nm(LIMITS.excess_js)
    return distance.w1_nm["training"] > limit >= distance.from_training_nm


def test_enough_training_frames_are_not_blamed_for_the_reference():
    # a reference worth seven independent frames; 20,000 of the training, of the same distribution
    rng, alone, named, bonds = np.random.default_rng(0), 0, 0, 0
    for _ in range(60):
        distance, bond = judged(rng, normal(rng, 4000, 2, 600.0), normal(rng, 20_000), 0.1 + normal(rng, 8000))
        alone += over(distance)
        named += explanation(distance) is not None
        bonds += is_in_the_training(bond, LIMITS)
    assert alone >= 3 and named == bonds == 0


def test_too_few_training_frames_are_named_with_how_many_would_do():
    # 4,000 frames of the training that are worth two; a simulation that has their distribution
    rng, found = np.random.default_rng(1), []
    for _ in range(40):
        training = normal(rng, 4000, 1, 1000.0)
        simulation = training.ravel()[rng.integers(0, 4000, 8000)][None]
        distance, bond = judged(rng, normal(rng, 10_000, 2), training, simulation)
        if over(distance) and distance.w1_nm["training"] > 1.2 * distance.limit_nm(LIMITS.excess_js):
            found.append((explanation(distance), is_in_the_training(bond, LIMITS)))
    assert len(found) >= 10 and all(text is not None and bond for text, bond in found)
    assert sum(one.factor > 1.0 for one, _ in found) > 0.5 * len(found)


def test_what_training_frames_have_by_more_than_their_error_asks_for_no_more_of_them():
    rng = np.random.default_rng(2)
    distance, bond = judged(rng, normal(rng, 10_000, 2), 0.6 + normal(rng, 20_000), 0.6 + normal(rng, 8000))
    found = explanation(distance)
    assert found is not None and found.factor == 1.0 and is_in_the_training(bond, LIMITS)
    remedy = too_few_frames({"frames": {"training": 20_000}}, {"pair_distances_w1_nm": found}, RunFacts()).remedy
    assert "of one ensemble" in remedy


@pytest.mark.parametrize(("reference", "training", "named"), [(0.0, 0.0, True), (0.02, 0.0, False), (0.0, 0.02, True)])
def test_the_error_of_the_training_frames_does_not_excuse_them(reference, training, named):
    # of a distance of 0.03 nm where 0.02 is allowed
    total = float(np.hypot(reference, training))
    errors = SimpleNamespace(total=total, own=training, others=reference)
    distance = SimpleNamespace(
        name="pair_distances",
        label="pair distances",
        w1_nm={"training": 0.03},
        from_training_nm=0.001,
        limit_nm=lambda excess: 0.02,
        training_errors_nm=errors,
    )
    found = explanation(distance)
    assert (found is not None) is named
    if found is not None:
        assert found.factor == pytest.approx(1.5**2 if training else 1.0)


def test_a_finding_of_too_few_frames_needs_data():
    rng = np.random.default_rng(3)
    distance, _ = judged(rng, normal(rng, 4000, 2), 0.6 + normal(rng, 4000), 0.6 + normal(rng, 4000))
    found = too_few_frames({"frames": {"training": 4000}}, {"pair_distances_w1_nm": explanation(distance)}, RunFacts())
    assert found.cause == causes.TOO_FEW_DATA and found.needs_data and "±" in found.text


def test_a_bond_that_chance_may_have_moved_leaves_the_training_to_blame_for_another():
    reference = np.random.default_rng(4).normal(0.15, 0.002, 5000)  # of which 0.0003 nm are allowed with this floor
    errors = DistanceErrors(total=2e-4, own=1e-4)

    def bond(name, w1_nm):
        return GeometryDistance(name, w1_nm, 1e-4, reference, reference, w1_nm, 1e-5, 2e-4, 1e-4, errors)

    clear, chance = bond("A:B", 0.004), bond("B:C", 0.00035)
    limits = Thresholds()
    assert limits.clearly_misses(clear) and not limits.clearly_misses(chance)
    assert chance.w1 > limits.of_bond(chance) and not is_in_the_training(chance, limits)
    figures = {"frames": {"training": 1000}, "distributions": (), "planes": (), "bonds": (chance, clear)}
    found = explained_by_training(figures, {"bond_w1_nm"}, limits)
    assert "have bond A:B as far" in found["bond_w1_nm"].text
