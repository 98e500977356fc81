"""What every energy model must satisfy, run over each kind the recipe knows, with and without the analytic prior.

Models are built from real frames as training builds them, with random weights (at the start of a training the last
layer is zero, which would hide everything).
"""

import pytest
import torch

from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.forcefield.transferable.statistics import measure
from fpforce.training.diffusion import centred_noise, diffuse
from fpforce.training.models import build_model
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.prior import fit_prior
from fpforce.training.models.transferable import build_transferable
from fpforce.training.recipe.models import ModelRecipe, sections_of
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import parse_recipe

NETWORKS = {
    "internal": {"kind": "internal"},
    "graph_transformer": {"kind": "graph_transformer", "head_width": 8},
    "graph_transformer, cutoff": {"kind": "graph_transformer", "head_width": 8, "cutoff_nm": 0.35},
    "graph_transformer, radius": {
        "kind": "graph_transformer",
        "head_width": 8,
        "cutoff_nm": 0.35,
        "neighbours": "radius",
    },
    "graph_transformer, displacement": {"kind": "graph_transformer", "head_width": 8, "edges": "displacement"},
    "internal, windows": {"kind": "internal", "window": 4, "window_width": 8},
    "internal, no hand": {"kind": "internal", "chiral": False},
    "internal, windows, no hand": {"kind": "internal", "window": 4, "window_width": 8, "chiral": False},
    "graph_transformer, no hand": {"kind": "graph_transformer", "head_width": 8, "chiral": False},
    "graph_transformer, radius, no hand": {
        "kind": "graph_transformer",
        "head_width": 8,
        "cutoff_nm": 0.35,
        "neighbours": "radius",
        "chiral": False,
    },
    "chain": {"kind": "chain", "window": 4},
    "chain, no hand": {"kind": "chain", "window": 4, "chiral": False},
    "mlp": {"kind": "mlp"},
}
MODELS = {
    f"{name}, {'prior' if prior else 'bare'}": settings | {"prior": prior, "width": 24, "layers": 2}
    for name, settings in NETWORKS.items()
    for prior in (True, False)
}
MOLECULAR = [name for name in MODELS if "mlp" not in name]
INVARIANT = [name for name in MOLECULAR if "displacement" not in name]
CHIRAL = [name for name in INVARIANT if "no hand" not in name]
TIMES = (1e-5, 1e-3, 0.1, 1.0)

for_molecules = pytest.mark.parametrize("system", MOLECULAR, indirect=True)
for_invariant_models = pytest.mark.parametrize("system", INVARIANT, indirect=True)
for_the_plane = pytest.mark.parametrize("system", [name for name in MODELS if "mlp" in name], indirect=True)


def test_every_kind_of_the_recipe_is_tested_here():
    kinds = {section.model_fields["kind"].default for section in sections_of(ModelRecipe)}
    # A custom network is another's code; tests/training/models/test_custom_network.py takes one through the program.
    assert kinds == {settings["kind"] for settings in NETWORKS.values()} | {"custom"}


@pytest.fixture(scope="module", params=MODELS)
def system(request, alanine_set, plane_set):
    """(settings of the model, its TrainingSet): a molecule, or a particle in the plane for `mlp`."""
    settings = MODELS[request.param]
    return settings, plane_set if settings["kind"] == "mlp" else alanine_set


@pytest.fixture(scope="module")
def energy(system):
    settings, data = system
    of_many = settings["kind"] == "chain"
    recipe = parse_recipe(
        {
            "data": {"molecules" if of_many else "trajectories": ["unread"], "beads": "backbone5"},
            "temperature_k": 300,
            "output": "unused",
            "model": settings,
        }
    )
    plan = plan_experts(recipe)[0]
    if of_many:
        statistics = measure(data.frames.numpy(), 0.2)
        knowledge = Knowledge.of([data.beads], [statistics], "backbone5", 0.2, allow_d_residues=False)
        shared = build_transferable(plan, knowledge, [data.beads], data.scale_nm, data.frames)
        # A bound prior is in single precision, which molecules far from their centre would feel.
        prior = fit_prior(data.frames.double(), data.prior_pairs) if settings["prior"] else None
        model = DiffusionEnergy(shared.double().network.bound(data.beads), prior)
    else:
        model = build_model(plan, data.frames.double(), data.prior_pairs, data.beads, data.scale_nm).double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


@pytest.fixture(scope="module")
def x(system):
    """Frames of the data with a little noise, (12, 5, 3) or (12, 1, 3)."""
    x0 = system[1].frames[::90][:12].double()
    t = torch.full((len(x0),), 1e-3, dtype=torch.float64)
    return diffuse(x0, t, centred_noise(x0.shape, torch.Generator().manual_seed(0), x0))


def at(time, count, dtype=torch.float64):
    return torch.full((count,), time, dtype=dtype)


@for_molecules
@pytest.mark.parametrize("time", TIMES)
def test_energy_is_invariant_under_translation(energy, x, time):
    t = at(time, len(x))
    moved = energy(x + torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64), t)
    torch.testing.assert_close(moved, energy(x, t), rtol=1e-11, atol=1e-11)


