"""Which beads are within the cutoff of which: the radius graph of a batch, as rows of neighbours.

In: normalised positions (batch, n, 3) and a cutoff. Out: a table (batch, n, m) of who is near whom. The pairs are found
from all n^2 distances of a frame, in plain torch, which runs wherever a TorchScript program does, in OpenMM above all,
and with coordinates that are no longer numbers. Up to thousands of beads they cost little beside the attention, since
they carry no features and no gradient.
"""

import logging
from typing import NamedTuple

import torch
from torch import Tensor

logger = logging.getLogger("fpforce")


class Neighbours(NamedTuple):
    """index (batch, n, m): row of the neighbour among all batch * n beads; exists (batch, n, m).

    Every bead is its own first neighbour. Rows with fewer than m are filled with the bead itself, which then does not
    `exist`.
    """

    index: Tensor
    exists: Tensor


def warn_of_small_cutoff(frames: Tensor, scale_nm: float, cutoff_nm: float) -> None:
    """Warn where a bead of normalised frames (frames, n, 3) has, on average, less than one other within the cutoff."""
    sample = frames[torch.linspace(0, len(frames) - 1, min(len(frames), 100)).long()]
    beads = sample.shape[1]
    distances_nm = torch.cdist(sample, sample)[:, ~torch.eye(beads, dtype=torch.bool)] * scale_nm
    near = float((distances_nm < cutoff_nm).double().mean())
    if near * (beads - 1) < 1.0:
        logger.warning(
            "model.cutoff_nm = %g is below %.0f%% of the distances in the data (%.3g to %.3g nm), so that beads hardly "
            "see each other: give a larger one, or null for none",
            cutoff_nm,
            100 * (1 - near),
            float(distances_nm.min()),
            float(distances_nm.max()),
        )


def find_neighbours(x: Tensor, cutoff: float, mask: Tensor | None) -> Neighbours:
    """The neighbours of every bead of x (batch, n, 3). mask (batch, n): which beads exist."""
    first, second = pairs_within(x.data, cutoff).unbind(0)
    if mask is not None:
        seen = mask.flatten()[second]
        first, second = first[seen], second[seen]
    own = torch.arange(x.shape[0] * x.shape[1], device=x.device)
    count = torch.bincount(first, minlength=own.shape[0])
    most = 1 + int(count.max())
    slot = 1 + torch.arange(first.shape[0], device=x.device) - (count.cumsum(0) - count)[first]
    index = own[:, None].repeat(1, most)
    index[first, slot] = second
    exists = torch.arange(most, device=x.device) <= count[:, None]
    return Neighbours(index.view(x.shape[0], x.shape[1], most), exists.view(x.shape[0], x.shape[1], most))


def pairs_within(x: Tensor, cutoff: float, distances: int = 4_000_000) -> Tensor:
    """(2, pairs) rows, among all beads, of two different beads of a frame within the cutoff; sorted by the first.

    distances: how many to compute at a time.
    """
    beads = x.shape[1]
    itself = torch.eye(beads, dtype=torch.bool, device=x.device)
    found = []
    at_once = max(1, distances // (beads * beads))
    for start in range(0, x.shape[0], at_once):
        part = x[start : start + at_once]
        near = torch.cdist(part, part, compute_mode="donot_use_mm_for_euclid_dist") < cutoff
        frame, first, second = torch.nonzero(near & ~itself).unbind(1)
        offset = (frame + start) * beads
        found.append(torch.stack([offset + first, offset + second]))
    return torch.cat(found, 1)
