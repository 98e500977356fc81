"""The denoising fit: its equations are the loss, it finds a known energy, and it stands back where there is none."""

import dataclasses

import numpy as np
import pytest
import torch

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.training.calibration import denoising_fit as fitting
from fpforce.training.calibration.denoising_fit import denoising_fit, refusal
from fpforce.training.calibration.policy import passed_over
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.checkpoint.record import CalibrationRecord
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.force_scores import ForceScores
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.diffusion import alpha, centred, centred_noise, sigma, sigma_squared, time_of_variance
from fpforce.training.export import export
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.internal import InternalModel, fit_coordinates
from fpforce.training.models.local_series import SIGMAS, LevelSeries
from fpforce.training.models.prior import fit_prior
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import load_recipe
from fpforce.training.recipe.sections import CalibrationRecipe
from fpforce.training.train import train

RANDOM = torch.Generator().manual_seed  # a generator of this seed
PAIRS = [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)]
STIFF, ANGLE = 0.15, 1.9  # of bonds, and of angles in rad


def potential(phi):
    """A dihedral's energy in kT, whose wells have barriers of 2 to 4 kT."""
    return 0.7 * torch.cos(phi) + 1.5 * torch.cos(3.0 * phi) + 0.5 * torch.sin(phi)


KNOWN = torch.tensor([[0.7, 0.0, 1.5, 0.0, 0.0, 0.0], [0.5] + 5 * [0.0]], dtype=torch.float64)


def chain(bonds, angles, phi):
    """Four beads (frames, 4, 3) of given bonds (frames, 3), angles (frames, 2) and dihedral (frames,), centred."""
    zero = torch.zeros_like(phi)
    a = torch.stack([bonds[:, 0] * torch.cos(angles[:, 0]), bonds[:, 0] * torch.sin(angles[:, 0]), zero], 1)
    out = bonds[:, 2] * torch.sin(angles[:, 1])
    d = torch.stack(
        [bonds[:, 1] - bonds[:, 2] * torch.cos(angles[:, 1]), out * torch.cos(phi), out * torch.sin(phi)], 1
    )
    c = torch.stack([bonds[:, 1], zero, zero], 1)
    return centred(torch.stack([a, torch.zeros_like(a), c, d], 1))


def drawn(count, seed):
    """Frames (count, 4, 3) of the chain's distribution, drawn without a simulation, and their dihedrals."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    grid = torch.linspace(-torch.pi, torch.pi, 2001, dtype=torch.float64)[:-1]
    chosen = torch.multinomial(torch.exp(-potential(grid)), count, replacement=True, generator=generator)
    phi = grid[chosen] + (grid[1] - grid[0]) * torch.rand(count, generator=generator, dtype=torch.float64)
    return chain(1.0 + STIFF * normal[:, :3], ANGLE + STIFF * normal[:, 3:], phi), phi


@pytest.fixture(autouse=True)
def in_seconds(monkeypatch):
    monkeypatch.setattr(fitting, "DRAWS", 5000)


@pytest.fixture(scope="module")
def training_set(alanine_frames):
    frames, held_out = drawn(4000, 0)[0].float(), drawn(500, 1)[0].float()
    return TrainingSet(frames, Normalisation(1.0), alanine_frames.beads, "", (), held_out=held_out)


@pytest.fixture(scope="module")
def plan(small_recipe, tmp_path_factory):
    return plan_experts(small_recipe(tmp_path_factory.mktemp("plan")))[0]


def angles_of(x):
    """Bonds (frames, 3), angles (frames, 2) and dihedral (frames,) of frames of the chain."""
    b = x[:, 1:] - x[:, :-1]
    bonds = b.norm(dim=2)
    angles = torch.acos(-(b[:, 1:] * b[:, :-1]).sum(2) / (bonds[:, 1:] * bonds[:, :-1]))
    left, right = torch.linalg.cross(b[:, 0], b[:, 1]), torch.linalg.cross(b[:, 1], b[:, 2])
    return bonds, angles, torch.atan2(bonds[:, 1] * (b[:, 0] * right).sum(1), (left * right).sum(1))


class WithoutDihedral(torch.nn.Module):
    """The chain's exact energy at t = 0, but for the dihedral's: in the place of a prior."""

    def forward(self, x, t):
        bonds, angles, _ = angles_of(x)
        stretched = ((bonds - 1.0).square().sum(1) + (angles - ANGLE).square().sum(1)) / (2.0 * STIFF**2)
        # Cartesian coordinates have the volume element r^2 sin(angle), which is part of the energy.
        return stretched + 2.0 * bonds.log().sum(1) + angles.sin().log().sum(1)


def energy_of(frames, junk=0.0, chiral=True, prior=None):
    """An energy that knows bonds and angles alone: the prior's, and `junk` times a network that was never trained."""
    torch.manual_seed(0)
    network = InternalModel(fit_coordinates(frames, volumes=False, chiral=chiral), 16, 2)
    torch.nn.init.normal_(network.out.weight, std=1.0)
    with torch.no_grad():
        network.out.weight *= junk
    prior = fit_prior(frames, PAIRS, None, coupled=False) if prior is None else prior
    return DiffusionEnergy(network, prior).eval().requires_grad_(False)


