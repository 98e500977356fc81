"""Damaged copies of bytes, of text and of plain values, for readers that must bear them.

In: something whole and a random generator. Out: the same with one to a few faults, from a flipped bit to a value of
another kind where a number stood.
"""

import copy
import random
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    -(2**70),
    10**400,
    1e308,
    -1e-320,
    float("nan"),
    float("inf"),
    "",
    "a",
    "\x00",
    "../../../etc/passwd",
    "9" * 5000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"a": {}}},
    [1.5] * 1000,
)
_ODD_BYTES = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00", b"PK\x03\x04")


def damaged_bytes(whole: bytes, chance: random.Random) -> bytes:
    """Bits flipped, bytes set, pieces lost, doubled, moved or filled with zeros, or the end cut off."""
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            break
        place, length = _place(len(data), chance), chance.choice((1, 4, 16, 256, 4096))
        kind = chance.randrange(7)
        if kind == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place] = chance.randrange(256)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + length]
        elif kind == 4:
            data[place : place + length] = bytes(len(data[place : place + length]))
        elif kind == 5:
            odd = chance.choice(_ODD_BYTES)
            data[place : place + len(odd)] = odd
        else:
            del data[place:]
    return bytes(data)


def _place(length: int, chance: random.Random) -> int:
    """Anywhere, the first and the last kilobyte as often as all between: there stand headers and directories."""
    part = chance.randrange(3)
    if part == 0:
        return chance.randrange(min(length, 1024))
    return length - 1 - chance.randrange(min(length, 1024)) if part == 1 else chance.randrange(length)


def damaged_values(whole: Any, chance: random.Random, odd: tuple[Any, ...] = ODD_VALUES) -> Any:
    """Plain values, of which one to four are of another kind, missing, doubled or under another name."""
    content = copy.deepcopy(whole)
    for _ in range(chance.choice((1, 1, 2, 4))):
        content = _damaged_once(content, chance, odd)
    return content


def _damaged_once(content: Any, chance: random.Random, odd: tuple[Any, ...]) -> Any:
    place, key = None, None
    inside = content
    while isinstance(inside, (dict, list)) and inside and (place is None or chance.random() < 0.7):
        place = inside
        key = chance.choice(list(inside)) if isinstance(inside, dict) else chance.randrange(len(inside))
        inside = place[key]
    if place is None:
        return copy.deepcopy(chance.choice(odd))
    kind = chance.randrange(4)
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, list):
        place.insert(key, copy.deepcopy(place[key]))
    elif kind == 1:
        place[f"{key}_"] = place.pop(key)
    else:
        place[key] = copy.deepcopy(chance.choice(odd))
    return content
