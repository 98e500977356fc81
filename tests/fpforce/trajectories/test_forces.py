"""Forces on atoms become forces on beads, and forces that cannot be right are refused."""

from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.molecule.mapping import map_beads
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.force_map import MappedAtoms, group_weights, optimal_weights, rigid_groups
from fpforce.trajectories.forces import KJ_PER_MOL_NM, ForceFiles, ForceReader
from fpforce.trajectories.virial import bond_virials, check_forces

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"
EXCERPT, PDB = EXAMPLE / "forces_excerpt.npz", EXAMPLE / "forces_excerpt.pdb"
KT_300 = 8.314462618e-3 * 300.0
# Atoms of the excerpt: each bead of `backbone5` with what constraints=HBonds joins to it.
JOINED = {"C": [4], "N": [6, 7], "CA": [8, 9], "C2": [14], "N2": [16, 17]}
RESIDUES = {"ACE": "resid 0", "ALA": "resid 1", "NME": "resid 2"}


@pytest.fixture(scope="module")
def excerpt():
    content = np.load(EXCERPT)
    return content["positions"], content["forces"]


def read(forces=EXCERPT, beads="backbone5", stride=1, trajectory=EXCERPT, pdb=PDB, **options):
    files = ForceFiles(paths=(forces,), **options)
    return read_bead_frames(trajectory, pdb, beads=beads, length_unit="nm", stride=stride, forces=files)


def saved(tmp_path, forces, name="forces.npz"):
    np.savez(tmp_path / name, forces=forces)
    return tmp_path / name


def atoms_of(beads):
    """MappedAtoms of the whole excerpt."""
    topology = mdtraj.load_topology(PDB)
    table = map_beads(topology, beads)
    masses = np.zeros((len(table), topology.n_atoms))
    for bead, row in zip(table.beads, masses, strict=True):
        row[list(bead.atoms)] = [topology.atom(atom).element.mass / bead.mass_da for atom in bead.atoms]
    groups = tuple(bead.atoms for bead in table.beads)
    return MappedAtoms(tuple(range(topology.n_atoms)), topology, groups, masses, table.names, table.bonds)


def test_force_on_a_bead_is_the_sum_over_its_atom_and_what_is_rigidly_joined_to_it(excerpt):
    expected = np.stack([excerpt[1][:, atoms].sum(axis=1) for atoms in JOINED.values()], axis=1)
    np.testing.assert_allclose(read().forces.kj_per_mol_nm, expected, rtol=1e-5, atol=1e-2)


def test_force_on_a_group_is_the_sum_over_its_atoms(excerpt):
    expected = np.stack([excerpt[1][:, atoms].sum(axis=1) for atoms in (range(6), range(6, 16), range(16, 22))], axis=1)
    np.testing.assert_allclose(read(beads=RESIDUES).forces.kj_per_mol_nm, expected, rtol=1e-5, atol=1e-2)
    # Hydrogens left out of the groups are joined to them all the same.
    heavy = {name: f"{residue} and not element H" for name, residue in RESIDUES.items()}
    np.testing.assert_allclose(read(beads=heavy).forces.kj_per_mol_nm, expected, rtol=1e-5, atol=1e-2)


def test_forces_are_of_the_frames_whose_positions_are_taken():
    every, some = read(), read(stride=7)
    np.testing.assert_array_equal(some.forces.kj_per_mol_nm, every.forces.kj_per_mol_nm[::7])
    np.testing.assert_array_equal(some.positions_nm, every.positions_nm[::7])


def test_several_files_keep_the_order_of_the_trajectories(excerpt, tmp_path):
    halves = []
    for name, part in (("b", slice(300)), ("a", slice(300, None))):
        np.savez(tmp_path / f"{name}.npz", positions=excerpt[0][part], forces=excerpt[1][part])
        halves.append(tmp_path / f"{name}.npz")
    frames = read_bead_frames(halves, PDB, beads="backbone5", length_unit="nm", forces=ForceFiles(paths=tuple(halves)))
    np.testing.assert_array_equal(frames.forces.kj_per_mol_nm, read().forces.kj_per_mol_nm)


def test_heavy_atoms_alone_are_warned_of(excerpt, tmp_path, caplog):
    heavy = [0, 4, 5, 6, 8, 10, 14, 15, 16, 18]
    np.savez(tmp_path / "heavy.npz", positions=excerpt[0][:, heavy], forces=excerpt[1][:, heavy])
    read()
    assert "no hydrogens" not in caplog.text
    read(tmp_path / "heavy.npz", trajectory=tmp_path / "heavy.npz", pdb=EXAMPLE / "alanine_dipeptide.pdb")
    assert "no hydrogens are listed" in caplog.text


