"""Compiled training steps: the same numbers as those of the step as it stands, for every kind of loss and model."""

import dataclasses
import logging
import os
import shutil
import subprocess
import sys

import pytest
import torch

from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.force_scores import ForceScores
from fpforce.training.loop.compiled_step import CompiledStep, step_function
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.loop.step_gradient import PlainStep, in_parts, parts_of
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.train import train
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.forces import ForceFiles

MIXTURE = (
    "experts=[{t_max: 0.1, anchor_weight: 0.1}, {t_max: 0.6, fokker_planck_weight: 0}, {t_max: 1, conservative: false}]"
)
GRAPH = "model={kind: graph_transformer, width: 16, layers: 1, edges: %s}"

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


def in_training(recipe, training_set, expert=0):
    """A module with weights that are not those of the start, in which the last layer is zero."""
    torch.manual_seed(0)
    module = ExpertTraining(recipe, plan_experts(recipe), training_set)
    module.begin(expert)
    nudge(module)
    return module


def nudge(module):
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.05 * torch.randn_like(weight)


def assert_same_step(module, compiled, draws):
    """Losses and gradients of both agree to rounding; the weak form divides differences of scores by 1e-4."""
    losses = module(draws)
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    expected = torch.autograd.grad(module.weighted(losses), weights, allow_unused=True)
    ours, loss = compiled(draws)
    for term, reference in zip(ours, losses, strict=True):
        assert term.item() == pytest.approx(reference.item(), rel=2e-3, abs=1e-6)
    assert loss.item() == pytest.approx(module.weighted(losses).item(), rel=2e-3)
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    size = max(float(slope.norm()) for slope in expected if slope is not None)
    for slope, reference in zip(found, expected, strict=True):
        assert (slope is None) == (reference is None)
        if slope is not None:
            assert float((slope - reference).norm()) < 2e-3 * size


@pytest.mark.parametrize(
    ("override", "expert"),
    [
        ("loss.fokker_planck_weight=5e-4", 0),
        ("loss.fokker_planck_weight=0", 0),
        (MIXTURE, 0),
        (MIXTURE, 1),
        (MIXTURE, 2),
        (GRAPH % "frames", 0),
        (GRAPH % "displacement", 0),
    ],
)
def test_traced_step_follows_weights_and_draws(small_recipe, alanine_set, tmp_path, override, expert):
    module = in_training(small_recipe(tmp_path, override), alanine_set, expert)
    traced = CompiledStep(module, module.draw(0), compiler=lambda graph: graph)
    nudge(module)
    assert_same_step(module, traced, module.draw(1))


@pytest.mark.parametrize("override", ["loss.fokker_planck_weight=1e-2", GRAPH % "frames"])
def test_step_in_parts_is_the_step_on_the_whole_batch(small_recipe, alanine_set, tmp_path, override):
    module = in_training(small_recipe(tmp_path, override, "optimizer.batch_size=32"), alanine_set).double()
    module._batches.value.to(torch.device("cpu"), torch.float64)
    draws, plain = module.draw(0), PlainStep(module)
    assert draws.perturbed is not None
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    losses = module(draws)
    expected = torch.autograd.grad(module.weighted(losses), weights, allow_unused=True)
    for parts in (1, 4):
        found, loss = in_parts(plain, parts)(draws)
        assert torch.stack(found).tolist() == pytest.approx(torch.stack(losses).tolist(), rel=1e-10)
        module.zero_grad()
        loss.backward()
        for weight, slope in zip(weights, expected, strict=True):
            assert (weight.grad is None) == (slope is None)
            if slope is not None:
                torch.testing.assert_close(weight.grad, slope, rtol=1e-9, atol=1e-9 * float(slope.abs().max()))


def test_plain_step_does_not_differentiate_twice_in_the_positions(small_recipe, alanine_set, tmp_path, monkeypatch):
    # Only the weights' gradient is wanted; an ordinary backward pass would reach the positions as well.
    module, leaves = in_training(small_recipe(tmp_path, GRAPH % "frames"), alanine_set), []
    inner = module.expert.network.forward

    def watched(x, t):
        leaves.append(x)
        return inner(x, t)

    monkeypatch.setattr(module.expert.network, "forward", watched)
    PlainStep(module)(module.draw(0))[1].backward()
    assert leaves and all(x.requires_grad and x.grad is None for x in leaves)


def test_batches_are_divided_until_the_features_of_their_edges_stay_in_the_cache(small_recipe, alanine_set, tmp_path):
    # 512 frames and 3 x 64 of the Fokker-Planck term, 25 edges of 23 features each; of `internal` nothing is divided.
    graph = in_training(small_recipe(tmp_path, GRAPH % "frames", "optimizer.batch_size=512"), alanine_set)
    assert graph.numbers_of_a_frame == 25 * 23 and parts_of(graph, graph.draw(0)) == 1
    draws = graph.draw(0)
    many = type("LargeFrames", (), {"device": graph.device, "numbers_of_a_frame": 35 * 35 * 23})()
    assert parts_of(many, draws) == 16  # the fewest of at most 1.5 million numbers a part
    assert parts_of(many, draws._replace(boundary=draws.noised)) == 1
    assert parts_of(in_training(small_recipe(tmp_path), alanine_set), draws) == 1


