"""Mean forces: exact in harmonic systems, with constraints too; of the noise that they say, and without bias."""

import numpy as np
import openmm
import pytest

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.molecule.mapping import map_beads
from fpforce.reference.mean_forces import MeanForces, MeanForceSettings, RigidGroup, mean_forces, weighted_mean

KT_300 = 300.0 * BOLTZMANN_KJ_PER_MOL_K


def harmonic_system(n=6, seed=0):
    """(System, (n, n) stiffness K): springs of length zero between all particles and to the origin, U = r.K r / 2."""
    rng, system = np.random.default_rng(seed), openmm.System()
    springs = openmm.HarmonicBondForce()
    tethers = openmm.CustomExternalForce("0.5*k*(x*x+y*y+z*z)")
    tethers.addPerParticleParameter("k")
    stiffness = np.zeros((n, n))
    for i in range(n):
        system.addParticle(rng.uniform(5.0, 20.0))
        own = rng.uniform(50.0, 300.0)
        tethers.addParticle(i, [own])
        stiffness[i, i] += own
        for j in range(i):
            k = rng.uniform(100.0, 2000.0)
            springs.addBond(i, j, 0.0, k)
            stiffness[[i, j], [i, j]] += k
            stiffness[[i, j], [j, i]] -= k
    for force in (springs, tethers, openmm.CMMotionRemover(), openmm.MonteCarloBarostat(1.0, 300.0)):
        system.addForce(force)
    return system, stiffness


def samples_of(stiffness, count, seed):
    """Frames (count, n, 3) of the Boltzmann distribution at 300 K."""
    normal = np.random.default_rng(seed).normal(size=(count, len(stiffness), 3))
    return np.einsum("ij,fjd->fid", np.linalg.cholesky(KT_300 * np.linalg.inv(stiffness)), normal)


def test_mean_force_in_a_harmonic_system_is_that_of_its_free_energy():
    """The rest integrated out leaves K_bb - K_bf K_ff^-1 K_fb; and the deviations are as large as the variances say."""
    system, stiffness = harmonic_system()
    before = openmm.XmlSerializer.serialize(system)
    beads, rest, frames = [0, 2, 5], [1, 3, 4], samples_of(stiffness, 30, 1)
    settings = MeanForceSettings(
        temperature_k=300.0, picoseconds=20.0, friction_per_ps=10.0, every_steps=10, platform="Reference"
    )
    found = mean_forces(system, frames, beads, settings)
    coupling = stiffness[np.ix_(beads, rest)] @ np.linalg.inv(stiffness[np.ix_(rest, rest)])
    effective = stiffness[np.ix_(beads, beads)] - coupling @ stiffness[np.ix_(rest, beads)]
    exact = -np.einsum("ij,fjd->fid", effective, frames[:, beads])
    off = found.kj_per_mol_nm - exact
    # 270 squares of deviates of Student's t with 9 degrees of freedom, whose mean is 9/7 and varies by 0.14; blocks see
    # a twentieth too much of a motion that oscillates.
    assert np.mean(np.square(off) / found.variances) == pytest.approx(1.25, abs=0.45)
    assert abs(off.mean()) < 4 * np.sqrt(found.variances.mean() / off.size)
    single = -np.einsum("ij,fjd->fid", stiffness, frames)[:, beads] - exact
    assert np.square(off).mean() < 0.05 * np.square(single).mean()  # than the noise of one force
    assert openmm.XmlSerializer.serialize(system) == before


LENGTH, X_MASS, H_MASS, PULL = 0.1, 0.25, 6.0, 150.0


def rigid_pair():
    """A System: X with two H on rigid bonds, which another particle attracts.

    X is light and the H heavy, so that the data's density on the rigid bonds is far from that around a held X.
    """
    system = openmm.System()
    for mass in (X_MASS, H_MASS, H_MASS, 20.0):
        system.addParticle(mass)
    system.addConstraint(0, 1, LENGTH)
    system.addConstraint(0, 2, LENGTH)
    pull = openmm.CustomBondForce("k*r*r")
    pull.addPerBondParameter("k")
    pull.addBond(1, 3, [PULL])
    pull.addBond(2, 3, [PULL])
    system.addForce(pull)
    return system


