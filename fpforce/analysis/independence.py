"""Whether data that an evaluation takes for independent are: references, the training set, what the model has seen.

In: descriptions and frames of trajectories that were opened (fpforce.analysis.inputs). Out: InputError for one file
under two names, warnings for frames that come up twice and for a reference that the model was trained on.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fpforce.analysis.frame_source import FrameSource
from fpforce.analysis.shared_frames import shared_parts
from fpforce.foundation.errors import InputError

logger = logging.getLogger("fpforce")

MOST_COMPARED = 2_000_000  # frames
Descriptions = Sequence[Mapping[str, Any]]  # of files, with "path" and "sha256"


def refuse_same_files(reference: Descriptions, training: Descriptions = ()) -> None:
    """Raise InputError, naming both, for a reference with the content of another one or of a training trajectory.

    Training trajectories may repeat each other: nothing is judged by that.
    """
    seen: dict[str, Any] = {}
    for file in reference:
        if file["sha256"] in seen:
            raise InputError(
                f"reference {file['path']} is the same file as reference {seen[file['sha256']]}: their content is "
                "equal, and each counts as an independent trajectory; leave one out"
            )
        seen[file["sha256"]] = file["path"]
    for file in training:
        if file["sha256"] in seen:
            raise InputError(
                f"training {file['path']} is the same file as reference {seen[file['sha256']]}: their content is "
                "equal, and a model is not judged by what it was trained on; give trajectories that were held out of "
                "the training as the reference"
            )


def trained_on_warnings(model: str, training_record: Mapping[str, Any], reference: Descriptions) -> list[str]:
    """Lines that name each reference that the model's own metadata (`training`) count among what it was trained on.

    They know the names of all files, and the content of a single one; files that are still there are compared.
    """
    known, lines = training_record.get("sources") or [], []
    for file in reference:
        if file["sha256"] == training_record.get("data_sha256") or same_content(file, known) is not None:
            lines.append(
                f"reference {file['path']} is what {model} was trained on: by it nothing can be judged; give "
                "trajectories that were held out of the training"
            )
    return lines


def same_content(file: Mapping[str, Any], paths: Sequence[str | Path]) -> Path | None:
    """The first of the paths that is there and has the content of the file with this description, or None."""
    own = Path(file["path"])
    for path in map(Path, paths):
        if path.is_file() and (
            path.resolve() == own.resolve()
            or (path.stat().st_size == own.stat().st_size and sha256_of(path) == file["sha256"])
        ):
            return path
    return None


def shared_frame_warnings(
    reference: Sequence[FrameSource],
    reference_files: Descriptions,
    training: Sequence[FrameSource] = (),
    training_files: Descriptions = (),
) -> list[str]:
    """Lines that name each two references, and each reference and training trajectory, with frames in common.

    None of more than MOST_COMPARED frames in all, which would be read twice more for that; the log says so.
    """
    frames = sum(source.shape[0] * source.shape[1] for source in (*reference, *training))
    if frames > MOST_COMPARED:
        logger.info("%s frames are not looked through for those that trajectories share", f"{frames:,}")
        return []
    names = [f"reference {file['path']}" for file in reference_files]
    names += [f"training {file['path']}" for file in training_files]
    parts, lines = shared_parts([*reference, *training]), []
    for a, b in sorted({(min(pair), max(pair)) for pair in parts}):
        if a >= len(reference):
            continue
        inside, held, other = (parts.get((a, b), 0.0), a, b) if (a, b) in parts else (parts[b, a], b, a)
        meaning = "" if b < len(reference) else ", and a model is judged by frames that it was trained on"
        lines.append(
            f"about {inside:.0%} of the frames of {names[held]} are in {names[other]}, too: the two are not "
            f"independent, so the floor between them is too low{meaning}; leave these frames out of one"
        )
    return lines


def sha256_of(path: Path) -> str:
    """Of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
