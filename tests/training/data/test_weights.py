"""Weights of frames in a training: of one, they change nothing; of zero and one, they choose; of a biased simulation,
they give the unbiased force field.
Longer than other files, since every stage of a training has its case of the same claims.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.potentials import DOUBLE_WELL, ExactDensity
from fpforce.potentials.double_well import KT_KJ_PER_MOL
from fpforce.potentials.exact_density import density_of_energy, free_energy_kt
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.data.dataset import NoisedBatches, TrainingSet, conformation_weights
from fpforce.training.data.held_out import held_out
from fpforce.training.data.read import read_training_set
from fpforce.training.diffusion import sigma
from fpforce.training.export import export
from fpforce.training.losses.force_blending import ForceBlending
from fpforce.training.losses.time_sampling import TimeSampler
from fpforce.training.models.edges import distance_statistics
from fpforce.training.models.internal import fit_coordinates
from fpforce.training.models.moments import covariance, mean, variance
from fpforce.training.models.plane_prior import fit_plane_gaussian
from fpforce.training.models.prior import fit_prior
from fpforce.training.recipe.read import load_recipe, parse_recipe
from fpforce.training.recipe.resumption import refuse_other_recipe
from fpforce.training.train import train
from fpforce.trajectories.bead_files import write_bead_frames
from fpforce.trajectories.bead_frames import read_bead_frames

PAIRS = [(0, 1), (1, 2), (0, 2)]
WHOLE = torch.randint(0, 4, (400,), generator=torch.Generator().manual_seed(1))  # times that each frame stands for


@pytest.fixture(scope="module")
def frames():
    x = torch.randn(400, 5, 3, generator=torch.Generator().manual_seed(0)) + torch.arange(5)[:, None]
    return x - x.mean(1, keepdim=True)


def repeated(values):
    return values.repeat_interleave(WHOLE, 0)


def unbiased_factor():
    shares = WHOLE.double() / WHOLE.sum()
    return float((1 - 1 / WHOLE.sum().double()) / (1 - shares.square().sum()))


def of_whole_numbers(fit, frames):
    """(fitted with weights that are whole numbers, fitted to frames repeated so many times)."""
    return fit(frames, WHOLE.double()), fit(repeated(frames), None)


def test_weighted_moments_are_those_of_repeated_frames(frames):
    values = frames[:, 0].double()
    for moment, factor in ((mean, 1.0), (variance, None), (covariance, None)):
        ours, theirs = of_whole_numbers(moment, values)
        if factor is None:  # each has its own number of independent frames: 1 - sum of squares, and 1 - 1/N
            factor = unbiased_factor()
        torch.testing.assert_close(ours, theirs * factor, rtol=1e-10, atol=1e-12)


def test_statistics_of_the_models_are_those_of_repeated_frames(frames):
    factor = unbiased_factor()
    ours, theirs = of_whole_numbers(lambda x, w: fit_prior(x, PAIRS, w), frames)
    torch.testing.assert_close(ours.mode_variances, theirs.mode_variances)
    torch.testing.assert_close(ours.variance, factor * theirs.variance)
    torch.testing.assert_close(ours.radius, theirs.radius, rtol=1e-3, atol=0)
    ours, theirs = of_whole_numbers(lambda x, w: fit_coordinates(x, volumes=True, weights=w), frames)
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.variance, factor * theirs.variance)
    ours, theirs = of_whole_numbers(distance_statistics, frames)
    off_diagonal = ~torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.variance[off_diagonal], factor * theirs.variance[off_diagonal])
    ours, theirs = of_whole_numbers(fit_plane_gaussian, frames[:, :1])
    torch.testing.assert_close(ours.variances, factor * theirs.variances)
    ours, theirs = of_whole_numbers(ForceBlending, frames)
    torch.testing.assert_close(ours.variances, theirs.variances)


def test_drawn_evenly_is_by_weight_over_weighted_density(frames):
    """Two clouds of equal conformations: 4 in 5 frames in one, whose weights make the clouds weigh alike."""
    far = torch.cat([frames[:320], 3.0 * frames[320:]])
    weights = torch.cat([torch.full((320,), 0.25), torch.ones(80)]).double()
    plain, weighted = conformation_weights(far, 1.0), conformation_weights(far, 1.0, weights)
    alike = conformation_weights(far, 1.0, torch.full((400,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(alike, 2.0 * plain.double(), rtol=1e-5, atol=0)
    assert torch.equal(conformation_weights(far, 0.0, weights), weights)
    assert weighted[:320].sum() / weighted.sum() < plain[:320].sum() / plain.sum()


def test_batches_draw_frames_in_proportion_and_a_batch_covers_equal_shares(frames):
    times = TimeSampler(1e-6, 1e-5, 1e-3)  # next to no noise, so that x is x_0
    weights = torch.rand(400, generator=torch.Generator().manual_seed(2)).double()
    batches = NoisedBatches(frames, times, 200, 0, frame_weights=weights)
    counts = torch.zeros(400)
    for step in range(600):
        chosen = torch.cdist(batches.batch(step)[0].x[:100].flatten(1), frames.flatten(1)).argmin(1)
        own = torch.bincount(chosen, minlength=400)
        counts += own
        # One from each of 100 equal shares of the weight: never off by more than 2.
        assert (own - 100 * weights / weights.sum()).abs().max() < 2.0
    torch.testing.assert_close(counts / counts.sum(), (weights / weights.sum()).float(), rtol=0, atol=1e-3)


def test_held_out_blocks_have_their_share_of_the_weight():
    weights = np.exp(np.cumsum(np.random.default_rng(0).normal(size=5000)) * 0.03)
    mask = held_out((3000, 2000), 0.1, weights)
    for part in (slice(3000), slice(3000, 5000)):
        assert weights[part][mask[part]].sum() / weights[part].sum() == pytest.approx(0.1, abs=0.01)
        assert np.count_nonzero(np.diff(mask[part].astype(int)) == 1) == 5


@pytest.fixture(scope="module")
def positions(alanine):
    """600 frames of the backbone of alanine dipeptide, (frames, 5, 3) in nm, and the recipe's words for them."""
    found = read_bead_frames(
        alanine / "train.xtc", alanine / "alanine_dipeptide.pdb", beads="backbone5", stride=35
    ).positions_nm[:600]
    return found


