"""What is unusual in the numbers of a trajectory, as its file holds them: uneven times, coarse coordinates.

In: coordinates and times of frames as read, before molecules are made whole. Out: notices in words; nothing is refused.
"""

import numpy as np

_COARSE_NM = (0.1, 0.01)  # bonds vibrate by 0.003 nm, which rounding to these hides
_SOME_FRAMES = 20
_A_GAP = 1.5  # usual steps; rounded times differ by less
_UNEVEN_PART = 1e-3  # of a step
_FINEST_NM = 5e-4  # distance of two numbers of single precision, above which bonds are blurred


def notices(xyz: np.ndarray, times_ps: np.ndarray | None) -> tuple[str, ...]:
    """Notices on coordinates (frames, atoms, 3) in nm and times (frames,), or None where the format has none."""
    found = []
    if times_ps is not None and len(times_ps) > 1:
        times_ps = np.asarray(times_ps, dtype=np.float64)
        back = np.flatnonzero(np.diff(times_ps) < 0.0)
        if len(back):
            found.append(
                f"its times go back {'once' if len(back) == 1 else f'{len(back)} times'}, first from frame {back[0]} "
                f"({times_ps[back[0]]:g} ps) to the next ({times_ps[back[0] + 1]:g} ps), as where runs are joined: "
                "it is taken as one trajectory; give each run its own file"
            )
        found += _uneven(times_ps)
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


def _uneven(times_ps: np.ndarray) -> list[str]:
    """Notices on times (frames,) that stand still or leave some out; steps back are another matter."""
    steps = np.diff(times_ps)
    if not steps.any():
        return [
            f"all of its {len(times_ps)} frames have the time {times_ps[0]:g} ps, so that the step between them is not "
            "known; write it with its times where anything depends on them"
        ]
    found = []
    still = np.flatnonzero(steps == 0.0)
    if len(still):
        have = "has" if len(still) == 1 else "have"
        found.append(
            f"{len(still)} of its frames {have} the time of the one before, first frame {still[0] + 1} "
            f"({times_ps[still[0]]:g} ps), as where runs overlap: leave one of each two out"
        )
    forward = np.flatnonzero(steps > 0.0)
    if not len(forward):
        return found
    usual = float(np.median(steps[forward]))
    longer = forward[steps[forward] > _A_GAP * usual]
    off = np.abs(steps[forward] - usual) > max(_UNEVEN_PART * usual, 1e-6 * float(np.abs(times_ps).max()))
    if len(longer):
        missing = float((steps[longer] - usual).sum())
        first = int(longer[0])
        found.append(
            f"{missing:g} ps are missing in {len(longer)} place{'s' if len(longer) > 1 else ''} between its frames, "
            f"which usually are {usual:g} ps apart: first from frame {first} ({times_ps[first]:g} ps) to the next "
            f"({times_ps[first + 1]:g} ps); it is taken as one trajectory, without a time step"
        )
    elif off.any():
        found.append(
            f"its times are uneven: frames are {steps[forward].min():g} to {steps[forward].max():g} ps apart, "
            f"typically {usual:g} ps; it is taken as one trajectory, without a time step"
        )
    return found
