"""Small frozen force fields of any kind and size, to time backends on: trained for a few steps, exported as always.

Their accuracy does not matter and is poor; their cost is that of any model of the same kind and size. Kept in
runs/benchmarks/, and made again when missing.
"""

from pathlib import Path

import numpy as np

from fpforce.training.export import export
from fpforce.training.recipe.read import parse_recipe
from fpforce.training.train import train

FRAMES = 40  # the export differentiates twice on up to 256 of them, which takes long for many beads


def frozen_model(runs: Path, kind: str, beads: int, steps: int = 60, **settings) -> Path:
    """model.pt of a CA-only chain of so many beads; `settings` are entries of the recipe's model section."""
    name = "_".join([kind, str(beads), *(f"{key}{value}" for key, value in sorted(settings.items()))])
    folder = runs / "benchmarks" / name
    model = folder / "model.pt"
    if not model.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "chain.npy", _chain(beads))
        (folder / "chain.pdb").write_text(_pdb(beads))
        recipe = parse_recipe(
            {
                "data": {
                    "trajectories": [folder / "chain.npy"],
                    "topology": folder / "chain.pdb",
                    "beads": "name CA",
                    "length_unit": "nm",
                },
                "temperature_k": 300,
                "output": folder,
                "model": {"kind": kind, **settings},
                "loss": {"fokker_planck_weight": 0},
                "optimizer": {"batch_size": 32, "ema_decay": 0, "warmup_steps": 0},
                "run": {"max_steps": steps, "accelerator": "cpu"},
            }
        )
        export(train(recipe, overwrite=True, show_progress=False), model, overwrite=True)
    return model


def _chain(beads: int) -> np.ndarray:
    """(FRAMES, beads, 3) positions in nm: a right-handed helix of bonds that turn about at random a little."""
    generator = np.random.default_rng(0)
    turn = np.arange(beads) * np.radians(100)
    helix = np.stack([0.23 * np.cos(turn), 0.23 * np.sin(turn), 0.15 * np.arange(beads)], -1)
    walk = generator.normal(size=(FRAMES, beads, 3)).cumsum(1) * 0.02
    return (helix + walk + 0.004 * generator.normal(size=walk.shape)).astype(np.float32)


def _pdb(beads: int) -> str:
    lines = [
        f"ATOM  {i + 1:5d}  CA  ALA A{i + 1:4d}    {0:8.3f}{0:8.3f}{3.8 * i:8.3f}  1.00  0.00           C"
        for i in range(beads)
    ]
    return "\n".join([*lines, "END", ""])
