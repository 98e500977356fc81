"""Independent runs of a bead model -> a data set: trajectories, exact energies and forces, start frames, data.json.

In: positions of the beads at one temperature, as their files hold them. Out: NAME.pdb, train.xtc, reference.xtc and
beside each its forces (train_forces.npz, ...), one start frame per state, native.pdb where there is a native structure.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.reference.basins import agreement, indicator_statistics
from fpforce.reference.dataset import Run, bond_statistics, run_files, write_xtc
from fpforce.reference.folding import FOLDED_ABOVE, count_foldings
from fpforce.reference.models.bead_model import BeadModel
from fpforce.reference.models.truth import energies_and_forces


def forces_file(trajectory: str) -> str:
    """Name of the file of energies and forces that belongs to a trajectory, such as train_forces.npz."""
    return trajectory.removesuffix(".xtc") + "_forces.npz"


def write_bead_dataset(
    folder: Path, name: str, model: BeadModel, runs: Sequence[Run], made: dict[str, Any]
) -> dict[str, Any]:
    """Write the data set of independent runs into a folder; an existing one is replaced.

    Energies and forces are those of the positions as the trajectory holds them, rounded to 0.001 nm. A forces file has
    `forces` (frames, n, 3) in kJ/mol/nm, which a recipe takes as data.forces, and `energies_kj_per_mol` (frames,).

    Args:
        folder: where to; made if missing.
        name: stem of the topology file.
        model: BeadModel. runs: training, reference, any others.
        made: how the data was made, a JSON-able dict, goes into data.json.

    Returns:
        The record that data.json holds; `record["agreement"]["reached"]` says whether the runs agree.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"made": made, "runs": {}, "agreement": {}}
    middles = _middles(model, np.concatenate([run.positions_nm for run in runs]))
    for file, run in zip(run_files(len(runs)), runs, strict=True):
        write_xtc(folder / file, run.positions_nm, run.interval_ps)
        energies, forces = energies_and_forces(model.system, run.positions_nm)
        with replacing(folder / forces_file(file)) as unfinished, open(unfinished, "wb") as out:
            np.savez(out, forces=forces, energies_kj_per_mol=energies)
        record["runs"][file] = {
            "frames": len(run.positions_nm),
            "interval_ps": run.interval_ps,
            **run.facts,
            "forces": forces_file(file),
            "energy_kj_per_mol": {"mean": float(energies.mean()), "std": float(energies.std())},
            "bonds_nm": bond_statistics(model.beads, run.positions_nm),
            **_observables(model, run.positions_nm),
            "basins": {"chain": _states(model, run.positions_nm, middles)},
        }
    model.beads.write_structure(folder / f"{name}.pdb", runs[0].positions_nm[0] - runs[0].positions_nm[0].mean(axis=0))
    if model.native_nm is not None:
        model.beads.write_structure(folder / "native.pdb", model.native_nm)
    record["start_frames"] = _write_starts(folder, model, runs[0].positions_nm)
    compared, between = [run["basins"] for run in record["runs"].values()], "runs"
    if len(runs) == 1 and len(runs[0].positions_nm) > 1:
        halves = np.array_split(runs[0].positions_nm, 2)
        compared, between = [{"chain": _states(model, half, middles)} for half in halves], "halves of one run"
    record["agreement"] = {"between": between} | agreement(compared)
    with replacing(folder / "data.json") as unfinished:
        unfinished.write_text(json.dumps(record, indent=1) + "\n")
    return record


def radius_of_gyration(positions_nm: np.ndarray) -> np.ndarray:
    """(frames,) in nm of positions (frames, n, 3); every bead counts alike."""
    centred = positions_nm - positions_nm.mean(axis=1, keepdims=True)
    return np.sqrt((centred**2).sum(axis=2).mean(axis=1))


def _end_to_end(positions_nm: np.ndarray) -> np.ndarray:
    return np.linalg.norm(positions_nm[:, -1] - positions_nm[:, 0], axis=1)


def _middles(model: BeadModel, positions_nm: np.ndarray) -> dict[str, float]:
    """Medians over all runs of what splits the frames of a molecule that does not fold."""
    return {name: float(np.median(values)) for name, values in _split_by(model, positions_nm).items()}


def _split_by(model: BeadModel, positions_nm: np.ndarray) -> dict[str, np.ndarray]:
    """{state: what is below its median in it}, (frames,) each."""
    if model.contacts is not None:
        return {"loose": model.contacts.fraction(positions_nm)}
    return {"compact": radius_of_gyration(positions_nm), "ends near": _end_to_end(positions_nm)}


def _states(model: BeadModel, positions_nm: np.ndarray, middles: dict[str, float]) -> dict[str, dict[str, Any]]:
    """{state: statistics}: folded of a chain with a native structure; else compact and with ends near each other.

    Chains that stay together stay folded, too: they are loose in the half of all frames with the fewest contacts.
    """
    if model.contacts is not None and not _several_chains(model):
        return {"folded": indicator_statistics(model.contacts.fraction(positions_nm) > FOLDED_ABOVE)}
    return {
        name: indicator_statistics(values < middles[name]) for name, values in _split_by(model, positions_nm).items()
    }


def _several_chains(model: BeadModel) -> bool:
    return len({bead.chain for bead in model.beads.beads}) > 1


def _observables(model: BeadModel, positions_nm: np.ndarray) -> dict[str, Any]:
    radius, ends = radius_of_gyration(positions_nm), _end_to_end(positions_nm)
    found: dict[str, Any] = {
        "radius_of_gyration_nm": {"mean": float(radius.mean()), "std": float(radius.std())},
        "end_to_end_nm": {"mean": float(ends.mean()), "std": float(ends.std())},
    }
    if model.contacts is not None:
        fraction = model.contacts.fraction(positions_nm)
        found["native_contacts"] = {"mean": float(fraction.mean()), "std": float(fraction.std())}
        found["foldings"] = count_foldings(fraction)
    return found


def _write_starts(folder: Path, model: BeadModel, positions_nm: np.ndarray) -> dict[str, dict[str, Any]]:
    """Typical frames: of the folded and the unfolded state of a chain by contacts, or at the 10% and 90% quantiles of
    the size.
    """
    if model.contacts is not None and not _several_chains(model):
        order = model.contacts.fraction(positions_nm)
        folded = order > FOLDED_ABOVE
        wanted = {"folded": order[folded], "unfolded": order[~folded]}
        goals = {state: float(np.median(values)) for state, values in wanted.items() if len(values)}
    else:
        order = radius_of_gyration(positions_nm)
        goals = {"compact": float(np.quantile(order, 0.1)), "extended": float(np.quantile(order, 0.9))}
    starts = {}
    for state, goal in goals.items():
        frame = int(np.argmin(np.abs(order - goal)))
        model.beads.write_structure(
            folder / f"start_{state}.pdb", positions_nm[frame] - positions_nm[frame].mean(axis=0)
        )
        starts[f"start_{state}.pdb"] = {"train_frame": frame, "beads": model.beads.mapping}
    return starts
