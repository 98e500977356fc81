"""What model.pt says of its support, for every kind of model that an export can be of."""

import numpy as np
import pytest
import torch

import fpforce
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.diffusion import sigma_squared
from fpforce.training.export import export
from fpforce.training.modelfile.support import Gauge, _asked, support_of_many, support_of_one
from fpforce.training.modelfile.write import physical_energy, write_force_field
from fpforce.training.train import train


def test_a_checkpoint_keeps_frames_of_both_kinds_and_their_ranges(small_checkpoint):
    kept = read_checkpoint(small_checkpoint).record.support
    assert kept["frames"].shape == (1000, 5, 3) and len(kept["held_out"]) >= 100
    assert (kept["low"] < kept["high"]).all() and kept["low"].shape == (10,)


def test_a_checkpoint_of_an_earlier_version_is_exported_without(small_checkpoint, tmp_path, caplog):
    checkpoint = read_checkpoint(small_checkpoint)
    checkpoint.record.support = None
    with caplog.at_level("INFO", logger="fpforce"):
        write_force_field(checkpoint, tmp_path / "model.pt", 1e-5)
    assert "does not say which frames the model has seen" in caplog.text
    assert "support" not in fpforce.load(tmp_path / "model.pt").metadata


def test_without_frames_held_out_the_training_ones_are_taken_and_named(small_checkpoint, tmp_path):
    checkpoint = read_checkpoint(small_checkpoint)
    checkpoint.record.support["held_out"] = None
    write_force_field(checkpoint, tmp_path / "model.pt", 1e-5)
    assert fpforce.load(tmp_path / "model.pt").metadata["support"]["of"] == "training frames"


def test_the_calibrated_and_the_rebuilt_network_measure_alike(small_checkpoint, small_model):
    checkpoint = read_checkpoint(small_checkpoint)
    field, kept = fpforce.load(small_model), checkpoint.record.support
    frames_nm = checkpoint.record.normalisation.to_nm(kept["held_out"].double()).numpy()
    found = fpforce.support(field, frames_nm)
    assert found.share == pytest.approx(0.01, abs=1.5 / len(frames_nm))  # of the very frames that the edge is from
    assert set(found.names) == {
        "pair distances",
        *(f"{what} at {variance}" for what in ("energy", "last layer") for variance in (0.01, 0.1)),
    }


@pytest.mark.parametrize(
    ("changes", "measures"),
    [
        (("model={kind: graph_transformer, width: 16, layers: 1}",), 5),
        (("experts=[{t_max: 0.001, max_steps: 20}, {t_max: 1.0, max_steps: 20}]",), 3),
        (("experts=[{t_max: 1.0, max_steps: 20, conservative: false}]",), 1),
    ],
    ids=["graph_transformer", "an expert of small t", "a score"],
)
def test_other_models_say_what_they_can(small_recipe, tmp_path, changes, measures):
    path = train(small_recipe(tmp_path, "run.max_steps=20", *changes), show_progress=False)
    checkpoint = read_checkpoint(path)
    model = physical_energy(checkpoint, 1e-5)
    found = support_of_one(model, checkpoint.record, checkpoint.plans[0].t_max)
    assert found is not None and len(found.edges.names) == measures
    largest = float(found.gauge.variances.max())
    assert largest <= float(sigma_squared(torch.tensor(checkpoint.plans[0].t_max, dtype=torch.float64)))


def test_molecules_of_several_lengths_share_a_gauge_without_energies(small_checkpoint):
    """The energy of each molecule has a zero of its own, and so have the ranges of its distances."""
    checkpoint = read_checkpoint(small_checkpoint)
    model, kept = physical_energy(checkpoint, 1e-5), checkpoint.record.support
    frames_nm = checkpoint.record.normalisation.to_nm(kept["frames"].double()).numpy()
    ranges = tuple(checkpoint.record.scale_nm * kept[name].numpy() for name in ("low", "high"))
    found = support_of_many([model, model], [frames_nm[:400], frames_nm[400:]], [ranges, ranges], 1.0)
    assert found is not None and not found.gauge.energies and not len(found.gauge.low_nm)
    assert set(found.edges.names) == {"pair distances", "last layer at 0.01", "last layer at 0.1"}


def test_the_last_layer_measures_the_spread_of_an_ensemble(small_checkpoint):
    """The Mahalanobis distance is the standard deviation of w.h over last layers w drawn with the covariance C^-1."""
    checkpoint = read_checkpoint(small_checkpoint)
    model, kept = physical_energy(checkpoint, 1e-5), checkpoint.record.support
    frames_nm = checkpoint.record.normalisation.to_nm(kept["frames"].double()).numpy()
    ranges = (np.zeros(0), np.zeros(0))
    gauge = Gauge.fit([model], [frames_nm], ranges, 1.0, True)
    h = (_asked(model, frames_nm[:50], 0.1)[1] - torch.from_numpy(gauge.mean[1])).numpy()
    draws = np.random.default_rng(0).normal(size=(20_000, h.shape[1])) @ gauge.whitening[1].astype(float).T
    spread = (draws @ h.T).std(axis=0) / np.sqrt(h.shape[1])
    np.testing.assert_allclose(gauge.measures(model, frames_nm[:50])["last layer at 0.1"], spread, rtol=0.03)


def test_export_of_the_command_says_it(small_checkpoint, tmp_path):
    export(small_checkpoint, tmp_path / "model.pt")
    record = fpforce.load(tmp_path / "model.pt").metadata["support"]
    assert record["flagged"] == 0.01 and record["frames"] >= 100
