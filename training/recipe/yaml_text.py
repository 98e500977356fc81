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
_OTHERWISE_READ = re.compile(r"[-+]?(0[0-9_]|0[bx]|[0-9_]+:)")  # octal, binary, of base 60
_MOST_VALUES = 100_000  # that aliases may stand for


def read_yaml(text: str) -> Any:
    """What the text says; ValueError where it is not YAML, or more than plain values."""
    with damage_as_value_error():
        try:
            return yaml.load(text, Loader=RecipeLoader)
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from None


class RecipeLoader(yaml.SafeLoader):
    """YAML 1.1 reads 5e-4 as a string; this reads it as the number it is. It reads NO and ON as false and true, which
    are names of atoms; here they are the text that they are, and so is every key.

    A key that stands twice is an error, and so are aliases that stand for more values than a recipe has, or for what
    they are part of, and numbers that YAML 1.1 reads as others than stand there: 010 as 8, 1:30 as 90.
    """

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _count_values(node, {})
            _keep_keys_as_written(node, set())
        return node

    def construct_plain_number(self, node: yaml.ScalarNode) -> int | float:
        if _OTHERWISE_READ.match(node.value):
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"{node.value} in line {node.start_mark.line + 1} may be read as one number or another: write it "
                "plainly, in decimals, or put it in quotes where it is a name or a text",
            )
        of_integer = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if of_integer else self.construct_yaml_float(node)

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, yaml.Node] = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None,
                        None,
                        f"the key {key!r} stands twice, in lines {seen[key].start_mark.line + 1} and "
                        f"{key_node.start_mark.line + 1}: rename or remove one",
                    )
                seen[key] = key_node
        return super().construct_mapping(node, deep)


def _keep_keys_as_written(node: yaml.Node, seen: set[int]) -> None:
    """Make text of all keys that are one word: names, whatever YAML takes them for."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
            _keep_keys_as_written(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _keep_keys_as_written(value, seen)


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


RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)

for first, resolvers in list(
    RecipeLoader.yaml_implicit_resolvers.items()
):  # a list of its own, of add_implicit_resolver
    RecipeLoader.yaml_implicit_resolvers[first] = [one for one in resolvers if one[0] != "tag:yaml.org,2002:bool"]
RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
for kind in ("int", "float"):
    RecipeLoader.add_constructor(f"tag:yaml.org,2002:{kind}", RecipeLoader.construct_plain_number)
