"""One run of the main job on alanine dipeptide with chosen recipe overrides: train, export, simulate twice, evaluate.

Used by the other scripts here, each run in a process of its own: python benchmarks/alanine.py --steps N
--picoseconds P [--seed S] FOLDER [key=value ...]. A finished stage is not repeated, so that an interrupted benchmark goes on
where it stopped. FOLDER/report.json holds the result.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "alanine_dipeptide"
TIMESTEP_FS = 4.0


def run(folder: Path, steps: int, picoseconds: float, seed: int, replicas: int, overrides: list[str]) -> None:
    """Do whatever of the job is not yet done in `folder`, on one thread."""
    from fpforce.analysis import evaluate
    from fpforce.simulation import SimulationSettings, simulate
    from fpforce.training.export import export
    from fpforce.training.fit import train
    from fpforce.training.recipe import load_recipe

    own = [f"output={folder}", f"run.max_steps={steps}", "run.max_minutes=null", "run.threads=1", f"run.seed={seed}"]
    model = folder / "model.pt"
    if not model.exists():
        resume = (folder / "model.ckpt").exists()
        checkpoint = train(load_recipe(EXAMPLE / "recipe.yaml", [*overrides, *own]), resume=resume, show_progress=False)
        export(checkpoint, model)
    simulations = []
    for number, basin in enumerate(("negative", "positive")):
        output = folder / f"from_{basin}.xtc"
        simulate(model, output, SimulationSettings(
            steps=round(1000 * picoseconds / TIMESTEP_FS), replicas=replicas, timestep_fs=TIMESTEP_FS,
            seed=2 * seed + number, start=EXAMPLE / f"start_{basin}.pdb", resume=Path(f"{output}.checkpoint").exists()))
        simulations.append(output)
    evaluate(model, EXAMPLE / "reference.xtc", simulations, topology=EXAMPLE / "alanine_dipeptide.pdb",
             training=EXAMPLE / "train.xtc", output=folder, overwrite=True)


def run_all(jobs: list[tuple[Path, list[str], list[str]]], processes: int) -> None:
    """Run (folder, options, recipe overrides) jobs, `processes` at a time, each in a process of its own with one thread."""
    def start(job):
        folder, options, overrides = job
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "log.txt", "a") as log:
            subprocess.run([sys.executable, __file__, *options, str(folder), *overrides], stdout=log, stderr=log, check=True,
                           env=os.environ | {"OMP_NUM_THREADS": "1", "OPENMM_CPU_THREADS": "1"})
        print(f"{folder} is done", flush=True)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(start, jobs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--picoseconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replicas", type=int, default=128)
    parser.add_argument("overrides", nargs="*")
    chosen = parser.parse_args()
    run(chosen.folder, chosen.steps, chosen.picoseconds, chosen.seed, chosen.replicas, chosen.overrides)
