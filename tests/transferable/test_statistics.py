"""Typed statistics: a molecule's own come back, an unseen sequence of seen types gets some, and what nobody knows is
named.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fpforce.forcefield.transferable.gaussian_modes import gaussian_modes
from fpforce.forcefield.transferable.knowledge import SMALLEST_VARIANCE, Knowledge
from fpforce.forcefield.transferable.statistics import PairStatistics, PairTable, measure, typed_pairs
from fpforce.forcefield.transferable.vocabulary import with_types
from fpforce.foundation.errors import InputError
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.models.edges import SMOOTH_LENGTH, distance_statistics
from fpforce.training.models.prior import fit_prior
from fpforce.training.models.shared import molecule_of
from fpforce.training.models.transferable import prior_of
from fpforce.training.recipe.plan import plan_experts


def test_table_of_one_molecule_gives_back_its_own_prior_and_features(peptide, choice):
    own = MoleculeSet.of({"AV": peptide("AV", 400)}, choice)
    (training_set,) = own.molecules.values()
    fitted, typed = (
        fit_prior(training_set.frames, training_set.prior_pairs),
        prior_of(training_set.beads, own.knowledge),
    )
    for name in ("first", "second", "radius", "variance", "mean_square"):
        torch.testing.assert_close(getattr(typed, name), getattr(fitted, name), rtol=2e-5, atol=2e-6)
    torch.testing.assert_close(
        typed.mode_variances, fitted.mode_variances.clamp_min(SMALLEST_VARIANCE), rtol=1e-4, atol=1e-4
    )
    soft = fitted.mode_variances > 2 * SMALLEST_VARIANCE
    overlap = (typed.mode_vectors @ fitted.mode_vectors.T)[soft][:, soft]  # of each vector the sign is free
    torch.testing.assert_close(overlap.abs(), torch.eye(int(soft.sum())), rtol=0, atol=5e-3)
    statistics, molecule = distance_statistics(training_set.frames), molecule_of(training_set.beads, own.knowledge)
    torch.testing.assert_close(molecule.distance_mean, statistics.mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(molecule.distance_variance, statistics.variance, rtol=1e-4, atol=1e-5)


def test_unseen_sequence_has_the_mean_over_what_is_known_of_both_residues(molecule_set, peptide_beads):
    # AV, SA, VS, ASV: of a neighbour pair N..C in "AS", first ALA: AV and ASV; second SER: VS and ASV.
    tables = {name: one.beads for name, one in molecule_set.molecules.items()}
    statistics = {name: measure(one.frames.numpy(), SMOOTH_LENGTH) for name, one in molecule_set.molecules.items()}
    place = ("N", "C", 1, 5)

    def mean(name, wanted):
        return [
            s
            for pair, s in zip(typed_pairs(tables[name]), statistics[name].mean, strict=True)
            if pair == (place, wanted)
        ][0]

    first = [mean("AV", ("ALA", "VAL")), mean("ASV", ("ALA", "SER"))]
    second = [mean("VS", ("VAL", "SER")), mean("ASV", ("ALA", "SER"))]
    unseen = peptide_beads("AS")
    found = molecule_set.knowledge.pairs.of_molecule(unseen)
    (place_of_pair,) = [k for k, pair in enumerate(typed_pairs(unseen)) if pair[0] == place]
    assert found.mean[place_of_pair] == pytest.approx(np.mean([np.mean(first), np.mean(second)]), rel=1e-6)


def test_types_never_seen_in_such_a_place_fall_back_on_the_place(peptide, peptide_beads, choice):
    # VAL is known, but never as the first of two.
    known = MoleculeSet.of({"AV": peptide("AV"), "SA": peptide("SA")}, choice).knowledge
    found, beads = known.pairs.of_molecule(peptide_beads("VV")), peptide_beads("VV")
    for (place, residues), mean in zip(typed_pairs(beads), found.mean, strict=True):
        if place[2] == 1:
            expected = known.pairs.entries[*place, "*", "VAL"]
        else:
            expected = known.pairs.entries[*place, *residues]
        assert mean == pytest.approx(expected[0])


def test_residues_further_apart_than_in_any_training_molecule_are_refused_by_name(peptide, peptide_beads, choice):
    known = MoleculeSet.of({"AV": peptide("AV"), "VS": peptide("VS")}, choice).knowledge
    with pytest.raises(InputError, match="beads ALA2-N and SER4-N: no molecule .* 2 residues apart"):
        known.prior_terms(peptide_beads("AVS"))


def test_pooled_variance_counts_what_differs_between_molecules(peptide_beads):
    # Two molecules of one pair, d = 1 +- 0.1 and d = 3 +- 0.2: the mean is 2, the variance (0.01 + 0.04)/2 + 1.
    beads = [peptide_beads("A") for _ in range(2)]
    pairs = len(typed_pairs(beads[0]))
    both = [
        PairStatistics(*np.array([[d, v, d, v, d - 0.5, d + 0.5]] * pairs).T) for d, v in ((1.0, 0.01), (3.0, 0.04))
    ]
    found = PairTable.of(beads, both).of_molecule(beads[0])
    np.testing.assert_allclose(found.mean, 2.0)
    np.testing.assert_allclose(found.variance, 1.025)
    assert found.low.min() == 0.5 and found.high.max() == 3.5


def test_mean_squared_distances_that_fit_no_arrangement_give_no_stiff_mode():
    # Three beads with d(0,2) > d(0,1) + d(1,2) in the mean square: one variance would be negative, -v; none below v is
    # left.
    square = np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 1.0], [9.0, 1.0, 0.0]])
    _, variances = gaussian_modes(square, 1e-4)
    # -1/6 J D2 J has the eigenvalues 3/2 along (1, 0, -1) and, along u = (1, -2, 1) / sqrt(6), -1/6 u D2 u =
    # -(2 (-2) 1 + 2 (-2) 1 + 2 9)/6/6 = -5/18.
    direction = np.array([1.0, -2.0, 1.0]) / 6**0.5
    negative = -direction @ square @ direction / 6.0
    assert negative < 0 and variances.min() == pytest.approx(-negative) and variances.max() == pytest.approx(1.5)


def test_stiff_modes_in_the_gaussian_make_the_prior_worse(molecule_set, transferable_recipe, tmp_path):
    # Why SMALLEST_VARIANCE is as large as it is: the losses of the untrained model, which is the prior, with stiff
    # modes and without.
    def losses(smallest):
        changed = replace(molecule_set, knowledge=replace(molecule_set.knowledge, smallest_variance=smallest))
        recipe = transferable_recipe(tmp_path, optimizer__batch_size=256, loss__fokker_planck_fraction=0.5)
        module = ExpertTraining(recipe, plan_experts(recipe), changed)
        module.begin(0)
        terms = module(module.draw(0))
        return terms.denoising.item(), terms.fokker_planck.item()

    soft, stiff = losses(SMALLEST_VARIANCE), losses(3e-4)
    assert soft[0] < stiff[0] and soft[1] < stiff[1]


def test_knowledge_survives_json(molecule_set, peptide_beads):
    back = Knowledge.from_dict(json.loads(json.dumps(molecule_set.knowledge.to_dict())))
    assert back.vocabulary == molecule_set.knowledge.vocabulary and back.residues == molecule_set.knowledge.residues
    for ours, theirs in zip(
        back.prior_terms(peptide_beads("SVA")).__dict__.values(),
        molecule_set.knowledge.prior_terms(peptide_beads("SVA")).__dict__.values(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_order_of_the_beads_does_not_matter(molecule_set, peptide_beads):
    beads = peptide_beads("VA")
    order = np.random.default_rng(1).permutation(len(beads))
    where = {old: new for new, old in enumerate(order)}
    bonds = tuple(sorted(tuple(sorted((where[i], where[j]))) for i, j in beads.bonds))
    other = replace(beads, beads=tuple(beads.beads[k] for k in order), bonds=bonds)
    ours, theirs = (molecule_set.knowledge.network_constants(table) for table in (beads, other))
    np.testing.assert_array_equal(theirs["distance_mean"], ours["distance_mean"][np.ix_(order, order)])
    np.testing.assert_array_equal(theirs["separation"], ours["separation"][np.ix_(order, order)])


def test_names_that_are_one_type_have_one_type_wherever_the_model_is_used(peptide, choice):
    frames = {"AV": peptide("AV"), "SA": peptide("SA")}
    named = {name: replace(one, beads=with_types(one.beads, {"ALA": "NALA"})) for name, one in frames.items()}
    named["SA"] = frames["SA"]
    plain = MoleculeSet.of(frames, choice).knowledge
    apart = MoleculeSet.of(named, choice).knowledge
    one = MoleculeSet.of(named, choice, one_type={"NALA": "ALA"}).knowledge
    one = Knowledge.from_dict(json.loads(json.dumps(one.to_dict())))
    assert "NALA" in apart.vocabulary.residues and one.vocabulary == plain.vocabulary
    for beads in (named["AV"].beads, frames["AV"].beads):
        one.require_same_beads(beads)
        for name, values in plain.network_constants(frames["AV"].beads).items():
            np.testing.assert_allclose(one.network_constants(beads)[name], values, rtol=1e-6)
    with pytest.raises(InputError, match="residue type"):
        plain.network_constants(named["AV"].beads)
