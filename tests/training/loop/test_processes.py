"""Several processes that train together: the training is that of one process, and only the first of them speaks."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.loop.processes import require_shares
from fpforce.training.losses.anchor import anchor_loss, anchor_loss_of_molecules
from fpforce.training.losses.flow import FlowPoints, flow_loss
from fpforce.training.models.molecule import Rows
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.train import train

BIN = Path(sys.executable).parent
OPTIONS = (
    "calibration.likelihood_frames=64",
    "calibration.rounds=0",
    "run.log_every_steps=5",
    "optimizer.warmup_steps=2",
)
SMALL = (
    "data.stride=10",
    "model.width=16",
    "model.layers=2",
    "optimizer.batch_size=32",
    "run.max_minutes=null",
    "run.threads=1",
    "run.accelerator=cpu",
    *OPTIONS,
)


def gradient_of(module, draws):
    module.zero_grad()
    module.weighted(module(draws)).backward()
    return torch.cat([weight.grad.flatten() for weight in module.expert.parameters() if weight.grad is not None])


@pytest.fixture(scope="module")
def module(small_recipe, alanine_set, tmp_path_factory):
    """In double precision, with a Fokker-Planck term of 7 points, which no number of processes shares evenly."""
    output = tmp_path_factory.mktemp("module")
    recipe = small_recipe(output, "loss.fokker_planck_fraction=0.22", "loss.fokker_planck_weight=1e-2")
    torch.manual_seed(0)
    module = ExpertTraining(recipe, plan_experts(recipe), alanine_set).double()
    module.begin(0)
    module._batches.value.to(torch.device("cpu"), torch.float64)
    with torch.no_grad():  # the last layer, zero at first, would leave the network out
        for weight in module.expert.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return module


@pytest.mark.parametrize("shares", [2, 4])
def test_mean_gradient_of_all_shares_is_that_of_the_whole_batch(module, shares):
    draws = module.draw(0)
    assert draws.perturbed is not None and draws.perturbed.shifts.shape[1] == 7
    whole = gradient_of(module, draws)
    mean = sum(gradient_of(module, draws.share(number, shares)) for number in range(shares)) / shares
    assert whole.norm() > 0
    torch.testing.assert_close(mean, whole, rtol=1e-9, atol=1e-9 * float(whole.abs().max()))


def test_opposite_noise_stays_together(module):
    for number in range(4):
        z = module.draw(3).share(number, 4).noised.z
        assert torch.equal(z[:4], -z[4:])


@pytest.mark.parametrize("molecules", [False, True])
def test_anchor_of_shares_has_the_gradient_of_the_whole(molecules):
    """Each share is given the other's differences, as all processes exchange them."""
    torch.manual_seed(1)
    slope = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    x, other = torch.randn(2, 12, dtype=torch.float64)
    which = torch.arange(12) % 3

    def loss(mine, of_all):
        energy = slope * x[mine] ** 2 + which[mine]
        if not molecules:
            return anchor_loss(energy, other[mine], 5, of_all)
        return anchor_loss_of_molecules(energy, other[mine], 5, Rows(which[mine], None), of_all)

    def joint(values):
        return which if values.dtype == which.dtype else (slope * x**2 + which - other).detach()

    (whole,) = torch.autograd.grad(loss(slice(None), torch.Tensor.detach), slope)
    shares = [loss(slice(number, None, 2), joint) for number in range(2)]
    (mean,) = torch.autograd.grad(sum(shares) / 2, slope)
    torch.testing.assert_close(mean, whole, rtol=1e-12, atol=0)


def test_points_of_the_flow_are_shared_out(module):
    points = FlowPoints(torch.randn(8, 5, 3).double(), torch.rand(8).double(), torch.randn(8).double())
    draws = module.draw(1)._replace(flow=points)
    parts = [flow_loss(module.expert, draws.share(number, 2).flow) for number in range(2)]
    torch.testing.assert_close(sum(parts) / 2, flow_loss(module.expert, points))


def test_batches_that_do_not_come_out_even_are_refused():
    with pytest.raises(InputError, match=r"optimizer.batch_size = 34 cannot be .* 4 processes; take a multiple of 8"):
        require_shares(34, 4)


def weights_at(checkpoint):
    return torch.cat([weight.flatten().double() for weight in read_checkpoint(checkpoint).weights.values()])


@pytest.mark.long  # a minute of three commands
def test_two_processes_train_as_one_and_resume_as_any_number(small_recipe, alanine, tmp_path):
    """20 steps by run.devices=2, 40 by torchrun, 60 by one process; against one process throughout."""
    alone, together = tmp_path / "alone", tmp_path / "together"

    def alone_until(steps):
        recipe = small_recipe(alone, *OPTIONS, f"run.max_steps={steps}")
        return train(recipe, resume=steps > 20, show_progress=False)

    def together_until(steps, *command):
        options = [*SMALL, f"run.max_steps={steps}", f"output={together}", "run.devices=2"]
        done = subprocess.run(
            [*command, BIN / "fpforce-train", alanine / "recipe.yaml", *options, *(["--resume"] if steps > 20 else [])],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("output in") == done.stdout.count("is ready") == 1
        assert done.stderr.count("calibrating the last layer") == 1
        assert "Warning" not in done.stderr and "warn" not in done.stderr.lower(), done.stderr
        return together / "model.ckpt"

    together_at, alone_at = [weights_at(together_until(20))], [weights_at(alone_until(20))]
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
    together_at.append(weights_at(together_until(40, sys.executable, *torchrun)))
    alone_at.append(weights_at(alone_until(40)))
    train(small_recipe(together, *OPTIONS, "run.max_steps=60"), resume=True, show_progress=False)
    together_at.append(weights_at(together / "model.ckpt"))
    alone_at.append(weights_at(alone_until(60)))
    change = (alone_at[1] - alone_at[0]).norm()
    for ours, theirs in zip(together_at, alone_at, strict=True):  # in single precision, in another order of summation
        assert (ours - theirs).norm() < 0.05 * change
    steps = []
    for log in (together / "logs" / "csv").glob("*/metrics.csv"):
        with open(log) as file:
            steps += [int(row["step"]) for row in csv.DictReader(file) if row["denoising"]]
    assert sorted(steps) == list(range(5, 61, 5))
