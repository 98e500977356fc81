"""Two independent runs -> the files of this folder: topology, training set, reference, start frames, data.json.

In: all-atom positions at 300 K. Out: heavy atoms as XTC, one coarse-grained start frame per basin of phi, and the
figures by which the two runs are compared.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fpforce.beads import map_beads
from fpforce.chirality import d_residues, dihedral
from fpforce.errors import InputError

LARGEST_DISAGREEMENT_KT = 0.3
_BLOCKS = 10
_BASINS = {"negative": -1.0, "positive": 1.0}
_KERNEL_RAD = 0.2
_MOST_KERNELS = 2000


@dataclass(frozen=True)
class Run:
    """One run: positions (frames, atoms, 3) in nm, every `interval_ps`, and what else is known of it."""

    positions_nm: np.ndarray
    interval_ps: float
    facts: dict = field(default_factory=dict)


def write_dataset(folder, name, topology, runs, made):
    """Write the data set of two runs into a folder; an existing one is replaced.

    Args:
        folder: where to; made if missing.
        name: stem of the topology file.
        topology: mdtraj topology of all atoms.
        runs: (training, reference), two `Run`s.
        made: how the data was made, a JSON-able dict, goes into data.json.

    Returns:
        The record that data.json holds; `record["agreement"]["reached"]` says whether the runs agree.

    Raises:
        InputError: a residue is D in some frame.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    heavy = map_beads(topology, "heavy")
    amino_acids = sum({"N", "CA", "C"} <= {atom.name for atom in residue.atoms} for residue in topology.residues)

    record = {"made": made, "runs": {}, "agreement": {}}
    for file, run in zip(("train.xtc", "reference.xtc"), runs):
        found = d_residues(run.positions_nm, topology)
        if found:
            raise InputError(f"{found[0][0]} is D in {found[0][1]} frames for {file}: start from an L peptide")
        positions = heavy.positions(run.positions_nm, topology)
        _write_xtc(folder / file, heavy.to_mdtraj(), positions, run.interval_ps)
        torsions = {torsion["residue"]: dihedral(positions, torsion["phi"]) for torsion in heavy.phi_psi}
        record["runs"][file] = {
            "frames": len(run.positions_nm),
            "interval_ps": run.interval_ps,
            **run.facts,
            "bonds_nm": _bond_statistics(heavy, positions),
            "phi": {residue: phi_statistics(phi) for residue, phi in torsions.items()},
        }
    training = heavy.positions(runs[0].positions_nm, topology)
    heavy.write_pdb(folder / f"{name}.pdb", training[0])
    starts = map_beads(topology, "backbone5" if amino_acids == 1 else "backbone")
    record["start_frames"] = _write_starts(
        folder, starts, starts.positions(runs[0].positions_nm, topology), heavy, training
    )
    record["agreement"] = agreement(*(run["phi"] for run in record["runs"].values()))
    (folder / "data.json").write_text(json.dumps(record, indent=1) + "\n")
    return record


def phi_statistics(phi):
    """Population and free energy of phi > 0, with errors from ten blocks, and how often phi = 0 was crossed."""
    positive = phi > 0.0
    blocks = (
        np.array([block.mean() for block in np.array_split(positive, _BLOCKS)]) if len(phi) >= _BLOCKS else np.empty(0)
    )
    population = float(positive.mean())
    error = float(blocks.std(ddof=1) / np.sqrt(_BLOCKS)) if len(blocks) else None
    known = 0.0 < population < 1.0
    return {
        "population_positive": population,
        "population_error": error,
        "free_energy_kt": float(-np.log(population / (1.0 - population))) if known else None,
        "free_energy_error_kt": error / (population * (1.0 - population)) if known and error is not None else None,
        "crossings_of_zero": int(np.count_nonzero(positive[1:] != positive[:-1])),
    }


def agreement(training_phi, reference_phi):
    """Compare the free energies of phi > 0 of two runs, residue by residue.

    Returns:
        {"reached": bool, "largest_kt": float or None, "allowed_kt": 0.3}; a basin that a run never saw is disagreement.
    """
    differences = [
        None
        if None in (ours["free_energy_kt"], theirs["free_energy_kt"])
        else abs(ours["free_energy_kt"] - theirs["free_energy_kt"])
        for ours, theirs in zip(training_phi.values(), reference_phi.values())
    ]
    largest = None if None in differences or not differences else max(differences)
    return {
        "reached": largest is not None and largest <= LARGEST_DISAGREEMENT_KT,
        "largest_kt": largest,
        "allowed_kt": LARGEST_DISAGREEMENT_KT,
    }


def _bond_statistics(table, positions):
    """Mean and standard deviation of every bond before the coordinates are rounded to XTC's 0.001 nm."""
    statistics = {}
    for i, j in table.bonds:
        length = np.linalg.norm(positions[:, i].astype(np.float64) - positions[:, j], axis=1)
        statistics[f"{table.beads[i]} {table.beads[j]}"] = {"mean": float(length.mean()), "std": float(length.std())}
    return statistics


def _write_xtc(path, topology, xyz, interval_ps):
    import mdtraj

    partial = path.with_suffix(".partial.xtc")
    mdtraj.Trajectory(xyz, topology, time=np.arange(len(xyz)) * interval_ps).save_xtc(str(partial))
    partial.replace(path)


def _write_starts(folder, table, positions, heavy, heavy_positions):
    """One frame of the beads per sign of the first residue's phi, where the density in (phi, psi) is highest."""
    phi, psi = (dihedral(heavy_positions, heavy.phi_psi[0][angle]) for angle in ("phi", "psi"))
    starts = {}
    for name, sign in _BASINS.items():
        members = np.flatnonzero(sign * phi > 0.0)
        if not len(members):
            continue
        frame = int(members[np.argmax(_density(phi[members], psi[members]))])
        table.write_pdb(folder / f"start_{name}.pdb", positions[frame] - positions[frame].mean(axis=0))
        starts[f"start_{name}.pdb"] = {
            "train_frame": frame,
            "beads": table.mapping,
            "phi": float(phi[frame]),
            "psi": float(psi[frame]),
        }
    return starts


def _density(phi, psi):
    """Periodic kernel density at each point, up to a factor; every k-th point carries a kernel."""
    every = -(-len(phi) // _MOST_KERNELS)
    density = np.zeros(len(phi))
    for centre_phi, centre_psi in zip(phi[::every], psi[::every]):
        density += np.exp((np.cos(phi - centre_phi) + np.cos(psi - centre_psi) - 2.0) / _KERNEL_RAD**2)
    return density