def test_constraints_of_held_atoms_have_the_density_of_the_data():
    """Against the integral over both directions, with the weight |Z|^(1/2) of the data's own masses; without it, the
    mean force would be visibly another.
    """
    system = rigid_pair()
    frame = np.array([[0.0, 0, 0], [LENGTH, 0, 0], [0, LENGTH, 0], [0.25, 0.1, 0.0]])
    found = mean_forces(
        system,
        np.repeat(frame[None], 24, 0),
        [0, 3],
        MeanForceSettings(
            temperature_k=300.0,
            picoseconds=40.0,
            timestep_fs=5.0,
            every_steps=20,
            friction_per_ps=5.0,
            platform="Reference",
        ),
    )
    force = found.kj_per_mol_nm.mean(0)
    error = np.sqrt(np.square(found.kj_per_mol_nm - force).mean(0) / 23)
    rng = np.random.default_rng(0)
    u = rng.normal(size=(2, 1_000_000, 3))
    u /= np.linalg.norm(u, axis=-1, keepdims=True)
    cosine = (u[0] * u[1]).sum(-1)
    energy, pull = np.zeros(len(cosine)), np.zeros_like(u[0])
    for direction in u:
        away = LENGTH * direction - frame[3]
        energy += PULL * np.square(away).sum(-1)
        pull += 2.0 * PULL * away  # on the particle at the end of the springs, minus that on X with its H
    boltzmann = np.exp((energy.min() - energy) / KT_300)
    # Z = 1/m_X + 1/m_H on the diagonal and cos/m_X beside it; around a held X it is constant.
    of_data = boltzmann * np.sqrt((1 / X_MASS + 1 / H_MASS) ** 2 - (cosine / X_MASS) ** 2)
    exact, unweighted = (np.average(pull, axis=0, weights=weights) for weights in (of_data, boltzmann))
    np.testing.assert_allclose(force[1], exact, atol=4 * error.max())
    np.testing.assert_allclose(force[0], -exact, atol=4 * error.max())
    assert abs(unweighted - exact)[0] > 5 * error[1, 0] and abs(unweighted - force[1])[0] > 4 * error[1, 0]


def test_weight_of_one_rigid_bond_is_constant_and_of_two_is_the_determinant():
    x = np.random.default_rng(1).normal(size=(3, 3))
    cosine = (x[1] - x[0]) @ (x[2] - x[0]) / np.linalg.norm(x[1] - x[0]) / np.linalg.norm(x[2] - x[0])
    inverse = np.array([1.0 / 12.0, 0.5, 0.25])
    pair = RigidGroup((0, 1, 2), np.array([[0, 1], [2, 0]]), inverse)
    z = np.array([[1 / 12 + 0.5, cosine / 12], [cosine / 12, 1 / 12 + 0.25]])
    assert pair.is_coupled and pair.weight(x) == pytest.approx(np.sqrt(np.linalg.det(z) / (0.5 * 0.25)))
    assert not RigidGroup((0, 1), np.array([[0, 1]]), inverse[:2]).is_coupled


def test_variance_of_a_correlated_mean_is_found_by_blocks():
    rng, steps, memory = np.random.default_rng(2), 20_000, 0.9
    noise = rng.normal(size=(steps, 4, 3))
    walk = np.zeros_like(noise)
    for k in range(1, steps):
        walk[k] = memory * walk[k - 1] + noise[k]
    mean, variance = weighted_mean(walk, np.ones(steps), 10)
    np.testing.assert_allclose(mean, walk.mean(0), atol=1e-12)
    exact = 1.0 / (1.0 - memory) ** 2 / steps  # of an autoregressive series
    assert variance.mean() == pytest.approx(exact, rel=0.5)  # 12 estimates from 10 blocks: +- 14%


@pytest.mark.parametrize(
    "beads, message",
    [
        ([0, 1], "constraints join the beads of particles 0 and 1"),
        ([0], "give two particles or more"),
        ([0, 0], "each once"),
        ([0, 9], "the System has 4"),
    ],
)
def test_beads_that_cannot_be_held_are_refused(beads, message):
    with pytest.raises(InputError, match=message):
        mean_forces(rigid_pair(), np.zeros((1, 4, 3)), beads, MeanForceSettings(temperature_k=300.0))


def test_groups_of_atoms_and_wrong_frames_are_refused_with_the_remedy(alanine):
    import mdtraj

    topology = mdtraj.load_topology(str(alanine / "forces_excerpt.pdb"))
    groups = map_beads(topology, {"ACE": "resid 0", "ALA": "resid 1"})
    settings = MeanForceSettings(temperature_k=300.0)
    with pytest.raises(InputError, match="centre of 6 atoms.*choose beads of one atom"):
        mean_forces(rigid_pair(), np.zeros((1, 4, 3)), groups, settings)
    with pytest.raises(InputError, match=r"shape \(1, 3, 3\) for a System of 4 particles"):
        mean_forces(rigid_pair(), np.zeros((1, 3, 3)), [0, 3], settings)
    with pytest.raises(InputError, match="NaN"):
        mean_forces(rigid_pair(), np.full((1, 4, 3), np.nan), [0, 3], settings)
    with pytest.raises(InputError, match="too few for 10 blocks"):
        MeanForceSettings(temperature_k=300.0, picoseconds=0.1)
    massless = rigid_pair()
    massless.setParticleMass(3, 0.0)
    with pytest.raises(InputError, match="particle 3: it has no mass"):
        mean_forces(massless, np.zeros((1, 4, 3)), [0, 3], settings)


