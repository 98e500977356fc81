"""The plugin and TorchForce simulate one distribution: phi/psi of independent runs differ no more than those of one
backend do.

benchmarks/physics/backend_statistics.py does the same for the demo's force field, for longer.
"""

import numpy as np
import openmm
import pytest

import fpforce
from fpforce.analysis.comparison import Floor, compare
from fpforce.analysis.divergences import bin_indices
from fpforce.analysis.planes import choose_planes
from fpforce.analysis.sample import Sample
from fpforce.training.export import export
from fpforce.training.train import train
from fpforce.trajectories.bead_frames import read_bead_frames

REPLICAS = 128  # from either basin
STEPS, SAVE_EVERY = 20_000, 100
TEMPERATURE_K, TIMESTEP_PS = 300.0, 0.002


@pytest.fixture(scope="module")
def trained_model(small_recipe, tmp_path_factory):
    """model.pt whose network has trained long enough to matter in phi and psi."""
    output = tmp_path_factory.mktemp("trained")
    settings = ("run.max_steps=2000", "optimizer.warmup_steps=10", "loss.fokker_planck_weight=0")
    export(train(small_recipe(output, *settings), show_progress=False), output / "model.pt")
    return output / "model.pt"


@pytest.fixture(scope="module")
def sample(trained_model, alanine):
    """sample(backend, seed, scale=1) -> the phi/psi histogram bins of the second half of a run from both basins, a
    Sample.
    """
    field = fpforce.load(trained_model)
    starts = [
        read_bead_frames(
            alanine / f"start_{basin}.pdb", alanine / f"start_{basin}.pdb", table=field.beads
        ).positions_nm[0]
        for basin in ("negative", "positive")
    ]
    positions = np.repeat(starts, REPLICAS, axis=0)

    def run(backend, seed, scale=1.0):
        system = fpforce.make_system(field, backend=backend, replicas=len(positions), threads=1)
        integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, 1.0, TIMESTEP_PS)
        integrator.setRandomNumberSeed(seed)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(positions.reshape(-1, 3))
        context.setVelocitiesToTemperature(TEMPERATURE_K, seed)
        if scale != 1.0:
            context.setParameter("fpforce_scale", scale)
        frames = []
        for step in range(0, STEPS, SAVE_EVERY):
            integrator.step(SAVE_EVERY)
            if step >= STEPS // 2:
                frames.append(
                    context.getState(positions=True).getPositions(asNumpy=True)._value.reshape(positions.shape)
                )
        by_replica = np.array(frames).swapaxes(0, 1)
        assert np.isfinite(by_replica).all()
        plane, *_ = choose_planes(field.beads, [by_replica[0]])
        bins = bin_indices(plane.coordinates(by_replica.reshape(-1, *positions.shape[1:])), plane.edges)
        return Sample.from_replicas(bins[:, None], np.repeat(np.arange(len(positions)), len(frames)))

    return run


@pytest.mark.long
def test_native_and_torchforce_have_one_distribution_of_phi_and_psi(sample):
    # All runs start alike, so at any time their laws are equal, whether or not the basins have come into equilibrium.
    native, again = sample("native", 1), sample("native", 2)
    floor = Floor("training", len(native), "native against native")

    def compared(other):
        result, *_ = compare(other, native, again, floor, floor.frames, np.random.default_rng(0))
        return result.excess_js, result.excess_pmf_error

    for excess in compared(sample("torchforce", 3)):
        assert excess.value < 3 * excess.standard_error
    # Without the network the two figures rise above the floor, so they would show a wrong force.
    for excess in compared(sample("native", 4, scale=0.0)):
        assert excess.value > 3 * excess.standard_error
