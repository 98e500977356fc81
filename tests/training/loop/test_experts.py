"""Mixtures over diffusion time: recipes that fit together, trainings that go on at any point, hand-overs,
fine-tuning.
"""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.simulation.simulate import SimulationSettings, simulate
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.diffusion import alpha
from fpforce.training.export import export
from fpforce.training.losses.anchor import anchor_loss
from fpforce.training.losses.residual import residual_curve
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.sample import SampleSettings, sample
from fpforce.training.train import train

THREE = (
    "experts=[{t_max: 0.1, max_steps: 60, anchor_weight: 0.1}, {t_max: 0.6, max_steps: 30, fokker_planck_weight: 0}, "
    "{t_max: 1, max_steps: 20, conservative: false, model: {kind: internal, width: 8, layers: 1}}]"
)
TRAIN = [sys.executable, "-c", "from fpforce.commands.train import main; main()"]


@pytest.fixture(scope="module")
def mixture(small_recipe, tmp_path_factory):
    """A trained mixture of an anchored energy with the Fokker-Planck term, a plain energy, and a score."""
    output = tmp_path_factory.mktemp("mixture")
    return read_checkpoint(train(small_recipe(output, THREE, "optimizer.warmup_steps=5"), show_progress=False))


@pytest.fixture(scope="module")
def score_checkpoint(small_recipe, tmp_path_factory):
    output = tmp_path_factory.mktemp("score")
    recipe = small_recipe(
        output, "experts=[{t_max: 1, conservative: false}]", "run.max_steps=150", "optimizer.warmup_steps=10"
    )
    return train(recipe, show_progress=False)


def test_recipe_without_experts_is_a_mixture_of_one(small_recipe, tmp_path):
    (plan,) = plan_experts(small_recipe(tmp_path))
    assert (plan.t_min, plan.t_max, plan.conservative, plan.fokker_planck_weight) == (1e-5, 1.0, True, 5e-4)
    (listed,) = plan_experts(small_recipe(tmp_path, "experts=[{t_max: 1}]"))
    assert listed == plan


def test_intervals_adjoin_and_what_is_left_out_comes_from_the_sections(small_recipe, tmp_path):
    small, middle, large = plan_experts(small_recipe(tmp_path, THREE, "experts.0.max_steps=7"))
    assert [(p.t_min, p.t_max) for p in (small, middle, large)] == [(1e-5, 0.1), (0.1, 0.6), (0.6, 1.0)]
    assert [p.fokker_planck_weight for p in (small, middle, large)] == [5e-4, 0.0, 0.0]
    assert small.max_steps == 7 and small.model.width == 16 and large.model.width == 8


@pytest.mark.parametrize(
    "experts, parts",
    [
        ("[{t_max: 0.6}, {t_max: 0.1}]", ["experts.1.t_max = 0.1", "experts.0.t_max = 0.6", "overlap"]),
        ("[{t_max: 0.6}, {t_max: 0.6}]", ["overlap"]),
        (
            "[{t_max: 1, conservative: false, fokker_planck_weight: 1e-3}]",
            ["experts.0.fokker_planck_weight = 0.001", "not conservative"],
        ),
        ("[{t_max: 1, anchor_weight: 1}]", ["experts.0.anchor_weight = 1", "it is the last"]),
        ("[{t_max: 0.1, anchor_weight: 1}, {t_max: 1, conservative: false}]", ["experts.1 has none"]),
        ("[{t_max: 1e-6}]", ["t_eval = 1e-05 must be below experts.0.t_max"]),
        ("[{t_max: 2}]", ["experts.0.t_max' = 2"]),
        ("[{t_end: 1}]", ["unknown key 'experts.0.t_end'"]),
        ("[{t_max: 1, model: {wdth: 3}}]", ["experts.0.model"]),
    ],
)
def test_experts_that_do_not_fit_together_are_named(small_recipe, tmp_path, experts, parts):
    with pytest.raises(InputError) as caught:
        small_recipe(tmp_path, f"experts={experts}")
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_end_of_a_single_expert_contradicts_a_list(small_recipe, tmp_path):
    with pytest.raises(InputError, match="diffusion.t_max = 0.3 .* contradicts"):
        small_recipe(tmp_path, "diffusion.t_max=0.3", "experts=[{t_max: 0.1}, {t_max: 1}]")


def test_every_expert_keeps_its_budget_and_one_file_holds_all(mixture):
    assert [record.steps for record in mixture.record.experts] == [60, 30, 20]
    assert mixture.record.active == 0 and len(mixture.experts()) == 3
    assert isinstance(mixture.model(1), DiffusionEnergy) and isinstance(mixture.model(2), DiffusionScore)
    assert max(mixture.record.experts[0].curves["anchor"]) > 0 and set(mixture.record.experts[1].curves["anchor"]) == {
        0.0
    }