def waves_of_the_dihedral(weights, level):
    """(2, orders): cosines and sines."""
    return weights[level].reshape(2, 3, -1)[:, 0]


def test_the_chain_is_what_its_angles_say():
    frames, phi = drawn(50, 0)
    bonds, angles, found = angles_of(frames)
    torch.testing.assert_close(found, phi)
    assert abs(float(bonds.mean()) - 1.0) < 0.02 and abs(float(angles.mean()) - ANGLE) < 0.02


def test_the_energy_of_a_dihedral_is_found_from_frames_alone(training_set, plan, monkeypatch):
    monkeypatch.setattr(fitting, "SIGMAS", (0.005, 0.01, 0.02))  # where the energy hardly depends on the noise
    energy = energy_of(training_set.frames, prior=WithoutDihedral())
    weights, fit = denoising_fit(energy, plan, training_set, torch.Generator().manual_seed(0))
    found = waves_of_the_dihedral(weights, 1)
    torch.testing.assert_close(found, KNOWN, rtol=0, atol=0.35)
    assert all(after <= before for after, before in zip(fit.after, fit.before, strict=True))


def test_a_prior_that_knows_bonds_and_angles_gets_the_wells_of_the_dihedral(training_set, plan):
    weights, fit = denoising_fit(energy_of(training_set.frames), plan, training_set, torch.Generator().manual_seed(0))
    assert float(waves_of_the_dihedral(weights, 1)[0, 2]) == pytest.approx(1.5, abs=0.35)
    assert fit.after[1] < 0.993 * fit.before[1]


def test_forces_of_the_frames_are_part_of_the_target(training_set, plan, monkeypatch):
    monkeypatch.setattr(fitting, "SIGMAS", (0.005, 0.01, 0.02))
    x = drawn(300, 5)[0].requires_grad_()
    exact = WithoutDihedral()(x, None) + potential(angles_of(x)[2])
    forces = centred(-torch.autograd.grad(exact.sum(), x)[0]).float()
    few = dataclasses.replace(training_set, frames=x.detach().float())
    with_forces = dataclasses.replace(few, forces=ForceScores(forces, {"noise_of_averages": 0.0}))
    errors = []
    for data in (few, with_forces):
        energy = energy_of(training_set.frames, prior=WithoutDihedral())
        weights, _ = denoising_fit(energy, plan, data, torch.Generator().manual_seed(0))
        errors.append(float((waves_of_the_dihedral(weights, 1) - KNOWN).square().mean() ** 0.5))
    assert errors[1] < 0.5 * errors[0] and errors[1] < 0.1, errors
    single = dataclasses.replace(few, forces=ForceScores(forces, {"noise_of_averages": None}))
    energy = energy_of(training_set.frames, prior=WithoutDihedral())
    without = denoising_fit(energy, plan, few, torch.Generator().manual_seed(0))[0]
    assert torch.equal(denoising_fit(energy, plan, single, torch.Generator().manual_seed(0))[0], without)


