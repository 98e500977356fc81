"""Checkpoint in, model.pt out: the energy at t_eval as a TorchScript program in physical units, verified before
writing.

U(r) = kT [E_theta(alpha(t) (r - centre) / s, t) + wall(r)] at t = t_eval, r in nm, U in kJ/mol; the centre is that of
each replica, or of a particle in the plane that of the data; the wall (fpforce.forcefield.wall) is there where the
recipe asks for it; alpha undoes the shrinking of the noised positions, which matters where t_eval is not next to zero.
Of a mixture, the expert whose interval holds t_eval is exported.
Source: arXiv 2506.17139, section 2 (the score at t = 0 is the force over kT); Arts et al., arXiv 2302.00600 (t above
0).
"""

import copy
import io
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fpforce.forcefield.transferable.bound import bound_program
from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.molecule.space import PLANE, space_of
from fpforce.training.checkpoint.checkpoint import Checkpoint, read_checkpoint
from fpforce.training.checkpoint.record import TrainingRecord
from fpforce.training.diffusion import alpha, sigma
from fpforce.training.modelfile.archive import write_archive
from fpforce.training.modelfile.physical_energy import PhysicalEnergy
from fpforce.training.modelfile.residual import residual_curve

logger = logging.getLogger("fpforce")

HANDED_UP_TO = 0.1  # diffusion time; the largest that a recipe may have as t_eval


def export(
    checkpoint_path: str | Path,
    model_path: str | Path,
    *,
    t_eval: float | None = None,
    uncalibrated: bool = False,
    topology=None,
    likelihood_frames: int = 0,
    rounds: int = 0,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
) -> dict:
    """Write model.pt from a checkpoint's averaged weights and return what the verification measured.

    t_eval: diffusion time of the force field; None takes the recipe's. uncalibrated: leave a calibration out. topology:
    of a transferable checkpoint write the force field of this molecule alone (TransferableForceField.bind says of
    what), calibrated by the model's own samples of it where likelihood_frames or rounds are not 0; overrides: of how
    (training.calibration.own_samples.for_molecule).
    Raises InputError for an unusable checkpoint, an existing output (without overwrite) and a failed verification.
    """
    from fpforce.training.calibration.own_samples import for_molecule  # which needs this module

    model_path = Path(model_path)
    if model_path.suffix == ".ckpt":
        raise InputError(f"output {model_path} is named like a checkpoint; call it something.pt")
    checkpoint = read_checkpoint(checkpoint_path)
    if uncalibrated:
        checkpoint.record.calibration = None
    t_eval = checkpoint.recipe.diffusion.t_eval if t_eval is None else t_eval
    calibration = checkpoint.record.calibration
    if calibration is not None and calibration.t_eval != t_eval:
        logger.info(
            "the calibration is for t_eval = %g; the force field at %g goes without", calibration.t_eval, t_eval
        )
        checkpoint.record.calibration = None
    number = checkpoint.covering(t_eval)
    if uncalibrated and (likelihood_frames or rounds):
        raise InputError(
            "uncalibrated contradicts likelihood_frames and rounds, which calibrate; leave one of them out"
        )
    if overrides and not rounds:
        raise InputError(
            f"{overrides[0]!r} says how rounds of simulation calibrate, and there are none; give rounds, or leave it "
            f"out"
        )
    for name, value in (("likelihood_frames", likelihood_frames), ("rounds", rounds)):
        if value and topology is None:
            raise InputError(
                f"{name} is {value}, which calibrates a transferable model for one molecule; give its topology "
                f"(calibration.{name} of a recipe does it for a model of one molecule)"
            )
    if topology is not None:
        _refuse_to_replace(model_path, overwrite)
        molecule = for_molecule(checkpoint, topology, likelihood_frames, rounds, t_eval, overrides)
        verification = write_force_field(molecule, model_path, t_eval, overwrite=overwrite)
        logger.info("wrote %s, of %s alone", model_path, molecule.beads.residues)
        return verification
    write = write_force_field if checkpoint.knowledge is None else write_transferable
    verification = write(checkpoint, model_path, t_eval, lambda: _residual(checkpoint, number), overwrite=overwrite)
    logger.info("wrote %s", model_path)
    return verification


