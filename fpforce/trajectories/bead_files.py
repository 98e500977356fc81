"""BeadFrames written as files that train as they are.

In: BeadFrames that were read from files. Out: a folder with beads.pdb (and beads.cif, where names are longer than the
columns of a PDB), every trajectory as .npz (exact) and .xtc (for viewers), a recipe on the former, and the mapping as
text and picture.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.molecule.beads import BeadTable
from fpforce.trajectories.collected import savez
from fpforce.trajectories.scene import Scene, draw
from fpforce.trajectories.trajectory_writer import write_xtc

if TYPE_CHECKING:
    from fpforce.trajectories.bead_frames import BeadFrames


def write_bead_frames(frames: "BeadFrames", folder: str | Path, recipe: dict[str, Any] | None = None) -> Path:
    """Write them into a folder, which is made; returns it. Each file replaces an earlier one when it is whole.

    recipe: that of the frames, as a plain dict, whose data section is replaced; or None, to write none.
    """
    import yaml

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    frames.beads.write_structure(folder / "beads.pdb", frames.positions_nm[0])
    pieces, names = frames.split(), []
    step_ps = frames.time_step_ps or 1.0
    for number, piece in enumerate(pieces, start=1):
        name = "beads" if len(pieces) == 1 else f"beads_{number}"
        arrays: dict[str, Any] = {"positions": piece}
        if frames.forces is not None:
            ends = np.cumsum(frames.lengths)[:-1]
            arrays["forces"] = np.split(frames.forces.kj_per_mol_nm, ends)[number - 1]
            if frames.forces.variances is not None:
                arrays["force_variances"] = np.split(frames.forces.variances, ends)[number - 1]
        if frames.weights is not None:
            arrays["weights"] = np.split(frames.weights.values, np.cumsum(frames.lengths)[:-1])[number - 1]
        with replacing(folder / f"{name}.npz") as unfinished, open(unfinished, "wb") as file:
            savez(file, arrays)
        with replacing(folder / f"{name}.xtc") as unfinished:
            write_xtc(unfinished, piece, step_ps)
        names.append(f"{name}.npz")
    if recipe is not None:
        data = {
            "trajectories": names,
            "beads": bead_records(frames.beads),
            "length_unit": "nm",
            "several_chains": recipe["data"]["several_chains"],
            "allow_d_residues": recipe["data"]["allow_d_residues"],
            "held_out": recipe["data"]["held_out"],
        }
        if frames.forces is not None:
            data |= {"forces": names, "force_unit": "kJ/mol/nm", "constraints": "none", "force_map": "sum"}
        if frames.weights is not None:
            data["weights"] = names
        text = yaml.safe_dump(recipe | {"data": data}, sort_keys=False, allow_unicode=True, default_flow_style=None)
        with replacing(folder / "recipe.yaml") as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    with replacing(folder / "mapping.txt") as unfinished:
        unfinished.write_text(f"{frames.report}\n", encoding="utf-8")
    assert frames.report is not None  # these were read from files
    no_atoms = Scene(np.zeros((0, 3)), np.zeros((0, 2), int), np.zeros(0, bool), frames.positions_nm[0])
    with replacing(folder / "mapping.png") as unfinished:
        draw(frames.scene or no_atoms, frames.beads, frames.report, unfinished)
    return folder


def bead_records(table: BeadTable) -> list[dict[str, Any]]:
    """A BeadTable as the list of records that `fpforce.molecule.mapping.list_beads` reads."""
    return [
        {
            "name": bead.name,
            "residue": bead.residue,
            "residue_number": bead.residue_number,
            "chain": bead.chain,
            **({"element": bead.element} if bead.element else {}),
            "mass_da": float(bead.mass_da),
            "bonds": [j for first, j in table.bonds if first == i],
        }
        for i, bead in enumerate(table.beads)
    ]
