"""The graph transformer from recipe to OpenMM: a few steps of training, export, and the energy that OpenMM computes."""

import numpy as np
import pytest
import torch

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.export import export
from fpforce.training.train import train
from fpforce.trajectories.bead_frames import read_bead_frames

KT_300 = 8.314462618e-3 * 300.0  # CODATA gas constant, kJ/mol/K
SMALL = ("model.kind=graph_transformer", "model.head_width=8")


# Displacement edges must learn orientations and chirality first, before a model may be exported.
LEARNED = (
    "run.max_steps=400",
    "optimizer.learning_rate=1e-2",
    "diffusion.t_max=0.3",
    "loss.fokker_planck_weight=0",
    "run.seed=9",
    "data.held_out=0",  # so short a training needs every frame
)


RADIUS = ("model.cutoff_nm=0.4", "model.neighbours=radius")


@pytest.fixture(scope="module", params=[(), ("model.cutoff_nm=0.4",), ("model.edges=displacement",), RADIUS], ids=str)
def trained(request, small_recipe, tmp_path_factory):
    """(checkpoint, model.pt) of 100 steps, or of as many as displacement edges need."""
    length = LEARNED if request.param == ("model.edges=displacement",) else ("run.max_steps=100",)
    recipe = small_recipe(
        tmp_path_factory.mktemp("graph"),
        *SMALL,
        *request.param,
        *length,
        "optimizer.warmup_steps=10",
        "optimizer.ema_decay=0.9",
    )
    checkpoint = train(recipe, show_progress=False)
    path = checkpoint.with_name("model.pt")
    export(checkpoint, path)
    return read_checkpoint(checkpoint), fpforce.load(path)


def test_openmm_computes_the_checkpoints_energy_and_forces(trained, alanine):
    import openmm

    checkpoint, field = trained
    reference = read_bead_frames(
        alanine / "reference.xtc", alanine / "alanine_dipeptide.pdb", table=field.beads, stride=7000
    )
    r = torch.tensor(reference.positions_nm[:3].astype(np.float64), requires_grad=True)
    energy = checkpoint.model().double()
    t = torch.tensor([field.t_eval], dtype=torch.float64)
    u = KT_300 * energy((r - r.mean(dim=1, keepdim=True)) / field.scale_nm, t)
    (slope,) = torch.autograd.grad(u.sum(), r)
    system = fpforce.make_system(field, backend="torchforce")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    for frame, expected, force in zip(r.detach().numpy(), u.tolist(), -slope.numpy(), strict=True):
        context.setPositions(frame)
        state = context.getState(energy=True, forces=True)
        # The program runs in single precision; see test_export.
        assert state.getPotentialEnergy()._value == pytest.approx(expected, abs=5e-4 * KT_300)
        found = np.array(state.getForces(asNumpy=True)._value)
        np.testing.assert_allclose(found, force, atol=1e-4 * np.sqrt(np.square(force).mean()))


def test_file_records_what_another_implementation_needs(trained):
    _, field = trained
    model = field.metadata["model"]
    assert model["kind"] == "graph_transformer"
    assert model["vocabulary"] == {"names": ["C", "CA", "N"], "residues": ["ACE", "ALA", "NME"]}
    cutoff_nm = model["settings"]["cutoff_nm"]
    assert model["constants"].pop("cutoff") == pytest.approx(0.0 if cutoff_nm is None else cutoff_nm / field.scale_nm)
    frames = {"smooth_length": 0.2, "noise_length": 1.0, "smooth_area": 0.45, "noise_area": 2.0}
    assert model["constants"] == (frames if model["settings"]["edges"] == "frames" else {})


def test_dependence_on_orientation_is_recorded_and_there_for_displacements_only(trained):
    _, field = trained
    verification = field.metadata["verification"]
    if field.metadata["model"]["settings"]["edges"] == "frames":
        assert verification["invariance_error_kt"] < 1e-6
    else:
        assert 1e-3 < verification["invariance_error_kt"] < 100
    assert verification["mirror_difference_kt"] > 1e-3


def test_displacement_model_that_has_not_learned_chirality_is_refused(small_recipe, tmp_path):
    # One step: the energy of a mirror image differs from the frame's as little as that of a rotated copy.
    recipe = small_recipe(tmp_path, *SMALL, "model.edges=displacement", "run.max_steps=1", "run.log_every_steps=1")
    with pytest.raises(InputError, match="has not learned chirality"):
        export(train(recipe, show_progress=False), tmp_path / "model.pt")