def write_force_field(
    checkpoint: Checkpoint,
    model_path: Path,
    t_eval: float,
    residual: Callable[[], dict | None] = lambda: None,
    *,
    overwrite: bool = False,
) -> dict:
    """Write model.pt at t_eval, with the calibration in the checkpoint's record if there is one; see `export`.

    residual: measures how the Fokker-Planck residual depends on t, for the report; called once the model has passed its
    checks.
    """
    _refuse_to_replace(model_path, overwrite)
    record, beads = checkpoint.record, checkpoint.beads
    physical = physical_energy(checkpoint, t_eval)
    program = torch.jit.freeze(torch.jit.script(physical), preserved_attrs=["energies"])
    verification = verify(program, physical, check_frames_nm(record))
    metadata = _metadata(checkpoint, physical, t_eval, residual(), verification) | {
        "beads": record.beads,
        "start_positions_nm": record.start_positions_nm.double().tolist(),
        "bonds_nm": record.bond_lengths_nm,
    }
    walls = {name: torch.from_numpy(values) for name, values in _wall_constants(checkpoint, t_eval).items()}
    weights = physical.energy.state_dict() | walls
    topology = io.StringIO()
    beads.write_pdb(topology, record.start_positions_nm.double().numpy())
    _write(model_path, program, metadata, weights, topology.getvalue())
    return verification


