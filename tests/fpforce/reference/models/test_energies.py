"""Energies of bead models: computed by hand from the formula of the paper, and forces against central differences."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable
from fpforce.reference.models import MODELS, build_model
from fpforce.reference.models.disordered import screening
from fpforce.reference.models.start import random_chain, start_positions
from fpforce.reference.models.structure_based import of_structure
from fpforce.reference.models.truth import energies_and_forces

HAIRPIN = "GGGCACUUCGGUGCCC:.(((((....)))))."
SOURCES = {"disordered": "GKWED", "alkane": "C7", "rna": HAIRPIN}


def helix(n):
    """(n, 3) in nm, of CA of a right-handed alpha helix: 0.23 nm from the axis, 0.15 nm and 100 degrees a residue."""
    k = np.arange(n)
    turn = np.radians(100.0) * k
    return np.stack([0.23 * np.cos(turn), 0.23 * np.sin(turn), 0.15 * k], axis=1)


def alpha_carbons(n, links=()):
    beads = tuple(Bead("CA", "ALA", k, k + 1, "A", "C", 12.011, (k,), ("CA",)) for k in range(n))
    return BeadTable(beads, tuple(sorted([*((k, k + 1) for k in range(n - 1)), *links])), "ca")


@pytest.fixture(scope="module")
def protein():
    return of_structure(alpha_carbons(8), helix(8), "helix")


def energy(model, positions_nm):
    return energies_and_forces(model.system, np.asarray(positions_nm, dtype=float)[None])[0][0]


@pytest.mark.parametrize("kind", MODELS)
def test_force_is_minus_energy_gradient(kind, protein):
    model = protein if kind == "structure-based" else build_model(kind, SOURCES[kind])
    rng = np.random.default_rng(5)
    start = start_positions(model, "random", 3)
    positions = start + 0.01 * rng.standard_normal(start.shape)
    _, forces = energies_and_forces(model.system, positions[None])
    step = 1e-5
    for bead, axis in [(0, 0), (len(positions) // 2, 1), (len(positions) - 1, 2)]:
        moved = np.repeat(positions[None], 2, axis=0)
        moved[0, bead, axis] += step
        moved[1, bead, axis] -= step
        up, down = energies_and_forces(model.system, moved)[0]
        assert forces[0, bead, axis] == pytest.approx(-(up - down) / (2.0 * step), rel=1e-4, abs=1e-2)


def test_paired_hairpin_pulls_on_its_pairs():
    """The base-pair term alone, near its minimum: the gradient of its exponential."""
    model = build_model("rna", HAIRPIN)
    for number in reversed(range(3)):
        model.system.removeForce(number)
    positions = start_positions_of_pair(model)
    energies, forces = energies_and_forces(model.system, positions[None])
    assert energies[0] < -1.0
    step = 1e-6
    moved = np.repeat(positions[None], 2, axis=0)
    moved[0, 1, 0] += step
    moved[1, 1, 0] -= step
    up, down = energies_and_forces(model.system, moved)[0]
    assert forces[0, 1, 0] == pytest.approx(-(up - down) / (2.0 * step), rel=1e-4)


def start_positions_of_pair(model):
    """Two strands 1.38 nm apart, side by side, joined by a loop; all pairs are near their rest length."""
    k = np.arange(6)
    left = np.stack([0 * k, 0.59 * k, 0 * k], axis=1)
    right = left[::-1] + [1.38, 0.0, 0.0]
    loop = np.array([[0.2, 3.4, 0], [0.6, 3.7, 0], [0.9, 3.7, 0], [1.2, 3.4, 0]])
    return np.concatenate([left, loop, right])


def test_native_structure_is_a_minimum_with_the_energy_of_its_contacts(protein):
    epsilon, n = 1.2, 8
    native = {tuple(pair) for pair in protein.contacts.pairs.tolist()}
    repulsion = sum(
        epsilon * (0.4 / np.linalg.norm(protein.native_nm[i] - protein.native_nm[j])) ** 12
        for i in range(n)
        for j in range(i + 4, n)
        if (i, j) not in native
    )
    assert native and energy(protein, protein.native_nm) == pytest.approx(-epsilon * len(native) + repulsion, abs=1e-6)
    rng = np.random.default_rng(1)
    for _ in range(20):
        nearby = protein.native_nm + 0.01 * rng.standard_normal(protein.native_nm.shape)
        assert energy(protein, nearby) > energy(protein, protein.native_nm)


def test_two_chains_far_apart_have_the_energy_of_two_and_are_held_together_by_contacts(protein):
    single = alpha_carbons(8).beads
    second = [replace(bead, chain="B", atoms=(8 + k,)) for k, bead in enumerate(single)]
    bonds = tuple((k, k + 1) for k in range(15) if k != 7)
    native = np.concatenate([helix(8), helix(8) + [0.9, 0.0, 0.0]])
    dimer = of_structure(BeadTable((*single, *second), bonds, "ca"), native, "dimer")
    rng = np.random.default_rng(2)
    first, other = (protein.native_nm + 0.02 * rng.standard_normal((8, 3)) for _ in range(2))
    apart = energy(dimer, np.concatenate([first, other + [50.0, 0.0, 0.0]]))
    assert apart == pytest.approx(energy(protein, first) + energy(protein, other), abs=1e-6)
    between = sum(i < 8 <= j for i, j in dimer.contacts.pairs.tolist())
    lengths = np.linalg.norm(native[:8, None] - native[None, 8:], axis=-1)
    assert between == (lengths < 1.2).sum() > 0
    whole = energy(dimer, native)
    assert whole - 2.0 * energy(protein, protein.native_nm) == pytest.approx(-1.2 * between, abs=0.05)
    assert dimer.usual_starts == ("native",)


def test_mirror_image_of_the_native_structure_costs_its_dihedrals(protein):
    mirrored = protein.native_nm * [1.0, 1.0, -1.0]
    turn = 2.0 * native_dihedral(protein)
    each = 1.2 * (1.0 - math.cos(turn) + 0.5 * (1.0 - math.cos(3.0 * turn)))
    assert energy(protein, mirrored) - energy(protein, protein.native_nm) == pytest.approx(5 * each, rel=1e-6)


def native_dihedral(model):
    return native_dihedral_of(model.native_nm)


def native_dihedral_of(positions_nm):
    a, b, c = np.diff(positions_nm[:4], axis=0)
    return math.atan2(np.linalg.norm(b) * a @ np.cross(b, c), np.cross(a, b) @ np.cross(b, c))


def test_bond_of_the_structure_based_model_is_that_of_the_paper(protein):
    """100 epsilon (r - r0)^2 in angstrom: the last bead moved along its bond, with nothing else that it touches."""
    stretched = np.array(protein.native_nm)
    along = stretched[1] - stretched[0]
    stretched[0] -= 0.01 * along / np.linalg.norm(along)
    without = [k for k, force in enumerate(protein.system.getForces()) if "HarmonicBond" not in type(force).__name__]
    before, after = (_of_forces(protein, x, without) for x in (protein.native_nm, stretched))
    assert energy(protein, stretched) - energy(protein, protein.native_nm) - (after - before) == pytest.approx(
        100.0 * 1.2 * 0.1**2
    )


def _of_forces(model, positions_nm, numbers):
    """Energy of some of a model's forces."""
    import copy

    import openmm

    system = openmm.System()
    for k in range(model.system.getNumParticles()):
        system.addParticle(model.system.getParticleMass(k))
    for number in numbers:
        system.addForce(copy.deepcopy(model.system.getForce(number)))
    return energies_and_forces(system, positions_nm[None])[0][0]


