"""Weights of frames whose trajectory was not sampled from the Boltzmann distribution -> how much each counts.

In: files beside the trajectories with one number a frame, as the reweighting of a biased simulation, of replicas or of
several ensembles gives them (metadynamics, REST, MBAR). Out: FrameWeights, which sum to one, and frames drawn in
proportion to them. What cannot be right (another number, negative or not finite, all zero) is refused here, and so are
weights of which too few frames count.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import numpy_file
from fpforce.trajectories.files import existing_file, is_array

logger = logging.getLogger("fpforce")

FEWEST_EFFECTIVE = 100  # frames: a basin that holds half of the weight is then known to 5%, and hardly better
SMALL_PART = 0.1  # of the frames; where fewer count, a word is due


@dataclass(frozen=True)
class FrameWeights:
    """`values` float64 (frames,), which sum to one; `sources` are the files and `sha256` that of their contents."""

    values: np.ndarray
    sources: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.values)

    @property
    def effective(self) -> float:
        """How many equally weighted frames would tell as much: 1 / sum of the squares (Kish)."""
        return effective_number(self.values)

    def of(self, chosen: np.ndarray) -> "FrameWeights":
        """Those of the chosen frames, which sum to one again."""
        values = self.values[chosen]
        return FrameWeights(values / values.sum(), self.sources, self.sha256)

    def record(self) -> dict:
        """What a training keeps of them, JSON-able."""
        return {
            "sources": list(self.sources),
            "sha256": self.sha256,
            "frames": len(self.values),
            "effective_frames": self.effective,
            "largest": float(self.values.max()),
        }


def read_weights(paths: Sequence[str | Path], lengths: Sequence[int], stride: int = 1) -> FrameWeights:
    """The weights of trajectories of which so many frames were read, from one file each, in the same order.

    A file is an .npy, an .npz that holds `weights`, or text with one number a line (# begins a comment); it has a
    weight for every frame of the trajectory, of which every stride-th is taken.
    Raises InputError for files that are missing or hold anything else, for another number of weights than frames, for
    weights that are negative, not finite or all zero, and where fewer than FEWEST_EFFECTIVE frames count. Logs how many
    count.
    """
    if len(paths) != len(lengths):
        raise InputError(f"{len(paths)} files of weights for {len(lengths)} trajectories: give one for each")
    pieces, digest = [], hashlib.sha256()
    for path, length in zip(map(Path, paths), lengths, strict=True):
        pieces.append(_read(path, length, stride))
        digest.update(path.read_bytes())
    values = np.concatenate(pieces)
    names = tuple(map(str, paths))
    if not values.max(initial=0.0) > 0.0:
        raise InputError(f"{', '.join(names)}: all weights are zero: give those of the frames, or leave them out")
    values = values / values.max()  # whose sum is finite: that of exponentials of a bias may not be
    weights = FrameWeights(values / values.sum(), names, digest.hexdigest())
    _judge(weights)
    return weights


def effective_number(weights: np.ndarray) -> float:
    """Kish's number of frames that count, of weights (frames,)."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def in_proportion(weights: np.ndarray, count: int, offset: float = 0.5) -> np.ndarray:
    """Indices (count,), in order, of frames drawn in proportion to their weights (frames,).

    They lie at equal distances along the running sum of the weights, so that a frame comes up as often as its weight
    says, rounded up or down. offset in [0, 1): where the first one lies; uniform at random it makes the draw unbiased.
    Source: Kitagawa, J. Comput. Graph. Stat. 5, 1 (1996), appendix (stratified resampling with one random number).
    """
    ends = np.cumsum(weights / weights.sum())
    return np.searchsorted(ends, (np.arange(count) + offset) / count, side="right").clip(max=len(weights) - 1)


def as_often_as_they_count(pieces: Sequence[np.ndarray], weights: np.ndarray) -> list[np.ndarray]:
    """Frames of each piece (frames, ...) in proportion to their weights (frames of all,), as many as count by Kish's
    number; a piece of which none is drawn is left out.
    """
    chosen = chosen_by_weight([len(piece) for piece in pieces], weights)
    return [piece[numbers] for piece, numbers in zip(pieces, chosen, strict=True) if len(numbers)]


def chosen_by_weight(lengths: Sequence[int], weights: np.ndarray) -> list[np.ndarray]:
    """Numbers, in order, of the frames of each piece of so many frames that `as_often_as_they_count` takes."""
    chosen = in_proportion(weights, round(effective_number(weights)))
    ends = np.cumsum(lengths)
    parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    return [part - (end - length) for part, end, length in zip(parts, ends, lengths, strict=True)]


def _judge(weights: FrameWeights) -> None:
    """Say how many frames count; InputError where these are fewer than FEWEST_EFFECTIVE."""
    effective, frames, files = weights.effective, len(weights), ", ".join(weights.sources)
    said = (
        f"{files}: by their weights {frames} frames are worth {effective:.0f} of equal weight (Kish), and the "
        f"heaviest has {weights.values.max():.1%} of all weight"
    )
    if effective < FEWEST_EFFECTIVE and effective < frames - 1e-6:  # else it is the frames that are few
        raise InputError(
            f"{said}; {FEWEST_EFFECTIVE} are needed: simulate longer or with a bias that is nearer to the free energy, "
            "or leave out the frames from before the bias had converged"
        )
    if effective < SMALL_PART * frames:
        logger.warning("%s: expect what so few frames give, or simulate with a milder bias", said)
    else:
        logger.info("%s", said)


def _read(path: Path, length: int, stride: int) -> np.ndarray:
    """The weights of one file, float64 (frames,), checked."""
    values = _numbers(existing_file(path, "weights"))
    if len(values[::stride]) != length:
        after = f", {len(values[::stride])} after data.stride = {stride}," if stride > 1 else ""
        raise InputError(
            f"{path} holds {len(values)} weights{after} for a trajectory of {length} frames: give one for every frame"
        )
    values = values[::stride]
    wrong = ~np.isfinite(values) | (values < 0.0)
    if wrong.any():
        frame = int(np.argmax(wrong))
        hint = " (logarithms? give their exponentials)" if (values[wrong] < 0.0).any() else ""
        raise InputError(
            f"{path}: the weight of frame {frame * stride} (counted from 0) is {values[frame]:g}: weights are finite "
            f"and not negative{hint}; mend it, or leave the frame out, of the trajectory too"
        )
    return values


def _numbers(path: Path) -> np.ndarray:
    try:
        if not is_array(path):
            content = np.loadtxt(path, ndmin=1)
        else:
            with numpy_file(path) as content:
                if not isinstance(content, np.ndarray):
                    if "weights" not in content.files:
                        raise InputError(f"{path} holds {sorted(content.files)}: name the array of weights `weights`")
                    content = content["weights"]
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")[:200]
        raise InputError(
            f"{path} cannot be read as weights ({reason}): give an .npy, an .npz, or text with one number a line"
        ) from None
    if content.ndim != 1 or not np.issubdtype(content.dtype, np.number) or np.iscomplexobj(content):
        raise InputError(
            f"{path} holds {content.dtype} of shape {content.shape}: weights are one number a frame, (frames,)"
        )
    return content.astype(np.float64)
