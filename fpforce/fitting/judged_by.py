"""What a fit trains on and what it is judged by: two sets of frames, of which the second is never trained on.

In: a recipe, and reference trajectories or none. Out: files in the fit's folder `data`: a recipe that trains on the
one, the reference, and start frames in states of the data; with a record of them for the journal. Without a reference
a part of the recipe's own frames is held out: whole trajectories where there are several, else blocks of time.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.analysis.comparison import FEWEST_FRAMES
from fpforce.analysis.planes import choose_planes, upper_basin
from fpforce.fitting.settings import FitSettings
from fpforce.fitting.states import find_states
from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.simulation.time_step import time_step_fs
from fpforce.trajectories.weights import as_often_as_they_count

if TYPE_CHECKING:
    from fpforce.molecule.beads import BeadTable
    from fpforce.training.recipe.sections import Recipe
    from fpforce.trajectories.bead_frames import BeadFrames

SMALLEST_SHARE, LARGEST_SHARE = 0.2, 1.0 / 3.0  # of the frames, held out where no reference is given
LONG_ENOUGH = 0.01  # t of the first expert; NOISE_NM is that of a smaller t, whatever the molecule
TICA_LAG_FRAMES = 10


def prepare(recipe: "Recipe", settings: FitSettings, folder: Path) -> dict[str, Any]:
    """Write all files into `folder`, anew, and return the record.

    Names in it are relative to the fit's folder where the file is in it. Raises InputError for data that cannot be
    read, and for frames too few to hold some out.
    """
    from fpforce.training.data.read import read_frames
    from fpforce.training.diffusion import degrees_of_freedom
    from fpforce.training.recipe.plan import settled

    if recipe.data.molecules:
        raise InputError("a fit is of one molecule, and data.molecules gives many; use fpforce-train for these")
    folder.mkdir(parents=True, exist_ok=True)
    ((_, frames),) = read_frames(recipe.data)
    if settings.reference:
        record, trained, reference = _given_reference(recipe, settings, frames, folder)
    else:
        record, trained, reference = _held_out_reference(recipe, frames, folder)
    planes = choose_planes(frames.beads, reference, TICA_LAG_FRAMES)
    found = find_states(frames.beads, trained, planes, settings.states)
    states = []
    for number, index in enumerate(found, start=1):
        name = f"state_{number}.pdb"
        frames.beads.write_structure(folder / name, trained[index])
        basins = [p.basin_names[int(upper_basin(p, p.coordinates(trained[index])))] for p in planes]
        names = [f"{plane.name}: {basin}" for plane, basin in zip(planes, basins, strict=True)]
        states.append({"file": f"{folder.name}/{name}", "frame": index, "basins": names})
    return record | {
        "states": states,
        "calibrates": bool(settled(recipe, degrees_of_freedom(len(frames.beads))).calibration.rounds),
        "timestep_fs": settings.timestep_fs or _time_step_fs(recipe, frames.beads, trained),
    }


def _time_step_fs(recipe: "Recipe", beads: "BeadTable", trained: np.ndarray) -> float:
    """By the bonds as the force field will have them: wider than in the data where constraints held these."""
    import torch

    from fpforce.training.data.rigid_bonds import FRAMES, NOISE_NM, narrow_bonds

    some, covered = trained[:: -(-len(trained) // FRAMES)], recipe.experts[0].t_max if recipe.experts else 1.0
    open_to_noise = recipe.diffusion.t_eval is None and covered > LONG_ENOUGH
    widened = open_to_noise and bool(narrow_bonds(beads, torch.from_numpy(some)))
    return time_step_fs(beads, trained, recipe.temperature_k, noise_nm=NOISE_NM if widened else 0.0)


def _given_reference(
    recipe: "Recipe", settings: FitSettings, frames: "BeadFrames", folder: Path
) -> tuple[dict[str, Any], np.ndarray, list[np.ndarray]]:
    from fpforce.analysis.independence import refuse_same_files, same_content
    from fpforce.analysis.inputs import open_trajectories, refuse_repeated
    from fpforce.trajectories.files import matching_files

    paths = [Path(path).resolve() for path in matching_files(list(settings.reference or ()))]
    refuse_repeated("reference", paths)
    topology = recipe.data.topology
    sources, files = open_trajectories(paths, topology, frames.beads)
    refuse_same_files(files)
    for file in files:
        same = same_content(file, frames.sources)
        if same is not None:
            raise InputError(
                f"reference {file['path']} is trained on, too: its content is that of {same}; give another, or none "
                "to hold a part of it out"
            )
    reference = [source.whole() for source in sources]
    _write_recipe(recipe.model_dump(mode="json"), folder)
    in_nm = recipe.data.length_unit in (None, "nm")  # an evaluation takes arrays for nm
    record = {
        "reference": [str(path) for path in paths],
        "topology": None if topology is None else str(topology),
        "trained_on": [str(Path(source).resolve()) for source in frames.sources] if in_nm else [],
        "weights": [] if frames.weights is None else [str(Path(path).resolve()) for path in frames.weights.sources],
        "floor": "auto",
        "note": None,
    }
    return record, frames.positions_nm, reference


def _held_out_reference(
    recipe: "Recipe", frames: "BeadFrames", folder: Path
) -> tuple[dict[str, Any], np.ndarray, list[np.ndarray]]:
    from fpforce.training.data.held_out import split_off, watched
    from fpforce.trajectories.bead_files import write_bead_frames

    share = float(np.clip(1.2 * FEWEST_FRAMES / len(frames), SMALLEST_SHARE, LARGEST_SHARE))
    trained, reference = split_off(frames, share)
    if reference is None:
        raise InputError(
            f"{len(frames)} frames in {', '.join(frames.sources)} are too few to hold some out; give --reference"
        )
    write_bead_frames(trained, folder, recipe.model_dump(mode="json"))
    trained_on = [f"{folder.name}/{path.name}" for path in sorted(folder.glob("beads*.npz"))]
    weights = None if frames.weights is None else frames.weights.values
    mask = watched(frames.lengths, share, weights)
    blocks = _blocks(frames.split(), np.split(mask, np.cumsum(frames.lengths)[:-1]))
    judged = [block for _, _, block in blocks]
    if weights is not None:
        judged = as_often_as_they_count(judged, weights[mask])
    for old in folder.glob("reference_*.npz"):
        old.unlink()
    names, where = [], []
    for number, block in enumerate(judged, start=1):
        with replacing(folder / f"reference_{number}.npz") as unfinished, open(unfinished, "wb") as written:
            np.savez(written, positions=block)
        names.append(f"{folder.name}/reference_{number}.npz")
    for file, start, block in blocks:
        where.append({"file": frames.sources[file], "first_frame": start, "frames": len(block)})
    whole = len(frames.lengths) > 1 and all(
        one["frames"] == frames.lengths[k] for one, (k, _, _) in zip(where, blocks, strict=True)
    )
    what = f"{len(reference):,} of the recipe's own {len(frames):,} frames, " + (
        f"{len(blocks)} of its {len(frames.lengths)} trajectories as a whole"
        if whole
        else f"{len(blocks)} blocks of time"
    )
    note = f"The reference is held out of the trajectories that the recipe names: {what}. No training saw it" + (
        "."
        if whole
        else ", but it is of the same run: this is a check that the run is reproduced, not that it was long enough. "
        "An independent run (--reference) would check both."
    )
    record = {
        "reference": names,
        "topology": None,
        "trained_on": trained_on,
        "weights": [] if weights is None else trained_on,
        "floor": "auto" if whole and len(blocks) > 1 else "training",
        "note": note,
        "held_out": where,
    }
    return record, trained.positions_nm, judged


def _blocks(pieces: list[np.ndarray], held: list[np.ndarray]) -> list[tuple[int, int, np.ndarray]]:
    """(number of the trajectory, first frame, frames) of every uninterrupted stretch that is held out."""
    found = []
    for number, (piece, mask) in enumerate(zip(pieces, held, strict=True)):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
        found += [(number, int(a), piece[a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return found


def _write_recipe(content: dict[str, Any], folder: Path) -> None:
    import yaml

    with replacing(folder / "recipe.yaml") as unfinished:
        unfinished.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
