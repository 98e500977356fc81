"""One small model of alanine dipeptide, trained within seconds, that all quick runs in a folder share.

In: the folder of runs. Out: runs/tiny/model.ckpt and model.pt, made when missing.
"""

from pathlib import Path

from workbench.places import ALANINE

# What makes any training on the examples small; a recipe takes them as overrides.
SMALL = ("model.width=16", "model.layers=2", "optimizer.batch_size=32", "optimizer.warmup_steps=10")
STEPS = 150  # the last layer, zero at the start, has then learned the handedness a little
_SETTINGS = ("data.stride=10", f"run.max_steps={STEPS}", "run.max_minutes=null", "run.threads=1", "run.accelerator=cpu")


def tiny_checkpoint(runs: Path) -> Path:
    """model.ckpt."""
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train

    checkpoint = runs / "tiny" / "model.ckpt"
    if not checkpoint.exists():
        own = ("run.compile=false", f"output={checkpoint.parent}")
        train(load_recipe(ALANINE / "recipe.yaml", [*SMALL, *_SETTINGS, *own]), show_progress=False)
    return checkpoint


def tiny_model(runs: Path) -> Path:
    """model.pt."""
    from fpforce.training.export import export

    model = runs / "tiny" / "model.pt"
    checkpoint = tiny_checkpoint(runs)
    if not model.exists():
        export(checkpoint, model)
    return model
