"""A network of the user's own: an installed package with an entry point, from the recipe to OpenMM and to
fine-tuning.
"""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.export import export
from fpforce.training.losses.residual import residual_curve
from fpforce.training.train import train

PAGE = (Path(__file__).parents[3] / "docs" / "custom-network.md").read_text()
PACKAGE, PROJECT, RECIPE = (
    re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[1] for kind in ("python", "toml", "yaml")
)
WRONG = """

class Wrong(torch.nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.weight = how, torch.nn.Parameter(torch.ones(1))

    def forward(self, x, t):
        energy = self.weight * x.square().sum((1, 2)) * (1.0 if self.how == "timeless" else 1.0 + t)
        return energy[:, None] if self.how == "column" else energy @ x if self.how == "broken" else energy


def wrong(frames, beads, conservative, v_min, width, how):
    if how == "unbuildable":
        raise ValueError("no such thing")
    return 3 if how == "no module" else Wrong(how)
"""


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """The package of docs/custom-network.md as pip would leave it: a module and its metadata in a folder of
    sys.path.
    """
    project = tomllib.loads(PROJECT)["project"]
    offered = project["entry-points"]["fpforce.networks"] | {"wrong": "my_networks:wrong"}
    site = tmp_path_factory.mktemp("site")
    (site / "my_networks.py").write_text(PACKAGE + WRONG)
    metadata = site / f"my_networks-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [f"{name} = {target}" for name, target in offered.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[fpforce.networks]", *lines, ""]))
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(site))
    sys.modules.pop("my_networks", None)


def recipe_of(small_recipe, folder, *overrides):
    model = yaml.safe_load(RECIPE)["model"]
    return small_recipe(folder, f"model={model}", "run.max_steps=150", "optimizer.warmup_steps=10", *overrides)


def test_custom_network_goes_from_recipe_to_openmm_and_is_fine_tuned(small_recipe, tmp_path, alanine_frames):
    import openmm

    plain = train(recipe_of(small_recipe, tmp_path / "plain", "loss.fokker_planck_weight=0"), show_progress=False)
    field = fpforce.load(_exported(plain))
    assert field.kind == "custom" and field.metadata["model"]["settings"]["network"] == "distances"
    with pytest.raises(InputError, match="custom"):
        fpforce.make_system(field, backend="native")
    system = fpforce.make_system(field)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(alanine_frames.positions_nm[0])
    energy = context.getState(energy=True).getPotentialEnergy()._value
    r = torch.tensor(alanine_frames.positions_nm[:1], dtype=torch.float64)
    x = (r - r.mean(1, keepdim=True)) / field.scale_nm
    expected = field.kt_kj_per_mol * read_checkpoint(plain).model().double()(
        x, torch.tensor([1e-5], dtype=torch.float64)
    )
    assert energy == pytest.approx(expected.item(), abs=1e-2 * field.kt_kj_per_mol)

    tuned = train(
        recipe_of(
            small_recipe,
            tmp_path / "tuned",
            "loss.fokker_planck_weight=0.05",
            "loss.fokker_planck_fraction=0.5",
            "run.max_steps=300",
        ),
        init=plain,
        show_progress=False,
    )
    before, after = map(read_checkpoint, (plain, tuned))
    curves = [
        torch.tensor(residual_curve(c.model(), before.record.check_frames, 1e-5, 1.0, sigma_w=1e-4)["residual"])
        for c in (before, after)
    ]
    assert curves[1].mean() < 0.98 * curves[0].mean()


def _exported(checkpoint):
    export(checkpoint, checkpoint.with_name("model.pt"))
    return checkpoint.with_name("model.pt")


def _settings(how):
    return f"{{kind: custom, network: wrong, settings: {{width: 4, how: {how}}}}}"


def _wrong(how):
    return f"model={_settings(how)}"


@pytest.mark.parametrize(
    "change, part",
    [
        ("model.network=distance", "no entry point of the group fpforce.networks.*distances, wrong"),
        (_wrong("no module"), "gives a int, not a torch module"),
        ("model.settings={wrong: 1}", "settings.*wrong"),
        (_wrong("unbuildable"), "fails: no such thing"),
        (
            _wrong("column"),
            r"of 3 frames it returns a tensor of shape \(3, 1\), expected energies of shape \(3,\).*custom-network.md",
        ),
        (_wrong("timeless"), "its energy does not depend on t"),
        (_wrong("broken"), "fails on 3 frames of 5 beads: .*"),
        (
            f"experts=[{{t_max: 1.0, conservative: false, model: {_settings('fine')}}}]",
            "returns a tensor.*expected coordinates and weights",
        ),
        (
            "calibration.likelihood_frames=100",
            "no linear last layer .*leave calibration.rounds and calibration.likelihood_frames at 0",
        ),
    ],
)
def test_network_that_is_not_there_or_does_not_fit_is_named_before_training(small_recipe, tmp_path, change, part):
    with pytest.raises(InputError, match=part):
        train(recipe_of(small_recipe, tmp_path / "run", change), show_progress=False)
    assert not (tmp_path / "run").exists()
