"""Writes model.pt: the energy at t_eval as a TorchScript program in physical units, verified before it is written.

U(r) = kT [E_theta(alpha(t) (r - centre) / s, t) + wall(r)] at t = t_eval, with r in nm and U in kJ/mol. The centre is
that of each replica, or for a particle in the plane that of the data. The wall (fpforce.forcefield.wall) is there where
the recipe asks for it. alpha undoes the shrinking of the noised positions, which matters where t_eval is not next to
zero. Of a mixture, the expert whose interval holds t_eval is written.
In: a checkpoint. Out: the file, and what its verification measured.
Source: arXiv 2506.17139, section 2 (the score at t = 0 is the force over kT); Arts et al., arXiv 2302.00600 (t above
0).
"""

import io
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from fpforce.forcefield.transferable.bound import bound_program
from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import Checkpoint, TransferableCheckpoint
from fpforce.training.checkpoint.record import TrainingRecord
from fpforce.training.modelfile.archive import write_archive
from fpforce.training.modelfile.metadata import metadata_of, settings_of
from fpforce.training.modelfile.physical_energy import PhysicalEnergy
from fpforce.training.modelfile.rebuild import rebuild
from fpforce.training.modelfile.support import Support, support_of_many, support_of_one
from fpforce.training.modelfile.verification import verify, verify_rebuilt

logger = logging.getLogger("fpforce")


def write_force_field(
    checkpoint: Checkpoint,
    model_path: Path,
    t_eval: float,
    residual: Callable[[], dict | None] = lambda: None,
    *,
    overwrite: bool = False,
    with_support: bool = True,
) -> dict:
    """Write model.pt at t_eval, with the calibration in the checkpoint's record if there is one; see training.export.

    residual: measures how the Fokker-Planck residual depends on t, for the report; called once the model has passed its
    checks. with_support: what the model has seen goes into it, too.
    """
    refuse_to_replace(model_path, overwrite)
    record, beads = checkpoint.record, checkpoint.beads
    physical = physical_energy(checkpoint, t_eval)
    program = torch.jit.freeze(torch.jit.script(physical), preserved_attrs=["energies"])
    verification = verify(program, physical, check_frames_nm(record))
    support = _support(checkpoint, physical, t_eval) if with_support else None
    metadata = metadata_of(checkpoint, physical, t_eval, residual(), verification, support) | {
        "beads": record.beads,
        "start_positions_nm": record.start_positions_nm.double().tolist(),
        "bonds_nm": record.bond_lengths_nm,
    }
    walls = {name: torch.from_numpy(values) for name, values in _wall_constants(checkpoint, t_eval).items()}
    weights = physical.energy.state_dict() | walls
    if metadata["model"]["kind"] != "custom":  # whose code may hold more than its weights
        rebuilt = rebuild(json.dumps(metadata), save_safetensors({k: v.contiguous() for k, v in weights.items()}))
        verify_rebuilt(rebuilt, physical, check_frames_nm(record))
    topology = io.StringIO()
    beads.write_pdb(topology, record.start_positions_nm.double().numpy())
    _write(model_path, program, metadata, weights, topology.getvalue(), support, overwrite)
    return verification


def write_transferable(
    checkpoint: TransferableCheckpoint,
    model_path: Path,
    t_eval: float,
    residual: Callable[[], dict | None] = lambda: None,
    *,
    overwrite: bool = False,
) -> dict:
    """Write the model.pt of a transferable checkpoint: shared weights, what is known of types, and a program to be
    bound.

    The program has the constants of one training molecule, for binding to replace
    (fpforce.forcefield.transferable.bound). It is verified as bound to each of the molecules in the checkpoint's
    record, whose largest deviations are returned.
    """
    refuse_to_replace(model_path, overwrite)
    molecules, number = checkpoint.of_many["molecules"], checkpoint.covering(t_eval)
    shared, plan = checkpoint.model(number), checkpoint.plans[number]
    kind = plan.model.kind
    shared.network = shared.network.settled(t_eval)
    model = {"kind": kind, "settings": settings_of(plan)}
    knowledge = checkpoint.knowledge if kind == "internal" else checkpoint.knowledge.without_layout()
    weights = {name: tensor.numpy() for name, tensor in shared.state_dict().items()}
    program, measured = None, []
    for name, molecule in molecules.items():
        bound = checkpoint.bind_entries(molecule)
        physical = physical_energy(bound, t_eval)
        if program is None:
            buffer = io.BytesIO()
            program = torch.jit.script(physical)
            torch.jit.save(program, buffer)
        constants = knowledge.constants(bound.beads, model, weights) | _wall_constants(bound, t_eval)
        as_loaded = torch.jit.load(io.BytesIO(bound_program(buffer.getvalue(), constants, len(bound.beads))))
        try:
            measured.append(verify(as_loaded, physical, check_frames_nm(bound.record)))
        except InputError as error:
            raise InputError(f"molecule {name}: {error}") from None
    assert program is not None
    worst = {
        name: (min if name == "mirror_difference_kt" else max)(one[name] for one in measured) for name in measured[0]
    }
    verification = worst | {"frames": sum(one["frames"] for one in measured), "molecules": len(measured)}
    support = _support_of_many(checkpoint, t_eval)
    metadata = metadata_of(bound, physical, t_eval, residual(), verification, support)
    of_one = {} if metadata["model"]["kind"] == kind else {"of_one": metadata["model"]}
    metadata |= {
        "model": metadata["model"] | model,
        "beads": {"mapping": knowledge.choice, "beads": [], "bonds": []},
        "start_positions_nm": [],
        "bonds_nm": {"mean": [], "min": [], "max": []},
        "transferable": {
            "knowledge": knowledge.to_dict(),
            "scale_nm": checkpoint.record.scale_nm,
            "trained_on": checkpoint.of_many["trained_on"],
        }
        | of_one,
    }
    _write(model_path, program, metadata, shared.state_dict(), "", support, overwrite)
    return verification


