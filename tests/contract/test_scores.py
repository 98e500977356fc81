"""What every score network must satisfy, run over each kind the recipe knows; as tests/contract/test_models.py for
energies.

Models are built from real frames as training builds them, with random weights.
"""

import pytest
import torch

from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.diffusion import centred_noise, diffuse
from fpforce.training.models import build_model
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import parse_recipe

NETWORKS = {
    "internal": {"kind": "internal", "width": 24, "layers": 2},
    "graph_transformer": {"kind": "graph_transformer", "width": 24, "head_width": 8},
    "graph_transformer, cutoff": {"kind": "graph_transformer", "width": 24, "head_width": 8, "cutoff_nm": 0.35},
    "graph_transformer, radius": {
        "kind": "graph_transformer",
        "width": 24,
        "head_width": 8,
        "cutoff_nm": 0.35,
        "neighbours": "radius",
    },
    "graph_transformer, displacement": {
        "kind": "graph_transformer",
        "width": 24,
        "head_width": 8,
        "edges": "displacement",
    },
    "internal, no hand": {"kind": "internal", "width": 24, "layers": 2, "chiral": False},
    "graph_transformer, no hand": {"kind": "graph_transformer", "width": 24, "head_width": 8, "chiral": False},
    "mlp": {"kind": "mlp", "width": 24, "layers": 2},
}
MOLECULAR = [name for name in NETWORKS if name != "mlp"]

for_molecules = pytest.mark.parametrize("system", MOLECULAR, indirect=True)
for_invariant_scores = pytest.mark.parametrize(
    "system", [name for name in MOLECULAR if "displacement" not in name], indirect=True
)


@pytest.fixture(scope="module", params=NETWORKS)
def system(request, alanine_set, plane_set):
    """(settings of the model, its TrainingSet): a molecule, or a particle in the plane for `mlp`."""
    settings = NETWORKS[request.param]
    return settings, plane_set if settings["kind"] == "mlp" else alanine_set


@pytest.fixture(scope="module")
def random_score(system):
    settings, data = system
    recipe = parse_recipe(
        {
            "data": {"trajectories": ["unread.xtc"]},
            "temperature_k": 300,
            "output": "unused",
            "model": settings,
            "experts": [{"t_max": 1.0, "conservative": False}],
        }
    )
    (plan,) = plan_experts(recipe)
    model = build_model(plan, data.frames.double(), data.prior_pairs, data.beads, data.scale_nm).double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


@pytest.fixture(scope="module")
def noised(system):
    x0 = system[1].frames[::90][:12].double()
    t = torch.full((len(x0),), 0.05, dtype=torch.float64)
    return diffuse(x0, t, centred_noise(x0.shape, torch.Generator().manual_seed(0), x0)), t


@for_invariant_scores
def test_score_turns_with_the_molecule_but_into_its_mirror_image_only_where_it_has_no_hand(random_score, noised):
    x, t = noised
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    rotation = rotation * torch.linalg.det(rotation)
    score = random_score.score(x, t)
    torch.testing.assert_close(random_score.score(x @ rotation.T + 1.0, t), score @ rotation.T, rtol=1e-9, atol=1e-9)
    mirror = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    off = (random_score.score(x * mirror, t) - score * mirror).norm()
    assert off > 0.05 * score.norm() if random_score.network.chiral else off < 1e-9 * score.norm()


@for_molecules
def test_score_exerts_no_net_force(random_score, noised):
    score = random_score.score(*noised)
    assert score.sum(dim=1).abs().max() < 1e-11 * score.abs().max()


@for_invariant_scores
def test_score_exerts_no_torque(random_score, noised):
    x, t = noised
    score = random_score.score(x, t)
    scale = score.abs().max()
    assert torch.linalg.cross(x, score).sum(dim=1).abs().max() < 1e-10 * scale


def test_score_is_not_the_gradient_of_anything_and_an_energys_is(random_score, noised, small_checkpoint):
    # A gradient has a symmetric Jacobian.
    def asymmetry(model):
        x = noised[0][:1].clone().requires_grad_()
        jacobian = torch.autograd.functional.jacobian(lambda x: model.score(x, noised[1][:1], create_graph=True), x)
        jacobian = jacobian.reshape(x.numel(), x.numel())
        return float((jacobian - jacobian.T).norm() / jacobian.norm())

    assert asymmetry(random_score) > 1e-2
    if noised[0].shape[1] == 5:
        assert asymmetry(read_checkpoint(small_checkpoint).model().double()) < 1e-6


def test_weights_gradient_is_the_same_whether_or_not_positions_are_differentiated(random_score, noised):
    x, t = noised

    def gradients(x):
        loss = random_score.score(x, t, create_graph=True).square().sum()
        return torch.autograd.grad(loss, list(random_score.parameters()))

    for plain, through in zip(gradients(x), gradients(x.clone().requires_grad_()), strict=True):
        torch.testing.assert_close(plain, through)
