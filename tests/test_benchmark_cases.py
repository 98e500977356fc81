"""Every script in benchmarks/ does a tiny case of what it does at length, so that a renamed method does not wait for
hours of work.

Files go to a temporary folder; no figure is judged.
"""

import argparse
import dataclasses
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.diffusion import alpha, sigma_squared
from fpforce.training.recipe.read import load_recipe
from fpforce.training.train import train

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "alanine_dipeptide"
SHORT = argparse.Namespace(rounds=1, steps=1, seconds=0.002, threads=1)


@pytest.fixture
def script(monkeypatch, tmp_path):
    """script(name) -> the module benchmarks/NAME.py, whose runs and results are in a temporary folder."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def load(name):
        module = importlib.import_module(name)
        for constant, folder in (("RUNS", "runs"), ("FOLDER", "models"), ("DOCS", "docs")):
            if hasattr(module, constant):
                monkeypatch.setattr(module, constant, tmp_path / folder)
        (tmp_path / "docs" / "results").mkdir(parents=True, exist_ok=True)
        return module

    return load


@pytest.mark.parametrize("work", ["force", "denoising", "fokker_planck"])
@pytest.mark.parametrize("kind", ["dense", "radius"])
def test_scaling(script, work, kind):
    if kind == "radius":
        pytest.importorskip("torch_cluster")
    script("scaling").task(work, kind, 5)()


def test_training_cost_and_gradient_noise(script, alanine_set, monkeypatch):
    cost, noise = script("training_cost"), script("gradient_noise")
    monkeypatch.setattr(cost, "HELD_OUT", 4)
    small = ("model.width=8", "model.layers=1", "optimizer.batch_size=32")
    for variant in (cost.SECOND, cost.FOUR):
        found = cost._train(
            dataclasses.replace(variant, overrides=(*variant.overrides, *small)), 0, 2, alanine_set, alanine_set.frames
        )
        assert found["gap_kt"] > 0.0 and len(found["residual"]["t"]) == len(found["residual"]["residual"])
    for kind, fraction in noise.WAYS.values():
        module = kind(
            load_recipe(EXAMPLE / "recipe.yaml", [f"loss.fokker_planck_fraction={fraction}", *small]), alanine_set
        )
        module.begin(0)
        assert noise._draw(module, 0)[1].isfinite().all()


def test_forces_blending(script):
    blending = script("forces_blending")
    training_set, plain, best = blending._read(EXAMPLE / "forces_excerpt.npz", EXAMPLE / "forces_excerpt.pdb", 2.494)
    recipe = load_recipe(EXAMPLE / "recipe.yaml", ["run.max_steps=1", "model.width=8", "model.layers=1"])
    models = [
        blending._train(recipe, training_set, forces, loss)
        for _, forces, loss in blending._variants(plain.values, best.values)
    ]
    assert blending._force_error(models[-1], training_set.frames, best.values) > 0.0
    assert blending._denoising(models[-1], training_set.frames, 0.1) > 0.0
    assert len(blending._target_spread(models[-1], training_set.frames, plain.values, best.values)) == len(
        blending.TIMES
    )


def test_frozen_models_their_speed_and_memory(script):
    frozen, speed, memory = script("frozen_models"), script("langevin_speed"), script("memory")
    model = frozen.frozen_model("internal", 5, steps=100, width=8, layers=1)
    import fpforce
    from fpforce.system import backends

    steppers = {name: speed._stepper(fpforce.load(model), name, 2) for name in (*backends.names(), None)}
    assert all(rate > 0.0 for rate in speed._rates(steppers, SHORT).values())
    assert all(rate > 0.0 for rate in speed._matrix_products(4, 8, SHORT).values())
    assert min(memory.model_bytes(model)) > 0 and memory.measure_context(model, 2, with_force=True) > 0


def test_backend_statistics_long_run_and_calibration_stiffness(
    script, small_checkpoint, small_model, tmp_path, monkeypatch, capsys
):
    from fpforce.analysis import evaluate
    from fpforce.simulation.simulate import SimulationSettings, simulate

    statistics, long_run, stiffness = script("backend_statistics"), script("long_run"), script("calibration_stiffness")
    statistics.RUNS.mkdir()
    for name in statistics.SAMPLES:
        for number, basin in enumerate(statistics.BASINS):
            simulate(
                small_model,
                statistics._path(name, number),
                SimulationSettings(
                    steps=40,
                    replicas=64,
                    timestep_fs=1.0,
                    report_interval_ps=0.002,
                    start=EXAMPLE / f"start_{basin}.pdb",
                ),
            )
    import fpforce

    found = statistics._compare(fpforce.load(small_model).beads)
    assert found["frames_compared"] == 2 * 64 * 10
    statistics._table(
        found | {"replicas": 64, "steps": 40, "timestep_fs": 1.0, "report_interval_ps": 0.002, "hardware": ""}
    )

    outputs = [statistics._path("native", number) for number in range(2)]
    report = evaluate(
        small_model, EXAMPLE / "reference.xtc", outputs, topology=EXAMPLE / "alanine_dipeptide.pdb", output=tmp_path
    )
    energies = long_run.energies_kt(small_model, outputs[:1])
    assert energies.shape == (64 * 20,) and np.isfinite(energies).all()  # 40 steps, a frame every second
    assert "replica-steps" in long_run._summary(report.figures, argparse.Namespace(replicas=64, steps=40), energies)

    for path in (
        small_checkpoint,
        small_model,
        *(Path(f"{output}{suffix}") for output in outputs for suffix in ("", ".json", ".pdb")),
    ):
        shutil.copy(path, tmp_path / path.name.replace("native_", ""))
    for basin in statistics.BASINS:
        record = tmp_path / f"from_{basin}.xtc.json"
        record.write_text(record.read_text().replace("native_from", "from"))
    monkeypatch.setattr(stiffness, "FRAMES", 20)
    monkeypatch.setattr("sys.argv", ["calibration_stiffness.py", str(tmp_path)])
    monkeypatch.setattr(stiffness.last_layer, "STIFFNESS", stiffness.last_layer.STIFFNESS)  # which the script changes
    stiffness.main()
    assert capsys.readouterr().out.count("%") >= len(stiffness.STIFFNESSES)


def test_row_of_the_alanine_tables(script, small_checkpoint, tmp_path, monkeypatch):
    rows, tables = script("rows"), script("studies")
    monkeypatch.setattr(rows, "trained", lambda folder, row: small_checkpoint)
    folder = tmp_path / "row"
    folder.mkdir()
    rows.run(folder, rows.Row(samples=600, solver_steps=10, replicas=4, picoseconds=2.0, timestep_fs=1.0))
    row = {"name": "tiny"} | json.loads((folder / "row.json").read_text())
    assert row["simulation"]["frames_compared"] < 1000 and row["simulation"]["excess_js"] is None
    text = tables._markdown({"steps": 1, "rows": [row]})
    assert text.splitlines()[-1].startswith("| tiny | 0 |")


def test_handedness(script, small_checkpoint, alanine_set, monkeypatch):
    """The exact log odds are those of an average over a million random rotations."""
    import torch

    handedness = script("handedness")
    data = alanine_set.frames[:1].double()
    x = data + 0.5 * torch.randn(3, *data.shape[1:], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x -= x.mean(1, keepdim=True)
    t = 0.15
    signal, noise = alpha(torch.tensor(t)).item(), sigma_squared(torch.tensor(t)).item()
    quaternions = np.random.default_rng(0).normal(size=(1_000_000, 4))
    rotations = torch.from_numpy(Rotation.from_quat(quaternions).as_matrix())

    def log_density(frame):
        overlap = torch.einsum("nab,ab->n", rotations, frame.T @ data[0])
        return torch.logsumexp(signal / noise * overlap, 0)

    brute = [log_density(one) - log_density(one * torch.tensor([-1.0, 1.0, 1.0])) for one in x]
    np.testing.assert_allclose(handedness.exact_log_odds(x, data, t), torch.stack(brute), atol=0.05)
    model = read_checkpoint(small_checkpoint).model()
    rows = handedness._compare({"small": model}, x, data, t)
    assert "| small |" in handedness._table(rows, argparse.Namespace(frames=3, data=1, steps=1))


def test_muller_brown(script, tmp_path, monkeypatch):
    muller_brown = script("muller_brown")
    recipe = load_recipe(
        muller_brown._recipe("diffusion"),
        [f"output={tmp_path / 'trained'}", "run.max_steps=30", "run.threads=1", "run.accelerator=cpu"],
    )
    trained = train(recipe, show_progress=False)
    monkeypatch.setattr(muller_brown, "_trained", lambda *_: trained)
    monkeypatch.setattr(muller_brown, "_folder", lambda variant, seed: tmp_path)
    monkeypatch.setattr(muller_brown, "ROOT", tmp_path)
    for name, value in (("SAMPLES", 100), ("REPLICAS", 4), ("INTERVAL_PS", 0.1), ("SCANNED_TIMES", (1e-5,))):
        monkeypatch.setattr(muller_brown, name, value)
    muller_brown.run("diffusion", 0, 1.0, 2.0)
    result = json.loads((tmp_path / "result.json").read_text())
    muller_brown._write([result], argparse.Namespace(fraction=1.0, picoseconds=2.0))
    assert "| diffusion | 0 |" in (tmp_path / "docs" / "results" / "muller_brown.md").read_text()
    assert (tmp_path / "docs" / "results" / "muller_brown.png").stat().st_size > 0


def test_two_gaussians(script, monkeypatch):
    two_gaussians = script("two_gaussians")
    for name, value in (("FRAMES", 2000), ("SAMPLES", 100)):
        monkeypatch.setattr(two_gaussians, name, value)
    two_gaussians._write_data()
    two_gaussians.run("t_max 1", 0, 20)
    result = json.loads((two_gaussians._folder("t_max 1", 0) / "result.json").read_text())
    assert np.isfinite(result["energy_kt"]) and result["steps"] == [20]


def test_reference_distribution_and_time_step(script, capsys):
    with pytest.raises(SystemExit) as done:
        script("reference_distribution").main([str(EXAMPLE / "train.xtc")])
    assert done.value.code in (0, None), capsys.readouterr()
    from fpforce.reference.peptide import build_peptide
    from fpforce.reference.protocol import FORCE_FIELD, load_force_field

    topology, positions_nm = build_peptide("A", load_force_field(FORCE_FIELD), 1, extended=True)
    step = script("reference_timestep")
    assert len(step.measure(topology, positions_nm, 4.0, 4.0, ns=0.004, drift_ps=0.4)) == 7


def test_training_of_a_row_shares_its_steps_out(script, tmp_path, monkeypatch):
    """What a row trains, but for the training."""
    rows = script("rows")
    monkeypatch.setattr("fpforce.training.train.train", lambda recipe, **_: recipe)
    recipe = rows.trained(tmp_path, rows.Row("recipes/both.yaml", steps=800))
    assert sum(expert.max_steps for expert in recipe.experts) == 800 and recipe.run.compile is True