def write_transferable(
    checkpoint: Checkpoint,
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
    _refuse_to_replace(model_path, overwrite)
    molecules, number = checkpoint.record.transferable["molecules"], checkpoint.covering(t_eval)
    shared, kind = checkpoint.shared_model(number), checkpoint.plans[number].model.kind
    knowledge = checkpoint.knowledge if kind == "internal" else checkpoint.knowledge.without_layout()
    weights = {name: tensor.numpy() for name, tensor in shared.state_dict().items()}
    program, measured = None, []
    for name, molecule in molecules.items():
        bound = checkpoint.of_molecule(molecule)
        physical = physical_energy(bound, t_eval)
        if program is None:
            buffer = io.BytesIO()
            program = torch.jit.script(physical)
            torch.jit.save(program, buffer)
        constants = knowledge.constants(bound.beads, kind, shared.has_prior, weights) | _wall_constants(bound, t_eval)
        as_loaded = torch.jit.load(io.BytesIO(bound_program(buffer.getvalue(), constants, len(bound.beads))))
        try:
            measured.append(verify(as_loaded, physical, check_frames_nm(bound.record)))
        except InputError as error:
            raise InputError(f"molecule {name}: {error}") from None
    worst = {
        name: (min if name == "mirror_difference_kt" else max)(one[name] for one in measured) for name in measured[0]
    }
    verification = worst | {"frames": sum(one["frames"] for one in measured), "molecules": len(measured)}
    metadata = _metadata(checkpoint, physical, t_eval, residual(), verification) | {
        "beads": {"mapping": knowledge.choice, "beads": [], "bonds": []},
        "start_positions_nm": [],
        "bonds_nm": {"mean": [], "min": [], "max": []},
        "transferable": {
            "knowledge": knowledge.to_dict(),
            "scale_nm": checkpoint.record.scale_nm,
            "trained_on": checkpoint.record.transferable["trained_on"],
        },
    }
    _write(model_path, program, metadata, shared.state_dict(), "")
    return verification


def physical_energy(checkpoint: Checkpoint, t_eval: float) -> PhysicalEnergy:
    """The energy of a checkpoint's molecule at t_eval, with the calibration in its record if there is one."""
    record, recipe = checkpoint.record, checkpoint.recipe
    number = checkpoint.covering(t_eval)
    model = checkpoint.calibrated_model(number, t_eval)
    scale_nm = record.scale_nm / float(alpha(torch.tensor(t_eval, dtype=torch.float64)))
    kt = BOLTZMANN_KJ_PER_MOL_K * recipe.temperature_k
    return PhysicalEnergy(
        model, len(checkpoint.beads), scale_nm, kt, t_eval, record.origin_nm, checkpoint.wall(number)
    ).eval()


def check_frames_nm(record: TrainingRecord) -> Tensor:
    """The record's frames in nm, float64."""
    return record.check_frames.double() * record.scale_nm + torch.tensor(record.origin_nm, dtype=torch.float64)


def _refuse_to_replace(model_path: Path, overwrite: bool) -> None:
    """Raise InputError for a path that nothing can be written to, too."""
    if model_path.is_dir():
        raise InputError(f"output {model_path} is a folder; give a file in it, such as {model_path / 'model.pt'}")
    nearest = next(folder for folder in model_path.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise InputError(f"output {model_path}: {nearest} is a file, not a folder")
    if model_path.exists() and not overwrite:
        raise InputError(f"{model_path} already exists; --overwrite replaces it")


def _metadata(
    checkpoint: Checkpoint, physical: PhysicalEnergy, t_eval: float, residual: dict | None, verification: dict
) -> dict:
    """What fpforce.json says of every force field, whatever its molecule."""
    number = checkpoint.covering(t_eval)
    plan, network, wall = checkpoint.plans[number], physical.energy.network, checkpoint.wall(number)
    return ({} if wall is None else {"wall": wall.record(checkpoint.record.smallest_distances)}) | {
        "model": {
            "kind": plan.model.kind,
            "conservative": plan.conservative,
            "settings": plan.model.model_dump(mode="json") | {"v_min": plan.v_min, "t_max": plan.t_max},
            "constants": network.constants(),
            "vocabulary": network.vocabulary(),
        },
        "scale_nm": 1.0 / physical.inverse_scale,
        "origin_nm": list(checkpoint.record.origin_nm),
        "temperature_k": checkpoint.recipe.temperature_k,
        "kt_kj_per_mol": physical.kt,
        "t_eval": t_eval,
        "training": _provenance(checkpoint, number) | ({"fokker_planck_residual": residual} if residual else {}),
        "verification": verification,
    }


def _wall_constants(checkpoint: Checkpoint, t_eval: float) -> dict[str, np.ndarray]:
    wall = checkpoint.wall(checkpoint.covering(t_eval))
    return {} if wall is None else wall.constants()


def _write(model_path: Path, program: torch.jit.ScriptModule, metadata: dict, weights: dict, topology_pdb: str) -> None:
    model_path.parent.mkdir(parents=True, exist_ok=True)
    write_archive(model_path, program, metadata, weights, topology_pdb)


def _residual(checkpoint: Checkpoint, number: int) -> dict | None:
    """Of the expert as trained: calibration changes it at t_eval alone. Of a transferable one, for its smallest
    molecule.
    """
    plan = checkpoint.plans[number]
    if not plan.conservative:
        return None
    beads, frames = min(checkpoint.record.samples(), key=lambda sample: len(sample[0]))
    model = checkpoint.model(number) if checkpoint.knowledge is None else checkpoint.shared_model(number).bind(beads)
    logger.info("measuring the Fokker-Planck residual")
    return residual_curve(model, frames, plan.t_min, plan.t_max)


def verify(program: torch.jit.ScriptModule, physical: PhysicalEnergy, frames_nm: Tensor) -> dict[str, float]:
    """Compare the frozen program with the eager model in float64 on frames (frames, n, 3) in nm, and test symmetries.

    Returns the largest deviations, energies in kT, forces relative to their root mean square. Raises InputError naming
    the first check that fails. Of a network that is not invariant under rotation by construction the error is recorded,
    and mirror images must differ by more than rotated copies do. A particle in the plane is moved along z instead.
    """
    space = space_of(physical.beads)
    reference = copy.deepcopy(physical).double()
    exact_energy, exact_force = _energy_and_force(reference, frames_nm)
    energy, force = _energy_and_force(program, frames_nm)
    single, single_force = _energy_and_force(program, frames_nm.float())
    rms = exact_force.square().mean().sqrt()
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    rotation = rotation * torch.linalg.det(rotation)
    moved = _energy_and_force(reference, space.equivalent(frames_nm, rotation, torch.tensor([1.0, -2.0, 3.0])))[0]
    mirrored = _energy_and_force(reference, frames_nm * torch.tensor([1.0, 1.0, -1.0]))[0]
    kt, invariant = physical.kt, space is PLANE or physical.energy.network.rotation_invariant
    turning = (moved - exact_energy).abs() / kt
    measured = {
        "energy_error_kt": float((energy - exact_energy).abs().max() / kt),
        "force_error": float((force - exact_force).abs().max() / rms),
        "energy_error_float32_kt": float((single.double() - exact_energy).abs().max() / kt),
        "force_error_float32": float((single_force.double() - exact_force).abs().max() / rms),
        "invariance_error_kt": float(turning.max()),
        "mirror_difference_kt": float((mirrored - exact_energy).abs().median() / kt),
        "frames": len(frames_nm),
    }
    limits = {
        "energy_error_kt": 1e-2,
        "force_error": 1e-2,
        "energy_error_float32_kt": 2e-2,
        "force_error_float32": 2e-2,
        "invariance_error_kt": 1e-6 if invariant else math.inf,
    }
    for name, limit in limits.items():
        if not measured[name] <= limit:
            raise InputError(
                f"the exported model fails its check: {name} is {measured[name]:.3g}, limit {limit:g}; "
                "the checkpoint's weights are damaged or too extreme for float32, train it further or anew (a cutoff "
                "below all distances, model.cutoff_nm, leaves a model without neighbours, too)"
            )
    chance = 1e-3 + float(turning.median())
    if physical.beads >= 4 and not measured["mirror_difference_kt"] > chance:
        what = "energy" if physical.energy.conservative else "what stands for an energy of their score"
        raise InputError(
            f"frames and their mirror images differ in {what} by {measured['mirror_difference_kt']:.3g} kT "
            f"only, no more than {chance:.3g} kT: {_why_alike(float(physical.t_eval))}"
        )
    return measured


def _why_alike(t_eval: float) -> str:
    """Why a model takes mirror images for alike, and what to do."""
    if t_eval > HANDED_UP_TO:
        noise = float(sigma(torch.tensor(t_eval)))
        return (
            f"at t = {t_eval:g}, where noise is {noise:.0%} of the molecule's size, they are nearly alike, and no "
            f"force field can tell them apart; choose a smaller --t-eval (the recipe's, without it; at most "
            f"{HANDED_UP_TO:g})"
        )
    return "the model has not learned chirality; train it further"


def _energy_and_force(module: nn.Module, frames_nm: Tensor) -> tuple[Tensor, Tensor]:
    positions = frames_nm.reshape(-1, 3).detach().requires_grad_()
    energies = module.energies(positions)
    (slope,) = torch.autograd.grad(energies.sum(), positions)
    return energies.detach(), -slope


def _provenance(checkpoint: Checkpoint, number: int) -> dict:
    """How the model came about; `experts` describes all of the mixture, the curves are those of the exported one."""
    record, exported = checkpoint.record, checkpoint.record.experts[number]
    return {
        "recipe": record.recipe,
        "seconds": sum(expert.seconds for expert in record.experts),
        "steps": sum(expert.steps for expert in record.experts),
        "device": exported.device,
        "checkpoint_sha256": checkpoint.sha256,
        "initial": record.initial,
        "data_sha256": record.data_sha256,
        "sources": record.sources,
        "forces": record.forces,
        "commit": record.commit,
        "versions": record.versions,
        "scale_nm": record.scale_nm,
        "experts": [
            {
                "t_min": plan.t_min,
                "t_max": plan.t_max,
                "conservative": plan.conservative,
                "kind": plan.model.kind,
                "fokker_planck_weight": plan.fokker_planck_weight,
                "anchor_weight": plan.anchor_weight,
                "steps": expert.steps,
                "seconds": expert.seconds,
                "exported": k == number,
            }
            for k, (plan, expert) in enumerate(zip(checkpoint.plans, record.experts, strict=True))
        ],
        "hand_overs": record.hand_overs,
        "calibration": None if record.calibration is None else record.calibration.summary(),
        "curves": exported.curves,
        "step_ms": 1e3 * exported.seconds / max(exported.steps, 1),
    }
