"""Static data of a molecule: they come from the bond graph, and follow the beads into any order."""

from dataclasses import replace

import pytest
import torch

from fpforce.forcefield.transferable.graph import bond_distances, local_frames, separations
from fpforce.forcefield.transferable.vocabulary import Vocabulary
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable
from fpforce.training.models.molecule import describe_molecule, pad_molecules


def chain(count, bonds, names=None, chains=None):
    """`count` residues of one bead each."""
    beads = tuple(
        Bead(names[i] if names else "CA", "ALA", i, i + 1, chains[i] if chains else "A", "C", 12.0, (i,), ("CA",))
        for i in range(count)
    )
    return BeadTable(beads, tuple(bonds), "test")


def described(beads):
    square = torch.arange(float(len(beads) ** 2)).view(len(beads), len(beads))
    return describe_molecule(beads, Vocabulary.of(beads), square, square + 1.0)


def permuted(beads, order):
    """The table whose bead k is bead order[k] of the old one."""
    place = {old: new for new, old in enumerate(order)}
    bonds = tuple(sorted(tuple(sorted((place[i], place[j]))) for i, j in beads.bonds))
    return replace(beads, beads=tuple(beads.beads[old] for old in order), bonds=bonds)


def test_frames_of_alanine_dipeptide_follow_its_backbone(alanine_set):
    # C-N-CA-C-N: an inner bead lies between its neighbours, an end sees the two bonds that lead away from it.
    # Neighbours are ranked by residue, and CA's two, both of ALA, by name: C before N.
    assert local_frames(alanine_set.beads).tolist() == [[0, 1, 2], [0, 1, 2], [3, 2, 1], [2, 3, 4], [4, 3, 2]]


def test_frames_of_branches_ends_pairs_and_single_beads():
    # Bead 1 has three neighbours; 4-5 is a pair; 6 is alone.
    beads = chain(7, [(0, 1), (1, 2), (1, 3), (4, 5)])
    assert local_frames(beads).tolist() == [[0, 1, 2], [0, 1, 3], [2, 1, 0], [3, 1, 0], [4, 5, 5], [5, 4, 4], [6, 6, 6]]


def test_bond_distances_are_shortest_paths_in_a_ring_with_a_tail():
    # Ring 0-1-2-3, tail 3-4-5-6-7: from 1 it is 2 bonds to 3 and 6 to 7; 8 is alone.
    beads = chain(9, [(0, 1), (1, 2), (2, 3), (0, 3), (3, 4), (4, 5), (5, 6), (6, 7)])
    found = bond_distances(beads)
    assert found[1].tolist() == [1, 0, 1, 2, 3, 4, 5, 5, 5] and (found == found.T).all()
    assert found[8].tolist() == [5] * 8 + [0]


def test_separation_is_signed_clipped_and_tells_chains_apart():
    beads = chain(8, [], chains="AAAAAABB")
    found = separations(beads)
    assert found[0].tolist() == [4, 5, 6, 7, 8, 8, 9, 9] and found[5].tolist() == [0, 0, 1, 2, 3, 4, 9, 9]
    assert found[7, 6] == 3


@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
def test_everything_follows_the_beads_into_another_order(alanine_set, order):
    before, after = described(alanine_set.beads), described(permuted(alanine_set.beads, order))
    for name in ("names", "residues"):
        assert torch.equal(getattr(after, name), getattr(before, name)[order]), name
    for name in ("separation", "bond_distance"):
        assert torch.equal(getattr(after, name), getattr(before, name)[order][:, order]), name
    assert torch.equal(torch.tensor(order)[after.frames], before.frames[order])


def test_padding_keeps_every_molecules_own_data(alanine_set):
    small, large = described(alanine_set.beads), described(chain(7, [(i, i + 1) for i in range(6)]))
    batch, mask = pad_molecules([small, large])
    assert mask.tolist() == [[True] * 5 + [False] * 2, [True] * 7]
    for padded, molecule in zip(range(2), (small, large), strict=True):
        for whole, own in zip(batch, molecule, strict=True):
            assert torch.equal(whole[padded][tuple(slice(size) for size in own.shape)], own)
    assert batch.frames.shape == (2, 7, 3) and batch.separation.shape == batch.distance_mean.shape == (2, 7, 7)


def test_molecule_of_three_beads_is_padded_to_three_frame_corners_only():
    # With n = 3 the (n, 3) frames look like an (n, n) table.
    batch, _ = pad_molecules(
        [described(chain(3, [(0, 1), (1, 2)])), described(chain(5, [(i, i + 1) for i in range(4)]))]
    )
    assert batch.frames.shape == (2, 5, 3) and batch.bond_distance.shape == (2, 5, 5)


def test_unknown_name_or_residue_is_named_with_those_known(alanine_set):
    vocabulary = Vocabulary.of(alanine_set.beads)
    assert vocabulary.names == ("C", "CA", "N") and vocabulary.residues == ("ACE", "ALA", "NME")
    first, *others = alanine_set.beads.beads
    for change, text in (
        ({"name": "CB"}, "ACE1-CB has the name CB, .* it knows C, CA, N"),
        ({"residue": "TRP"}, "TRP1-C has the residue type TRP, .* it knows ACE, ALA, NME"),
    ):
        with pytest.raises(InputError, match=text):
            vocabulary.indices(replace(alanine_set.beads, beads=(replace(first, **change), *others)))
