"""Figures of all kinds -> what JSON can hold, with null for what is not finite or not known."""

import math
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """numpy numbers as Python's, non-finite ones as None, tuples as lists, in dicts and lists of any depth."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