def test_forces_that_are_mapped_already_are_taken_as_they_are(tmp_path):
    mapped = read().forces.kj_per_mol_nm
    np.save(tmp_path / "mapped.npy", mapped)
    np.testing.assert_array_equal(read(tmp_path / "mapped.npy").forces.kj_per_mol_nm, mapped)


@pytest.mark.parametrize("unit", KJ_PER_MOL_NM)
def test_every_unit_gives_the_same_forces(excerpt, tmp_path, unit):
    path = saved(tmp_path, excerpt[1].astype(np.float64) / KJ_PER_MOL_NM[unit])
    found, expected = (frames.forces.kj_per_mol_nm for frames in (read(path, unit=unit), read()))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-2)


def test_units_follow_from_the_constants_of_nature():
    # CODATA 2018: elementary charge (C), Avogadro, hartree (J), bohr (m); calorie of 4.184 J.
    charge, avogadro, hartree, bohr = 1.602176634e-19, 6.02214076e23, 4.3597447222071e-18, 5.29177210903e-11
    assert KJ_PER_MOL_NM["eV/angstrom"] == pytest.approx(charge * avogadro * 1e-3 / 0.1, rel=1e-8)
    assert KJ_PER_MOL_NM["hartree/bohr"] == pytest.approx(hartree * avogadro * 1e-3 / (bohr * 1e9), rel=1e-8)
    assert KJ_PER_MOL_NM["kcal/mol/angstrom"] == pytest.approx(4.184 / 0.1)


@pytest.mark.parametrize("beads", ["backbone5", RESIDUES])
def test_both_maps_move_one_bead_alone_and_leave_constraints_alone(excerpt, beads):
    atoms = atoms_of(beads)
    rigid = rigid_groups(atoms, "h-bonds")
    on_groups = np.stack([excerpt[1][:, members].sum(axis=1) for members in rigid], axis=1).astype(np.float64)
    covariance = np.einsum("fgd,fhd->gh", on_groups, on_groups)
    plain, best = group_weights(atoms, rigid), optimal_weights(atoms, rigid, covariance)
    for weights in (plain, best):
        np.testing.assert_allclose(atoms.masses @ weights.T, np.eye(len(weights)), atol=1e-8)
        for a, b in atoms.topology.bonds:
            if "H" in (a.element.symbol, b.element.symbol):
                np.testing.assert_allclose(weights[:, a.index], weights[:, b.index], atol=0)
    noise = [np.einsum("Ja,fad->fJd", weights, excerpt[1].astype(np.float64)) for weights in (plain, best)]
    spread = [np.einsum("fid,fjd->ij", forces, forces) for forces in noise]
    # Less noise in every direction: the difference of the two covariances has no negative eigenvalue.
    gain = np.linalg.eigvalsh(spread[0] - spread[1])
    assert gain.min() > -1e-5 * gain.max() and np.trace(spread[1]) < 0.9 * np.trace(spread[0])