def test_equations_are_the_denoising_loss(training_set):
    energy, frames = energy_of(training_set.frames.double(), junk=0.3).double(), training_set.frames[:40].double()
    t = time_of_variance(torch.tensor([0.05**2], dtype=torch.float64))
    found = fitting._equations(energy, t, frames, 40, torch.Generator().manual_seed(3), lambda: False)
    z = centred_noise(frames.shape, torch.Generator().manual_seed(3), frames)
    size = energy.network.modes(frames[:1], t).shape[1]
    weights = torch.randn(size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    losses = []
    for change in (0.0 * weights, weights):
        loss = 0.0
        for sign in (1.0, -1.0):
            x = (alpha(t) * frames + sigma(t) * sign * z).requires_grad_()
            added = energy.network.modes(x, t) @ change
            slope = torch.autograd.grad((energy(x, t) + added).sum(), x)[0]
            loss += float((sigma(t) * slope - sign * z).square().sum()) / (2 * 40 * 9)
        losses.append(loss)
    assert found.loss(0.0 * weights.numpy()) == pytest.approx(losses[0], rel=1e-9)
    assert found.loss(weights.numpy()) == pytest.approx(losses[1], rel=1e-9)
    assert abs(found.hessian - found.hessian.T).max() < 1e-12


def test_waves_that_a_mirror_would_change_get_no_weight(training_set, plan):
    energy = energy_of(training_set.frames, chiral=False)
    weights, _ = denoising_fit(energy, plan, training_set, torch.Generator().manual_seed(0))
    of_sines = weights.reshape(len(SIGMAS), 2, 3, -1)[:, 1, 0]
    assert (of_sines == 0.0).all()
    x = training_set.frames[:20]
    energy.network.add_levels(weights)
    t = torch.tensor([1e-4])
    torch.testing.assert_close(energy(x, t), energy(x * x.new_tensor([1.0, 1.0, -1.0]), t), rtol=0, atol=1e-4)


def test_a_fit_adds_nothing_to_the_mean_energy_of_the_data_nor_to_the_mean_residual(training_set, plan):
    """A function of t alone has no forces, and yet would be most of the Fokker-Planck residual where series begin."""
    energy = energy_of(training_set.frames, prior=WithoutDihedral())
    weights, fit = denoising_fit(energy, plan, training_set, torch.Generator().manual_seed(0))
    energy, x0, added, means = energy.double(), training_set.frames.double(), {}, {}
    for name, constants in (("without", None), ("with", torch.tensor(fit.constants, dtype=torch.float64))):
        series = energy_of(training_set.frames.double(), prior=WithoutDihedral()).double()
        series.network.add_levels(weights, constants)
        added[name], means[name] = [], []
        for sigma_at in (0.014, *SIGMAS):
            t = time_of_variance(torch.full((len(x0),), sigma_at**2, dtype=torch.float64))
            x = alpha(t)[:, None, None] * x0 + sigma(t)[:, None, None] * centred_noise(x0.shape, RANDOM(5), x0)
            added[name].append(abs(float((series(x, t) - energy(x, t)).mean())))
            times = t[:200].requires_grad_()
            difference = (series(x[:200], times) - energy(x[:200], times)).sum()
            means[name].append(float(torch.autograd.grad(difference, times)[0].mean()))
    assert all(now < 0.02 * before for now, before in zip(added["with"], added["without"], strict=True))
    assert min(added["without"]) > 1.0
    assert abs(means["with"][0]) < 0.1 * abs(means["without"][0])


def test_weights_between_levels_go_with_the_logarithm_and_end():
    weights = torch.randn(len(SIGMAS), 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = LevelSeries(weights)

    def at(value):
        return levels(time_of_variance(torch.tensor([value**2], dtype=torch.float64)))[0]

    for value, expected in zip(SIGMAS, weights, strict=True):
        torch.testing.assert_close(at(value), expected)
    torch.testing.assert_close(at((SIGMAS[2] * SIGMAS[3]) ** 0.5), 0.5 * (weights[2] + weights[3]))
    torch.testing.assert_close(at(0.5**0.5 * SIGMAS[0]), 0.5 * weights[0])
    assert (at(0.45 * SIGMAS[0]) == 0.0).all()
    torch.testing.assert_close(at(2.0**0.5 * SIGMAS[-1]), 0.5 * weights[-1])
    assert (at(2.5 * SIGMAS[-1]) == 0.0).all() and torch.isfinite(levels(torch.zeros(1, dtype=torch.float64))).all()
    t = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    assert torch.isfinite(torch.autograd.grad(levels(t).sum(), t)[0]).all()


@pytest.mark.parametrize("t", [1e-5, 3e-4, 0.02, 0.5])
def test_a_settled_network_is_that_of_its_time(training_set, t):
    network = energy_of(training_set.frames, junk=1.0).network.double()
    size = network.modes(training_set.frames[:1].double(), torch.tensor([t])).shape[1]
    network.add_modes(torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    network.add_levels(torch.randn(len(SIGMAS), size, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    x, time = training_set.frames[:20].double(), torch.tensor([t], dtype=torch.float64)
    before = network(x, time)
    several = network(x, time.expand(20))
    network = network.settled(t)
    torch.testing.assert_close(network(x, time), before)
    torch.testing.assert_close(several, before)
    assert network.levels is None
    assert float(sigma_squared(time)) > 0.0


def test_too_few_frames_held_out_and_networks_without_series_are_said(training_set):
    energy = energy_of(training_set.frames)
    assert refusal(energy, training_set) is None
    assert "held out" in refusal(energy, dataclasses.replace(training_set, held_out=None))
    assert "held out" in refusal(energy, dataclasses.replace(training_set, held_out=training_set.held_out[:10]))


@pytest.fixture(scope="module")
def fitted(small_recipe, tmp_path_factory):
    """(path, recipe) of a short training that ended with the fit."""
    options = ("run.max_steps=100", "optimizer.warmup_steps=10", "calibration.denoising_fit=true")
    recipe = small_recipe(tmp_path_factory.mktemp("fitted"), *options, "calibration.rounds=0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "DRAWS", 300)
        patch.setattr(fitting, "HELD_OUT_DRAWS", 300)
        return train(recipe, show_progress=False), recipe


def test_a_training_ends_with_the_fit_which_samples_and_export_have(fitted, tmp_path, alanine_frames):
    checkpoint = read_checkpoint(fitted[0])
    record = checkpoint.record.calibration
    assert record.levels[0].shape[0] == len(SIGMAS) and record.levels[0].any()
    (expert,) = checkpoint.experts().parts
    assert expert.model.network.levels is not None
    t_eval = 0.01  # of a noise of 0.04; at the recipe's there are no series
    for name, option in (("with.pt", False), ("without.pt", True)):
        export(fitted[0], tmp_path / name, uncalibrated=option, t_eval=t_eval)
    force_field = fpforce.load(tmp_path / "with.pt")
    assert force_field.metadata["training"]["calibration"]["denoising"]["0"]["sigma"] == pytest.approx(list(SIGMAS))
    r = torch.tensor(alanine_frames.positions_nm[:20], dtype=torch.float64)
    energies = [torch.jit.load(str(tmp_path / name)).energies(r.reshape(-1, 3)) for name in ("with.pt", "without.pt")]
    x, t = checkpoint.record.normalisation.from_nm(r, t_eval).float(), torch.full((1,), t_eval)
    expected = force_field.kt_kj_per_mol * expert.model(x, t).double()
    torch.testing.assert_close(energies[0] - energies[0][0], expected - expected[0], rtol=0, atol=1e-3)
    assert (energies[0] - energies[1]).std() > 1e-3 * force_field.kt_kj_per_mol
    native = fpforce.make_system(tmp_path / "with.pt", backend="native")
    assert native.getNumParticles() == len(checkpoint.beads)


def test_the_force_field_at_the_smallest_noise_is_that_of_the_training(fitted, tmp_path, alanine_frames):
    r = torch.tensor(alanine_frames.positions_nm[:20], dtype=torch.float64).reshape(-1, 3)
    energies = []
    for name, option in (("with.pt", False), ("without.pt", True)):
        export(fitted[0], tmp_path / name, uncalibrated=option)
        energies.append(torch.jit.load(str(tmp_path / name)).energies(r))
    torch.testing.assert_close(energies[0], energies[1])
    assert not fpforce.load(tmp_path / "with.pt").metadata["model"].get("series")


def test_a_fit_is_made_once_and_again_the_same(fitted, small_recipe, tmp_path, monkeypatch):
    path, recipe = fitted
    before = read_checkpoint(path).record.calibration
    train(recipe, resume=True, show_progress=False)
    assert read_checkpoint(path).record.calibration.denoising == before.denoising
    monkeypatch.setattr(fitting, "DRAWS", 300)
    monkeypatch.setattr(fitting, "HELD_OUT_DRAWS", 300)
    again = recipe.model_copy(update={"output": tmp_path / "again"})
    after = read_checkpoint(train(again, show_progress=False)).record.calibration
    np.testing.assert_array_equal(before.levels[0].numpy(), after.levels[0].numpy())


def test_a_stopped_fit_keeps_the_training_and_is_made_by_resume(small_recipe, tmp_path, monkeypatch):
    recipe = small_recipe(tmp_path / "out", "run.max_steps=20", "optimizer.warmup_steps=5", "calibration.rounds=0")
    train(recipe, show_progress=False)
    path = recipe.output / "model.ckpt"
    wanted = load_recipe(path.with_name("recipe.yaml"), ["calibration.denoising_fit=true"])

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fpforce.training.calibration.stages.denoising_fit", stopped)
        with pytest.raises(KeyboardInterrupt, match="--resume"):
            train(wanted, resume=True, show_progress=False)
    assert read_checkpoint(path).record.expert.steps == 20
    monkeypatch.setattr(fitting, "DRAWS", 100)
    monkeypatch.setattr(fitting, "HELD_OUT_DRAWS", 100)
    assert read_checkpoint(train(wanted, resume=True, show_progress=False)).record.calibration.levels


def test_a_fit_stopped_in_its_second_expert_keeps_that_of_the_first(small_recipe, tmp_path, monkeypatch):
    both = [
        "run.max_steps=20",
        "optimizer.warmup_steps=5",
        "experts=[{t_max: 0.1}, {t_max: 1}]",
        "calibration.rounds=0",
    ]
    path = train(small_recipe(tmp_path / "out", *both), show_progress=False)
    wanted = load_recipe(path.with_name("recipe.yaml"), ["calibration.denoising_fit=true"])
    for name in ("DRAWS", "HELD_OUT_DRAWS"):
        monkeypatch.setattr(fitting, name, 100)
    fitted, made = [], denoising_fit

    def stopped_in_the_second(energy, plan, *rest):
        if len(fitted) == 1:
            fitted.append(None)
            raise KeyboardInterrupt
        fitted.append(made(energy, plan, *rest))
        return fitted[-1]

    monkeypatch.setattr("fpforce.training.calibration.stages.denoising_fit", stopped_in_the_second)
    with pytest.raises(KeyboardInterrupt, match="fits of 1 of 2 experts: go on with --resume"):
        train(wanted, resume=True, show_progress=False)
    assert read_checkpoint(path).record.calibration is None
    record = read_checkpoint(train(wanted, resume=True, show_progress=False)).record
    assert len(fitted) == 3 and not record.unfinished_fit
    assert sorted(record.calibration.levels) == sorted(record.calibration.denoising) == [0, 1]
    torch.testing.assert_close(record.calibration.levels[0], fitted[0][0], rtol=0, atol=0)


def test_a_fit_looks_at_a_stop_between_its_solutions(training_set, plan, monkeypatch):
    asked, levels = [], len(SIGMAS)
    monkeypatch.setattr(fitting, "DRAWS", 50)
    monkeypatch.setattr(fitting, "HELD_OUT_DRAWS", 50)

    def later():
        asked.append(None)
        return len(asked) > 2 * levels + 3  # equations of both sets at every level, and three solutions

    with pytest.raises(KeyboardInterrupt):
        denoising_fit(energy_of(training_set.frames), plan, training_set, torch.Generator().manual_seed(0), later)
    assert len(asked) == 2 * levels + 4


def test_a_fit_that_comes_too_late_or_is_to_be_taken_away_is_said():
    shift = torch.zeros(3, dtype=torch.float64)
    with_fit = CalibrationRecord(1e-5, shift, levels={0: torch.zeros(len(SIGMAS), 2)}, denoising={0: {}})
    with_rounds = CalibrationRecord(1e-5, shift, seconds=[1.0])
    wanted, unwanted = CalibrationRecipe(denoising_fit=True), CalibrationRecipe(denoising_fit=False)
    assert "comes before" in passed_over(wanted, with_rounds) and "has been made" in passed_over(unwanted, with_fit)
    assert not any(passed_over(wanted, record) for record in (None, with_fit, CalibrationRecord(1e-5, shift)))
    assert not any(passed_over(unwanted, record) for record in (None, with_rounds))


def test_models_of_many_molecules_refuse_a_denoising_fit(alanine):
    with pytest.raises(InputError, match=r"denoising_fit"):
        load_recipe(alanine.parent / "dipeptides" / "recipe.yaml", ["calibration.denoising_fit=true"])