def test_interrupted_mixture_goes_on_in_the_same_expert_to_the_same_weights(small_recipe, tmp_path, mixture):
    recipe = small_recipe(tmp_path / "run", THREE, "optimizer.warmup_steps=5", "run.checkpoint_minutes=0.0005")
    recipe.output.mkdir()
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe.model_dump(mode="json")))
    process = subprocess.Popen(
        [*TRAIN, str(tmp_path / "recipe.yaml"), "--overwrite"], stderr=subprocess.PIPE, text=True
    )
    path, deadline = recipe.output / "model.ckpt", time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert sum(record.steps for record in read_checkpoint(path).record.experts) < 110
    resumed = read_checkpoint(train(recipe, resume=True, show_progress=False))
    assert [record.steps for record in resumed.record.experts] == [60, 30, 20]
    for name, value in mixture.weights.items():
        torch.testing.assert_close(resumed.weights[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_jumps_at_hand_overs_are_in_checkpoint_and_model(mixture, tmp_path):
    jumps = mixture.record.hand_overs
    assert [jump["t"] for jump in jumps] == [0.1, 0.6] and all(0 < jump["relative_jump"] < 0.2 for jump in jumps)
    export_unchecked(mixture, tmp_path / "model.pt")
    training = fpforce.load(tmp_path / "model.pt").metadata["training"]
    assert training["hand_overs"] == jumps and [e["steps"] for e in training["experts"]] == [60, 30, 20]
    assert [e["exported"] for e in training["experts"]] == [True, False, False] and training["steps"] == 110


def export_unchecked(checkpoint, path):
    """Export without the demand that chirality be learned, which 60 steps do not."""
    from fpforce.training.modelfile import write as module

    verify = module.verify
    module.verify = lambda *_: {"frames": 0}
    try:
        export(checkpoint.path, path)
    finally:
        module.verify = verify


def test_untrained_part_of_the_time_is_refused_for_samples_and_export(small_recipe, tmp_path):
    path = train(small_recipe(tmp_path, "run.max_steps=5", "experts=[{t_max: 0.1}]"), show_progress=False)
    with pytest.raises(InputError, match=r"cover \(1e-05, 0.1\]; train the missing"):
        sample(path, tmp_path / "iid.xtc", SampleSettings(samples=4))
    with pytest.raises(InputError, match="t = 0.3 is not covered"):
        export(path, tmp_path / "model.pt", t_eval=0.3)


def test_anchor_is_blind_to_a_common_constant_and_sees_basins_apart():
    energy, apart = torch.randn(100), torch.cat([torch.zeros(50), torch.ones(50)])
    assert anchor_loss(energy + 3.0, energy, 5) < 1e-10
    # Variance of a half-and-half step of height 1, with Bessel's correction, over D = 12.
    assert anchor_loss(energy + apart, energy, 5) == pytest.approx(0.25 * 100 / 99 / 12, rel=1e-4)


def test_force_field_at_larger_t_undoes_the_shrinking(small_checkpoint, tmp_path, alanine_frames):
    export(small_checkpoint, tmp_path / "model.pt", t_eval=0.02)
    field, checkpoint = fpforce.load(tmp_path / "model.pt"), read_checkpoint(small_checkpoint)
    assert field.t_eval == 0.02
    r = torch.tensor(alanine_frames.positions_nm[:4], dtype=torch.float64)
    x = float(alpha(torch.tensor(0.02))) * (r - r.mean(1, keepdim=True)) / checkpoint.record.scale_nm
    expected = field.kt_kj_per_mol * checkpoint.model().double()(x, torch.tensor([0.02], dtype=torch.float64))
    found = torch.jit.load(str(field.path)).energies(r.reshape(-1, 3))
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4 * field.kt_kj_per_mol)


def test_exported_score_has_its_forces_in_every_backend_and_simulates_only_when_told(
    score_checkpoint, tmp_path, alanine_frames
):
    import openmm

    path = tmp_path / "model.pt"
    export(score_checkpoint, path)
    field, checkpoint = fpforce.load(path), read_checkpoint(score_checkpoint)
    assert not field.conservative
    r = torch.tensor(alanine_frames.positions_nm[0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.jit.load(str(path))(r), r)
    x = ((r - r.mean(0)) / field.scale_nm)[None].detach()
    expected = checkpoint.model().double().score(x, torch.tensor([1e-5], dtype=torch.float64))[0]
    expected = field.kt_kj_per_mol / field.scale_nm * expected
    assert (-slope - expected).abs().max() < 1e-3 * expected.abs().max()
    with pytest.raises(InputError, match="not the gradient of an energy.*override_not_conservative=True"):
        fpforce.make_system(field)
    with pytest.raises(InputError, match="native.*not the gradient of an energy|not the gradient of an energy.*native"):
        fpforce.make_system(field, backend="native", override_not_conservative=True)
    for backend in ("torchforce", "python"):
        system = fpforce.make_system(field, backend=backend, override_not_conservative=True)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(r.detach().numpy())
        forces = np.array(context.getState(forces=True).getForces(asNumpy=True)._value)
        np.testing.assert_allclose(forces, expected.numpy(), atol=1e-3 * float(expected.abs().max()), err_msg=backend)
    short = dict(steps=50, report_interval_ps=0.05)
    with pytest.raises(InputError, match="not the gradient of an energy.*--override-not-conservative"):
        simulate(field, tmp_path / "a.xtc", SimulationSettings(**short))
    with pytest.raises(InputError, match="no energy to minimise"):
        simulate(field, tmp_path / "a.xtc", SimulationSettings(**short, override_not_conservative=True, minimise=True))
    assert simulate(field, tmp_path / "a.xtc", SimulationSettings(**short, override_not_conservative=True)).steps == 50


def test_score_can_be_sampled_with_likelihoods(score_checkpoint, tmp_path):
    sample(
        score_checkpoint, tmp_path / "iid.dcd", SampleSettings(samples=8, steps=10, solver="ode", log_likelihood=True)
    )
    stored = np.load(tmp_path / "iid.dcd.npz")
    assert np.isfinite(stored["log_density"]).all() and "energy_kt" not in stored


def test_fine_tuning_with_the_fokker_planck_term_lowers_its_residual(small_recipe, tmp_path):
    common = ("run.max_steps=300", "optimizer.warmup_steps=10")
    plain = train(small_recipe(tmp_path / "plain", *common, "loss.fokker_planck_weight=0"), show_progress=False)
    tuned = train(
        small_recipe(tmp_path / "tuned", *common, "optimizer.learning_rate=1e-3", "loss.fokker_planck_weight=5e-3"),
        init=plain,
        show_progress=False,
    )
    before, after = map(read_checkpoint, (plain, tuned))
    assert after.record.initial["sha256"] == before.sha256 and after.record.scale_nm == before.record.scale_nm
    curves = [
        residual_curve(c.model(), before.record.check_frames, 1e-5, 1.0, sigma_w=1e-4)["residual"]
        for c in (before, after)
    ]
    assert np.log(curves[1]).mean() < np.log(curves[0]).mean()


def test_fine_tuning_begins_with_the_earlier_weights(small_recipe, small_checkpoint, tmp_path):
    # One step at a vanishing learning rate, for a mixture of two from a single expert.
    recipe = small_recipe(
        tmp_path, "run.max_steps=1", "optimizer.learning_rate=1e-12", "experts=[{t_max: 0.2}, {t_max: 1}]"
    )
    tuned, earlier = (
        read_checkpoint(train(recipe, init=small_checkpoint, show_progress=False)),
        read_checkpoint(small_checkpoint),
    )
    for number in range(2):
        for name, value in earlier.weights_of(0).items():
            torch.testing.assert_close(tuned.weights_of(number)[name], value, rtol=1e-5, atol=1e-7)
    assert tuned.record.hand_overs[0]["relative_jump"] < 1e-6


def test_what_fine_tuning_cannot_start_from_is_named(small_recipe, small_checkpoint, tmp_path):
    for override, part in (
        ("model.width=17", r"model.width was 16, is 17; set it in the recipe as it was, or train anew without --init"),
        ("experts=[{t_max: 1, conservative: false}]", "experts.0.conservative was True, is False"),
        (
            "experts=[{t_max: 1, model: {width: 8, prior: false}}]",
            "0.model.width was 16, is 8; experts.0.model.layers was 2, is 3; experts.0.model.prior was True, is False",
        ),
        ("model={kind: graph_transformer}", "model.kind was 'internal', is 'graph_transformer'; set"),
        ("diffusion.v_min=0.01", "diffusion.v_min was"),
        ("data.beads=heavy", "must be the same molecule"),
    ):
        with pytest.raises(InputError, match=part):
            train(small_recipe(tmp_path / "run", override), init=small_checkpoint, show_progress=False)
    train(small_recipe(tmp_path / "run", "run.max_steps=2"), show_progress=False)
    with pytest.raises(InputError, match="--resume goes on.*--init begins"):
        train(small_recipe(tmp_path / "run"), resume=True, init=small_checkpoint, show_progress=False)


def test_every_recipe_of_the_example_is_valid(alanine):
    from fpforce.training.recipe.read import load_recipe

    recipes = {path.stem: load_recipe(path) for path in (alanine / "recipes").glob("*.yaml")}
    assert set(recipes) == {"diffusion", "two_for_one", "mixture", "fokker_planck", "both", "score"}
    for name, recipe in recipes.items():
        plans = plan_experts(recipe)
        assert plans[-1].t_max == 1.0 and all(path.is_file() for path in recipe.data.trajectories), name
        assert any(plan.fokker_planck_weight for plan in plans) == (name in ("fokker_planck", "both"))
