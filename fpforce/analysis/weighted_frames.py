"""A training set whose frames have weights, as frames that count alike.

In: its trajectories and the files of their weights. Out: as many of the frames as count by Kish's number, drawn in
proportion to the weights. Histograms of these are those of the weighted frames, and a floor that is made of them knows
how few they are; drawn in their full number, repeated frames would pass for independent ones.
"""

from collections.abc import Sequence
from pathlib import Path

from fpforce.analysis.frame_source import ChosenFrames, FrameSource, lengths_of
from fpforce.trajectories.weights import chosen_by_weight, read_weights


def drawn_by_weight(
    trajectories: Sequence[FrameSource], files: Sequence[str | Path]
) -> tuple[list[FrameSource], dict[str, object]]:
    """Frames of each trajectory by the weights in `files`, one each; and what the report says of these.

    A trajectory without weight is left out. Raises InputError as read_weights does.
    """
    lengths = lengths_of(trajectories)
    weights = read_weights(files, lengths)
    chosen = [
        ChosenFrames(source, numbers)
        for source, numbers in zip(trajectories, chosen_by_weight(lengths, weights.values), strict=True)
        if len(numbers)
    ]
    return list(chosen), weights.record()
