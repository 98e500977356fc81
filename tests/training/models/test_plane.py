"""A particle in an external potential through the program: its space, prior, sampling, force field and evaluation.

The data are a Gaussian far from the origin, of which everything is known in closed form.
"""

import logging
import math
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.molecule.space import MOLECULE, PLANE, space_of
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.diffusion import centred_noise, degrees_of_freedom, diffuse
from fpforce.training.export import export
from fpforce.training.losses.residual import exact_residual
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.experts import Expert, Experts
from fpforce.training.models.plane_prior import fit_plane_gaussian
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import load_recipe, parse_recipe
from fpforce.training.sample import SampleSettings, sample
from fpforce.training.sampling.likelihood import log_likelihood
from fpforce.training.sampling.sampler import Sampler
from fpforce.training.train import train

MEAN = np.array([3.0, -1.0])
COVARIANCE = np.array([[0.30, 0.10], [0.10, 0.08]])
KT = 0.00831446261815324 * 300.0
RECORD = [{"name": "P", "residue": "PAR", "mass_da": 2.0}]


class Nothing(torch.nn.Module):
    """A network that adds nothing to the prior."""

    def forward(self, x, t):
        return (0.0 * x).sum(dim=(1, 2)) + 0.0 * t


def gaussian_frames(count, seed):
    positions_nm = np.zeros((count, 1, 3), dtype=np.float32)
    positions_nm[:, 0, :2] = np.random.default_rng(seed).multivariate_normal(MEAN, COVARIANCE, size=count)
    positions_nm[:, 0, 2] = 0.4
    return positions_nm


