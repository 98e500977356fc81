"""A value that deep copies of its holder share: frames are no part of what weight averaging copies."""

from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Uncopied(Generic[Value]):
    """Holds `value`; a deep copy of it is the same object."""

    def __init__(self, value: Value):
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> "Uncopied[Value]":
        return self
