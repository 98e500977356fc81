"""Checks of single numbers that a user passes. In: a name and a value. Out: nothing, or an InputError naming both."""

import math
from numbers import Integral, Real

from fpforce.foundation.errors import InputError


def require_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """An integer (Python's or numpy's, not a bool) from `least` to `most`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; give a whole number")
    if int(value) < least or (most is not None and int(value) > most):
        raise InputError(f"{name} is {value}; give {f'{least} or more' if most is None else f'{least} to {most}'}")


def require_finite(name: str, value: object, *, zero_allowed: bool = False, unit: str = "") -> None:
    """A finite number above 0, or not below it with `zero_allowed`."""
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}; give a finite number")
    if not (float(value) > 0.0 or (zero_allowed and float(value) == 0.0)):
        allowed = "0 or above" if zero_allowed else f"above 0{unit}"
        raise InputError(f"{name} is {value}; it must be {allowed}")
