"""The data that a recipe names, as a training takes them: read, checked, and in the normalisation of an earlier
training.
"""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.earlier import EarlierData
from fpforce.training.data.force_files import force_files
from fpforce.training.data.force_scores import ForceScores
from fpforce.training.data.held_out import FEWEST_HELD_OUT, part, split_off
from fpforce.training.data.molecule_files import find_molecules, same_files
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.data.on_disk import read_on_disk
from fpforce.training.recipe.sections import DataRecipe
from fpforce.trajectories.bead_frames import BeadFrames, read_bead_frames
from fpforce.trajectories.frame_checks import check_motion

logger = logging.getLogger("fpforce")

FEWEST_FRAMES = 32  # of a training


def read_training_set(
    data: DataRecipe,
    *,
    temperature_k: float,
    batch_size: int,
    internal: bool = False,
    earlier: EarlierData | None = None,
    frames_folder: Path | None = None,
) -> TrainingSet | MoleculeSet:
    """The data that a recipe names, in the normalisation of an earlier training where one goes on from it.

    temperature_k: of the trajectory, by which forces become scores. batch_size: of the training, of which half are
    frames, each with a noise and its opposite; where there are fewer, the log says so. frames_folder: where
    data.on_disk keeps bead frames. internal: whether an expert is of the kind `internal`, for which many molecules must
    share one layout.
    Raises InputError for data that cannot be read, are fewer than FEWEST_FRAMES, or are not what the earlier training
    had.
    """
    training_set: TrainingSet | MoleculeSet
    if data.molecules:
        training_set = _molecule_set(data, internal, earlier)
    elif data.on_disk and frames_folder is not None:
        training_set = read_on_disk(data, frames_folder, BOLTZMANN_KJ_PER_MOL_K * temperature_k, earlier)
    else:
        training_set = _one_molecule(data, BOLTZMANN_KJ_PER_MOL_K * temperature_k, earlier)
    frames, held = training_set.count, 0 if training_set.held_out is None else len(training_set.held_out)
    found = f"{frames} frames in {', '.join(training_set.sources)}{f' beside {held} held out' if held else ''}"
    if frames < FEWEST_FRAMES:
        raise InputError(f"{found} are fewer than {FEWEST_FRAMES}, of which nothing can be learned; give more")
    if data.held_out > 0.0 and not held and not data.molecules:
        logger.warning(
            "%s are too few to hold %d of them out that count: nothing tells what is memorised, and the training does "
            "not end before; give more",
            found,
            FEWEST_HELD_OUT,
        )
    if frames < batch_size // 2:
        logger.info(
            "%s are fewer than the %d that a step draws: some come up more than once in it", found, batch_size // 2
        )
    return training_set


def read_frames(data: DataRecipe, on_disk: Path | None = None) -> Iterator[tuple[str, BeadFrames]]:
    """(name, frames) of every molecule that the recipe names, checked; of the only one without a name. on_disk: as of
    `read_bead_frames`; the frames of a molecule then last until the next is read.
    """
    if data.molecules:
        yield from _read_molecules(data, on_disk)
    else:
        yield "", _read_only_molecule(data, on_disk)


def _read_only_molecule(data: DataRecipe, on_disk: Path | None = None) -> BeadFrames:
    """The frames of data.trajectories."""
    frames = read_bead_frames(
        data.trajectories,
        data.topology,
        beads=data.beads,
        length_unit=data.length_unit,
        stride=data.stride,
        allow_d_residues=data.allow_d_residues,
        forces=force_files(data),
        readable_frames=data.readable_frames,
        weights=data.weights,
        several_chains=data.several_chains,
        on_disk=on_disk,
    )
    check_motion(frames)
    return frames


def _read_molecules(data: DataRecipe, on_disk: Path | None = None) -> Iterator[tuple[str, BeadFrames]]:
    """(name, frames) of every molecule that data.molecules finds."""
    found = find_molecules(data.molecules)
    twins = same_files(found)
    for files in found:
        frames = read_bead_frames(
            files.trajectories,
            files.topology,
            beads=data.beads,
            readable_frames=data.readable_frames,
            stride=data.stride,
            allow_d_residues=data.allow_d_residues,
            on_disk=on_disk,
        )
        check_motion(frames)
        assert frames.report is not None  # what was read from files has one
        own = twins.get(files.name, ())
        for text in own:
            logger.warning("%s", text)
        warnings = (*frames.report.warnings, *own)
        report = dataclasses.replace(frames.report, residue_types=data.residue_types, warnings=warnings)
        yield files.name, dataclasses.replace(frames, report=report)


def _one_molecule(data: DataRecipe, kt_kj_per_mol: float, earlier: EarlierData | None) -> TrainingSet:
    """Its frames, with the scores of its forces where the recipe names these."""
    if earlier is not None:
        earlier.of_one_molecule()  # before the data are read, which may take its time
    bead_frames = _read_only_molecule(data)
    assert bead_frames.report is not None  # what was read from files has one
    mapping = bead_frames.report.short()
    if earlier is not None:
        earlier.require_beads(bead_frames.beads)
    weights_record = None if bead_frames.weights is None else bead_frames.weights.record()
    bead_frames, held = split_off(_that_count(bead_frames), data.held_out)
    training_set = TrainingSet.of(bead_frames, None if earlier is None else earlier.normalisation)
    training_set = dataclasses.replace(training_set, mapping=mapping, weights_record=weights_record)
    if held is not None:
        training_set = dataclasses.replace(
            training_set, held_out=TrainingSet.of(held, training_set.normalisation).by_weight
        )
    if bead_frames.forces is None:
        return training_set
    scores = ForceScores.of(bead_frames, training_set.scale_nm, kt_kj_per_mol)
    return dataclasses.replace(training_set, forces=scores)


def _that_count(frames: BeadFrames) -> BeadFrames:
    """The frames of some weight; without weights where these are all alike."""
    if frames.weights is None:
        return frames
    frames = part(frames, frames.weights.values > 0.0)
    frames = dataclasses.replace(frames, lengths=tuple(filter(None, frames.lengths)))
    assert frames.weights is not None
    alike = frames.weights.values.min() == frames.weights.values.max()
    return dataclasses.replace(frames, weights=None) if alike else frames


def _molecule_set(data: DataRecipe, internal: bool, earlier: EarlierData | None) -> MoleculeSet:
    """Every molecule's frames, with the scale and the statistics of the earlier training where there is one."""
    assert isinstance(data.beads, str)  # groups of atoms fit one molecule, and the recipe refuses them for many
    known = None if earlier is None else earlier.of_many_molecules()
    if earlier is not None and known is not None:
        for name, ours, theirs in (
            ("beads", data.beads, known.choice),
            ("allow_d_residues", data.allow_d_residues, known.allow_d_residues),
            ("residue_types", data.residue_types, dict(known.one_type)),
        ):
            if ours != theirs:
                raise InputError(
                    f"data.{name} = {ours!r}, and {earlier.path} was trained with {theirs!r}, by which its force field "
                    "knows molecules; use the same"
                )
        if internal and known.layout is None:
            raise InputError(
                f"{earlier.path} was trained with no model of kind internal, which the recipe asks for; give a "
                "checkpoint of such a model, or set model.kind to graph_transformer"
            )
    frames = dict(_read_molecules(data))
    return MoleculeSet.of(
        frames,
        data.beads,
        data.allow_d_residues,
        scale_nm=None if earlier is None else earlier.normalisation.scale_nm,
        knowledge=known,
        one_layout=internal,
        one_type=data.residue_types,
    )
