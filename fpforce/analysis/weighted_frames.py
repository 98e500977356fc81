"""A training set whose frames have weights, as frames that count alike.

In: its trajectories and the files of their weights. Out: as many of the frames as count by Kish's number, drawn in
proportion to the weights. Histograms of these are those of the weighted frames, and a floor that is made of them knows
how few they are; drawn in their full number, repeated frames would pass for independent ones.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fpforce.trajectories.weights import as_often_as_they_count, read_weights


def drawn_by_weight(
    trajectories: Sequence[np.ndarray], files: Sequence[str | Path]
) -> tuple[list[np.ndarray], dict[str, object]]:
    """Frames of each trajectory (frames, n, 3) by the weights in `files`, one each; and what the report says of these.

    A trajectory without weight is left out. Raises InputError as read_weights does.
    """
    weights = read_weights(files, [len(one) for one in trajectories])
    return as_often_as_they_count(trajectories, weights.values), weights.record()
