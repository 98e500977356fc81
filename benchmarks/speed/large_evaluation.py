"""Evaluations larger than memory: what fpforce-evaluate holds, and how many frames a second it judges.

python benchmarks/speed/large_evaluation.py [--quick] [--frames 2000000 10000000] [--resume]. For each number: a
simulation in four shards, as Dask makes them, and two reference trajectories of half as many frames together, all .xtc,
made of stretches of alanine dipeptide's own frames. Each is judged in a fork. Memory is the most over what the process
began with. Writes docs/results/large_evaluation.json and .md after each; --resume keeps the rows of other numbers that
are there.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
import numpy as np
from workbench import options
from workbench.hardware import describe_hardware
from workbench.held_memory import measured
from workbench.places import ALANINE
from workbench.tiny import tiny_model

REPLICAS, SHARD_REPLICAS, REFERENCES = 64, 16, 2
FRAMES_AT_ONCE = 64_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[2_000_000, 10_000_000], help="simulated ones")
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    chosen = options.parse(parser, frames=[6400, 12_800])
    import fpforce
    import fpforce.analysis.report  # noqa: F401 (so that forks have it)
    from fpforce.analysis.observables import dihedrals
    from fpforce.trajectories.bead_frames import read_bead_frames

    model = tiny_model(chosen.runs)
    beads = fpforce.load(model).beads
    own = read_bead_frames(ALANINE / "train.xtc", ALANINE / "alanine_dipeptide.pdb", table=beads).positions_nm
    phi = dihedrals(own, [beads.phi_psi[0]["phi"]])[:, 0]
    path, rows = chosen.results / "large_evaluation.json", []
    if chosen.resume and path.exists():
        rows = [row for row in json.loads(path.read_text())["rows"] if row["simulated"] not in chosen.frames]
    for frames in chosen.frames:
        with tempfile.TemporaryDirectory(prefix="large-", dir=chosen.runs) as name:
            folder = Path(name)
            size = make_reference(folder, beads, own, frames // 2) + make_simulation(folder, model, beads, own, frames)
            row = measured(lambda folder=folder: judged(model, folder))
        rows.append({"simulated": frames, "reference": frames // 2 // REFERENCES * REFERENCES, "bytes": size} | row)
        print(rows[-1], flush=True)
        rows.sort(key=lambda one: one["simulated"])
        result = {"hardware": describe_hardware(), "population": float(np.mean(phi > 0.0)), "rows": rows}
        path.write_text(json.dumps(result, indent=1))
        (chosen.results / "large_evaluation.md").write_text(table(result))
    print(table(result))


def make_reference(folder: Path, beads: Any, own: np.ndarray, frames: int) -> int:
    """Bytes of REFERENCES trajectories with so many frames together."""
    return sum(
        write(folder / f"reference_{number}.xtc", beads, own, frames // REFERENCES, 1, number)
        for number in range(REFERENCES)
    )


def make_simulation(folder: Path, model: Path, beads: Any, own: np.ndarray, frames: int) -> int:
    """Bytes of a simulation in shards: a short one, whose shards' frames are then replaced by so many."""
    import fpforce

    output = folder / "simulated.xtc"
    settings = fpforce.SimulationSettings(
        steps=2, report_interval_ps=0.002, replicas=REPLICAS, shard_replicas=SHARD_REPLICAS, timestep_fs=1.0
    )
    fpforce.simulate(model, output, settings)
    size = 0
    for number, shard in enumerate(json.loads(output.with_name("simulated.xtc.json").read_text())["shards"]):
        path = folder / shard["output"]
        sidecar = path.with_name(path.name + ".json")
        content = json.loads(sidecar.read_text())
        times = frames // REPLICAS
        size += write(path, beads, own, times, content["replicas"], 100 + number)
        sidecar.write_text(json.dumps(content | {"saved_times": times, "steps": 2 * times}))
    return size


def write(path: Path, beads: Any, own: np.ndarray, times: int, replicas: int, seed: int) -> int:
    """Bytes of an .xtc of so many replicas, each of stretches of the frames from places at random."""
    from fpforce.trajectories.trajectory_writer import open_trajectory

    generator, at_once = np.random.default_rng(seed), max(1, FRAMES_AT_ONCE // replicas)
    writer = open_trajectory(path, beads)
    for start in range(0, times, at_once):
        time = np.arange(start, min(start + at_once, times))
        place = (generator.integers(len(own), size=replicas) + time[:, None] - start) % len(own)
        numbers = np.repeat(time, replicas)
        writer.append(own[place.ravel()], numbers.astype(np.float32), numbers)
    writer.close()
    return path.stat().st_size


def judged(model: Path, folder: Path) -> dict[str, Any]:
    from fpforce.analysis import evaluate

    references = sorted(folder.glob("reference_*.xtc"))
    report = evaluate(model, references, folder / "simulated.xtc", output=folder / "report")
    simulation = report.figures["simulation"]
    return {
        "counted": simulation["frames"],
        "population": simulation["population"],
        "excess_js": simulation["excess_js"],
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"A simulation of {REPLICAS} replicas in {REPLICAS // SHARD_REPLICAS} shards against {REFERENCES} reference "
        f"trajectories, 5 beads; {result['hardware']}. Memory: the most over what the process began with. Population "
        f"of phi > 0: that of the frames which these are made of is {result['population']:.5f}.",
        "",
        "| simulated frames | reference | GB | seconds | of the processor | frames a second of it | own memory, MB | "
        "resident, MB | population |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        rate = (row["simulated"] + row["reference"]) / row["processor_seconds"]
        found = row["result"]["population"]
        lines.append(
            f"| {row['simulated']:,} | {row['reference']:,} | {row['bytes'] / 1e9:.2f} | {row['seconds']:.0f} | "
            f"{row['processor_seconds']:.0f} | {rate:,.0f} | {row['own_mb']:.0f} | {row['resident_mb']:.0f} | "
            f"{found['value']:.5f} ± {found['standard_error']:.5f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
