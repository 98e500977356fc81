"""Training with forces, end to end: recipe, record, resumed runs, all kinds of experts, and that it helps."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

import fpforce
from fpforce.commands.info import describe
from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.force_scores import ForceScores
from fpforce.training.export import export
from fpforce.training.recipe.read import load_recipe
from fpforce.training.train import train
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.forces import ForceFiles

KT_300 = 300.0 * BOLTZMANN_KJ_PER_MOL_K


@pytest.fixture(scope="session")
def with_forces(small_recipe, alanine):
    """with_forces(output, *overrides) -> the small recipe on the excerpt, with its forces."""
    excerpt = alanine / "forces_excerpt.npz"

    def make(output, *overrides):
        return small_recipe(
            output,
            "data.stride=1",
            f"data.trajectories={excerpt}",
            "data.length_unit=nm",
            f"data.topology={alanine / 'forces_excerpt.pdb'}",
            f"data.forces={excerpt}",
            *overrides,
        )

    return make


def test_forces_are_on_record_from_the_log_to_the_force_field(with_forces, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="fpforce"):
        path = train(with_forces(tmp_path, "run.max_steps=150", "optimizer.warmup_steps=10"), show_progress=False)
    message = next(record.getMessage() for record in caplog.records if "blended" in record.getMessage())
    forces = read_checkpoint(path).record.forces
    ratios = forces["virial_ratios"]
    assert len(ratios) == 4 and all(0.85 < ratio < 1.15 for ratio in ratios)
    assert "forces_excerpt.npz" in message and f"{min(ratios):.3f} to {max(ratios):.3f}" in message
    export(path, tmp_path / "model.pt")
    force_field = fpforce.load(tmp_path / "model.pt")
    assert force_field.metadata["training"]["forces"] == forces
    assert f"{min(ratios):.3f} to {max(ratios):.3f}" in describe(force_field)


def test_run_without_forces_has_none_on_record(small_checkpoint, small_model):
    assert read_checkpoint(small_checkpoint).record.forces is None
    assert "virial" not in describe(fpforce.load(small_model))


@pytest.mark.parametrize(
    "overrides",
    [
        ["experts=[{t_max: 0.2, conservative: false}, {t_max: 1.0}]"],
        ["model={kind: graph_transformer, width: 16, layers: 1, edges: displacement}"],
        ["loss.fokker_planck_weight=0", "data.force_map=sum"],
    ],
)
def test_every_kind_of_expert_trains_with_forces(with_forces, tmp_path, overrides):
    record = read_checkpoint(train(with_forces(tmp_path, "run.max_steps=40", *overrides), show_progress=False)).record
    for expert in record.experts:
        assert expert.steps == 40 and np.isfinite(expert.curves["denoising"]).all()


def test_resume_with_other_forces_is_refused(with_forces, alanine, tmp_path):
    content = np.load(alanine / "forces_excerpt.npz")
    np.save(tmp_path / "forces.npy", content["forces"])
    given = f"data.forces={tmp_path / 'forces.npy'}"
    train(with_forces(tmp_path / "run", given, "run.max_steps=10"), show_progress=False)
    np.save(tmp_path / "forces.npy", 1.01 * content["forces"])
    with pytest.raises(InputError, match=": the forces of .*forces.npy changed; bring"):
        train(with_forces(tmp_path / "run", given, "run.max_steps=20"), resume=True, show_progress=False)


def test_forces_that_are_all_zero_are_refused(with_forces, alanine, tmp_path):
    with np.load(alanine / "forces_excerpt.npz") as content:
        np.save(tmp_path / "zero.npy", np.zeros_like(content["forces"]))
    with pytest.raises(InputError, match="zero.npy: all forces are zero; give those of the simulation"):
        train(with_forces(tmp_path / "run", f"data.forces={tmp_path / 'zero.npy'}"), show_progress=False)


@pytest.mark.parametrize(
    "override, parts",
    [
        ("data.force_unit=kcal/mol/angstrom", ["forces_excerpt.npz", "data.force_unit"]),
        ("temperature_k=500", ["temperature_k, which would have to be 0.5"]),
        ("data.constraints=none", ["keeps its length of 0.109 nm"]),
        ("data.beads=all", ["constraints join the beads"]),
    ],
)
def test_forces_that_do_not_fit_the_recipe_cost_no_earlier_run(with_forces, tmp_path, override, parts):
    before = train(with_forces(tmp_path, "run.max_steps=10"), show_progress=False).read_bytes()
    with pytest.raises(InputError) as caught:
        train(with_forces(tmp_path, override), overwrite=True, show_progress=False)
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert (tmp_path / "model.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    "override, parts",
    [
        ("data.forces=[a.npz, b.npz]", ["'data.forces'", "2 files for 1 trajectories"]),
        ("data.forces=5", ["'data.forces' = 5"]),
        ("data.force_unit=newton", ["'data.force_unit' = 'newton'", "'kJ/mol/nm'", "'kcal/mol/angstrom'"]),
        ("data.constraints=all", ["'data.constraints' = 'all'", "'h-bonds' or 'none'"]),
        ("data.force_map=best", ["'data.force_map' = 'best'", "'optimal' or 'sum'"]),
    ],
)
def test_wrong_entries_about_forces_are_named(with_forces, tmp_path, override, parts):
    with pytest.raises(InputError) as caught:
        with_forces(tmp_path, override)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_paths_and_pairs_in_a_recipe_are_read(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "data: {trajectories: [a.xtc, b.xtc], forces: [a.npy, /f/b.npz], constraints: "
        "[[6, 7], [8, 9]]}\ntemperature_k: 300\noutput: out\n"
    )
    data = load_recipe(tmp_path / "recipe.yaml").data
    assert data.forces == [tmp_path.resolve() / "a.npy", Path("/f/b.npz")]
    assert data.constraints == [(6, 7), (8, 9)]


def test_forces_bring_the_score_nearer_to_the_mean_force(with_forces, alanine, tmp_path):
    # Trained on every second frame, judged by the forces of the others at t_eval.
    content = np.load(alanine / "forces_excerpt.npz")
    for name, part in (("even", slice(None, None, 2)), ("odd", slice(1, None, 2))):
        np.savez(tmp_path / f"{name}.npz", **{key: content[key][part] for key in ("positions", "forces")})
    files = ForceFiles(paths=(tmp_path / "odd.npz",), optimal=True)
    held_out = read_bead_frames(
        tmp_path / "odd.npz", alanine / "forces_excerpt.pdb", beads="backbone5", length_unit="nm", forces=files
    )
    errors = {}
    for name, forces in (("without", "null"), ("with", tmp_path / "even.npz")):
        recipe = with_forces(
            tmp_path / name,
            f"data.trajectories={tmp_path / 'even.npz'}",
            f"data.forces={forces}",
            "loss.fokker_planck_weight=0",
            "run.max_steps=400",
            "optimizer.warmup_steps=20",
        )
        checkpoint = read_checkpoint(train(recipe, show_progress=False))
        frames = TrainingSet.of(held_out, checkpoint.record.normalisation).frames
        scores = ForceScores.of(held_out, checkpoint.record.scale_nm, KT_300).values
        score = checkpoint.model().score(frames, torch.tensor([recipe.diffusion.evaluated_at]))
        errors[name] = float((score - scores).square().mean() / scores.square().mean())
    assert errors["with"] < 0.9 * errors["without"], errors
