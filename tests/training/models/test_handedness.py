"""Independent samples of a molecule with a mapped chiral centre have its handedness, from an energy and from a score.

Noise at t = 1 has no handedness: every expert on the way down must break the mirror symmetry where the data do.
"""

import numpy as np
import pytest

from fpforce.training.recipe.read import load_recipe
from fpforce.training.sample import SampleSettings, sample
from fpforce.training.train import train

BEADS = "(resname ALA and name N CA CB C) or (resname ACE and name C) or (resname NME and name N)"


@pytest.mark.long
@pytest.mark.parametrize(
    "experts",
    [
        "[]",
        "[{t_max: 0.1}, {t_max: 1, conservative: false}]",
        "[{t_max: 1, conservative: false}]",
    ],
    ids=["energy", "energy below score", "score"],
)
def test_nearly_all_samples_are_l(alanine, tmp_path, experts):
    import mdtraj

    recipe = load_recipe(
        alanine / "recipe.yaml",
        [
            f"data.beads={BEADS}",
            f"experts={experts}",
            "run.max_steps=3000",
            "calibration.rounds=0",  # samples do not see it
            "run.max_minutes=null",
            "optimizer.batch_size=256",
            "run.threads=1",
            "run.accelerator=cpu",
            f"output={tmp_path}",
        ],
    )
    sample(train(recipe, show_progress=False), tmp_path / "iid.dcd", SampleSettings(samples=8192, steps=100))
    frames = mdtraj.load(str(tmp_path / "iid.dcd"), top=str(tmp_path / "iid.dcd.pdb"))
    n, ca, cb, c = (frames.topology.select(f"resname ALA and name {name}")[0] for name in ("N", "CA", "CB", "C"))
    bonds = [frames.xyz[:, atom] - frames.xyz[:, ca] for atom in (n, c, cb)]
    # Positive for L, by the CORN rule (fpforce.molecule.chirality).
    volume = np.einsum("fd,fd->f", bonds[0], np.cross(bonds[1], bonds[2]))
    assert np.mean(volume > 0) >= 0.999
