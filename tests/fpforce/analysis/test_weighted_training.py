"""A report whose training set has weights: it is judged by these, or says that it should be."""

import logging

import numpy as np
import pytest

import fpforce
from fpforce.analysis import evaluate
from fpforce.foundation.errors import InputError
from fpforce.simulation.files import SimulationFiles

FRAMES = 4000


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, model_writer, modules, alanine):
    """A model of five beads, its reference, and a simulation of reference frames; a training set in which frames of
    phi > 0 come up ten times as often as they should, and the weights that mend it.
    """
    from fpforce.analysis.observables import dihedrals

    folder = tmp_path_factory.mktemp("weighted")
    frames = fpforce.read_bead_frames(alanine / "train.xtc", alanine / "alanine_dipeptide.pdb", beads="backbone5")
    positions, rng = frames.positions_nm, np.random.default_rng(0)
    positive = dihedrals(positions, [(0, 1, 2, 3)])[:, 0] > 0.0
    share = np.where(positive, 10.0, 1.0)
    biased = rng.choice(len(positions), FRAMES, p=share / share.sum())
    np.savez(folder / "biased.npz", positions=positions[biased], weights=1.0 / share[biased])
    np.savez(folder / "reference.npz", positions=positions[rng.choice(len(positions), FRAMES)])
    model = model_writer(
        folder / "model.pt",
        modules(5, 20000.0, 0.15),
        frames.beads,
        positions[0].astype(float),
        training={"steps": 1, "seconds": 1.0, "device": "cpu", "weights": {"sources": ["biased.npz"]}},
    )
    field = fpforce.load(model)
    files = SimulationFiles(folder / "run.xtc", field.beads, 20, per_replica=False)
    files.start(positions[0])
    for k, frame in enumerate(positions[rng.choice(len(positions), 2000)].reshape(100, 20, 5, 3)):
        files.append(frame, 0.5 * k, k)
    files.save(
        {},
        {
            "replicas": 20,
            "trajectories": ["run.xtc"],
            "saved_times": 100,
            "failed": {},
            "frame_interval_ps": 0.5,
            "model_sha256": field.sha256,
            "start": {"positions_nm": positions[0].tolist()},
        },
    )
    files.close()
    return folder, float(positive.mean())


def report(folder, output, **options):
    return evaluate(folder / "model.pt", folder / "reference.npz", folder / "run.xtc", output=output, **options).figures


def test_weights_give_the_training_set_the_populations_of_the_reference(inputs, tmp_path, caplog):
    folder, share = inputs
    training = folder / "biased.npz"
    weighted = report(folder, tmp_path / "weighted", training=training, training_weights=training)
    with caplog.at_level(logging.WARNING, logger="fpforce"):
        plain = report(folder, tmp_path / "plain", training=training)
    assert "judged without: give training_weights (--training-weights)" in caplog.text
    exact = np.log((1.0 - share) / share)  # F(phi > 0) - F(phi < 0) in kT
    found, wrong = (one["training"]["free_energy_kt"]["value"] for one in (weighted, plain))
    assert found == pytest.approx(exact, abs=0.4) and wrong == pytest.approx(exact - np.log(10.0), abs=0.4)
    (file,) = weighted["provenance"]["training"]
    assert weighted["training"]["frames"] == round(file["weights"]["effective_frames"]) < FRAMES


def test_weights_without_a_training_set_are_refused(inputs, tmp_path):
    folder, _ = inputs
    with pytest.raises(InputError, match="training_weights are given without training trajectories"):
        report(folder, tmp_path, training_weights=folder / "biased.npz")
