"""The wall: which pairs it keeps apart, from where on, and how strongly."""

import dataclasses

import numpy as np
import pytest

from fpforce.forcefield.wall import (
    HEIGHT_KT,
    MEAN_ENERGY_KT,
    TAIL,
    Wall,
    distances_of_pairs,
    distant_pairs,
    smallest_distances,
)
from fpforce.foundation.errors import InputError
from fpforce.molecule.mapping import list_beads


def test_pairs_are_those_at_least_three_bonds_apart():
    chain = list_beads([{"name": f"B{k}", "residue": "ALA", "mass_da": 12.0} for k in range(6)])
    chain = dataclasses.replace(chain, bonds=((0, 1), (1, 2), (2, 3), (3, 4)))
    # bead 5 is bonded to nothing, so it is far from all
    assert distant_pairs(chain).tolist() == [[0, 3], [0, 4], [0, 5], [1, 4], [1, 5], [2, 5], [3, 5], [4, 5]]
    with pytest.raises(InputError, match=r"model\.wall = true .* the data have no such pair"):
        smallest_distances(
            [(dataclasses.replace(chain, beads=chain.beads[:3], bonds=((0, 1), (1, 2))), np.zeros((2, 3, 3)))]
        )


def test_walls_of_many_molecules_are_those_of_the_nearest_pair_and_hold_for_molecules_not_seen():
    def chain(*names):
        beads = list_beads([{"name": name, "residue": "ALA", "mass_da": 12.0} for name in names])
        return dataclasses.replace(beads, bonds=tuple((k, k + 1) for k in range(len(names) - 1)))

    line = np.zeros((1, 4, 3))
    line[0, :, 0] = [0.0, 0.1, 0.2, 0.3]
    molecules = [
        (chain("A", "B", "B", "A"), line),
        (chain("A", "B", "B", "A"), 0.9 * line),
        (chain("A", "B", "B", "B"), line),
        (chain("A", "B", "A"), line[:, :3]),
    ]
    smallest = smallest_distances(molecules)
    assert [(entry["names"], round(entry["distance_nm"], 9)) for entry in smallest] == [
        (["A", "A"], 0.27),
        (["A", "B"], 0.3),
    ]
    wall = Wall.of(chain("B", "A", "A", "A", "B"), smallest)  # B and B so far apart were never seen
    assert wall.pairs.tolist() == [[0, 3], [1, 4]] and wall.distances_nm.tolist() == [0.3, 0.3]
    assert Wall.of(chain("B", "A", "A", "B"), smallest).energies_kt(line) == 0.0


def _chain(count):
    beads = list_beads([{"name": f"B{k}", "residue": "ALA", "mass_da": 12.0} for k in range(count)])
    return dataclasses.replace(beads, bonds=tuple((k, k + 1) for k in range(count - 1)))


@pytest.mark.parametrize("frames", [300, 15_000])
def test_walls_of_each_pair_cost_the_data_as_much_as_they_may_however_many_frames_there_are(frames):
    chain, rng = _chain(5), np.random.default_rng(0)
    positions = rng.normal(size=(frames, 5, 3)) * 0.1
    positions[:, :, 0] += 0.4 * np.arange(5)
    distances_nm = distances_of_pairs(chain, positions)
    wall = Wall(distant_pairs(chain), distances_nm)
    assert wall.energies_kt(positions).mean() == pytest.approx(MEAN_ENERGY_KT, rel=0.1)
    for pair, distance in zip(wall.pairs, distances_nm, strict=True):
        own = Wall(pair[None], distance[None]).energies_kt(positions)
        found = np.linalg.norm(positions[:, pair[0]] - positions[:, pair[1]], axis=-1)
        assert found.min() < distance < 1.001 * np.quantile(found, TAIL)
        if distance < 0.99 * np.quantile(found, TAIL):
            assert own.mean() == pytest.approx(MEAN_ENERGY_KT / 3, rel=1e-6)
    others = rng.normal(size=(30_000, 5, 3)) * 0.1
    others[:, :, 0] += 0.4 * np.arange(5)
    assert wall.energies_kt(others).mean() < 0.2  # as they would new frames, of few or many