def test_traced_step_blends_forces(small_recipe, alanine, tmp_path):
    excerpt = alanine / "forces_excerpt.npz"
    recipe = small_recipe(tmp_path, f"data.forces={excerpt}")
    frames = read_bead_frames(
        [excerpt],
        alanine / "forces_excerpt.pdb",
        beads="backbone5",
        length_unit="nm",
        forces=ForceFiles(paths=(excerpt,)),
    )
    plain = TrainingSet.of(frames)
    module = in_training(recipe, dataclasses.replace(plain, forces=ForceScores.of(frames, plain.scale_nm, 2.494)))
    assert module.draw(0).noised.force is not None
    traced = CompiledStep(module, module.draw(0), compiler=lambda graph: graph)
    nudge(module)
    assert_same_step(module, traced, module.draw(1))


@needs_compiler
def test_compiled_training_is_resumed_and_ends_where_a_plain_one_does(small_recipe, tmp_path, caplog):
    small = (
        "optimizer.warmup_steps=5",
        "model.width=8",
        "model.layers=1",
        "model.prior=false",
        "loss.fokker_planck_every=2",
    )
    ends = {}
    with caplog.at_level(logging.INFO, logger="fpforce"):
        for compile in ("false", "true"):
            for steps in (20, 40):
                recipe = small_recipe(tmp_path / compile, *small, f"run.max_steps={steps}", f"run.compile={compile}")
                ends[compile] = read_checkpoint(train(recipe, resume=steps == 40, show_progress=False))
    # Steps with and without the Fokker-Planck term, in two runs.
    assert sum("compiled in" in record.getMessage() for record in caplog.records) == 4
    assert ends["true"].record.expert.steps == 40
    for name, values in ends["false"].record.expert.curves.items():
        assert ends["true"].record.expert.curves[name] == pytest.approx(values, rel=1e-2), name
    for name, weight in ends["false"].weights.items():
        # Weights move by up to 0.05 in these steps.
        torch.testing.assert_close(ends["true"].weights[name], weight, rtol=0, atol=1e-3, msg=name)


def test_a_radius_graph_is_not_compiled(small_recipe, alanine_set, tmp_path, caplog):
    small = (GRAPH % "frames", "model.cutoff_nm=0.4", "model.neighbours=radius", "model.head_width=8")
    insists = in_training(small_recipe(tmp_path, *small, "run.compile=true"), alanine_set)
    with pytest.raises(InputError, match=r"model\.neighbours=dense, or run\.compile=false"):
        step_function(insists, insists.draw(0))
    tolerates = in_training(small_recipe(tmp_path, *small, "run.compile=auto", "run.max_steps=20000"), alanine_set)
    step_function(tolerates, tolerates.draw(0))
    assert not any("cannot be compiled" in record.getMessage() for record in caplog.records)


def test_weights_that_a_loss_misses_have_no_slope(small_recipe, alanine_set, tmp_path):
    """The head that ignores x, without a Fokker-Planck term: hooks such as DDP's take a slope or are not called."""
    module = in_training(small_recipe(tmp_path, "loss.fokker_planck_weight=0", "run.compile=false"), alanine_set)
    slopes = []
    for weight in module.parameters():
        if weight.requires_grad:
            weight.register_hook(lambda slope: slopes.append(slope.norm()))
    _, loss = step_function(module, module.draw(0))(module.draw(0))
    loss.backward()
    missed = [name for name, weight in module.named_parameters() if weight.requires_grad and weight.grad is None]
    assert slopes and missed and all("offset" in name for name in missed)


@needs_compiler
def test_compiler_that_fails_stops_a_run_that_insists_and_no_other(
    small_recipe, alanine_set, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    small = ("model.width=8", "model.layers=1", "loss.fokker_planck_weight=0")
    insists = in_training(small_recipe(tmp_path, *small, "run.compile=true"), alanine_set)
    tolerates = in_training(small_recipe(tmp_path, *small, "run.compile=auto", "run.max_steps=20000"), alanine_set)
    with torch._inductor.config.patch({"cpp.cxx": ("false",), "compile_threads": 1}):
        with pytest.raises(InputError, match=r"run\.compile=false.*C\+\+ compiler"):
            step_function(insists, insists.draw(0))
        torch._dynamo.reset()
        function = step_function(tolerates, tolerates.draw(0))
    assert any("cannot be compiled" in record.getMessage() for record in caplog.records)
    assert_same_step(tolerates, function, tolerates.draw(1))


@pytest.mark.parametrize(
    "overrides",
    [
        ("run.compile=false", "run.max_steps=100000"),
        ("run.max_steps=19999",),
        ("run.max_steps=100000", "run.max_minutes=4"),
    ],
)
def test_short_trainings_are_not_compiled(small_recipe, alanine_set, tmp_path, overrides):
    module = in_training(small_recipe(tmp_path, *overrides), alanine_set)
    assert not isinstance(step_function(module, module.draw(0)), CompiledStep)


@pytest.mark.skipif(torch.version.cuda is None or torch.cuda.is_available(), reason="torch warns of no toolkit here")
def test_compiling_does_not_warn_of_a_cuda_toolkit_without_a_gpu(tmp_path):
    script = (
        "import sys, torch; from fpforce.training.loop.compiled_step import _import_without_cuda_warning as quietly; "
        "quietly(); "
        "print('then', file=sys.stderr, flush=True); import importlib; importlib.reload(torch.utils.cpp_extension)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"CUDA_HOME": str(tmp_path)},
    )
    before, after = done.stderr.split("then")
    assert before == "" and "CUDA_HOME" in after
