"""Independent runs -> a data set: topology, training set, reference, start frames, data.json.

In: positions of all atoms at one temperature. Out: heavy atoms (or all) as XTC, one coarse-grained start frame per
basin of phi, and the figures by which the runs are compared.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.chirality import d_residues, dihedral
from fpforce.molecule.mapping import map_beads
from fpforce.reference.basins import agreement, basin_statistics
from fpforce.trajectories import trajectory_writer

if TYPE_CHECKING:
    import mdtraj

_BASINS = {"negative": -1.0, "positive": 1.0}
_KERNEL_RAD = 0.2
_MOST_KERNELS = 2000


@dataclass(frozen=True)
class Run:
    """One run: positions (frames, atoms, 3) in nm, every `interval_ps`, and what else is known of it."""

    positions_nm: np.ndarray
    interval_ps: float
    facts: dict = field(default_factory=dict)


def run_files(n_runs: int) -> tuple[str, ...]:
    """Names of the trajectories: train.xtc, reference.xtc, run3.xtc, ..."""
    return ("train.xtc", "reference.xtc", *(f"run{number}.xtc" for number in range(3, n_runs + 1)))[:n_runs]


def write_dataset(
    folder: str | Path,
    name: str,
    topology: "mdtraj.Topology",
    runs: Sequence[Run],
    made: dict[str, Any],
    *,
    atoms: str = "heavy",
    smallest_population: float = 0.0,
) -> dict[str, Any]:
    """Write the data set of independent runs into a folder; an existing one is replaced.

    Args:
        folder: where to; made if missing.
        name: stem of the topology file.
        topology: mdtraj topology of all atoms.
        runs: `Run`s: training, reference, any others.
        made: how the data was made, a JSON-able dict, goes into data.json.
        atoms: `heavy` or `all`, which are written.
        smallest_population: basins below it in every run are not judged; see `basins.agreement`.

    Returns:
        The record that data.json holds; `record["agreement"]["reached"]` says whether the runs agree (a single run: its
        two halves).

    Raises:
        InputError: a residue is D in some frame.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table, heavy = map_beads(topology, atoms), map_beads(topology, "heavy")

    record = {"made": made, "runs": {}, "agreement": {}}
    for file, run in zip(run_files(len(runs)), runs, strict=True):
        found = d_residues(run.positions_nm, topology)
        if found:
            raise InputError(f"{found[0][0]} is D in {found[0][1]} frames for {file}: start from an L peptide")
        positions = table.positions(run.positions_nm, topology)
        write_xtc(folder / file, positions, run.interval_ps)
        record["runs"][file] = {
            "frames": len(run.positions_nm),
            "interval_ps": run.interval_ps,
            **run.facts,
            "bonds_nm": bond_statistics(table, positions),
            "basins": basin_statistics(run.positions_nm, topology),
        }
    table.write_structure(folder / f"{name}.pdb", table.positions(runs[0].positions_nm[:1], topology)[0])
    record["start_frames"] = _write_starts(folder, topology, heavy, runs[0].positions_nm)
    compared, between = [run["basins"] for run in record["runs"].values()], "runs"
    if len(runs) == 1 and len(runs[0].positions_nm) > 1:
        halves = np.array_split(runs[0].positions_nm, 2)
        compared, between = [basin_statistics(half, topology) for half in halves], "halves of one run"
    record["agreement"] = {"between": between} | agreement(compared, smallest_population)
    with replacing(folder / "data.json") as unfinished:
        unfinished.write_text(json.dumps(record, indent=1) + "\n")
    return record


def bond_statistics(table: BeadTable, positions: np.ndarray) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of every bond before the coordinates are rounded to XTC's 0.001 nm."""
    statistics = {}
    for i, j in table.bonds:
        length = np.linalg.norm(positions[:, i].astype(np.float64) - positions[:, j], axis=1)
        statistics[f"{table.beads[i]} {table.beads[j]}"] = {"mean": float(length.mean()), "std": float(length.std())}
    return statistics


def write_xtc(path: Path, xyz: np.ndarray, interval_ps: float) -> None:
    """Write positions (frames, n, 3) in nm, `interval_ps` apart; an existing file is replaced when all is written."""
    with replacing(path) as unfinished:
        trajectory_writer.write_xtc(unfinished, xyz, interval_ps)


def _write_starts(
    folder: Path, topology: "mdtraj.Topology", heavy: BeadTable, positions_nm: np.ndarray
) -> dict[str, dict[str, Any]]:
    """One frame of the beads per sign of the first residue's phi, where the density in (phi, psi) is highest.

    Without a residue that has both torsions: the first frame, as start.pdb.
    """
    amino_acids = sum({"N", "CA", "C"} <= {atom.name for atom in residue.atoms} for residue in topology.residues)
    capped = {residue.name for residue in topology.residues} >= {"ACE", "NME"}
    table = map_beads(topology, "backbone5" if amino_acids == 1 and capped else "backbone")
    positions = table.positions(positions_nm, topology)
    if not heavy.phi_psi:
        table.write_structure(folder / "start.pdb", positions[0] - positions[0].mean(axis=0))
        return {"start.pdb": {"train_frame": 0, "beads": table.mapping}}
    heavy_positions = heavy.positions(positions_nm, topology)
    phi, psi = (dihedral(heavy_positions, heavy.phi_psi[0][angle]) for angle in ("phi", "psi"))
    starts = {}
    for name, sign in _BASINS.items():
        members = np.flatnonzero(sign * phi > 0.0)
        if not len(members):
            continue
        frame = int(members[np.argmax(_density(phi[members], psi[members]))])
        table.write_structure(folder / f"start_{name}.pdb", positions[frame] - positions[frame].mean(axis=0))
        starts[f"start_{name}.pdb"] = {
            "train_frame": frame,
            "beads": table.mapping,
            "phi": float(phi[frame]),
            "psi": float(psi[frame]),
        }
    return starts


def _density(phi: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """Periodic kernel density at each point, up to a factor; every k-th point carries a kernel."""
    every = -(-len(phi) // _MOST_KERNELS)
    density = np.zeros(len(phi))
    for centre_phi, centre_psi in zip(phi[::every], psi[::every], strict=False):
        density += np.exp((np.cos(phi - centre_phi) + np.cos(psi - centre_psi) - 2.0) / _KERNEL_RAD**2)
    return density
