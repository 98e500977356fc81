"""Training on many molecules: padding, shares, losses per molecule, and a run from files to a checkpoint and back."""

import gzip
import os
import signal
from dataclasses import replace

import pytest
import torch

from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.data.molecule_files import find_molecules, same_files
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.diffusion import beta, centred_noise, degrees_of_freedom
from fpforce.training.loop.compiled_step import CompiledStep
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.losses.anchor import anchor_loss, anchor_loss_of_molecules
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.fokker_planck import fokker_planck_loss, perturb, residuals
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.molecule import Rows
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.train import train


def randomised(module, seed=0):
    """Random weights: at the start of a training the last layer is zero, which would hide everything."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return module


@pytest.fixture
def training(transferable_recipe, molecule_set, tmp_path):
    """A module in training on all molecules, in float64 with random weights."""
    recipe = transferable_recipe(tmp_path)
    module = ExpertTraining(recipe, plan_experts(recipe), molecule_set)
    module.begin(0)
    return randomised(module).double()


def test_padding_changes_neither_energy_nor_score_nor_divergence(training, molecule_set):
    # Every molecule in a batch padded to the 15 beads of the largest, against the molecule on its own.
    frames = [one.frames[:5] for one in molecule_set.molecules.values()]
    batches = training._batches.value
    rows = batches.rows_of(
        torch.cat([end - count + torch.arange(5) for end, count in zip(batches.ends, batches.counts, strict=True)])
    )
    padded = torch.cat([torch.nn.functional.pad(own, (0, 0, 0, 15 - own.shape[1])) for own in frames]).double()
    t = torch.linspace(1e-4, 0.9, len(padded), dtype=torch.float64)
    energy = training.expert.of(rows)
    together, score, divergence = energy(padded, t), energy.score(padded, t), energy.prior_divergence(padded, t)
    for k, (own, one) in enumerate(zip(frames, molecule_set.molecules.values(), strict=True)):
        alone, part, beads = training.expert.bind(one.beads), slice(5 * k, 5 * k + 5), own.shape[1]
        torch.testing.assert_close(together[part], alone(own.double(), t[part]), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(score[part, :beads], alone.score(own.double(), t[part]), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(
            divergence[part], alone.prior_divergence(own.double(), t[part]), rtol=1e-9, atol=1e-9
        )
        assert (score[part, beads:] == 0).all()


def test_every_molecule_has_an_equal_share_whatever_its_frames(peptide, transferable_recipe, tmp_path, choice):
    frames = {"AV": peptide("AV", 100), "SA": peptide("SA", 700), "ASV": peptide("ASV", 200)}
    uneven = MoleculeSet.of(frames, choice)
    recipe = transferable_recipe(tmp_path)
    module = ExpertTraining(recipe, plan_experts(recipe), uneven)
    module.begin(0)
    batches, drawn, spread = module._batches.value, torch.zeros(3), torch.zeros(3)
    for step in range(60):
        noised, generator = batches.batch(step)
        drawn += torch.bincount(noised.rows.which, minlength=3)
        spread += torch.bincount(batches.spread(30, generator).rows.which, minlength=3)
    # 16 pairs a batch, 5 or 6 of each molecule; the spread draws are independent, 1800 in all with p = 1/3: sigma = 20.
    assert (drawn - 60 * 32 / 3).abs().max() <= 60 * 2 / 3 and (spread - 600).abs().max() < 5 * 20


def test_batch_row_is_a_frame_of_the_molecule_that_it_says(training, molecule_set):
    batches = training._batches.value
    chosen = batches.any_frames(torch.Generator().manual_seed(0))
    rows, own = batches.rows_of(chosen), list(molecule_set.molecules.values())
    for index, which, mask in zip(chosen, rows.which, rows.mask, strict=True):
        frame = molecule_set.frames[index][mask]
        assert (own[which].frames == frame).all(dim=(1, 2)).any() and len(frame) == len(own[which].beads)


def test_noise_and_perturbations_of_padded_rows_are_centred_and_absent_in_the_padding():
    mask = torch.arange(6) < torch.tensor([4, 6])[:, None]
    noise = centred_noise(
        (50_000, 2, 6, 3), torch.Generator().manual_seed(0), torch.zeros(1, dtype=torch.float64), mask
    )
    assert noise[:, 0, 4:].abs().max() == 0 and noise.sum(2).abs().max() < 1e-12
    dimensions = degrees_of_freedom(6, mask)
    assert dimensions.tolist() == [9, 15]
    torch.testing.assert_close(noise.square().sum((2, 3)).mean(0), dimensions.double(), rtol=0.02, atol=0)


def test_denoising_loss_counts_every_molecule_by_its_own_dimension():
    mask = torch.arange(6) < torch.tensor([3, 6])[:, None]
    z = centred_noise(
        (40_000, 2, 6, 3), torch.Generator().manual_seed(1), torch.zeros(1, dtype=torch.float64), mask
    ).flatten(0, 1)
    t, score = torch.full((len(z),), 0.3, dtype=torch.float64), torch.zeros_like(z)
    assert denoising_loss(score, t, z, mask.repeat(40_000, 1)).item() == pytest.approx(1.0, rel=0.01)


class WrongGaussian(torch.nn.Module):
    """E = |x|^2 / (2c) of the beads that exist, at every t: R = 1/2 beta (1 - 1/c) (D - |x|^2 / c), as in
    test_fokker_planck.
    """

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x, t):
        exists = self.mask.repeat(len(x) // len(self.mask), 1)[..., None].to(x.dtype)
        inside = (x - (x * exists).sum(1, keepdim=True) / exists.sum(1, keepdim=True)) * exists
        return inside.square().sum(dim=(1, 2)) / 0.8 + 0.0 * t


def test_fokker_planck_loss_of_a_padded_batch_is_unbiased():
    draws, c = 100_000, 0.4
    mask = torch.tensor([[True, True, True, False], [True] * 4])
    x = centred_noise((2, 4, 3), torch.Generator().manual_seed(2), torch.zeros(1, dtype=torch.float64), mask)
    t, dimensions = torch.tensor([0.3, 0.6], dtype=torch.float64), torch.tensor([6.0, 9.0], dtype=torch.float64)
    exact = 0.5 * beta(t) * (1 - 1 / c) * (dimensions - x.square().sum((1, 2)) / c)
    masks = mask.repeat(draws, 1)
    perturbed = perturb(x.repeat(draws, 1, 1), t.repeat(draws), 1e-4, torch.Generator().manual_seed(3), masks)
    energy = DiffusionEnergy(WrongGaussian(mask))
    residual = residuals(energy, energy.log_density(perturbed.points, perturbed.times, create_graph=False), perturbed)
    products = (residual[0] * residual[1]).view(draws, 2)
    assert ((products.mean(0) - exact.square()).abs() < 4 * products.std(0) / draws**0.5).all()
    expected = (products.mean(0) / dimensions.square()).mean()
    assert fokker_planck_loss(residual, 4, mask=masks).item() == pytest.approx(expected.item(), rel=1e-9)


def test_anchor_leaves_every_molecule_a_constant_of_its_own():
    which = torch.tensor([0, 1, 0, 1, 0, 2])
    rows = Rows(which, None)
    energy, other = torch.randn(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    loss = anchor_loss_of_molecules(energy, other, 5, rows)
    shifted = anchor_loss_of_molecules(
        energy + torch.tensor([3.0, -7.0, 1e3], dtype=torch.float64)[which], other, 5, rows
    )
    torch.testing.assert_close(shifted, loss)
    one = torch.zeros(6, dtype=torch.long)
    torch.testing.assert_close(
        anchor_loss_of_molecules(energy, other, 5, Rows(one, None)), anchor_loss(energy, other, 5)
    )


def test_compiled_step_has_the_losses_and_gradients_of_the_plain_one(training):
    training.float()
    compiled = CompiledStep(training, training.draw(0), compiler=lambda graph: graph)
    losses, loss = compiled(training.draw(1))
    plain = training(training.draw(1))
    for ours, theirs in zip(losses, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    weight = training.expert.network.core.out.weight
    torch.testing.assert_close(
        *(torch.autograd.grad(value, weight)[0] for value in (loss, training.weighted(plain))), rtol=1e-3, atol=1e-3
    )


@pytest.fixture(scope="module")
def trained(transferable_recipe, tmp_path_factory):
    """Checkpoint of a short run on the folder of peptides."""
    return read_checkpoint(
        train(transferable_recipe(tmp_path_factory.mktemp("trained"), run__max_steps=20), show_progress=False)
    )


def test_interrupted_and_resumed_run_ends_where_an_uninterrupted_one_does(
    transferable_recipe, tmp_path, trained, monkeypatch
):
    recipe, record_step = transferable_recipe(tmp_path, run__max_steps=20), ExpertTraining.record_step

    def interrupted(module):
        record_step(module)
        if module.global_step == 8:  # whose account is done: the next step sees it
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="step 9"):
        patch.setattr(ExpertTraining, "record_step", interrupted)
        train(recipe, show_progress=False)
    resumed = read_checkpoint(train(recipe, resume=True, show_progress=False))
    assert resumed.record.expert.steps == 20 and resumed.record.transferable["trained_on"] == ["ASV", "AV", "SA", "VS"]
    for name, value in trained.weights.items():
        torch.testing.assert_close(resumed.weights[name], value, rtol=1e-6, atol=1e-7)


def test_training_can_start_from_another_with_its_statistics(transferable_recipe, trained, peptide_folder, tmp_path):
    recipe = transferable_recipe(tmp_path, molecules=[peptide_folder / "AV.pdb"], run__max_steps=2)
    tuned = read_checkpoint(train(recipe, init=trained.path, show_progress=False))
    assert tuned.record.scale_nm == trained.record.scale_nm and tuned.record.transferable["trained_on"] == ["AV"]
    assert tuned.record.transferable["knowledge"] == trained.record.transferable["knowledge"]


def test_checkpoint_of_many_molecules_and_recipe_of_one_do_not_go_together(
    transferable_recipe, small_recipe, trained, tmp_path
):
    with pytest.raises(InputError, match="was trained on many molecules, and the recipe has data.trajectories"):
        train(small_recipe(tmp_path), init=trained.path, show_progress=False)


@pytest.mark.parametrize(
    "names, differs",
    [
        (["ASV", "SA", "VS"], "molecule AV is missing;"),
        (["AA", "ASV", "AV", "SA", "VS"], "molecule AA is new;"),
        (["ASV", "AV", "SA", "VS"], "ASV.xtc or .* changed;"),
    ],
)
def test_resume_with_other_molecules_names_those_that_differ(trained, names, differs):
    earlier = trained.record
    changed = replace(earlier, data_sha256="other", transferable=earlier.transferable | {"trained_on": names})
    with pytest.raises(InputError, match=f"--resume with other data than the run began with: .*{differs}") as refused:
        changed.refuse_other_data(earlier)
    assert "SA.xtc" not in str(refused.value) or len(names) == 4
    earlier.refuse_other_data(earlier)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model__kind": "mlp"}, "model.kind = mlp is for one molecule"),
        ({"model__identity": True}, "model.identity = True gives every bead of one molecule"),
        ({"model__kind": "internal", "model__unseen": 0.1}, "model.unseen = 0.1 is for one molecule"),
        ({"calibration__rounds": 2}, "calibration.rounds = 2 adjusts the force field of one molecule"),
        ({"data__trajectories": ["a.xtc"]}, "trajectories is for one molecule, and molecules"),
        ({"data__beads": [0, 1, 2]}, "beads by atom or group fit one molecule"),
    ],
)
def test_what_is_for_one_molecule_is_refused_with_many(transferable_recipe, tmp_path, changes, message):
    if "model__kind" in changes:
        changes = changes | {f"model__{name}": None for name in ("head_width", "identity")}
    with pytest.raises(InputError, match=message):
        transferable_recipe(tmp_path, **changes)


def test_molecule_of_two_chains_is_refused_by_file(peptide, choice):
    one = peptide("VS")
    two = replace(
        one,
        beads=replace(
            one.beads, beads=tuple(replace(bead, chain="AB"[k // 5]) for k, bead in enumerate(one.beads.beads))
        ),
        sources=("data/VS.xtc",),
    )
    with pytest.raises(InputError, match="data/VS.xtc: molecule VS has the chains A, B, and a transferable model"):
        MoleculeSet.of({"AV": peptide("AV"), "VS": two}, choice)


def test_files_of_a_folder_are_sorted_into_molecules(tmp_path):
    for name in ("A.pdb", "A.xtc", "AR.pdb", "AR_run1.xtc", "AR_run2.xtc", "AR.json"):
        (tmp_path / name).touch()
    found = find_molecules([tmp_path])
    assert [(one.name, [path.name for path in one.trajectories]) for one in found] == [
        ("A", ["A.xtc"]),
        ("AR", ["AR_run1.xtc", "AR_run2.xtc"]),
    ]
    assert [one.name for one in find_molecules([tmp_path / "A?.pdb"])] == ["AR"]
    assert [
        one.name for one in find_molecules([tmp_path, tmp_path / "." / "A.pdb", tmp_path / ".." / tmp_path.name])
    ] == ["A", "AR"]
    for name in (".DS_Store", "._A.pdb", "._A.xtc"):
        (tmp_path / name).touch()
    assert len(find_molecules([tmp_path])) == 2
    for name in ("A_2.XTC", "B.PDB"):
        (tmp_path / name).touch()
        with pytest.raises(InputError, match=f"{name} has its extension in upper case"):
            find_molecules([tmp_path])
        (tmp_path / name).unlink()
    (tmp_path / "AV.xtc").touch()
    with pytest.raises(InputError, match="AV.xtc belongs to no PDB"):
        find_molecules([tmp_path])
    (tmp_path / "AV.xtc").rename(tmp_path / "AV.pdb")
    with pytest.raises(InputError, match="AV.pdb has no trajectory"):
        find_molecules([tmp_path])
    with pytest.raises(InputError, match="nowhere has no PDB"):
        find_molecules([tmp_path / "nowhere"])


def test_trajectories_of_a_molecule_are_of_any_format_or_packed(tmp_path):
    names = ["A_1.xyz", "A_2.netcdf", "A_3.xtc.gz", "A_4.gro", "A_5.lammpstrj", "A_6.xyz.gz"]
    xyz, gro = "1\n\nC 0 0 0\n", "t= 0\n1\n    1ALA     CA    1   0.000   0.000   0.000\n0 0 0\n"
    texts = {"A_1.xyz": 2 * xyz, "A_4.gro": 2 * gro, "A.gro": gro, "A.xyz": xyz + "\n", "A_positions.npy": ""}
    for name in ("A.pdb", *names, *texts):
        (tmp_path / name).write_text(texts.get(name, ""))
    (tmp_path / "A_6.xyz.gz").write_bytes(gzip.compress(2 * xyz.encode()))
    (one,) = find_molecules([tmp_path])
    assert [path.name for path in one.trajectories] == names


def test_one_trajectory_under_the_names_of_two_molecules_is_noticed(tmp_path):
    texts = {"A.pdb": "", "A.xtc": "first", "B.pdb": "", "B_1.xtc": "other", "B_2.xtc": "first", "C.pdb": ""}
    for name, text in (texts | {"C.xtc": "third"}).items():
        (tmp_path / name).write_text(text)
    found = same_files(find_molecules([tmp_path]))
    assert list(found) == ["B"]
    assert found["B"][0].startswith(f"{tmp_path / 'B_2.xtc'} is {tmp_path / 'A.xtc'} of molecule A under another name")


@pytest.mark.parametrize("folder", ["set[1]", "a*[b]", "[x]/y[0-9]"])
def test_molecules_of_folders_with_brackets_are_found(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    for name in ("A.pdb", "A.xtc"):
        (tmp_path / folder / name).touch()
    for place in (tmp_path / folder, tmp_path / folder / "*.pdb", tmp_path / folder / "[A].pdb"):
        (one,) = find_molecules([place])
        assert one.trajectories == (tmp_path / folder / "A.xtc",)