def test_disulfide_is_a_bond_and_no_contact():
    linked = of_structure(alpha_carbons(8, [(0, 7)]), helix(8), "linked")
    free = of_structure(alpha_carbons(8), helix(8), "free")
    assert [0, 7] not in linked.contacts.pairs.tolist()
    away = helix(8)
    away[7] += [3.0, 0.0, 0.0]
    stretch = np.linalg.norm(away[7] - away[0]) - np.linalg.norm(helix(8)[7] - helix(8)[0])
    assert energy(linked, away) - energy(free, away) == pytest.approx(100.0 * 1.2 * (10.0 * stretch) ** 2, rel=1e-5)
    assert linked.usual_starts == ("native",)


def test_two_sticky_residues_at_their_minimum():
    """F and W of FGW in a right angle at 2^(1/6) sigma: the minimum of Ashbaugh-Hatch is -epsilon lambda, shifted."""
    model = build_model("disordered", "FGW")
    sigma, stickiness = 0.5 * (0.636 + 0.678), 0.5 * (0.867235898206 + 0.989376474037)
    r = 2.0 ** (1.0 / 6.0) * sigma
    sixth = (sigma / 2.0) ** 6
    sticky = -0.8368 * stickiness - stickiness * 4.0 * 0.8368 * (sixth**2 - sixth)
    height = math.sqrt(0.38**2 - (r / 2.0) ** 2)
    positions = [[0.0, 0.0, 0.0], [r / 2.0, height, 0.0], [r, 0.0, 0.0]]
    per_nm, inverse_nm = screening()
    charges = -per_nm * (math.exp(-inverse_nm * r) / r - math.exp(-inverse_nm * 4.0) / 4.0)  # the ends: + and -
    assert energy(model, positions) == pytest.approx(sticky + charges, rel=1e-6)


def test_energy_of_residues_ends_at_the_cutoff_without_a_step():
    model = build_model("disordered", "FGW")
    just = [[[0, 0, 0], [0, 0.38, 0], [x, 0, 0]] for x in (3.9999, 4.0001, 1.9999, 2.0001)]
    energies = energies_and_forces(model.system, np.array(just, dtype=float))[0]
    bond = 8033.0 / 2.0 * np.array([math.hypot(x[2][0], 0.38) - 0.38 for x in just]) ** 2
    assert np.abs(np.diff(energies - bond)[[0, 2]]).max() < 1e-3


