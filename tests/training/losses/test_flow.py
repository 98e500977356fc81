"""The Fokker-Planck equation in integral form: exact energies meet it, others are led to it, runs can be resumed."""

import pytest
import torch

from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.loop import flow_pool
from fpforce.training.loop.flow_pool import FlowPool, follow
from fpforce.training.losses.flow import FlowPoints, flow_loss
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.prior import fit_prior
from fpforce.training.train import train


class Tilt(torch.nn.Module):
    """An energy that leans on the square of the end-to-end distance, at small t alone."""

    def __init__(self, size):
        super().__init__()
        self.size = torch.nn.Parameter(torch.tensor(size))

    def forward(self, x, t):
        return self.size * torch.exp(-20.0 * t) * (x[:, 0] - x[:, -1]).square().sum(-1)


@pytest.fixture
def gaussian(alanine_set):
    """gaussian(size) -> the Gaussian prior alone, whose diffused density is known exactly, with a tilt of that size."""

    def make(size):
        return DiffusionEnergy(Tilt(size), fit_prior(alanine_set.frames, []))

    return make


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_exact_energy_is_the_likelihood_of_its_own_flow(gaussian, alanine_set):
    energy = gaussian(0.0).requires_grad_(False)
    found = follow(energy, alanine_set.frames, 64, 1e-5, 0.6, generator())
    claimed = torch.stack([energy(x, t.reshape(1)) for x, t in zip(found.x, found.t, strict=True)])
    difference = (claimed - found.minus_log_density).double()
    assert found.x.shape[1] >= 60
    assert float((difference - difference.mean()).abs().max()) < 0.1


def test_loss_leads_a_tilted_energy_back_to_the_likelihoods(gaussian, alanine_set):
    """Trajectories of the exact flow; the tilt is the only weight, and its sign is that of the loss's slope."""
    found = follow(gaussian(0.0).requires_grad_(False), alanine_set.frames, 64, 1e-5, 0.6, generator())
    times, count = found.minus_log_density.shape
    points = FlowPoints(found.x.flatten(0, 1), found.t.repeat_interleave(count), found.minus_log_density.flatten())
    losses = {}
    for size in (-0.1, 0.0, 0.1):
        energy = gaussian(size)
        loss = flow_loss(energy, points)
        (slope,) = torch.autograd.grad(loss, energy.network.size)
        losses[size] = float(loss.detach())
        assert size * float(slope) >= 0.0 and (size == 0.0 or abs(float(slope)) > 0.1)
    assert losses[0.0] < 0.01 < min(losses[-0.1], losses[0.1])


def test_no_trajectory_is_left_out_for_rounding_errors(gaussian, alanine_set):
    """At the top E is -ln q by definition, and the deviations from it there are of one part in a million."""
    trajectories = follow(gaussian(0.1), alanine_set.frames, 64, 1e-5, 0.6, torch.Generator().manual_seed(0))
    assert len(trajectories.x[0]) >= 62


def test_points_do_not_depend_on_where_a_run_was_interrupted(gaussian, alanine_set, monkeypatch):
    monkeypatch.setattr(flow_pool, "EVERY", 1)
    monkeypatch.setattr(flow_pool, "BATCHES", 3)
    monkeypatch.setattr(flow_pool, "BATCH", 16)
    through, resumed = (FlowPool(gaussian(0.3), alanine_set.frames, 1e-5, 1.0, (7, 0, 0)) for _ in range(2))
    for steps in range(5):
        last = through.draw(steps, generator(steps))
    again = resumed.draw(4, generator(4))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(last, again, strict=True))
    other = FlowPool(gaussian(0.3), alanine_set.frames, 1e-5, 1.0, (8, 0, 0)).draw(4, generator(4))
    assert not torch.equal(other.x, again.x)


def test_training_follows_its_flow_from_the_asked_part_on_and_keeps_its_teacher(small_recipe, tmp_path):
    recipe = small_recipe(tmp_path, "loss.flow_weight=0.05", "loss.flow_begin=0.5")
    checkpoint = read_checkpoint(train(recipe, show_progress=False))
    record = checkpoint.record.expert
    assert record.teacher["step"] == 30
    assert record.teacher["weights"].keys() == checkpoint.model().state_dict().keys()
    flow = dict(zip(record.curves["step"], record.curves["flow"], strict=True))
    assert all(flow[step] == 0.0 for step in (10, 20, 30)) and all(flow[step] > 0.0 for step in (40, 50, 60))


def test_many_molecules_are_refused(small_recipe, tmp_path, alanine):
    for name in ("one.pdb", "two.pdb"):
        (tmp_path / name).write_bytes((alanine / "alanine_dipeptide.pdb").read_bytes())
        (tmp_path / name.replace("pdb", "xtc")).write_bytes((alanine / "train.xtc").read_bytes())
    content = ("data.trajectories=[]", "data.topology=null", f"data.molecules=[{tmp_path}]", "data.stride=100")
    recipe = small_recipe(
        tmp_path / "out",
        *content,
        "data.beads=name CA C N",
        "model.kind=graph_transformer",
        "model.head_width=8",
        "model.identity=false",
        "loss.flow_weight=0.05",
    )
    with pytest.raises(InputError, match="loss.flow_weight = 0.05 is for one molecule"):
        train(recipe, show_progress=False)
