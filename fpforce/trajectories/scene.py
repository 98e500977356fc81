"""One frame as a picture needs it: the atoms that are in files, the beads over them, and what has no bead.

In: positions of atoms and beads. Out: a Scene, and its drawing on the plane in which the beads are widest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fpforce.molecule.beads import BeadTable
from fpforce.molecule.residues import is_solvent

if TYPE_CHECKING:
    import mdtraj

    from fpforce.trajectories.mapping_report import MappingReport

_MOST_ATOMS = 5000  # beside the molecule of the beads; more hide it


@dataclass(frozen=True)
class Scene:
    """atoms_nm (atoms, 3) with bonds (pairs) and `left_out` (atoms,), True for those of residues without a bead;
    beads_nm (n, 3).
    """

    atoms_nm: np.ndarray
    bonds: np.ndarray
    left_out: np.ndarray
    beads_nm: np.ndarray


def make_scene(
    topology: "mdtraj.Topology",
    bead_atoms: Sequence[int],
    indices: Sequence[int],
    xyz: np.ndarray,
    others: np.ndarray | None,
    beads_nm: np.ndarray,
) -> Scene:
    """Scene of the atoms at `indices` of an mdtraj topology, at xyz, and of its other atoms but solvent.

    bead_atoms: those that make beads. others (all atoms, 3): where the other atoms are, or None.
    """
    used = {topology.atom(atom).residue.index for atom in bead_atoms}
    shown = list(indices)
    positions = [xyz]
    if others is not None:
        inside = set(indices)
        beside = [
            atom.index
            for residue in topology.residues
            if not is_solvent(residue)
            for atom in residue.atoms
            if atom.index not in inside
        ][:_MOST_ATOMS]
        shown += beside
        positions.append(others[beside])
    where = {atom: place for place, atom in enumerate(shown)}
    bonds = [(where[a.index], where[b.index]) for a, b in topology.bonds if a.index in where and b.index in where]
    left_out = np.array([topology.atom(atom).residue.index not in used for atom in shown])
    return Scene(np.concatenate(positions), np.array(bonds, dtype=int).reshape(-1, 2), left_out, beads_nm)


def draw(scene: Scene, table: BeadTable, report: "MappingReport", path: Path) -> None:
    """Write the picture: beads coloured by residue over thin atoms, what has no bead in grey, links dashed."""
    from matplotlib.figure import Figure

    centre = scene.beads_nm.mean(0)
    axes = np.linalg.svd(scene.beads_nm - centre)[2]
    beads, atoms = ((points - centre) @ axes[:2].T for points in (scene.beads_nm, scene.atoms_nm))
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    plot = figure.add_subplot(aspect="equal")
    into_left_out = scene.left_out[scene.bonds].any(axis=1)
    for mask, bonds, colour, label in (
        (~scene.left_out, scene.bonds[~into_left_out], "0.55", "atoms"),
        (scene.left_out, scene.bonds[into_left_out], "0.82", "residues left out"),
    ):
        for pair in bonds:
            plot.plot(*atoms[pair].T, color=colour, linewidth=0.8, zorder=1)
        if mask.any():
            plot.plot(*atoms[mask].T, ".", color=colour, markersize=2.5, zorder=1, label=label)
    links = {(bond.first, bond.second) for bond in report.links}
    names = [str(bead) for bead in table.beads]
    for i, j in table.bonds:
        is_link = (names[i], names[j]) in links
        plot.plot(
            *beads[[i, j]].T,
            color="crimson" if is_link else "black",
            linestyle="--" if is_link else "-",
            linewidth=1.8,
            zorder=2,
        )
    if links:
        plot.plot([], [], "--", color="crimson", label="links")
    order = {index: place for place, index in enumerate(dict.fromkeys(b.residue_index for b in table.beads))}
    colours = [order[bead.residue_index] for bead in table.beads]
    plot.scatter(
        beads[:, 0],
        beads[:, 1],
        c=colours,
        cmap="viridis",
        s=90 if len(beads) < 100 else 30,
        edgecolors="black",
        zorder=3,
    )
    first_of = {bead.residue_index: place for place, bead in reversed(list(enumerate(table.beads)))}
    if len(first_of) <= 60:
        for place in first_of.values():
            name = f"{table.beads[place].residue}{table.beads[place].residue_number}"
            plot.annotate(name, beads[place], xytext=(6, 6), textcoords="offset points", fontsize=8)
    plot.set(xlabel="nm", ylabel="nm", title=f"{len(table)} beads ({table.mapping}) over the atoms of the first frame")
    plot.margins(0.08)
    if plot.get_legend_handles_labels()[0]:
        plot.legend(loc="best", fontsize=8)
    figure.savefig(path, dpi=130, format="png")