@pytest.fixture(scope="module")
def of_alanine(alanine):
    """(single forces, MeanForces) on the five backbone beads of alanine dipeptide, in 60 frames of the excerpt."""
    from openmm import app

    from fpforce.reference.protocol import Protocol
    from fpforce.trajectories.bead_frames import read_bead_frames
    from fpforce.trajectories.forces import ForceFiles

    excerpt, pdb = alanine / "forces_excerpt.npz", alanine / "forces_excerpt.pdb"
    frames = read_bead_frames(
        excerpt, pdb, beads="backbone5", length_unit="nm", forces=ForceFiles(paths=(excerpt,)), stride=8
    )
    system = Protocol(timestep_fs=2.0, hydrogen_mass_da=None).make_system(app.PDBFile(str(pdb)).topology)
    settings = MeanForceSettings(temperature_k=300.0, picoseconds=4.0, every_steps=10, platform="Reference")
    positions_nm = np.load(excerpt)["positions"][::8][:60]
    return frames.forces.kj_per_mol_nm[:60], mean_forces(system, positions_nm, frames.beads, settings)


def test_single_forces_of_the_data_scatter_about_the_mean_forces(of_alanine):
    """Each with its own mean: whatever part of the mean force is taken, what single forces have of it is 1.

    The data are of another simulation (a replica exchange), whose frames the mean forces have seen but not its forces.
    """
    single, found = of_alanine
    for bead in range(5):
        mean, own = found.kj_per_mol_nm[:, bead].astype(float), single[:, bead].astype(float)
        square = np.square(mean).sum() - found.variances[:, bead].sum()  # less what is noise of the mean itself
        slope = (mean * own).sum() / square
        error = np.sqrt(np.square(mean * (own - mean)).sum()) / square
        assert error < 0.2 and abs(slope - 1.0) < 4 * error, (bead, slope, error)


def test_mean_forces_have_a_small_part_of_the_noise_of_single_forces(of_alanine):
    single, found = of_alanine
    noise = np.square(single - found.kj_per_mol_nm).mean()
    assert found.variances.mean() < 0.05 * noise


def test_written_mean_forces_are_read_with_their_variances_and_pass_the_check(of_alanine, alanine, tmp_path):
    from fpforce.training.data.force_scores import ForceScores
    from fpforce.trajectories.bead_frames import read_bead_frames
    from fpforce.trajectories.forces import ForceFiles

    _, found = of_alanine
    positions_nm = np.load(alanine / "forces_excerpt.npz")["positions"][::8][:60]
    twice = MeanForces(*(np.tile(part, (2, 1, 1)) for part in (found.kj_per_mol_nm, found.variances)))
    twice.write(tmp_path / "mean.npz", np.tile(positions_nm, (2, 1, 1)))
    files = ForceFiles(paths=(tmp_path / "mean.npz",), optimal=True)
    pdb = alanine / "forces_excerpt.pdb"
    frames = read_bead_frames(tmp_path / "mean.npz", pdb, beads="backbone5", length_unit="nm", forces=files)
    np.testing.assert_allclose(frames.forces.kj_per_mol_nm, twice.kj_per_mol_nm)
    np.testing.assert_allclose(frames.forces.variances, twice.variances)
    record = ForceScores.of(frames, 0.15, KT_300).record
    assert record["noise_of_averages"] == pytest.approx(
        found.variances.mean() / np.square(found.kj_per_mol_nm).mean(), rel=1e-3
    )
    np.savez(tmp_path / "wrong.npz", forces=twice.kj_per_mol_nm, force_variances=-twice.variances)
    with pytest.raises(InputError, match="force_variances .* not negative"):
        files = ForceFiles(paths=(tmp_path / "wrong.npz",))
        read_bead_frames(tmp_path / "mean.npz", pdb, beads="backbone5", length_unit="nm", forces=files)
    with pytest.raises(InputError, match="119 frames of positions for mean forces of 120"):
        twice.write(tmp_path / "other.npz", np.tile(positions_nm, (2, 1, 1))[1:])