def test_wall_of_a_pair_reaches_no_more_than_the_tail_of_the_data():
    chain, rng = _chain(4), np.random.default_rng(0)
    positions = np.zeros((1000, 4, 3))
    positions[:, :, 0] = 0.4 * np.arange(4)
    positions[:, 3, 0] += rng.uniform(0.0, 1e-4, 1000)  # all frames are as near as this to each other
    assert distances_of_pairs(chain, positions)[0] == pytest.approx(1.2 + TAIL * 1e-4, abs=5e-6)
    assert distances_of_pairs(_chain(3), positions[:, :3]).shape == (0,)
    np.testing.assert_allclose(distances_of_pairs(chain, positions[:1]), [positions[0, 3, 0]], rtol=1e-6)
    together = distances_of_pairs(chain, np.zeros((5, 4, 3)))  # beads that coincide
    assert together[0] > 0.0 and np.isfinite(Wall(distant_pairs(chain), together).energies_kt(positions)).all()


def test_walls_of_pairs_are_found_in_parts(monkeypatch):
    chain, positions = _chain(7), np.random.default_rng(0).normal(size=(500, 7, 3))
    whole = distances_of_pairs(chain, positions)
    monkeypatch.setattr("fpforce.forcefield.wall._CHUNK_DISTANCES", 700)
    np.testing.assert_allclose(distances_of_pairs(chain, positions), whole, rtol=1e-6)
    wall = Wall(distant_pairs(chain), whole)
    again = Wall.of_constants(wall.constants(), 7)
    assert np.array_equal(again.pairs, wall.pairs) and np.array_equal(again.distances_nm, wall.distances_nm)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"wall.first": None}, "lack those of the wall"),
        ({"wall.distance_nm": np.array([0.3])}, r"wall of \(2,\) pairs and \(1,\) distances"),
        ({"wall.distance_nm": np.array([0.3, np.nan])}, "not all finite and above 0"),
        ({"wall.distance_nm": np.array([0.3, 0.0])}, "not all finite and above 0"),
        ({"wall.second": np.array([3, 99])}, "of other beads than the 5"),
        ({"wall.second": np.array([3, -1])}, "of other beads than the 5"),
        ({"wall.second": np.array([3, 1])}, "of other beads than the 5"),
    ],
)
def test_a_damaged_wall_is_refused(changes, found):
    constants = Wall(np.array([[0, 3], [1, 4]]), np.array([0.3, 0.4])).constants() | changes
    constants = {name: values for name, values in constants.items() if values is not None}
    with pytest.raises(InputError, match=found):
        Wall.of_constants(constants, 5)


def test_energy_and_its_first_two_derivatives_vanish_at_the_distance():
    wall = Wall(np.array([[0, 1]]), np.array([0.4]))

    def energy(distance):
        return wall.energies_kt(np.array([[[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]]))[0]

    assert energy(0.4) == energy(0.5) == 0.0 and energy(0.0) == HEIGHT_KT
    assert energy(0.36) == pytest.approx(1.0) and energy(0.32) == pytest.approx(8.0)  # 0.9 and 0.8 of the distance
    h = 1e-5
    assert (energy(0.4 - h) - energy(0.4 + h)) / (2 * h) < 1e-4
    assert (energy(0.4 - h) - 2 * energy(0.4) + energy(0.4 + h)) / h**2 < 1.0, (
        "6 HEIGHT_KT h / 0.4^3, at distance 0 37500"
    )


def test_action_counts_the_frames_in_which_a_pair_is_within_the_wall():
    wall = Wall(np.array([[0, 1], [0, 2]]), np.array([0.4, 0.4]))
    frames = np.zeros((4, 3, 3))
    frames[:, 1, 0] = [0.5, 0.39, 0.5, 0.32]
    frames[:, 2, 1] = [0.5, 0.5, 0.5, 0.32]
    action = wall.action(frames)
    assert (action.frames, action.acted, action.more_than_a_kt) == (4, 0.5, 0.25)
    assert action.largest_kt == pytest.approx(16.0)
