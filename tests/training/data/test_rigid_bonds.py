"""Bonds that constraints held: which they are, and the noise that makes a force field of them usable."""

import logging
import math

import numpy as np
import pytest
import torch

from fpforce.molecule.beads import Bead, BeadTable
from fpforce.simulation.time_step import time_step_fs
from fpforce.training.data.rigid_bonds import NOISE_NM, narrow_bonds, time_that_widens, told_of
from fpforce.training.diffusion import alpha, sigma_squared
from fpforce.training.recipe.plan import settled
from fpforce.training.recipe.read import parse_recipe
from fpforce.training.recipe.sections import T_EVAL


def recipe(**diffusion):
    given = {"data": {"trajectories": ["unread.xtc"]}, "temperature_k": 300, "output": "unused"}
    return parse_recipe(given | {"diffusion": diffusion})


def test_noise_of_the_time_is_the_noise_that_is_wanted():
    for scale_nm in (0.1, 0.4, 1.5):
        t = torch.tensor(time_that_widens(scale_nm), dtype=torch.float64)
        # x = alpha r / scale, so that noise of sigma in x is noise of sigma scale / alpha in r
        noise_nm = float(sigma_squared(t).sqrt() * scale_nm / alpha(t))
        assert noise_nm == pytest.approx(NOISE_NM, rel=1e-3)


def test_a_time_that_the_recipe_leaves_open_is_that_of_the_data():
    assert settled(recipe(), 30, t_eval=2e-4).diffusion.t_eval == 2e-4
    assert settled(recipe(), 30).diffusion.t_eval == T_EVAL == recipe().diffusion.evaluated_at
    assert settled(recipe(t_eval=3e-5), 30, t_eval=2e-4).diffusion.t_eval == 3e-5
    begun = settled(recipe(), 30, t_eval=2e-4)
    assert settled(recipe(), 30, begun, t_eval=1e-3).diffusion.t_eval == 2e-4


def test_an_expert_that_ends_before_the_time_keeps_the_usual_one():
    given = {"data": {"trajectories": ["unread.xtc"]}, "temperature_k": 300, "output": "unused"}
    short = parse_recipe(given | {"experts": [{"t_max": 1e-4}, {"t_max": 1.0}]})
    assert settled(short, 30, t_eval=2e-4).diffusion.t_eval == T_EVAL


def chain(width_nm, frames=2000):
    """Three beads of a backbone: a constrained bond, and one of the given width."""
    names = (("N", 14.0), ("CA", 13.0), ("C", 12.0))
    beads = tuple(Bead(name, "ALA", 0, 1, "A", name[0], mass, (k,), (name,)) for k, (name, mass) in enumerate(names))
    rng = np.random.default_rng(0)
    x = np.zeros((frames, 3, 3))
    x[:, 1, 0] = 0.146 + 3e-4 * rng.standard_normal(frames)
    x[:, 2, 0] = x[:, 1, 0] + 0.153 + width_nm * rng.standard_normal(frames)
    return BeadTable(beads, ((0, 1), (1, 2)), "made up"), x


def test_bonds_are_named_and_measured():
    beads, x = chain(3e-3)
    (name, width_nm), *others = narrow_bonds(beads, torch.from_numpy(x)).items()
    assert not others and "N" in name and width_nm == pytest.approx(3e-4, rel=0.05)
    assert len(narrow_bonds(beads, torch.from_numpy(chain(5e-4)[1]))) == 2


def test_what_is_said_of_them():
    one, two = {"ALA1-N to ALA1-CA": 3e-4}, {"ALA1-N to ALA1-CA": 3e-4, "ALA1-CA to ALA1-C": 5e-4}
    widened = told_of(one, 2.4e-4, 2.4e-4)
    assert widened.startswith("bond ALA1-N to ALA1-CA varies by 3.0e-04 nm only, as if constrained: the ")
    assert "diffusion.t_eval=0.00024" in widened and "--timestep-fs" not in widened
    kept = told_of(two, 1e-5, 2.4e-4)
    assert kept.startswith("2 bonds, first ALA1-N to ALA1-CA, vary by 3.0e-04 nm only, as if constrained")
    assert "train anew with diffusion.t_eval=0.00024" in kept and "--timestep-fs" in kept
    of_many = told_of(one, 1e-5, None)
    assert "t_eval" not in of_many and "--timestep-fs" in of_many


