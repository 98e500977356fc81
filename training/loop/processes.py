"""Several processes that train together, by Lightning's DDP: who speaks, and what all must agree on.

In: this process's clock and signals. Out: the same time and the same decision in every process. All draw the whole
batch of a step and take a share each (training.loop.step), so that a training does not depend on their number.
"""

import logging

import torch
import torch.distributed as dist
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor

from fpforce.foundation.errors import InputError


def is_first() -> bool:
    """Whether this process writes and speaks; it does where it is alone."""
    return getattr(rank_zero_only, "rank", None) in (None, 0)


def quiet_others() -> None:
    """Leave messages and warnings to the first process."""
    if not is_first():
        logging.getLogger("fpforce").setLevel(logging.ERROR)


def require_shares(batch_size: int, processes: int) -> None:
    """Raise InputError unless pairs of opposite noise can be shared out evenly."""
    if batch_size % (2 * processes):
        raise InputError(
            f"optimizer.batch_size = {batch_size} cannot be shared out in pairs among {processes} processes; take a "
            f"multiple of {2 * processes}"
        )


def agreed(seconds: float, stop: bool, device: torch.device) -> tuple[float, bool]:
    """The first process's seconds, and whether any process wants to stop."""
    if not _together():
        return seconds, stop
    values = torch.tensor([seconds if is_first() else 0.0, float(stop)], dtype=torch.float64, device=device)
    dist.all_reduce(values)
    return float(values[0]), bool(values[1] > 0)


def of_all(share: Tensor) -> Tensor:
    """Detached values (count, ...) of all processes' shares, which have the same shape, one after the other."""
    share = share.detach()
    if not _together():
        return share
    shares = [torch.empty_like(share) for _ in range(dist.get_world_size())]
    dist.all_gather(shares, share.contiguous())
    return torch.cat(shares)


def laid_out(gradient: Tensor) -> Tensor:
    """The gradient with the strides of a fresh tensor, which DDP warns of where a dimension of size 1 has others."""
    return gradient.reshape(-1).view(gradient.shape)


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
