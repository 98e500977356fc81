"""YAML text as plain values: what a recipe and an override are written in.

In: text that nobody vouches for. Out: mappings, lists, numbers and strings, or a ValueError that says where it is
wrong. No tag makes anything else of it, and aliases stand for no more than a recipe holds.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from fpforce.foundation.foreign_files import damage_as_value_error

LARGEST_BYTES = 1 << 20  # of a recipe
_MOST_VALUES = 100_000  # that aliases may stand for


def read_yaml(text: str) -> Any:
    """What the text says; ValueError where it is not YAML, or more than plain values."""
    with damage_as_value_error():
        try:
            return yaml.load(text, Loader=NumberLoader)
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from None


class NumberLoader(yaml.SafeLoader):
    """YAML 1.1 reads 5e-4 as a string; this reads it as the number it is.

    A key that stands twice is an error, and so are aliases that stand for more values than a recipe has, or for what
    they are part of.
    """

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count_values(node, {})
        return node

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, yaml.Node] = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key_node.tag != "tag:yaml.org,2002:merge":
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None,
                        None,
                        f"the key {key!r} stands twice, in lines {seen[key].start_mark.line + 1} and "
                        f"{key_node.start_mark.line + 1}: rename or remove one",
                    )
                seen[key] = key_node
        return super().construct_mapping(node, deep)


def _count_values(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Values that a node stands for, with every alias written out; `known` holds those of nodes seen, None for an open
    one.
    """
    if id(node) in known and (count := known[id(node)]) is not None:
        return count
    if id(node) in known:
        raise yaml.constructor.ConstructorError(None, None, "an alias stands for what it is part of", node.start_mark)
    known[id(node)] = None
    inside: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inside = [one for pair in node.value for one in pair]
    elif isinstance(node, yaml.SequenceNode):
        inside = node.value
    count = 1 + sum(_count_values(one, known) for one in inside)
    if count > _MOST_VALUES:
        raise yaml.constructor.ConstructorError(None, None, f"more than {_MOST_VALUES} values", node.start_mark)
    known[id(node)] = count
    return count


NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
