"""A network of the user's own: an installed package with an entry point, from the recipe to OpenMM and to fine-tuning."""

import importlib
import sys

import pytest
import torch

import fpforce
from fpforce.errors import InputError
from fpforce.training.checkpoint import read_checkpoint
from fpforce.training.export import export
from fpforce.training.fit import train
from fpforce.training.residual import residual_curve

# Gaussians of all pair distances, and the triple product of the outer bonds, which tells mirror images apart.
PACKAGE = '''
import torch
from torch import Tensor, nn


class Gaussians(nn.Module):
    def __init__(self, beads: int, functions: int):
        super().__init__()
        pairs = torch.triu_indices(beads, beads, offset=1)
        self.register_buffer("first", pairs[0])
        self.register_buffer("second", pairs[1])
        self.register_buffer("centres", torch.linspace(0.0, 4.0, functions))
        self.hidden = nn.Linear(pairs.shape[1] * functions + 2, 32)
        self.out = nn.Linear(32, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        d = torch.sqrt((x[:, self.first] - x[:, self.second]).square().sum(-1) + 0.01)
        radial = torch.exp(-(d[..., None] - self.centres).square()).flatten(1)
        volume = (torch.linalg.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 1]) * (x[:, 4] - x[:, 3])).sum(-1, keepdim=True)
        when = t[:, None].expand(len(x), 1)
        return self.out(torch.tanh(self.hidden(torch.cat([radial, torch.tanh(volume), when], 1)))).squeeze(-1)


def build(frames, beads, conservative, v_min, functions=8):
    return Gaussians(len(beads), functions)


def not_a_module(frames, beads, conservative, v_min, functions):
    return 3
'''
ENTRY_POINTS = "[fpforce.networks]\ngaussians = their_networks:build\nthree = their_networks:not_a_module\n"


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """The package as pip would leave it: a module and its metadata in a folder of sys.path."""
    site = tmp_path_factory.mktemp("site")
    (site / "their_networks.py").write_text(PACKAGE)
    metadata = site / "their_networks-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-networks\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(site))
    sys.modules.pop("their_networks", None)


def recipe_of(small_recipe, folder, *overrides):
    return small_recipe(folder, "model={kind: custom, network: gaussians, settings: {functions: 6}}", "run.max_steps=150",
                        "optimizer.warmup_steps=10", *overrides)


def test_custom_network_goes_from_recipe_to_openmm_and_is_fine_tuned(small_recipe, tmp_path, alanine_frames):
    import openmm

    plain = train(recipe_of(small_recipe, tmp_path / "plain", "loss.fokker_planck_weight=0"), show_progress=False)
    field = fpforce.load(_exported(plain))
    assert field.kind == "custom" and field.metadata["model"]["settings"]["network"] == "gaussians"
    with pytest.raises(InputError, match="custom"):
        fpforce.make_system(field, backend="native")
    system = fpforce.make_system(field)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(alanine_frames.positions_nm[0])
    energy = context.getState(energy=True).getPotentialEnergy()._value
    r = torch.tensor(alanine_frames.positions_nm[:1], dtype=torch.float64)
    x = (r - r.mean(1, keepdim=True)) / field.scale_nm
    expected = field.kt_kj_per_mol * read_checkpoint(plain).model().double()(x, torch.tensor([1e-5], dtype=torch.float64))
    assert energy == pytest.approx(expected.item(), abs=1e-2 * field.kt_kj_per_mol)

    tuned = train(recipe_of(small_recipe, tmp_path / "tuned", "loss.fokker_planck_weight=0.05", "loss.fokker_planck_fraction=0.5",
                             "run.max_steps=300"),
                  init=plain, show_progress=False)
    before, after = map(read_checkpoint, (plain, tuned))
    curves = [torch.tensor(residual_curve(c.model(), before.record.check_frames, 1e-5, 1.0)["residual"]) for c in (before, after)]
    assert curves[1].mean() < 0.98 * curves[0].mean()


def _exported(checkpoint):
    export(checkpoint, checkpoint.with_name("model.pt"))
    return checkpoint.with_name("model.pt")


@pytest.mark.parametrize("change, part", [
    ("model.network=gausians", "no entry point of the group fpforce.networks.*gaussians, three"),
    ("model.network=three", "gives a int, not a torch module"),
    ("model.settings={wrong: 1}", "settings.*wrong"),
])
def test_network_that_is_not_there_or_does_not_fit_is_named(small_recipe, tmp_path, change, part):
    with pytest.raises(InputError, match=part):
        train(recipe_of(small_recipe, tmp_path / "run", change), show_progress=False)
