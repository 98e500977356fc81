"""How well a model of disordered chains knows the sizes of sequences that it was not trained on.

In: the data of examples/disordered (made here in part, as SETTINGS says), a model.pt. Out: radius of gyration and
end-to-end distance of its simulations beside those of two runs of the exact energy, whose distance is the floor.
"""

import importlib.util
import json
import statistics
from pathlib import Path

import numpy as np

from workbench.places import EXAMPLES

EXAMPLE = EXAMPLES / "disordered"
# A part of the frames that generate.py makes by default, which take a core some hours.
FRAMES, DISCARD_PS, UNSEEN = {"train": 300, "unseen": 1500}, 2000.0, 20
TIMESTEP_FS, FRICTION_PER_PS, INTERVAL_PS = 20.0, 0.1, 2.0
BINS = 24


def data(runs: Path, quick: bool) -> Path:
    """Folder of the trajectories, which are made where they are missing."""
    specification = importlib.util.spec_from_file_location("generate", EXAMPLE / "generate.py")
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    sequences = json.loads((EXAMPLE / "sequences.json").read_text())
    names = [*list(sequences["train"])[: 2 if quick else None], *list(sequences["unseen"])[: 1 if quick else UNSEEN]]
    frames, discard_ps = ({"train": 40, "unseen": 40}, 0.0) if quick else (FRAMES, DISCARD_PS)
    generate.generate(runs / "disordered", names, frames, discard_ps)
    return runs / "disordered"


def judge(model: Path, folder: Path, topology: Path, chosen) -> dict:
    """Simulate a sequence from a random chain, and compare its sizes with the exact ones."""
    import mdtraj

    import fpforce
    from fpforce.shipped.chains import disordered

    found = folder / "row.json"
    if found.exists():
        return json.loads(found.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    name = topology.stem
    sequence = json.loads((EXAMPLE / "sequences.json").read_text())["unseen"][name]
    force_field = fpforce.load(model).bind(disordered(sequence).frame(0), source=f"sequence {sequence}")
    settings = fpforce.SimulationSettings(
        steps=round(1000 * chosen.picoseconds / TIMESTEP_FS),
        replicas=chosen.replicas,
        timestep_fs=TIMESTEP_FS,
        friction_per_ps=FRICTION_PER_PS,
        report_interval_ps=INTERVAL_PS,
        overwrite=True,
    )
    result = fpforce.simulate(force_field, folder / "simulated.xtc", settings)
    frames = fpforce.read_simulation(folder / "simulated.xtc", force_field.beads).positions_nm
    runs = [mdtraj.load(str(topology.with_name(f"{name}{end}.xtc")), top=str(topology)).xyz for end in ("", "_again")]
    row = {"sequence": name, "residues": len(sequence), "failed": len(result.failed)} | compare(frames, runs)
    found.write_text(json.dumps(row, indent=1))
    return row


def compare(simulated: np.ndarray, runs: list[np.ndarray]) -> dict:
    """simulated: (saved times, replicas, n, 3) in nm, whose first half is left out. runs: two of (frames, n, 3)."""
    from fpforce.analysis.divergences import js_divergence

    late = simulated[len(simulated) // 2 :].reshape(-1, *simulated.shape[2:])
    row = {}
    for name, measure in (("radius_of_gyration", radius_of_gyration), ("end_to_end", end_to_end)):
        ours, (first, second) = measure(late), (measure(run) for run in runs)
        exact = np.concatenate([first, second])
        edges = np.linspace(min(ours.min(), exact.min()), max(ours.max(), exact.max()) + 1e-9, BINS + 1)
        count = min(map(len, (ours, first, second)))
        of = [np.histogram(_thinned(values, count), edges)[0] for values in (ours, first, second)]
        row[f"{name}_nm"] = {"simulated": float(ours.mean()), "exact": float(exact.mean())}
        row[f"{name}_error"] = float(ours.mean() / exact.mean() - 1.0)
        row[f"{name}_js"] = float(np.mean([js_divergence(of[0], other) for other in of[1:]]))
        row[f"{name}_js_floor"] = float(js_divergence(of[1], of[2]))
    return row


def means(rows: list[dict]) -> dict:
    """Over the sequences: mean and largest error of the radius of gyration, mean JS divergences and floors."""
    errors = [abs(row["radius_of_gyration_error"]) for row in rows]
    keys = [f"{name}_js{end}" for name in ("radius_of_gyration", "end_to_end") for end in ("", "_floor")]
    found = {key: statistics.mean(row[key] for row in rows) for key in keys}
    return found | {"rg_error_mean": statistics.mean(errors), "rg_error_worst": max(errors)}


def radius_of_gyration(frames: np.ndarray) -> np.ndarray:
    """(frames,) in nm, every bead alike."""
    centred = frames - frames.mean(axis=1, keepdims=True)
    return np.sqrt(np.square(centred).sum(-1).mean(-1))


def end_to_end(frames: np.ndarray) -> np.ndarray:
    """(frames,) in nm."""
    return np.linalg.norm(frames[:, -1] - frames[:, 0], axis=-1)


def _thinned(values: np.ndarray, count: int) -> np.ndarray:
    return values[np.linspace(0, len(values) - 1, count).astype(int)]
