"""Basins of the backbone torsions: how often each was held, and whether independent runs agree in it.

A residue with both torsions has three basins: `positive` (phi > 0), and of the rest `alpha` (psi from -125 to 50
degrees) and `beta`. With phi alone there are `positive` and `negative`, with psi alone `alpha` and `beta`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.molecule.chirality import dihedral

if TYPE_CHECKING:
    import mdtraj

# {residue: {basin: statistics}}
Basins = dict[str, dict[str, dict[str, Any]]]

LARGEST_DISAGREEMENT_KT = 0.3
_BLOCKS = 10
_ALPHA_PSI = (np.radians(-125.0), np.radians(50.0))


def backbone_torsions(topology: "mdtraj.Topology") -> dict[str, dict[str, tuple[int, int, int, int] | None]]:
    """{residue as text: {"phi": four atom indices or None, "psi": the same}} of an mdtraj topology.

    A cap supplies its C or N like any residue; residues with neither torsion are left out.
    """
    torsions = {}
    for chain in topology.chains:
        atoms = [{atom.name: atom.index for atom in residue.atoms} for residue in chain.residues]
        for residue, before, here, after in zip(chain.residues, [{}, *atoms], atoms, [*atoms[1:], {}], strict=False):
            if not {"N", "CA", "C"} <= set(here):
                continue
            n, ca, c = here["N"], here["CA"], here["C"]
            found = {
                "phi": (before["C"], n, ca, c) if "C" in before else None,
                "psi": (n, ca, c, after["N"]) if "N" in after else None,
            }
            if any(found.values()):
                torsions[f"{residue.name}{residue.resSeq}"] = found
    return torsions


def basin_statistics(positions: np.ndarray, topology: "mdtraj.Topology") -> Basins:
    """{residue: {basin: statistics}} of positions (frames, atoms, 3); see `indicator_statistics`."""
    statistics = {}
    for residue, torsions in backbone_torsions(topology).items():
        phi, psi = (None if t is None else dihedral(positions, t) for t in (torsions["phi"], torsions["psi"]))
        statistics[residue] = {name: indicator_statistics(held) for name, held in _basins(phi, psi).items()}
    return statistics


def indicator_statistics(held: np.ndarray) -> dict[str, Any]:
    """Population and free energy of a basin from (frames,) bool, with errors from ten blocks, and how often it was left
    or entered."""
    population = float(held.mean())
    error = None
    if len(held) >= _BLOCKS:
        blocks = np.array([block.mean() for block in np.array_split(held, _BLOCKS)])
        error = float(blocks.std(ddof=1) / np.sqrt(_BLOCKS))
    known = 0.0 < population < 1.0
    return {
        "population": population,
        "population_error": error,
        "free_energy_kt": float(-np.log(population / (1.0 - population))) if known else None,
        "free_energy_error_kt": error / (population * (1.0 - population)) if known and error is not None else None,
        "crossings": int(np.count_nonzero(held[1:] != held[:-1])),
    }


def agreement(runs: Sequence[Basins], smallest_population: float = 0.0) -> dict[str, Any]:
    """Compare the free energies of every basin between independent runs.

    Args:
        runs: what `basin_statistics` returned, one per run.
        smallest_population: basins that hold less than this in every run are not judged. With 0 each counts, and one
            that no run saw means that the runs cannot be compared; phi > 0 of proline, which its ring forbids, is left
            out then.

    Returns:
        {"reached": bool or None for a single run, "largest_kt": float or None, "allowed_kt": 0.3, "worst": such as
        "ALA2 positive"}
    """
    record = {"reached": None, "largest_kt": None, "allowed_kt": LARGEST_DISAGREEMENT_KT, "worst": None}
    if len(runs) < 2:
        return record
    worst: tuple[float, str | None] = (-1.0, None)
    unknown = None
    for residue, basins in runs[0].items():
        for basin in basins:
            statistics = [run[residue][basin] for run in runs]
            populations = [figures["population"] for figures in statistics]
            if max(populations) < smallest_population or _forbidden(residue, basin, populations):
                continue
            energies = [figures["free_energy_kt"] for figures in statistics]
            if None in energies:
                # Wholly inside or outside: a difference if the runs differ, or if an empty basin was to be judged.
                if len(set(populations)) > 1 or (smallest_population == 0.0 and populations[0] == 0.0):
                    unknown = unknown or f"{residue} {basin}"
                continue
            worst = max(worst, (max(energies) - min(energies), f"{residue} {basin}"))
    if unknown is not None:
        return record | {"reached": False, "worst": unknown}
    if worst[1] is None:
        return record | {"reached": False}
    return record | {"reached": worst[0] <= LARGEST_DISAGREEMENT_KT, "largest_kt": worst[0], "worst": worst[1]}


def _forbidden(residue: str, basin: str, populations: Sequence[float]) -> bool:
    return residue.startswith("PRO") and (
        (basin == "positive" and max(populations) == 0.0) or (basin == "negative" and min(populations) == 1.0)
    )


def _basins(phi: np.ndarray | None, psi: np.ndarray | None) -> dict[str, np.ndarray]:
    """{name: (frames,) bool}."""
    if psi is None:
        assert phi is not None, "a residue without torsions"
        return {"positive": phi > 0.0, "negative": phi <= 0.0}
    alpha = (psi >= _ALPHA_PSI[0]) & (psi < _ALPHA_PSI[1])
    if phi is None:
        return {"alpha": alpha, "beta": ~alpha}
    return {"positive": phi > 0.0, "alpha": (phi <= 0.0) & alpha, "beta": (phi <= 0.0) & ~alpha}