def beads_of_alanine():
    names = (("C", "ACE", 1), ("N", "ALA", 2), ("CA", "ALA", 2), ("C", "ALA", 2), ("N", "NME", 3))
    return [
        {"name": name, "residue": residue, "residue_number": number, "chain": "A", "bonds": [k + 1] if k < 4 else []}
        for k, (name, residue, number) in enumerate(names)
    ]


def recipe_of(folder, positions, weights, **sections):
    folder.mkdir()
    np.savez(folder / "train.npz", positions=positions)
    data = {"trajectories": str(folder / "train.npz"), "beads": beads_of_alanine(), "length_unit": "nm"}
    if weights is not None:
        np.savetxt(folder / "weights.dat", weights)
        data["weights"] = str(folder / "weights.dat")
    return parse_recipe(
        {
            "data": data,
            "temperature_k": 300,
            "output": str(folder / "run"),
            "model": {"width": 16, "layers": 2},
            "optimizer": {"batch_size": 32, "warmup_steps": 5},
            "run": {"max_steps": 40, "threads": 1, "accelerator": "cpu", "log_every_steps": 10, "compile": False},
            **sections,
        }
    )


def weights_of(recipe):
    return torch.load(train(recipe, show_progress=False), weights_only=True)["state_dict"]


def test_weights_of_one_are_no_weights_bit_for_bit(positions, tmp_path):
    flow = {"loss": {"flow_weight": 0.05, "flow_begin": 0.8}, "calibration": {"likelihood_frames": 10}}
    plain, ones = (
        weights_of(recipe_of(tmp_path / name, positions, weights, **flow))
        for name, weights in (("plain", None), ("ones", np.ones(600)))
    )
    assert plain.keys() == ones.keys() and all(torch.equal(value, ones[name]) for name, value in plain.items())


def test_weights_of_zero_and_one_train_exactly_on_the_frames_of_weight_one(positions, tmp_path):
    kept = np.random.default_rng(0).random(600) < 0.5
    subset = weights_of(recipe_of(tmp_path / "subset", positions[kept], None))
    chosen = weights_of(recipe_of(tmp_path / "chosen", positions, kept.astype(float)))
    assert all(torch.equal(value, chosen[name]) for name, value in subset.items())


