"""The verb `export`: a checkpoint in, model.pt out, calibrated for one molecule where that is asked for.

The file is written and verified by training.modelfile.write.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from fpforce.distributed.parts import Where
from fpforce.foundation.errors import InputError
from fpforce.training.calibration.own_samples import for_molecule
from fpforce.training.checkpoint.checkpoint import Checkpoint, TransferableCheckpoint, read_checkpoint
from fpforce.training.losses.residual import residual_curve
from fpforce.training.modelfile.write import refuse_to_replace, write_force_field, write_transferable
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.transferable import TransferableEnergy

logger = logging.getLogger("fpforce")


def export(
    checkpoint_path: str | Path,
    model_path: str | Path,
    *,
    t_eval: float | None = None,
    uncalibrated: bool = False,
    topology: object | None = None,
    likelihood_frames: int = 0,
    rounds: int = 0,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> dict:
    """Write model.pt from a checkpoint's averaged weights and return what the verification measured.

    t_eval: diffusion time of the force field; None takes the recipe's. uncalibrated: leave a calibration out. topology:
    of a transferable checkpoint write the force field of this molecule alone (TransferableForceField.bind says of
    what), calibrated by the model's own samples of it where likelihood_frames or rounds are not 0; overrides: of how
    (training.calibration.own_samples.for_molecule); workers, scheduler: of Dask, which simulate the rounds.
    Raises InputError for an unusable checkpoint, an existing output (without overwrite) and a failed verification.
    """
    model_path = Path(model_path)
    if model_path.suffix == ".ckpt":
        raise InputError(f"output {model_path} is named like a checkpoint; call it something.pt")
    checkpoint = read_checkpoint(checkpoint_path)
    if uncalibrated:
        checkpoint.record.calibration = None
    t_eval = checkpoint.recipe.diffusion.evaluated_at if t_eval is None else t_eval
    calibration = checkpoint.record.calibration
    if calibration is not None and calibration.t_eval != t_eval:
        logger.info(
            "the calibration by likelihoods and rounds is for t_eval = %g; the force field at %g goes without",
            calibration.t_eval,
            t_eval,
        )
        checkpoint.record.calibration = calibration.for_another_t_eval()
    number = checkpoint.covering(t_eval)
    if uncalibrated and (likelihood_frames or rounds):
        raise InputError(
            "uncalibrated contradicts likelihood_frames and rounds, which calibrate; leave one of them out"
        )
    if overrides and not rounds:
        raise InputError(
            f"{overrides[0]!r} says how rounds of simulation calibrate, and there are none; give rounds, or leave it "
            "out"
        )
    where = Where(workers, scheduler)
    where.check()
    where.require()
    if where.many and not rounds:
        raise InputError("workers and scheduler simulate rounds, and there are none; give rounds, or leave them out")
    for name, value in (("likelihood_frames", likelihood_frames), ("rounds", rounds)):
        if value and topology is None:
            raise InputError(
                f"{name} is {value}, which calibrates a transferable model for one molecule; give its topology "
                f"(calibration.{name} of a recipe does it for a model of one molecule)"
            )
    if topology is not None:
        refuse_to_replace(model_path, overwrite)
        molecule = for_molecule(checkpoint, topology, likelihood_frames, rounds, t_eval, overrides, where=where)
        verification = write_force_field(molecule, model_path, t_eval, overwrite=overwrite)
        logger.info("wrote %s, of %s alone", model_path, molecule.beads.residues)
        return verification
    if isinstance(checkpoint, Checkpoint):
        verification = write_force_field(
            checkpoint, model_path, t_eval, lambda: _residual(checkpoint, number), overwrite=overwrite
        )
    else:
        verification = write_transferable(
            checkpoint, model_path, t_eval, lambda: _residual(checkpoint, number), overwrite=overwrite
        )
    logger.info("wrote %s", model_path)
    return verification


def _residual(checkpoint: Checkpoint | TransferableCheckpoint, number: int) -> dict | None:
    """The residual of an expert as trained, since calibration changes it at t_eval alone; None without an energy.

    That of a transferable one is measured on its smallest molecule.
    """
    plan = checkpoint.plans[number]
    if not plan.conservative:
        return None
    beads, frames = min(checkpoint.record.samples(), key=lambda sample: len(sample[0]))
    model = checkpoint.model(number)
    energy = model.bind(beads) if isinstance(model, TransferableEnergy) else model
    assert isinstance(energy, DiffusionEnergy)
    logger.info("measuring the Fokker-Planck residual")
    sigma_w = checkpoint.recipe.loss.fokker_planck_sigma
    return residual_curve(energy, frames, plan.t_min, plan.t_max, sigma_w=sigma_w)
