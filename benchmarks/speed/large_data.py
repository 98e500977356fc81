"""Training data larger than memory: what mapping and training hold of it, and whether the disk keeps up with the steps.

python benchmarks/speed/large_data.py [--quick] [--gb 4] [--steps 2000]. Repeats alanine dipeptide's frames, each turned
at random with noise of 0.002 nm, into .xtc-like .npy trajectories of all atoms until these have so many GB, and then,
each in a fork: maps one and all of them to files (fpforce-map --output), maps all to the disk (data.on_disk), draws
batches from there, and trains. Memory is the peak of what
belongs to the process and to no file (RssAnon) and of all that is resident (VmHWM), over what it had before. Writes
docs/results/large_data.json and .md.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
import numpy as np
from workbench import options
from workbench.hardware import describe_hardware
from workbench.held_memory import measured
from workbench.places import ALANINE
from workbench.tiny import SMALL

FILES, PIECE = 4, 20_000
BATCH = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=4.0, help="of trajectories")
    parser.add_argument("--steps", type=int, default=2000, help="batches that are drawn")
    chosen = options.parse(parser, gb=0.02, steps=20)
    import fpforce.training.data.read
    import fpforce.training.train  # noqa: F401 (so that forks have it)

    with tempfile.TemporaryDirectory(prefix="large-", dir=chosen.runs) as name:
        folder = Path(name)
        size = make_trajectories(folder, chosen.gb)
        rows = {
            "files of one": measured(lambda: mapping_to_files(folder, 1)),
            "files of all": measured(lambda: mapping_to_files(folder, FILES)),
            "mapping": measured(lambda: mapping(folder)),
            "batches": measured(lambda: drawing(folder, chosen.steps)),
        }
        rows["training"] = measured(lambda: training(folder))
        store = sum(path.stat().st_size for path in (folder / "run" / "frames").glob("*.npy"))
    result = {"hardware": describe_hardware(), "bytes": size, "store_bytes": store, "batch": BATCH, "rows": rows}
    (chosen.results / "large_data.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "large_data.md").write_text(table(result))
    print(table(result))


def make_trajectories(folder: Path, gigabytes: float) -> int:
    """FILES arrays of all atoms in nm; returns their bytes."""
    import mdtraj

    frames = mdtraj.load(str(ALANINE / "train.xtc"), top=str(ALANINE / "alanine_dipeptide.pdb")).xyz
    generator = np.random.default_rng(0)
    count = max(PIECE, int(gigabytes * 1e9 / FILES / (12 * frames.shape[1])))
    for number in range(FILES):
        array = np.lib.format.open_memmap(
            folder / f"part_{number}.npy", mode="w+", dtype=np.float32, shape=(count, *frames.shape[1:])
        )
        for start in range(0, count, PIECE):
            piece = frames[generator.integers(len(frames), size=min(PIECE, count - start))]
            array[start : start + PIECE] = piece + generator.normal(scale=0.002, size=piece.shape)
        array.flush()
        del array
    return sum(path.stat().st_size for path in folder.glob("part_*.npy"))


def recipe(folder: Path, *overrides: str) -> Any:
    from fpforce.training.recipe.read import load_recipe

    parts = ", ".join(str(path) for path in sorted(folder.glob("part_*.npy")))
    own = (
        f"data.trajectories=[{parts}]",
        "data.length_unit=nm",
        "data.on_disk=true",
        f"output={folder / 'run'}",
        "run.max_minutes=null",
        "run.max_steps=100",
        "run.threads=1",
        "run.accelerator=cpu",
        "run.compile=false",
    )
    return load_recipe(ALANINE / "recipe.yaml", [*SMALL, *own, *overrides])


def _set(folder: Path) -> Any:
    from fpforce.training.data.read import read_training_set

    return read_training_set(
        recipe(folder).data, temperature_k=300.0, batch_size=BATCH, frames_folder=folder / "run" / "frames"
    )


def mapping(folder: Path) -> int:
    from fpforce.training.data.mapped_data import map_to_disk

    return len(map_to_disk(recipe(folder).data, folder / "run" / "frames").store)


def mapping_to_files(folder: Path, trajectories: int) -> int:
    from fpforce.training.data.read import read_frames
    from fpforce.trajectories.bead_files import write_bead_frames

    some = recipe(folder, "data.on_disk=false").data
    some = some.model_copy(update={"trajectories": some.trajectories[:trajectories]})
    with tempfile.TemporaryDirectory(dir=folder) as output:
        ((_, frames),) = read_frames(some, Path(output))
        write_bead_frames(frames, Path(output) / "files")
        return len(frames)


def drawing(folder: Path, steps: int) -> int:
    """Frames that were drawn, in batches as a step has them; their time is that of the reading and the noise."""
    import torch

    from fpforce.training.losses.time_sampling import TimeSampler

    found = _set(folder)
    batches = found.batches(TimeSampler(1e-5, 1.0, 1e-3), BATCH, (0,), torch.ones(len(found.frames)), rotate=False)
    began = time.monotonic()
    for step in range(steps):
        batches.batch(step)
    print(f"seconds {time.monotonic() - began}", flush=True)
    return steps * batches.pairs


def training(folder: Path) -> int:
    from fpforce.training.train import train

    train(recipe(folder), overwrite=True, show_progress=False)
    return 100


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['bytes'] / 1e9:.2f} GB of trajectories in {FILES} files, {result['store_bytes'] / 1e9:.2f} GB of "
        f"bead frames, batches of {result['batch']}; {result['hardware']}. Memory: the most over what the process "
        "began with. Seconds of the processor are those of the process itself; data.on_disk maps by one for each file.",
        "",
        "| what | count | seconds | of the processor | a second | own memory, MB | resident, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    names = {
        "files of one": "frames mapped to files by fpforce-map --output, of one trajectory",
        "files of all": "the same of all",
        "mapping": "frames mapped to the disk",
        "batches": "frames drawn for batches",
        "training": "steps of a training, all in",
    }
    for name, row in result["rows"].items():
        lines.append(
            f"| {names[name]} | {row['result']:,} | {row['seconds']:.1f} | {row['processor_seconds']:.1f} | "
            f"{row['result'] / row['seconds']:,.0f} | {row['own_mb']:.0f} | {row['resident_mb']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