def test_all_stages_run_with_weights_and_the_record_names_them(positions, tmp_path):
    sections = {
        "loss": {"flow_weight": 0.05, "flow_begin": 0.5},
        "calibration": {"likelihood_frames": 10, "rounds": 1, "replicas": 8, "picoseconds": 0.2},
    }
    weights = np.random.default_rng(0).exponential(size=600)
    recipe = recipe_of(tmp_path / "all", positions, weights, **sections)
    checkpoint = read_checkpoint(train(recipe, show_progress=False))
    assert checkpoint.record.weights["effective_frames"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert checkpoint.record.calibration.done == 1 and len(checkpoint.record.expert.watched["step"]) > 0
    export(checkpoint.path, tmp_path / "model.pt")
    from fpforce.commands.info import describe

    assert "600 frames are worth" in describe(fpforce.load(tmp_path / "model.pt"))
    np.savetxt(tmp_path / "all" / "weights.dat", weights[::-1])
    with pytest.raises(InputError, match="the weights of .*weights.dat changed"):
        train(recipe, resume=True, show_progress=False)


def test_statistics_of_a_weighted_set_are_weighted(positions, tmp_path):
    """Against sums written out here, over the frames that are trained on."""
    weights = np.random.default_rng(0).exponential(size=600)
    recipe = recipe_of(tmp_path / "set", positions, weights)
    found = read_training_set(recipe.data, temperature_k=300.0, batch_size=32)
    mask = held_out((600,), 0.1, weights)
    known, own = positions[~mask].astype(float), weights[~mask] / weights[~mask].sum()
    centred = known - known.mean(1, keepdims=True)
    scale_nm = np.sqrt((own * np.square(centred).mean((1, 2))).sum())
    assert found.scale_nm == pytest.approx(scale_nm, rel=1e-6)
    lengths = np.linalg.norm(known[:, 0] - known[:, 1], axis=1)
    assert found.bond_lengths_nm()["mean"][0] == pytest.approx((own * lengths).sum(), rel=1e-5)
    np.testing.assert_allclose(found.weights, own, rtol=1e-12)
    assert len(found.held_out) == mask.sum()
    in_held_out = {
        frame.tobytes() for frame in TrainingSet.of(frames_of(positions[mask]), found.normalisation).frames.numpy()
    }
    assert all(frame.numpy().tobytes() in in_held_out for frame in found.held_out)


def frames_of(positions):
    from fpforce.molecule.mapping import list_beads
    from fpforce.trajectories.bead_frames import BeadFrames

    return BeadFrames(positions, list_beads(beads_of_alanine()), (len(positions),), ("frames",), "", None)


def test_weights_go_with_the_frames_that_map_writes(positions, tmp_path):
    weights = np.random.default_rng(0).exponential(size=600)
    recipe = recipe_of(tmp_path / "set", positions, weights)
    frames = read_bead_frames(
        recipe.data.trajectories, beads=beads_of_alanine(), length_unit="nm", weights=recipe.data.weights
    )
    folder = write_bead_frames(frames, tmp_path / "written", recipe.model_dump(mode="json"))
    again = read_training_set(load_recipe(folder / "recipe.yaml").data, temperature_k=300.0, batch_size=32)
    first = read_training_set(recipe.data, temperature_k=300.0, batch_size=32)
    assert torch.equal(again.frames, first.frames) and torch.allclose(again.weights, first.weights, rtol=1e-12)


def test_recipe_refuses_weights_of_many_molecules_and_of_other_trajectories(tmp_path):
    common = {"temperature_k": 300, "output": str(tmp_path)}
    with pytest.raises(InputError, match="weights is for one molecule"):
        parse_recipe({"data": {"molecules": "folder", "weights": "w.npy"}} | common)
    with pytest.raises(InputError, match="1 files for 2 trajectories"):
        parse_recipe({"data": {"trajectories": ["a.xtc", "b.xtc"], "weights": "w.npy"}} | common)
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump({"data": {"trajectories": "a.xtc", "weights": "w.npy"}} | common)
    )
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.data.weights == [tmp_path.resolve() / "w.npy"]
    elsewhere = load_recipe(tmp_path / "recipe.yaml", ["data.weights=/elsewhere/w.npy"])
    assert elsewhere.data.weights == [Path("/elsewhere/w.npy")]
    refuse_other_recipe(recipe, elsewhere)  # where the files are is free; what they hold is compared by hash


TILT = 0.75  # kT per nm of the bias -TILT x, which makes the shallower well the deeper one


@pytest.fixture(scope="module")
def biased():
    """6,000 exact samples (frames, 1, 3) of the double well with the bias, and the weights that take it out."""
    rng, x = np.random.default_rng(0), np.linspace(-3.6, 3.6, 20001)
    energy_kt = DOUBLE_WELL.energy(x, 0.0 * x) / KT_KJ_PER_MOL - TILT * x
    share = np.cumsum(np.exp(energy_kt.min() - energy_kt))
    found = np.zeros((6000, 1, 3), np.float32)
    found[:, 0, 0] = np.interp(rng.random(6000), share / share[-1], x)
    found[:, 0, 1] = rng.normal(size=6000)  # d = 1 kT
    return found, np.exp(-TILT * found[:, 0, 0])


