"""Contacts between two chains: counted as they are, and compared between sets."""

import numpy as np
import pytest

from fpforce.analysis.interfaces import assess_interfaces, interface_map
from fpforce.molecule.mapping import list_beads

CHAINS = [{"name": "CA", "residue": "ALA", "chain": chain} for chain in "AAABBB"]


def strands(offsets):
    """Frames of two parallel strands of three beads, so far apart."""
    line = np.array([[0.4 * i, 0.0, 0.0] for i in range(3)])
    return np.array([np.concatenate([line, line + [0.0, offset, 0.0]]) for offset in offsets])


def test_map_has_the_part_of_the_frames_in_which_beads_touch():
    found = interface_map(strands([0.5, 0.5, 0.75, 2.0]), [0, 1, 2], [3, 4, 5])
    # Facing beads touch at 0.5 and 0.75 nm; neighbours of these at sqrt(0.5^2 + 0.4^2) = 0.64 nm alone.
    np.testing.assert_allclose(found, [[0.75, 0.5, 0.0], [0.5, 0.75, 0.5], [0.0, 0.5, 0.75]])


def test_interfaces_are_of_chains_that_no_bond_joins():
    beads = list_beads(CHAINS, several_chains=True)
    reference, simulation = strands([0.5] * 10), strands([0.5] * 5 + [1.0] * 3 + [2.0] * 2)
    (one,) = assess_interfaces(
        beads, (reference[:5], reference[5:]), {"reference": reference, "simulation": simulation}
    )
    assert one.chains == ("A", "B")
    assert one.contacts == {"reference": pytest.approx(7.0), "simulation": pytest.approx(3.5)}
    assert one.apart == {"reference": 0.0, "simulation": pytest.approx(0.2)}
    assert one.differences["simulation"].largest == pytest.approx(0.5)
    assert one.floor.largest == 0.0
    assert one.summary()["differences"]["simulation"]["pair"] == ["ALA1-CA", "ALA4-CA"]


def test_bonded_chains_and_chains_that_never_touch_have_no_interface():
    bonded = [record | {"bonds": [i + 1]} if i < 5 else record for i, record in enumerate(CHAINS)]
    near, far = strands([0.5] * 4), strands([3.0] * 4)
    assert assess_interfaces(list_beads(bonded), (near, near), {"reference": near, "simulation": near}) == ()
    beads = list_beads(CHAINS, several_chains=True)
    assert assess_interfaces(beads, (far, far), {"reference": far, "simulation": far}) == ()