def physical_energy(checkpoint: Checkpoint, t_eval: float) -> PhysicalEnergy:
    """The energy of a checkpoint's molecule at t_eval, with the calibration in its record if there is one."""
    normalisation, number = checkpoint.record.normalisation, checkpoint.covering(t_eval)
    return PhysicalEnergy(
        checkpoint.calibrated_model(number, t_eval),
        len(checkpoint.beads),
        normalisation.length_nm(t_eval),
        BOLTZMANN_KJ_PER_MOL_K * checkpoint.recipe.temperature_k,
        t_eval,
        normalisation.origin_nm,
        checkpoint.wall(number),
    ).eval()


def _support(checkpoint: Checkpoint, physical: PhysicalEnergy, t_eval: float) -> Support | None:
    """What the model of one molecule has seen; of a transferable one it is what the training molecules were."""
    if checkpoint.shared is None:
        return _told(support_of_one(physical, checkpoint.record, checkpoint.plans[checkpoint.covering(t_eval)].t_max))
    of_many = _support_of_many(checkpoint.shared, t_eval)
    if of_many is None:
        return None
    low_nm, high_nm = checkpoint.shared.knowledge.ranges_nm(checkpoint.beads, checkpoint.record.scale_nm)
    return replace(of_many, gauge=replace(of_many.gauge, low_nm=low_nm, high_nm=high_nm))


def _support_of_many(checkpoint: TransferableCheckpoint, t_eval: float) -> Support | None:
    """What a transferable model has seen, by the molecules in its record."""
    molecules, scale_nm = list(checkpoint.of_many["molecules"].values()), checkpoint.record.scale_nm
    if any("support" not in molecule for molecule in molecules):
        return _told(None)
    bound = [checkpoint.bind_entries(molecule) for molecule in molecules]
    frames = [molecule["support"]["frames"].double() for molecule in molecules]
    return _told(
        support_of_many(
            [physical_energy(one, t_eval) for one in bound],
            [checkpoint.record.normalisation.to_nm(one).numpy() for one in frames],
            [checkpoint.knowledge.ranges_nm(one.beads, scale_nm) for one in bound],
            checkpoint.plans[checkpoint.covering(t_eval)].t_max,
        )
    )


def _told(support: Support | None) -> Support | None:
    if support is None:
        logger.info(
            "the force field does not say which frames the model has seen: the checkpoint has too few of them, or was "
            "written by an earlier version; fpforce-evaluate then goes by the reference"
        )
    return support


def check_frames_nm(record: TrainingRecord) -> Tensor:
    """The record's frames (frames, beads, 3) in nm, float64."""
    return record.normalisation.to_nm(record.check_frames.double())


def refuse_to_replace(model_path: Path, overwrite: bool) -> None:
    """Raise InputError for a path that nothing can be written to, too."""
    if model_path.is_dir():
        raise InputError(f"output {model_path} is a folder; give a file in it, such as {model_path / 'model.pt'}")
    nearest = next(folder for folder in model_path.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise InputError(f"output {model_path}: {nearest} is a file, not a folder")
    if model_path.exists() and not overwrite:
        raise InputError(f"{model_path} already exists; --overwrite replaces it")


def _wall_constants(checkpoint: Checkpoint, t_eval: float) -> dict[str, np.ndarray]:
    wall = checkpoint.wall(checkpoint.covering(t_eval))
    return {} if wall is None else wall.constants()


def _write(
    model_path: Path,
    program: torch.jit.ScriptModule,
    metadata: dict,
    weights: dict,
    topology_pdb: str,
    support: Support | None,
    overwrite: bool,
) -> None:
    refuse_to_replace(model_path, overwrite)  # again: another export may have come and gone
    model_path.parent.mkdir(parents=True, exist_ok=True)
    arrays = None if support is None else support.gauge.arrays()
    write_archive(model_path, program, metadata, weights, topology_pdb, arrays)