def harmonic_pair(count, seed, k=200.0, d0=0.15, kt=KT_300):
    """Positions and exact forces of two beads with the energy k (d - d0)^2 / 2: d by rejection from its density."""
    rng = np.random.default_rng(seed)
    width = np.sqrt(kt / k)
    d = d0 + width * rng.standard_normal(8 * count)
    d = d[(d > 0) & (rng.random(len(d)) < (d / (d0 + 5 * width)) ** 2)][:count]
    u = rng.standard_normal((len(d), 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    shift = rng.standard_normal((len(d), 1, 3))
    positions = np.stack([d[:, None] * u, 0 * u], axis=1) + shift
    force = -k * (d - d0)[:, None] * u
    return positions, np.stack([force, -force], axis=1)


def test_virial_of_a_harmonic_pair_is_its_exact_value():
    # A soft spring, whose width of 0.11 nm is near its length: the term in 2/d counts a third.
    positions, forces = harmonic_pair(100_000, 1)
    (virial,) = bond_virials(positions, forces, [(0, 1)], KT_300)
    assert virial.error < 0.02 and abs(virial.ratio - 1.0) < 4 * virial.error
    stretch = np.linalg.norm(positions[:, 0] - positions[:, 1], axis=1)
    without = 1.0 / np.mean(1.0 + 2.0 * (stretch - stretch.mean()) / stretch)
    assert abs(without - 1.0) > 10 * virial.error  # else the test would not tell the formula from -kT
    (wrong,) = bond_virials(positions, -4.184 * forces, [(0, 1)], KT_300)
    assert wrong.ratio == pytest.approx(-4.184 * virial.ratio)


@pytest.mark.parametrize("optimal", [True, False])
@pytest.mark.parametrize("beads", ["backbone5", "heavy", RESIDUES])
def test_right_forces_pass_the_check(beads, optimal):
    frames = read(beads=beads, optimal=optimal)
    virials = check_forces(frames, KT_300)
    assert [virial.beads for virial in virials] == list(frames.beads.bonds)
    assert all(abs(virial.ratio - 1.0) < 4.0 * virial.error for virial in virials)


@pytest.mark.parametrize(
    "change, remedy",
    [
        (lambda f: f / 4.184, "kcal/mol/nm; set data.force_unit"),
        (lambda f: f / 41.84, "kcal/mol/angstrom; set data.force_unit"),
        (lambda f: f / 10.0, "kJ/mol/angstrom; set data.force_unit"),
        (lambda f: -f, "change their sign"),
        (lambda f: f[::-1], "do not belong to these frames"),
        (lambda f: np.roll(f, 1, axis=0), "do not belong to these frames"),
        (lambda f: 1.6 * f, "temperature_k, which would have to be 1."),
    ],
)
def test_wrong_forces_are_refused_with_the_likely_cause(excerpt, tmp_path, change, remedy):
    path = saved(tmp_path, change(excerpt[1]))
    with pytest.raises(InputError, match="forces.npz: the forces do not fit the positions: along the bond A") as caught:
        check_forces(read(path), KT_300)
    assert remedy in str(caught.value)


def test_wrong_temperature_is_refused():
    with pytest.raises(InputError, match="temperature_k, which would have to be 0.4"):
        check_forces(read(), 2.0 * KT_300)


def test_sum_without_the_constrained_hydrogens_is_refused():
    with pytest.raises(InputError, match="the bond ALA2-CA - ALA2-HA keeps its length of 0.109 nm.*h-bonds"):
        read(constraints="none")
    with pytest.raises(InputError, match="the bond NME3-N - NME3-H keeps its length"):
        read(constraints=((6, 7), (8, 9)))
    listed = read(constraints=((6, 7), (8, 9), (16, 17)))
    np.testing.assert_array_equal(listed.forces.kj_per_mol_nm, read().forces.kj_per_mol_nm)


def test_virial_along_bonds_does_not_see_missing_hydrogens(excerpt, tmp_path):
    # Why constraints are looked for in the positions: without the forces on H and HA every ratio stays where it was.
    frames = read(saved(tmp_path, excerpt[1][:, [atoms[0] for atoms in JOINED.values()]]))
    for bare, whole in zip(check_forces(frames, KT_300), check_forces(read(), KT_300), strict=True):
        assert abs(bare.ratio - whole.ratio) < 0.25 * whole.error


@pytest.mark.parametrize(
    "beads, constraints, names",
    [
        ("all", "h-bonds", "ACE1-CH3 and ACE1-H1"),
        ({"A": "resid 0 1", "H": "index 17", "N": "index 16"}, "h-bonds", "NME3-H and NME3-N"),
        ("backbone5", ((6, 8), (6, 7), (8, 9), (16, 17)), "ALA2-N and ALA2-CA"),
        ("backbone5", ((6, 9), (6, 7), (8, 9), (16, 17)), "ALA2-N and ALA2-CA"),  # through a hydrogen of both
    ],
)
def test_constraints_that_join_two_beads_are_refused(beads, constraints, names):
    with pytest.raises(InputError, match=f"constraints join the beads {names}.*choose beads in different rigid groups"):
        read(beads=beads, constraints=constraints)


def test_bond_between_beads_that_was_held_rigid_is_refused(excerpt, tmp_path):
    positions = excerpt[0].copy()
    bond = positions[:, 8] - positions[:, 6]
    move = (0.145 / np.linalg.norm(bond, axis=1, keepdims=True) - 1.0) * bond
    positions[:, 8:] += move[:, None]
    np.savez(tmp_path / "rigid.npz", positions=positions, forces=excerpt[1])
    with pytest.raises(InputError, match="the bond ALA2-N - ALA2-CA keeps its length of 0.145 nm.*choose other beads"):
        read(tmp_path / "rigid.npz", trajectory=tmp_path / "rigid.npz")


@pytest.mark.parametrize(
    "change, parts",
    [
        (lambda f: f[:, :21], ["(536, 21, 3)", "22 (atoms) or 5 (beads)"]),
        (lambda f: f[..., :2], ["(536, 22, 2)"]),
        (lambda f: f[:500], ["500 frames", "has 536"]),
        (lambda f: f.astype(int), ["int64"]),
        (lambda f: np.where(np.arange(536)[:, None, None] == 17, np.nan, f), ["frame 17", "NaN"]),
    ],
)
def test_forces_of_another_shape_or_not_finite_are_refused(excerpt, tmp_path, change, parts):
    path = saved(tmp_path, change(excerpt[1]))
    with pytest.raises(InputError) as caught:
        read(path)
    for part in ["forces.npz", *parts]:
        assert part in str(caught.value), str(caught.value)


def test_frames_are_compared_after_the_stride(excerpt, tmp_path):
    with pytest.raises(InputError, match="forces of 50 frames after data.stride = 10, and .* has 54"):
        read(saved(tmp_path, excerpt[1][:500]), stride=10)


def test_files_that_hold_no_forces_are_refused(excerpt, tmp_path):
    np.savez(tmp_path / "positions.npz", positions=excerpt[0])
    for path, part in [
        (tmp_path / "no.npz", "does not exist"),
        (tmp_path / "positions.npz", "name the array of forces `forces`"),
        (EXAMPLE / "train.xtc", "only .npy and .npz"),
    ]:
        with pytest.raises(InputError, match=part):
            read(path)
    whole = EXCERPT.read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="half.npz cannot be read as a numpy file"):
        read(tmp_path / "half.npz")
    with pytest.raises(InputError, match="2 files of forces for 1 traj"):
        read_bead_frames(EXCERPT, PDB, length_unit="nm", forces=ForceFiles(paths=(EXCERPT, EXCERPT)))


def test_unknown_units_and_constraints_are_refused():
    with pytest.raises(InputError, match="force_unit = 'pN' is unknown: give one of kJ/mol/nm, "):
        read(unit="pN")
    with pytest.raises(InputError, match="constraints = 'rigid' is unknown"):
        read(constraints="rigid")
    with pytest.raises(InputError, match="joins the atoms 6 and 99"):
        read(constraints=((6, 99),))


def test_hydrogens_without_bonds_are_refused(tmp_path):
    # Without CONECT records and under names of no force field, nothing tells what they are bonded to.
    text = "\n".join(line for line in PDB.read_text().splitlines() if not line.startswith("CONECT"))
    (tmp_path / "odd.pdb").write_text(text.replace(" HA  ALA", " QX  ALA"))
    topology = mdtraj.load_topology(tmp_path / "odd.pdb")
    atoms = MappedAtoms(tuple(range(22)), topology, ((6,), (8,)), np.eye(22)[[6, 8]], ("N", "CA"), ((0, 1),))
    with pytest.raises(InputError, match="hydrogen ALA2-QX has no bond in the topology.*CONECT"):
        rigid_groups(atoms, "h-bonds")


def test_too_few_frames_for_the_weights_of_the_least_noisy_map_are_refused():
    with pytest.raises(InputError, match="54 frames are too few for the weights of 10 rigid groups.*force_map = sum"):
        read(stride=10, optimal=True)


def test_forces_of_a_model_of_beads_have_one_map_whatever_the_number_of_frames(tmp_path):
    """All atoms are beads: there are no weights to fit."""
    atoms = MappedAtoms((0, 1, 2), None, ((0,), (1,), (2,)), np.eye(3), ("A", "B", "C"), ((0, 1), (1, 2)))
    np.savez(tmp_path / "forces.npz", forces=np.random.default_rng(0).normal(size=(4, 3, 3)))
    files = ForceFiles(paths=(tmp_path / "forces.npz",), constraints="none", optimal=True)
    np.testing.assert_allclose(ForceReader(files, atoms, 3, 1, 1).weights, np.eye(3), atol=1e-4)


def test_too_few_frames_to_check_are_refused():
    with pytest.raises(InputError, match="54 frames are too few to check forces"):
        check_forces(read(stride=10), KT_300)