def test_a_large_molecule_has_noise_enough_at_the_usual_time():
    assert time_that_widens(4.0) == T_EVAL
    recipe_with = recipe(t_min=1e-5)
    assert settled(recipe_with, 90, t_eval=time_that_widens(4.0)).diffusion.smallest == 1e-5


def test_noise_makes_a_longer_time_step():
    beads, x = chain(3e-3)
    assert time_step_fs(beads, x, 300.0) == 0.5
    assert time_step_fs(beads, x, 300.0, noise_nm=NOISE_NM) == 4.0


def test_a_force_field_of_constrained_bonds_has_them_as_wide_as_said(small_recipe, alanine, tmp_path, caplog):
    """Alanine dipeptide all of whose bonds between beads are fixed at their means, by 2,000 steps of 4 fs. Without the
    noise it breaks within some of these.
    """
    import mdtraj

    import fpforce
    from fpforce.analysis.geometry import ThinnedFrames
    from fpforce.simulation.simulate import SimulationSettings, read_simulation, simulate
    from fpforce.training.export import export
    from fpforce.training.train import train

    trajectory = mdtraj.load(alanine / "train.xtc", top=alanine / "alanine_dipeptide.pdb", stride=5)
    chosen = [
        trajectory.topology.select(f"resid {r} and name {n}")[0]
        for r, n in ((0, "C"), (1, "N"), (1, "CA"), (1, "C"), (2, "N"))
    ]
    x = trajectory.xyz[:, chosen].astype(float)
    bonds = np.diff(x, axis=1)
    lengths = np.linalg.norm(bonds, axis=-1, keepdims=True)
    x[:, 1:] = x[:, :1] + np.cumsum(bonds / lengths * lengths.mean(0), axis=1)
    trajectory.xyz[:, chosen] = x
    trajectory.save_dcd(tmp_path / "rigid.dcd")
    with caplog.at_level(logging.WARNING, logger="fpforce"):
        recipe = small_recipe(
            tmp_path / "run", "run.max_steps=300", "data.stride=1", f"data.trajectories={tmp_path / 'rigid.dcd'}"
        )
        checkpoint = train(recipe, show_progress=False)
    (said,) = [one.getMessage() for one in caplog.records if "as if constrained" in one.getMessage()]
    assert said.startswith("4 bonds, first ACE1-C to ALA2-N, vary by") and "with a noise of 0.002 nm" in said
    export(checkpoint, tmp_path / "model.pt")
    field = fpforce.load(tmp_path / "model.pt")
    assert field.noise_nm == pytest.approx(NOISE_NM, rel=1e-3)
    settings = SimulationSettings(
        steps=2000, replicas=32, timestep_fs=4.0, report_interval_ps=0.4, start=x[0], seed=1, minimise=True
    )
    simulate(field, tmp_path / "simulated.xtc", settings)
    frames = read_simulation(tmp_path / "simulated.xtc", field.beads)
    assert frames.valid.all()
    kept = frames.positions_nm[:, 5:].reshape(-1, 5, 3)
    blurred = ThinnedFrames(x, kept, (x, x)).blurred(field.noise_nm, 0)
    for k in range(4):
        found, wanted = (np.linalg.norm(y[:, k + 1] - y[:, k], axis=-1) for y in (kept, blurred.reference))
        assert found.std() == pytest.approx(wanted.std(), rel=0.2)
        assert found.std() == pytest.approx(math.sqrt(2.0) * NOISE_NM, rel=0.2)
        assert abs(found.mean() - wanted.mean()) < 1e-3