def test_debye_length_and_permittivity_are_those_of_water_with_salt():
    per_nm, inverse_nm = screening()
    assert 138.935456 / per_nm == pytest.approx(78.3, abs=0.5)  # at 298.15 K
    assert 1.0 / inverse_nm == pytest.approx(0.304 / math.sqrt(0.15), rel=0.02)  # the usual rule, nm


def test_butane_has_its_torsion_alone():
    """C4 with ideal bonds and angles: c1 (1 + cos phi) + c2 (1 - cos 2 phi) + c3 (1 + cos 3 phi), trans at zero."""
    model = build_model("alkane", "C4")
    k = BOLTZMANN_KJ_PER_MOL_K
    cis = k * (2.0 * 355.03 + 2.0 * 791.32)
    for phi, expected in ((math.pi, 0.0), (0.0, cis)):
        assert energy(model, _four_beads(0.154, math.radians(114.0), phi)) == pytest.approx(expected, abs=1e-6)


def test_ends_of_pentane_attract_each_other_by_lennard_jones():
    model, positions = build_model("alkane", "C5"), _four_beads(0.154, math.radians(114.0), math.pi)
    fifth = positions[3] + positions[1] - positions[0]
    fifth = positions[3] + (positions[2] - positions[1])
    positions = np.concatenate([positions, fifth[None]])
    r = np.linalg.norm(positions[4] - positions[0])
    sixth = (0.375 / r) ** 6
    assert energy(model, positions) == pytest.approx(BOLTZMANN_KJ_PER_MOL_K * 4 * 98.0 * (sixth**2 - sixth), abs=1e-6)


def _four_beads(bond, angle, phi):
    bent = math.pi - angle
    first = np.array([bond * math.cos(bent) * -1.0, bond * math.sin(bent), 0.0])
    last = np.array(
        [bond + bond * math.cos(bent), bond * math.sin(bent) * math.cos(phi), bond * math.sin(bent) * math.sin(phi)]
    )
    return np.array([first, [0.0, 0.0, 0.0], [bond, 0.0, 0.0], last])


def test_hairpin_pairs_are_those_of_its_structure():
    model = build_model("rna", HAIRPIN)
    pairs = [tuple(pair[:2]) for pair in model.parameters["base_pairs"]]
    assert pairs == [(1, 14), (2, 13), (3, 12), (4, 11), (5, 10)]
    every = [tuple(pair[:2]) for pair in build_model("rna", HAIRPIN.split(":")[0]).parameters["base_pairs"]]
    assert set(pairs) < set(every) and all(j - i > 4 for i, j in every)


@pytest.mark.parametrize(
    "kind, source, message",
    [
        ("elastic", "AAA", "'elastic' is unknown: give structure-based"),
        ("disordered", "AXA", "has the letter 'X'"),
        ("disordered", "AA", "at least 3"),
        ("alkane", "hexane", "give C4 to C100"),
        ("alkane", "C3", "give C4 to C100"),
        ("rna", "GGGACTUUC", "has the letter 'T'"),
        ("rna", "GGGCACUUCGGUGCCC:.(((((....))))..", "brackets without a partner"),
        ("rna", "GGGCACUUCGGUGCCC:((((((....))))))", "without the ends"),
        ("rna", "GGGCACUUCGGUGCCC:(((", "one of . ( ) for each"),
        ("structure-based", "nowhere.pdb", "no such file"),
    ],
)
def test_wrong_sources_are_refused(kind, source, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)").replace(".", r"\.")):
        build_model(kind, source)


def test_structure_without_contacts_is_refused():
    straight = np.arange(8)[:, None] * [0.38, 0.0, 0.0]
    with pytest.raises(InputError, match="give a folded structure"):
        of_structure(alpha_carbons(8), straight + 1e-3 * helix(8), "straight")


def test_random_chain_avoids_itself_and_differs_by_seed():
    one, other = (random_chain(40, 0.38, np.random.default_rng(seed)) for seed in (1, 2))
    assert np.allclose(np.linalg.norm(np.diff(one, axis=0), axis=1), 0.38)
    i, j = np.triu_indices(40, 2)
    assert np.linalg.norm(one[i] - one[j], axis=1).min() > 1.3 * 0.38
    assert not np.allclose(one, other)


def test_start_is_where_a_pdb_says(protein, tmp_path):
    """The native structure, turned, moved and rounded by the file: minimised it is the native structure again."""
    turned = protein.native_nm[:, [1, 2, 0]] + 5.0
    path = str(tmp_path / "start.pdb")
    protein.beads.write_pdb(path, turned)
    start = start_positions(protein, path, 1)
    assert np.abs(_distances(start) - _distances(protein.native_nm)).max() < 2e-3
    assert native_dihedral_of(start) == pytest.approx(native_dihedral(protein), abs=0.02)
    with pytest.raises(InputError, match=r"start\.pdb is of another molecule"):
        start_positions(build_model("disordered", "GKWEDAAA"), path, 1)


def _distances(positions_nm):
    return np.linalg.norm(positions_nm[:, None] - positions_nm[None], axis=2)
