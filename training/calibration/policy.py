"""Which calibrations are wanted, and which are refused.

In: a recipe's calibration, and the record of what was calibrated already. Out: yes or no, or an InputError.
"""

from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import Checkpoint
from fpforce.training.checkpoint.record import CalibrationRecord
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.recipe.sections import CalibrationRecipe

PATIENCE = 4  # rounds without gain, which end those beyond calibration.rounds
NEARER = 1.0 / 3.0  # of its relative entropy, by which a round is nearer to the data than noise alone brings it


def is_wanted(settings: CalibrationRecipe, record: CalibrationRecord | None) -> bool:
    """Whether the settings ask for what the calibration `record` (None: nothing) has not had."""
    stages = (rounds_are_wanted, fit_is_wanted, levels_are_wanted)
    return any(wanted(settings, record) for wanted in stages)


def rounds_are_wanted(settings: CalibrationRecipe, record: CalibrationRecord | None) -> bool:
    """Whether there are fewer rounds than were asked for, or they may go on and still come nearer to the data."""
    if not settings.rounds:
        return False
    if record is None or record.done < settings.rounds:
        return True
    return record.done < most_rounds(settings) and not record.refused and rounds_without_gain(record) < PATIENCE


def most_rounds(settings: CalibrationRecipe) -> int:
    """How many rounds there may be in all."""
    return max(settings.rounds or 0, settings.most_rounds or 0)


def rounds_without_gain(record: CalibrationRecord) -> int:
    """How many rounds at the present temperatures there were since the last gain.

    A gain is a round that is nearer to the data by NEARER than the last one that was a gain: a slow approach, each
    round a fifth nearer than the one before, is one every second time. While rounds come nearer, steps go all the way;
    from then on what is left is noise, of which the average is taken.
    """
    nats = record.relative_entropy[record.settings.get("ladder_since", 0) :]
    last = 0
    for here, value in enumerate(nats):
        if value < (1.0 - NEARER) * nats[last]:
            last = here
    return max(len(nats) - 1 - last, 0)


def levels_are_wanted(settings: CalibrationRecipe, record: CalibrationRecord | None) -> bool:
    """Whether the denoising fit is asked for and still to be made; later stages would begin anew after it."""
    begun = record is not None and (record.denoising is not None or record.likelihood is not None or record.done > 0)
    return bool(settings.denoising_fit) and not begun


def passed_over(settings: CalibrationRecipe, record: CalibrationRecord | None) -> str | None:
    """What of the settings a calibration that has begun cannot follow any more, and what to do; None for nothing."""
    if record is None:
        return None
    if settings.denoising_fit and record.denoising is None and (record.likelihood is not None or record.done):
        return (
            "calibration.denoising_fit = True is passed over: it comes before likelihoods and rounds, which this "
            "training has had; train anew for it"
        )
    if settings.denoising_fit is False and record.levels is not None:
        return (
            "calibration.denoising_fit = False is passed over: the fit has been made; train anew without it, or leave "
            "all of the calibration out by fpforce-export --uncalibrated"
        )
    return None


def fit_is_wanted(settings: CalibrationRecipe, record: CalibrationRecord | None) -> bool:
    fitted = 0 if record is None or record.likelihood is None else record.likelihood["frames"]
    return settings.likelihood_frames not in (0, fitted)


def refuse_other_rounds(checkpoint: Checkpoint, settings: CalibrationRecipe) -> None:
    """Raise InputError where rounds that are done do not go with what the settings ask for."""
    record = checkpoint.record.calibration
    if record is None or not record.done:
        return
    if fit_is_wanted(settings, record):
        fitted = record.likelihood["frames"] if record.likelihood else 0
        raise InputError(
            f"{checkpoint.path} has had {record.done} rounds of calibration, and calibration.likelihood_frames = "
            f"{settings.likelihood_frames} comes before them; set it to {fitted} as it was then, or train anew"
        )
    assert record.positions_nm is not None
    replicas = record.positions_nm.shape[1]
    if settings.replicas != replicas:
        raise InputError(
            f"{checkpoint.path} has had {record.done} rounds of calibration with calibration.replicas = {replicas}, "
            f"which go on; set it back to that from {settings.replicas}"
        )


def refuse_uncalibratable(model: DiffusionEnergy | DiffusionScore, where: str) -> None:
    """Raise InputError for a model that calibration cannot move; `where`: what to call it."""
    remedy = "leave calibration.rounds and calibration.likelihood_frames at 0"
    if not isinstance(model, DiffusionEnergy):
        raise InputError(
            f"{where}: calibration moves an energy, and this is a score; make it conservative, or {remedy}"
        )
    if model.network.readout() is None:
        network = getattr(model.network, "module", model.network)
        raise InputError(
            f"{where}: the network {type(network).__name__} names no linear last layer (readout) to calibrate; {remedy}"
        )


def calibratable(checkpoint: Checkpoint, t_eval: float) -> DiffusionEnergy:
    """The energy that becomes the force field at t_eval; InputError where calibration cannot move it."""
    number = checkpoint.covering(t_eval)
    model = checkpoint.model(number)
    refuse_uncalibratable(model, f"{checkpoint.path}, expert over {checkpoint.plans[number]}")
    assert isinstance(model, DiffusionEnergy)
    model.network = model.network.settled(t_eval)
    return model
