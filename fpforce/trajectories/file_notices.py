"""What is unusual in the numbers of a trajectory, as its file holds them: uneven times, coarse coordinates.

In: coordinates and times of frames as read, before molecules are made whole. Out: notices in words; nothing is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fpforce.trajectories.collected import pieces_of, steps_of
from fpforce.trajectories.streamed import extents

_COARSE_NM = (0.1, 0.01)  # bonds vibrate by 0.003 nm, which rounding to these hides
_SOME_FRAMES = 20
_A_GAP = 1.5  # usual steps; rounded times differ by less
_UNEVEN_PART = 1e-3  # of a step
_FINEST_NM = 5e-4  # distance of two numbers of single precision, above which bonds are blurred


def notices(xyz: np.ndarray, times_ps: np.ndarray | None) -> tuple[str, ...]:
    """Notices on coordinates (frames, atoms, 3) in nm and times (frames,), or None where the format has none."""
    found = []
    if times_ps is not None and len(times_ps) > 1:
        found += _of_times(times_ps)
    some = xyz[:: max(1, len(xyz) // _SOME_FRAMES)].astype(np.float64)
    if not some.size or not np.isfinite(some).all():
        return tuple(found)
    for step in _COARSE_NM:
        multiples = some / step
        if np.abs(some).max() > step and np.abs(multiples - np.round(multiples)).max() < 2e-3:
            found.append(
                f"its coordinates are rounded to {step:g} nm, more than bonds vibrate by: they will be too wide; write "
                "it with a precision of 0.001 nm or better"
            )
            break
    finest = float(np.spacing(np.abs(some).max().astype(np.float32)))
    if finest > _FINEST_NM:
        found.append(
            f"its coordinates reach {np.abs(some).max():.3g} nm, where numbers of single precision are {finest:.1g} nm "
            "apart: bonds are blurred; centre the molecule when writing the file"
        )
    return tuple(found)


@dataclass
class _Places:
    """How many steps are of a kind, and the number of the frame before the first of them."""

    count: int = 0
    first: int = 0

    def add(self, first: int, of_the_kind: np.ndarray) -> None:
        """Those of steps (some,) from a frame on."""
        here = int(np.count_nonzero(of_the_kind))
        if here and not self.count:
            self.first = first + int(np.argmax(of_the_kind))
        self.count += here


def _of_times(times_ps: np.ndarray) -> list[str]:
    """Notices on times (frames,) that go back, stand still, or leave some out."""
    back, still, forward = _Places(), _Places(), _Places()
    for first, steps in steps_of(times_ps):
        for places, kind in ((back, steps < 0.0), (still, steps == 0.0), (forward, steps > 0.0)):
            places.add(first, kind)
    found = []
    if back.count:
        found.append(
            f"its times go back {'once' if back.count == 1 else f'{back.count} times'}, first from frame {back.first} "
            f"({times_ps[back.first]:g} ps) to the next ({times_ps[back.first + 1]:g} ps), as where runs are joined: "
            "it is taken as one trajectory; give each run its own file"
        )
    if still.count == len(times_ps) - 1:
        return [
            f"all of its {len(times_ps)} frames have the time {times_ps[0]:g} ps, so that the step between them is not "
            "known; write it with its times where anything depends on them"
        ]
    if still.count:
        have = "has" if still.count == 1 else "have"
        found.append(
            f"{still.count} of its frames {have} the time of the one before, first frame {still.first + 1} "
            f"({times_ps[still.first]:g} ps), as where runs overlap: leave one of each two out"
        )
    return found + (_uneven(times_ps) if forward.count else [])


def _uneven(times_ps: np.ndarray) -> list[str]:
    """A notice on times (frames,) whose steps forward, of which there are some, differ."""

    def forward() -> Iterator[np.ndarray]:
        for _, steps in steps_of(times_ps):
            yield steps[steps > 0.0][:, None]

    shortest, usual, longest = (float(each[0]) for each in extents(forward))
    largest = max(float(np.abs(piece).max()) for piece in pieces_of(times_ps))
    longer, off, missing = _Places(), _Places(), 0.0
    for first, steps in steps_of(times_ps):
        long = steps > _A_GAP * usual
        longer.add(first, long)
        missing += float((steps[long] - usual).sum())
        off.add(first, (steps > 0.0) & (np.abs(steps - usual) > max(_UNEVEN_PART * usual, 1e-6 * largest)))
    if longer.count:
        return [
            f"{missing:g} ps are missing in {longer.count} place{'s' if longer.count > 1 else ''} between its frames, "
            f"which usually are {usual:g} ps apart: first from frame {longer.first} ({times_ps[longer.first]:g} ps) to "
            f"the next ({times_ps[longer.first + 1]:g} ps); it is taken as one trajectory, without a time step"
        ]
    if off.count:
        return [
            f"its times are uneven: frames are {shortest:g} to {longest:g} ps apart, typically {usual:g} ps; it is "
            "taken as one trajectory, without a time step"
        ]
    return []
