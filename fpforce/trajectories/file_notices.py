"""What is unusual in the numbers of a trajectory, as its file holds them: times that go back, coarse coordinates.

In: coordinates and times of frames as read, before molecules are made whole. Out: notices in words; nothing is refused.
"""

import numpy as np

_COARSE_NM = (0.1, 0.01)  # bonds vibrate by 0.003 nm, which rounding to these hides
_SOME_FRAMES = 20
_FINEST_NM = 5e-4  # distance of two numbers of single precision, above which bonds are blurred


def notices(xyz: np.ndarray, times_ps: np.ndarray | None) -> tuple[str, ...]:
    """Notices on coordinates (frames, atoms, 3) in nm and times (frames,), or None where the format has none."""
    found = []
    if times_ps is not None and len(times_ps) > 1:
        back = np.flatnonzero(np.diff(times_ps) < 0.0)
        if len(back):
            found.append(
                f"its times go back {'once' if len(back) == 1 else f'{len(back)} times'}, first from frame {back[0]} "
                f"({times_ps[back[0]]:g} ps) to the next ({times_ps[back[0] + 1]:g} ps), as where runs are joined: "
                "it is taken as one trajectory; give each run its own file"
            )
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