@for_invariant_models
@pytest.mark.parametrize("time", TIMES)
def test_energy_is_invariant_under_rotation(energy, x, time):
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    rotation = rotation * torch.linalg.det(rotation)
    t = at(time, len(x))
    moved = energy(x @ rotation.T, t)
    torch.testing.assert_close(moved, energy(x, t), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("system", [name for name in MODELS if "no hand" in name], indirect=True)
@pytest.mark.parametrize("time", TIMES)
def test_mirror_images_of_a_molecule_without_a_hand_are_alike(energy, x, time):
    mirrored = x * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    t = at(time, len(x))
    torch.testing.assert_close(energy(mirrored, t), energy(x, t), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("system", CHIRAL, indirect=True)
@pytest.mark.parametrize("time", TIMES[:2])
def test_mirror_images_differ_in_energy_where_the_data_are_resolved(energy, x, time):
    # The network's output is of order one; rounding would make 1e-15.
    mirrored = x * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    t = at(time, len(x))
    assert (energy(mirrored, t) - energy(x, t)).abs().median() > 1e-2


def test_batch_of_frames_and_times_equals_single_frames(energy, x):
    t = torch.logspace(-5, 0, len(x), dtype=torch.float64)
    singles = torch.cat([energy(x[i : i + 1], t[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(energy(x, t), singles, rtol=1e-12, atol=1e-12)


def test_one_time_serves_a_whole_batch(energy, x):
    torch.testing.assert_close(energy(x, at(0.1, 1)), energy(x, at(0.1, len(x))), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("time", TIMES)
def test_score_and_time_derivative_are_minus_the_slopes_of_the_energy(energy, x, time):
    density = energy.log_density(x, at(time, len(x)))
    # Central differences with step h: error h^2 times the third derivative, and rounding 1e-16 E / h.
    h = 1e-5
    for bead, axis in ((0, 0), (2, 1), (4, 2)) if x.shape[1] > 1 else ((0, 0), (0, 1)):
        step = torch.zeros_like(x)
        step[:, bead, axis] = h
        slope = (energy(x + step, at(time, len(x))) - energy(x - step, at(time, len(x)))) / (2 * h)
        torch.testing.assert_close(density.score[:, bead, axis], -slope, rtol=1e-5, atol=1e-5)
    h = 1e-3 * time
    later, earlier = ((energy(x, at(time + sign * h, len(x)))) for sign in (1, -1))
    scale = density.time_derivative.abs().max()
    assert ((earlier - later) / (2 * h) - density.time_derivative).abs().max() < 1e-4 * scale


@for_the_plane
@pytest.mark.parametrize("time", TIMES)
def test_energy_of_a_particle_depends_on_where_it_is_in_the_plane_and_not_on_z(energy, x, time):
    t = at(time, len(x))
    raised, moved = x.clone(), x.clone()
    raised[..., 2] += 1.5
    moved[..., 0] += 0.5
    assert torch.equal(energy(raised, t), energy(x, t))
    assert (energy(moved, t) - energy(x, t)).abs().median() > 1e-2
    assert torch.equal(energy.log_density(x, t).score[..., 2], torch.zeros_like(x[..., 2]))


@for_molecules
def test_force_on_the_whole_molecule_is_zero(energy, x):
    # Translational invariance: the model's score needs no projection to stay in the centred subspace.
    score = energy.log_density(x, at(1e-3, len(x))).score
    assert score.sum(dim=1).abs().max() < 1e-12 * score.abs().max()


def test_torchscript_gives_the_same_energies_and_forces(energy, x):
    program = torch.jit.script(energy)
    t = at(1e-5, 1)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, found = energy(ours, t), program(theirs, t)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        *(torch.autograd.grad(e.sum(), p)[0] for e, p in ((found, theirs), (expected, ours))), rtol=1e-9, atol=1e-9
    )


def degenerate_frames(x):
    """Frames with three beads in line, four in line, two coincident, three coincident, and all coincident.

    Of a particle in the plane, frames far from the data.
    """
    frames = x[:5].clone()
    if frames.shape[1] == 1:
        return 100.0 * frames  # nothing to line up; far out instead
    frames[0, 1] = 0.5 * (frames[0, 0] + frames[0, 2])
    frames[1, :4] = frames[1, :1] + torch.arange(4).to(x)[:, None] * torch.tensor([1.4, 0.0, 0.0]).to(x)
    frames[2, 1] = frames[2, 2]
    frames[3, 1] = frames[3, 3] = frames[3, 2]
    frames[4] = 0.0
    return frames


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_of_score_and_time_derivative_have_finite_gradients_at_degenerate_frames(energy, x, dtype, time):
    model = energy.to(dtype)
    try:
        frames = degenerate_frames(x).to(dtype)
        density = model.log_density(frames, at(time, len(frames), dtype))
        for value in (density.score, density.time_derivative):
            assert torch.isfinite(value).all()
        loss = density.score.square().sum() + density.time_derivative.square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)
    finally:
        energy.double()


def test_time_derivative_settles_as_time_goes_to_zero(energy, x):
    # A model of raw ln t would have dE/dt = 1/t: 1e12 at t = 1e-12. Here it must tend to its value at t = 0.
    rates = [energy.log_density(x, at(time, len(x))).time_derivative for time in (0.0, 1e-12, 1e-9)]
    scale = rates[0].abs().max()
    assert torch.isfinite(rates[0]).all()
    for rate in rates[1:]:
        assert (rate - rates[0]).abs().max() < 1e-4 * scale