def trained_density(folder, frames, weights):
    """ExactDensity of the energy that a short training makes of the frames."""
    folder.mkdir()
    np.savez(folder / "train.npz", positions=frames, weights=weights)
    data = {"trajectories": str(folder / "train.npz"), "length_unit": "nm"}
    data["beads"] = [{"name": "P", "residue": "PAR", "mass_da": 1.0}]
    if weights is not None:
        data["weights"] = data["trajectories"]
    recipe = parse_recipe(
        {
            "data": data,
            "temperature_k": 300,
            "output": str(folder / "run"),
            "model": {"kind": "mlp", "width": 64, "layers": 2},
            "optimizer": {"batch_size": 256, "warmup_steps": 50, "learning_rate": 4e-3, "ema_decay": 0.99},
            "run": {"max_steps": 900, "threads": 1, "accelerator": "cpu", "compile": False},
        }
    )
    checkpoint = read_checkpoint(train(recipe, show_progress=False))
    model, normalisation = checkpoint.model(), checkpoint.record.normalisation

    def energy_kt(x, y):
        points = torch.zeros(len(x), 1, 3)
        points[:, 0, 0], points[:, 0, 1] = torch.from_numpy(x), torch.from_numpy(y)
        with torch.no_grad():
            return model(normalisation.from_nm(points), torch.full((1,), 1e-5)).double().numpy()

    edges = tuple(np.linspace(low, high, 65) for low, high in DOUBLE_WELL.box_nm)
    return density_of_energy(energy_kt, edges, DOUBLE_WELL.in_basin, points_per_bin=2)


def test_biased_double_well_gives_the_unbiased_force_field(biased, tmp_path):
    exact = ExactDensity.of(DOUBLE_WELL)
    frames, weights = biased
    with_weights = trained_density(tmp_path / "weighted", frames, weights)
    without = trained_density(tmp_path / "plain", frames, None)
    # By the bias the wells change places: 0.99 kT becomes -2.
    assert with_weights.free_energy_kt == pytest.approx(exact.free_energy_kt, abs=0.25)
    assert without.free_energy_kt == pytest.approx(free_energy_kt(biased_weight()), abs=0.4)
    along_x = exact.probabilities.sum(1)
    apart = [0.5 * np.abs(one.probabilities.sum(1) - along_x).sum() for one in (with_weights, without)]
    assert apart[0] < 0.15 and apart[1] > 0.5  # part of the density along x that is elsewhere


def biased_weight():
    x = np.linspace(-6, 6, 20001)
    energy_kt = DOUBLE_WELL.energy(x, 0.0 * x) / KT_KJ_PER_MOL - TILT * x
    weight = np.exp(energy_kt.min() - energy_kt)
    return float(weight[DOUBLE_WELL.in_basin(x, 0.0 * x)].sum() / weight.sum())


def test_frames_drawn_by_weight_give_a_less_noisy_gradient_than_weighted_losses(frames):
    """The same mean, and a variance smaller by the frames over those that count (Kish): that of the denoising loss's
    slope in the one parameter c of a score -c x.
    """
    weights = torch.rand(400, generator=torch.Generator().manual_seed(4), dtype=torch.float64) ** 3
    times = TimeSampler(0.05, 0.3, 1e-3)
    by_weight = NoisedBatches(frames.double(), times, 64, 0, frame_weights=weights)
    alike = NoisedBatches(frames.double(), times, 64, 1)
    own = weights / weights.mean()

    def slopes(batch, factor):
        s = sigma(batch.t)[:, None, None]
        return (factor * (2.0 * (batch.z - s * batch.x) * -s * batch.x).sum((1, 2))).mean()

    drawn, weighted = [], []
    chosen_of = alike.any_frames
    for step in range(800):
        drawn.append(slopes(by_weight.batch(step)[0], 1.0))
        picked = []
        alike.any_frames = lambda generator, picked=picked: picked.append(chosen_of(generator)) or picked[-1]
        batch = alike.batch(step)[0]
        factor = own[picked[0]].repeat(2)
        weighted.append(slopes(batch, factor))
    drawn, weighted = torch.stack(drawn), torch.stack(weighted)
    error = ((drawn.var() + weighted.var()) / 800).sqrt()
    assert abs(drawn.mean() - weighted.mean()) < 4 * error
    kish = 400 * float(weights.square().sum() / weights.sum() ** 2)
    assert weighted.var() / drawn.var() > 0.8 * kish > 1.5