def recipe(folder, **changes):
    return parse_recipe(
        {
            "data": {"trajectories": [str(folder / "train.npz")], "beads": RECORD, "length_unit": "nm"},
            "temperature_k": 300,
            "output": str(folder / "run"),
            "model": {"kind": "mlp", "width": 16, "layers": 2},
            "optimizer": {"batch_size": 64, "warmup_steps": 10},
            "run": {"max_steps": 120, "threads": 1, "accelerator": "cpu", "log_every_steps": 10},
        }
        | changes
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with train.npz and reference.npz, two independent sets."""
    path = tmp_path_factory.mktemp("plane")
    for seed, name in enumerate(("train", "reference")):
        np.savez(path / f"{name}.npz", positions=gaussian_frames(3000, seed))
    return path


@pytest.fixture(scope="module")
def checkpoint(folder):
    return train(recipe(folder), show_progress=False)


@pytest.fixture(scope="module")
def field(checkpoint):
    export(checkpoint, checkpoint.with_name("model.pt"))
    return fpforce.load(checkpoint.with_name("model.pt"))


@pytest.fixture(scope="module")
def exact(plane_set):
    """Experts of the exact energy of a Gaussian with the covariance of plane_set's normalised frames."""
    return Experts((Expert(DiffusionEnergy(Nothing(), fit_plane_gaussian(plane_set.frames.double())), 1e-5, 1.0),))


def test_one_bead_lives_in_a_plane_and_several_are_a_molecule():
    assert space_of(1) is PLANE and space_of(2) is MOLECULE
    assert (degrees_of_freedom(1), degrees_of_freedom(5)) == (2, 12)
    for beads, space in ((1, PLANE), (5, MOLECULE)):
        x = torch.randn(4, beads, 3, dtype=torch.float64)
        basis = space.basis(beads)
        assert basis.shape == (space.dimension(beads), beads, 3)
        torch.testing.assert_close(
            torch.einsum("kij,lij->kl", basis, basis), torch.eye(len(basis), dtype=torch.float64)
        )
        in_basis = torch.einsum("bij,kij,klm->blm", x, basis, basis)
        torch.testing.assert_close(space.project(x), in_basis)
        np.testing.assert_allclose(space.project(x.numpy()), space.project(x).numpy(), atol=1e-15, rtol=1e-12)


def test_positions_are_normalised_by_one_mean_and_one_scale(folder):
    from fpforce.trajectories.bead_frames import read_bead_frames

    frames = read_bead_frames(folder / "train.npz", beads=RECORD, length_unit="nm")
    data = TrainingSet.of(frames)
    xy = frames.positions_nm[:, 0, :2].astype(float)
    np.testing.assert_allclose(data.normalisation.origin_nm, [*xy.mean(0), 0.0], atol=1e-12)
    assert data.scale_nm == pytest.approx((xy - xy.mean(0)).std(), rel=1e-12)
    np.testing.assert_allclose(
        data.frames[:, 0, :2].numpy() * data.scale_nm + data.normalisation.origin_nm[:2], xy, atol=1e-6
    )
    assert (data.frames[..., 2] == 0).all()
    torch.testing.assert_close(data.start_positions_nm[0, :2], torch.tensor(xy[0]).float(), atol=1e-6, rtol=0)
    again = TrainingSet.of(frames, Normalisation(0.5, (1.0, 1.0, 0.0)))
    np.testing.assert_allclose(again.frames[:, 0, :2], (xy - 1.0) / 0.5, atol=1e-5)


@pytest.mark.parametrize("time", [1e-5, 1e-2, 0.3, 1.0])
def test_gaussian_prior_is_the_exact_diffused_density(plane_set, exact, time):
    energy = exact.parts[0].model
    x0 = plane_set.frames[:64].double()
    t = torch.full((64,), time, dtype=torch.float64)
    x = diffuse(x0, t, centred_noise(x0.shape, torch.Generator().manual_seed(0), x0))
    assert exact_residual(energy, x, t).abs().max() < 1e-9 * 20 / time**0.5
    alpha = math.exp(-0.05 * time - 4.975 * time**2)
    covariance = alpha**2 * np.cov(plane_set.frames[:, 0, :2].double().numpy().T) + (1 - alpha**2) * np.eye(2)
    inverse = np.linalg.inv(covariance)
    np.testing.assert_allclose(energy.score(x, t)[:, 0, :2], -x[:, 0, :2].numpy() @ inverse, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(energy.prior_divergence(x, t), -np.trace(inverse), rtol=1e-8)


@pytest.mark.parametrize("solver", ["multistep", "ode"])
def test_samples_of_an_exact_score_have_its_covariance_and_no_z(plane_set, exact, solver):
    settings = SampleSettings(samples=4000, batch_size=4000, solver=solver, steps=60)
    *_, (x, _) = Sampler(exact, 1, settings, 1e-5, torch.zeros((), dtype=torch.float64)).draw(0, 4000)
    assert (x[..., 2] == 0).all()
    wanted = np.cov(plane_set.frames[:, 0, :2].double().numpy().T)
    # Standard errors: of a variance v sqrt(2/4000) = 2.2 % of it, of a mean sqrt(v/4000).
    np.testing.assert_allclose(np.cov(x[:, 0, :2].numpy().T), wanted, atol=0.1 * wanted.diagonal().max())
    assert float(x[:, 0, :2].mean(0).abs().max()) < 5 * (wanted.diagonal().max() / 4000) ** 0.5


def test_log_likelihood_is_that_of_two_dimensions(plane_set, exact):
    x = plane_set.frames[:20].double()
    found = log_likelihood(exact, x, 1e-5, 60, torch.Generator().manual_seed(0))
    covariance = np.cov(plane_set.frames[:, 0, :2].double().numpy().T)
    xy = x[:, 0, :2].numpy()
    wanted = -0.5 * np.einsum("bi,ij,bj->b", xy, np.linalg.inv(covariance), xy) - 0.5 * math.log(
        (2 * math.pi) ** 2 * np.linalg.det(covariance)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-2)


def test_samples_of_a_trained_model_are_distributed_like_the_data(checkpoint, tmp_path):
    import mdtraj

    result = sample(checkpoint, tmp_path / "iid.xtc", SampleSettings(samples=3000, steps=60))
    positions = mdtraj.load(str(result.output), top=f"{result.output}.pdb").xyz
    assert positions.shape == (3000, 1, 3) and (positions[..., 2] == 0).all()
    # Three standard errors of 3,000 samples, twice (data and samples), and something for the short training.
    np.testing.assert_allclose(positions[:, 0, :2].mean(0), MEAN, atol=0.06)
    np.testing.assert_allclose(np.cov(positions[:, 0, :2].T), COVARIANCE, atol=0.04)


@pytest.mark.parametrize("backend", ["python", "torchforce"])
def test_force_is_minus_the_gradient_in_the_plane_and_nothing_pulls_along_z(field, backend):
    replicas, rng, h = 3, np.random.default_rng(0), 1e-4
    context = openmm.Context(
        fpforce.make_system(field, backend=backend, replicas=replicas),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    positions = np.zeros((replicas, 3))
    positions[:, :2] = rng.multivariate_normal(MEAN, COVARIANCE, size=replicas)
    positions[:, 2] = rng.normal(size=replicas)

    def energy(positions):
        context.setPositions(positions)
        return context.getState(energy=True).getPotentialEnergy()._value

    context.setPositions(positions)
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    assert (forces[:, 2] == 0.0).all()
    for replica in range(replicas):
        for axis in range(3):
            step = np.zeros_like(positions)
            step[replica, axis] = h
            # float32 energies of some kJ/mol: rounding 1e-6 / h.
            slope = (energy(positions + step) - energy(positions - step)) / (2 * h)
            assert forces[replica, axis] == pytest.approx(-slope, abs=0.05)


def test_energy_is_that_of_the_gaussian_at_the_place_of_the_data(field, checkpoint):
    # Differences of U / kT between points of the data against the exact ones; the untrained prior would be as good, a
    # wrong origin, scale or kT would be off by far more.
    program = torch.jit.load(str(field.path))
    points = gaussian_frames(200, 7)
    u = program.energies(torch.tensor(points.reshape(-1, 3), dtype=torch.float64)).detach().numpy() / KT
    d = points[:, 0, :2] - MEAN
    wanted = 0.5 * np.einsum("bi,ij,bj->b", d, np.linalg.inv(COVARIANCE), d)
    difference = u - wanted
    assert (difference - difference.mean()).std() < 0.3
    assert field.metadata["origin_nm"] == pytest.approx(read_checkpoint(checkpoint).record.origin_nm)
    assert field.metadata["origin_nm"][:2] == pytest.approx(MEAN, abs=0.05)


def test_native_backend_refuses_a_particle_by_name_and_auto_says_so(field, caplog):
    with pytest.raises(InputError, match="backend native.*particle in an external potential"):
        fpforce.make_system(field, backend="native")
    with caplog.at_level(logging.INFO, logger="fpforce"):
        fpforce.make_system(field)
    assert "native is passed over" in caplog.text and "backend torchforce" in caplog.text


def test_stopping_the_centre_of_mass_would_stop_the_particle_and_is_refused(field):
    with pytest.raises(InputError, match="remove_cm_motion stops the one bead"):
        fpforce.make_system(field, remove_cm_motion=True)


def test_simulation_stays_where_the_data_are_and_the_report_has_the_plane(field, folder, tmp_path):
    from fpforce.analysis import evaluate
    from fpforce.simulation.simulate import SimulationSettings, read_simulation, simulate

    outputs = []
    for number, offset in enumerate((-0.5, 0.5)):
        output = tmp_path / f"from_{number}.xtc"
        simulate(
            field,
            output,
            SimulationSettings(
                steps=600,
                replicas=64,
                timestep_fs=20.0,
                friction_per_ps=5.0,
                seed=number,
                report_interval_ps=0.4,
                start=np.array([[MEAN[0] + offset, MEAN[1], 5.0]]),
            ),
        )
        outputs.append(output)
    frames = np.concatenate([read_simulation(output, field.beads).positions_nm for output in outputs])
    assert frames.shape == (60, 64, 1, 3) and (frames[..., 2] == 0).all()
    np.testing.assert_allclose(frames[..., 0, :2].mean((0, 1)), MEAN, atol=0.15)
    report = evaluate(field, folder / "reference.npz", outputs, training=folder / "train.npz", output=tmp_path)
    assert [plane.plane.name for plane in report.assessment.planes] == ["x, y"]
    assert report.figures["simulation"]["bond_w1_nm"] is None
    html = report.html_path.read_text()
    assert "Bonds and angles" not in html and "x, y" in html
    assert all(check.name != "bond_w1_nm" for check in report.assessment.checks)


def test_a_score_that_is_no_gradient_trains_and_samples(folder, tmp_path):
    plain = recipe(
        folder, output=str(tmp_path / "score"), experts=[{"t_max": 1.0, "conservative": False, "max_steps": 60}]
    )
    trained = train(plain, show_progress=False)
    assert isinstance(read_checkpoint(trained).model(), DiffusionScore)
    result = sample(trained, tmp_path / "iid.h5", SampleSettings(samples=500, steps=40))
    assert result.samples == 500
    model = tmp_path / "model.pt"
    export(trained, model)
    assert not fpforce.load(model).conservative


def test_fine_tuning_keeps_origin_and_scale(checkpoint, folder, tmp_path):
    np.savez(tmp_path / "train.npz", positions=gaussian_frames(500, 5) + np.float32(0.2))
    short = recipe(tmp_path, run={"max_steps": 2, "threads": 1, "accelerator": "cpu"})
    tuned = train(short, init=checkpoint, show_progress=False)
    before, after = read_checkpoint(checkpoint).record, read_checkpoint(tuned).record
    assert (before.origin_nm, before.scale_nm) == (after.origin_nm, after.scale_nm)


def test_model_of_the_other_space_is_refused_with_the_remedy(folder, small_recipe, tmp_path):
    with pytest.raises(InputError, match="model.kind = internal is for molecules.*set model.kind to mlp"):
        train(recipe(folder, model={"kind": "internal"}, output=str(tmp_path / "a")), show_progress=False)
    molecule = small_recipe(tmp_path / "b", "model={kind: mlp}")
    with pytest.raises(InputError, match="mlp is for one bead.*data have 5 beads"):
        train(molecule, show_progress=False)


def test_every_recipe_of_the_toy_systems_is_valid():
    examples = Path(__file__).parents[3] / "examples"
    recipes = {path.stem: load_recipe(path) for path in (examples / "muller_brown" / "recipes").glob("*.yaml")}
    assert set(recipes) == {"diffusion", "two_for_one", "mixture", "fokker_planck", "both"}
    for name, variant in recipes.items():
        plans = plan_experts(variant)
        assert plans[-1].t_max == 1.0 and all(path.is_file() for path in variant.data.trajectories), name
        assert {plan.model.kind for plan in plans} == {"mlp"}
        assert any(plan.fokker_planck_weight for plan in plans) == (name in ("fokker_planck", "both"))
    for system in ("muller_brown", "double_well"):
        assert load_recipe(examples / system / "recipe.yaml").model.kind == "mlp"
