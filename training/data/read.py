"""The data that a recipe names, as a training takes them: read, checked, and in the normalisation of an earlier
training.
"""

import dataclasses
import logging
from collections.abc import Iterator

import torch

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import Checkpoint
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.force_scores import ForceScores
from fpforce.training.data.molecule_files import find_molecules
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.recipe.models import InternalRecipe
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.sections import Recipe
from fpforce.trajectories.bead_frames import BeadFrames, read_bead_frames
from fpforce.trajectories.forces import ForceFiles
from fpforce.trajectories.frame_checks import check_motion

logger = logging.getLogger("fpforce")

RIGID_WIDTH_NM = 1e-3  # bonds of atoms at 300 K are some 2e-3 nm wide


def read_training_set(recipe: Recipe, earlier: Checkpoint | None) -> TrainingSet | MoleculeSet:
    """The recipe's data, in the normalisation of an earlier checkpoint where one goes on from it.

    Raises InputError for data that cannot be read, are fewer than a batch, or are not what the earlier training had.
    """
    if earlier is not None:
        earlier.refuse_other_scope(many=bool(recipe.data.molecules))
    training_set = _molecule_set(recipe, earlier) if recipe.data.molecules else _one_molecule(recipe, earlier)
    if len(training_set.frames) < recipe.optimizer.batch_size:
        raise InputError(
            f"{len(training_set.frames)} frames in {', '.join(training_set.sources)} are fewer than "
            f"optimizer.batch_size={recipe.optimizer.batch_size}; give more frames or a smaller batch"
        )
    for one in [training_set] if isinstance(training_set, TrainingSet) else training_set.molecules.values():
        _warn_of_rigid_bonds(one)
    return training_set


def read_frames(recipe: Recipe) -> Iterator[tuple[str, BeadFrames]]:
    """(name, frames) of every molecule of the recipe, checked; of the only one without a name."""
    data = recipe.data
    if not data.molecules:
        frames = read_bead_frames(
            data.trajectories,
            data.topology,
            beads=data.beads,
            length_unit=data.length_unit,
            stride=data.stride,
            allow_d_residues=data.allow_d_residues,
            forces=_force_files(recipe),
            readable_frames=data.readable_frames,
        )
        check_motion(frames)
        yield "", frames
    for files in find_molecules(data.molecules) if data.molecules else ():
        frames = read_bead_frames(
            files.trajectories,
            files.topology,
            beads=data.beads,
            readable_frames=data.readable_frames,
            stride=data.stride,
            allow_d_residues=data.allow_d_residues,
        )
        check_motion(frames)
        yield files.name, frames


def _one_molecule(recipe: Recipe, earlier: Checkpoint | None) -> TrainingSet:
    """Its frames, with the scores of its forces where the recipe names these."""
    ((_, bead_frames),) = read_frames(recipe)
    logger.info("%s", bead_frames.report.short())
    if earlier is not None:
        earlier.refuse_other_beads(bead_frames.beads)
    normalisation = () if earlier is None else (earlier.record.scale_nm, earlier.record.origin_nm)
    training_set = TrainingSet.of(bead_frames, *normalisation)
    if bead_frames.forces is None:
        return training_set
    kt = BOLTZMANN_KJ_PER_MOL_K * recipe.temperature_k
    return dataclasses.replace(training_set, forces=ForceScores.of(bead_frames, training_set.scale_nm, kt))


def _molecule_set(recipe: Recipe, earlier: Checkpoint | None) -> MoleculeSet:
    """Every molecule's frames; with --init and --resume in the scale, and with the statistics, of the earlier
    training.
    """
    data = recipe.data
    if earlier is not None:
        known = earlier.knowledge
        for name, ours, theirs in (
            ("beads", data.beads, known.choice),
            ("allow_d_residues", data.allow_d_residues, known.allow_d_residues),
        ):
            if ours != theirs:
                raise InputError(
                    f"data.{name} = {ours!r}, and {earlier.path} was trained with {theirs!r}, by which its force field "
                    "knows molecules; use the same"
                )
    internal = any(isinstance(plan.model, InternalRecipe) for plan in plan_experts(recipe))
    if earlier is not None and internal and earlier.knowledge.layout is None:
        raise InputError(
            f"{earlier.path} was trained with no model of kind internal, which the recipe asks for; give a checkpoint "
            f"of "
            "such a model, or set model.kind to graph_transformer"
        )
    frames = dict(read_frames(recipe))
    given = {} if earlier is None else {"scale_nm": earlier.record.scale_nm, "knowledge": earlier.knowledge}
    return MoleculeSet.of(frames, data.beads, data.allow_d_residues, one_layout=internal, **given)


def _force_files(recipe: Recipe) -> ForceFiles | None:
    data = recipe.data
    if data.forces is None:
        return None
    constraints = data.constraints if isinstance(data.constraints, str) else tuple(data.constraints)
    return ForceFiles(
        paths=tuple(data.forces), unit=data.force_unit, constraints=constraints, optimal=data.force_map == "optimal"
    )


def _warn_of_rigid_bonds(training_set: TrainingSet) -> None:
    """A bond that constraints held has next to no width; its force would need a time step far below 1 fs."""
    if not training_set.beads.bonds:
        return
    index = torch.tensor(training_set.beads.bonds, dtype=torch.long).reshape(-1, 2)
    lengths = (training_set.frames[:, index[:, 0]] - training_set.frames[:, index[:, 1]]).norm(dim=-1)
    widths_nm = lengths.double().std(0) * training_set.scale_nm
    for (i, j), width_nm in zip(index.tolist(), widths_nm.tolist(), strict=True):
        if width_nm < RIGID_WIDTH_NM:
            beads = training_set.beads.beads
            logger.warning(
                "bond %s to %s varies by %.1e nm only, as if constrained: leave one of its beads out (hydrogens, "
                "usually), or simulate with a far shorter --timestep-fs",
                beads[i],
                beads[j],
                width_nm,
            )
