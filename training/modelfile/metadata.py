"""What model.pt says of itself in fpforce.json: the model, its units, its training, its verification.

In: a checkpoint and the physical energy made of it. Out: plain values by name.
"""

import torch

from fpforce.forcefield.wall import wall_record
from fpforce.foundation.plain_json import plain
from fpforce.training.checkpoint.checkpoint import Checkpoint
from fpforce.training.checkpoint.record import ExpertRecord
from fpforce.training.diffusion import sigma
from fpforce.training.modelfile.physical_energy import PhysicalEnergy
from fpforce.training.modelfile.support import Support
from fpforce.training.models.internal import InternalModel
from fpforce.training.models.prior import AnalyticPrior
from fpforce.training.recipe.models import PAIRS, ChainRecipe, ModelRecipe, wall_of
from fpforce.training.recipe.plan import ExpertPlan


def metadata_of(
    checkpoint: Checkpoint,
    physical: PhysicalEnergy,
    t_eval: float,
    residual: dict | None,
    verification: dict,
    support: Support | None,
) -> dict:
    """What fpforce.json says of every force field, whatever its molecule."""
    number = checkpoint.covering(t_eval)
    plan, network, wall = checkpoint.plans[number], physical.energy.network, checkpoint.wall(number)
    prior, walls = physical.energy.prior, {}
    settings = settings_of(plan, plan.model.of_one() if isinstance(plan.model, ChainRecipe) else plan.model)
    if wall is not None:
        of_pairs = wall_of(plan.model) == PAIRS
        walls = {"wall": wall_record(None if of_pairs else checkpoint.record.smallest_distances)}
    return (
        walls
        | {
            "model": {
                "kind": settings["kind"],
                "conservative": plan.conservative,
                "settings": settings,
                "constants": network.constants(),
                "vocabulary": network.vocabulary(),
                "coupled_pairs": isinstance(prior, AnalyticPrior) and prior.couplings is not None,
                "series": isinstance(network, InternalModel) and network.series is not None,
                "pair_series": isinstance(network, InternalModel) and network.pair_series is not None,
                "windows": isinstance(network, InternalModel) and network.windows is not None,
            },
            "scale_nm": 1.0 / physical.inverse_scale,
            "origin_nm": list(checkpoint.record.origin_nm),
            "temperature_k": checkpoint.recipe.temperature_k,
            "kt_kj_per_mol": physical.kt,
            "t_eval": t_eval,
            "noise_nm": float(sigma(torch.tensor(t_eval, dtype=torch.float64))) / physical.inverse_scale,
            # What was measured of a training may not be finite, as the gap of samples that diverge: null then.
            "training": plain(
                provenance_of(checkpoint, number) | ({"fokker_planck_residual": residual} if residual else {})
            ),
            "verification": verification,
        }
        | ({} if support is None else {"support": support.record()})
    )


def settings_of(plan: ExpertPlan, model: ModelRecipe | None = None) -> dict:
    """Those of an expert's model, or of what it is for one molecule, by name."""
    return (model or plan.model).model_dump(mode="json") | {"v_min": plan.v_min, "t_max": plan.t_max}


def provenance_of(checkpoint: Checkpoint, number: int) -> dict:
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
        "weights": record.weights,
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
                "flow_weight": plan.flow_weight if expert.follows_flow else 0.0,
                "anchor_weight": plan.anchor_weight,
                "steps": expert.steps,
                "seconds": expert.seconds,
                "exported": k == number,
                "watched": watched_of(expert),
            }
            for k, (plan, expert) in enumerate(zip(checkpoint.plans, record.experts, strict=True))
        ],
        "hand_overs": record.hand_overs,
        "calibration": None if record.calibration is None else record.calibration.summary(),
        "curves": exported.curves,
        "step_ms": 1e3 * exported.seconds / max(exported.steps, 1),
    }


def watched_of(expert: ExpertRecord) -> dict | None:
    """The last losses of an expert on training and held-out frames, and its last gap; None where none were held out."""
    if not expert.watched["step"]:
        return None
    last = {name: values[-1] for name, values in expert.watched.items()}
    return last | {
        "gap_kt": expert.gap["kt"][-1] if expert.gap["kt"] else None,
        "stopped_early": expert.stopped_early,
    }
