"""Reading a recipe.

In: a YAML file and `key=value` overrides. Out: a `Recipe`, with paths relative to the YAML file made absolute.
Unknown keys, ill-typed and out-of-range values raise InputError with the key and the nearest valid one.
Longer than other files by the words for what can be wrong in a recipe.
"""

import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from fpforce.foundation.errors import InputError
from fpforce.training.recipe.models import sections_of
from fpforce.training.recipe.sections import CalibrationRecipe, Recipe
from fpforce.training.recipe.yaml_text import LARGEST_BYTES, read_yaml

logger = logging.getLogger("fpforce")

_USUAL_TEMPERATURES_K = (200.0, 700.0)  # of molecules in solution and of replicas that are heated


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and apply `section.key=value` overrides (values are YAML).

    Paths in the file are relative to the file; paths in overrides and `output` are relative to the working directory.
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
        there = f", such as {path / inside[0]}" if inside else ", and there is none in it"
        raise InputError(f"recipe {path} is a folder: give the YAML file{there}")
    if not path.is_file():
        raise InputError(f"recipe {path} does not exist")
    if path.stat().st_size > LARGEST_BYTES:
        raise InputError(f"recipe {path} has {path.stat().st_size} bytes, which no recipe has: give the YAML file")
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"recipe {path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"recipe {path} must be a mapping of sections (data, temperature_k, output, ...)")
    _anchor_paths(content.get("data"), path.parent)
    for override in overrides:
        _apply(content, override)
    _expand_home(content)
    recipe = parse_recipe(content, str(path), overrides)
    low, high = _USUAL_TEMPERATURES_K
    if not low <= recipe.temperature_k <= high:
        logger.warning(
            "%s: temperature_k = %g is unusual for a molecule (%g to %g K), and all energies are scaled "
            "by it; give the temperature of the trajectory in kelvin%s",
            _at_fault("temperature_k", "", overrides) or path,
            recipe.temperature_k,
            low,
            high,
            f" ({recipe.temperature_k:g} degrees Celsius are {recipe.temperature_k + 273.15:g} K)"
            if low <= recipe.temperature_k + 273.15 <= high
            else "",
        )
    asked = (content.get("loss") or {}).get("fokker_planck_weight")
    if asked and _has_no_energy(recipe):
        key = "loss.fokker_planck_weight"
        raise InputError(
            f"{_at_fault(key, '', overrides) or path}: '{key}' = {asked:g} needs an energy, and no expert is "
            "conservative; set it to 0, or conservative to true"
        )
    return recipe


def parse_recipe(content: dict, source: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """A Recipe from a plain mapping; errors name `source`, or the one of the `overrides` (already applied) at fault.

    Where no expert has an energy, loss.fokker_planck_weight is 0 whatever the mapping says.
    """
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        found = [(_at_fault(key, text, overrides) or source, text) for key, text in _explain(error.errors())]
        raise InputError("; ".join(f"{place}: {text}" for place, text in found)) from None
    if _has_no_energy(recipe):
        return recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"fokker_planck_weight": 0.0})})
    return recipe


def calibration_of(recipe: Recipe, overrides: Sequence[str] = ()) -> CalibrationRecipe:
    """The calibration of a recipe that was read, with overrides `calibration.key=value`, the only ones that may be
    given.
    """
    content = recipe.model_dump(mode="json")
    for override in overrides:
        if not override.startswith("calibration."):
            raise InputError(
                f"{override!r} would change a training that is done; what can be changed is calibration.KEY=VALUE"
            )
        key = override.partition("=")[0].removeprefix("calibration.")
        if key in ("rounds", "likelihood_frames"):
            raise InputError(f"{override!r}: give it as --{key.replace('_', '-')}")
        _apply(content, override)
    return parse_recipe(content, overrides=overrides).calibration


def _has_no_energy(recipe: Recipe) -> bool:
    return bool(recipe.experts) and not any(expert.conservative for expert in recipe.experts)


def describe_recipe() -> list[tuple[str, str, str]]:
    """(key, default, meaning) of every recipe entry, in order; docs/reference/recipe.md is made from it.

    An entry that differs between the kinds of a section has a row for each kind, whose meaning begins with the kind.
    """
    rows = []

    def walk(section: type[BaseModel], prefix: str) -> None:
        for name, field in section.model_fields.items():
            kinds = sections_of(field.annotation)
            optional = type(None) in get_args(field.annotation)
            if get_origin(field.annotation) is list and kinds:
                rows.append((prefix + name, *_describe(field)))
                walk(kinds[0], f"{prefix}{name}.N.")
            elif len(kinds) > 1 and not optional:
                rows.extend(_describe_kinds(kinds, field.default.kind, f"{prefix}{name}."))
            elif kinds and not optional:
                walk(kinds[0], f"{prefix}{name}.")
            else:
                rows.append((prefix + name, *_describe(field)))

    walk(Recipe, "")
    return rows


def _describe(field: FieldInfo) -> tuple[str, str]:
    return "required" if field.is_required() else str(field.default), field.description or ""


def _describe_kinds(kinds: list[type[BaseModel]], default: str, prefix: str) -> list[tuple[str, str, str]]:
    described = {
        kind.model_fields["kind"].default: {name: _describe(field) for name, field in kind.model_fields.items()}
        for kind in kinds
    }
    rows = [(f"{prefix}kind", default, "; ".join(f"{kind}: {fields['kind'][1]}" for kind, fields in described.items()))]
    for name in dict.fromkeys(name for fields in described.values() for name in fields if name != "kind"):
        found = {kind: fields[name] for kind, fields in described.items() if name in fields}
        if len(found) == len(kinds) and len(set(found.values())) == 1:
            rows.append((prefix + name, *found[default]))
        else:
            rows.extend((prefix + name, value, f"{kind}: {meaning}") for kind, (value, meaning) in found.items())
    return rows


def _anchor_paths(data: Any, folder: Path) -> None:
    if not isinstance(data, dict):
        return

    def anchor(value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:
            raise InputError(f"{value!r} is no path: it holds a null character")
        return str((folder / Path(value).expanduser()).resolve()) if isinstance(value, str) else value

    if "topology" in data:
        data["topology"] = anchor(data["topology"])
    for name in ("trajectories", "molecules", "forces", "weights"):
        if isinstance(data.get(name), list):
            data[name] = [anchor(value) for value in data[name]]
        elif name in data:
            data[name] = anchor(data[name])


def _expand_home(content: dict) -> None:
    """Replace ~ in `output` and in the data's paths, wherever they were given."""

    def expand(value: Any) -> Any:
        return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~") else value

    data = content.get("data")
    paths = ("topology", "trajectories", "molecules", "forces", "weights")
    for section, names in ((content, ("output",)), (data, paths)):
        if not isinstance(section, dict):
            continue
        for name in names:
            if isinstance(section.get(name), list):
                section[name] = [expand(value) for value in section[name]]
            elif name in section:
                section[name] = expand(section[name])


def _apply(content: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"override '{override}' is not of the form key=value, such as run.max_steps=1000")
    *parents, last = key.strip().split(".")
    section = content
    for name in parents:
        section = _item(section, name, override) if isinstance(section, list) else section.setdefault(name, {})
        if not isinstance(section, dict | list):
            raise InputError(f"override '{override}': {name} is a value, not a section")
    if isinstance(section, list):
        raise InputError(f"override '{override}': {parents[-1]} is a list; name an entry of one of its items")
    try:
        section[last] = read_yaml(text)
    except ValueError as error:
        raise InputError(f"override '{override}': '{text}' is not a YAML value: {error}") from None


def _item(items: list, number: str, override: str) -> Any:
    if not number.isdigit() or int(number) >= len(items):
        raise InputError(f"override '{override}': {number} is not one of the {len(items)} items, numbered from 0")
    return items[int(number)]


def _explain(items: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(key, what is wrong with it) of every wrong entry; pydantic reports each branch of a union by itself."""
    by_key: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        entry, _ = _place(item["loc"])
        if item["type"] == "union_tag_invalid":
            entry.append("kind")
        by_key.setdefault(".".join(entry), []).append(item)
    return [(key, _explain_one(key, same)) for key, same in by_key.items()]


def _explain_one(key: str, items: list[Mapping[str, Any]]) -> str:
    item = min(items, key=lambda item: len(item["loc"]))
    if item["type"] == "extra_forbidden":
        return f"unknown key '{key}'{_suggestion(item['loc'])}"
    if item["type"] == "missing":
        return f"'{key}' is missing"
    if item["type"] == "value_error":
        return f"'{key}': {item['ctx']['error']}" if key else str(item["ctx"]["error"])
    if item["type"] == "union_tag_invalid":
        return f"'{key}' = {item['ctx']['tag']!r}: input should be {item['ctx']['expected_tags'].replace(', ', ' or ')}"
    wanted = " or ".join(dict.fromkeys(item["msg"].removeprefix("Input should be ") for item in items))
    intact = wanted == item["msg"]
    return f"'{key}' = {item['input']!r}: {wanted[0].lower() + wanted[1:] if intact else 'input should be ' + wanted}"


def _place(location: tuple) -> tuple[list[str], type[BaseModel]]:
    """The keys of an error's location, without what names a branch of a union, and the section that holds the last."""
    keys: list[str] = []
    holder: type[BaseModel] = Recipe
    inside: list[type[BaseModel]] = [Recipe]
    listed = False
    for depth, name in enumerate(location):
        if listed:
            keys.append(str(name))
            listed = False
            continue
        if len(inside) > 1:
            inside = [section for section in inside if section.model_fields["kind"].default == name]
            continue
        keys.append(str(name))
        holder = inside[0]
        field = holder.model_fields.get(name)
        inside = sections_of(field.annotation) if field else []
        listed = field is not None and bool(inside) and get_origin(field.annotation) is list
        if not inside:
            rest = location[depth + 1 :]
            return keys + ([str(part) for part in rest] if all(isinstance(part, int) for part in rest) else []), holder
    return keys, holder


def _at_fault(key: str, text: str, overrides: Sequence[str]) -> str | None:
    """The override that set the entry `key`, or of a whole section's error one that set a value named in the text."""
    for override in reversed(overrides):
        changed = override.partition("=")[0].strip()
        if not key:  # of the recipe as a whole: whatever the text names was set so, by the last override of it
            inside = f"{changed} = " in text or f"{changed}." in text
        else:
            inside = changed.startswith(f"{key}.") and f"{changed.removeprefix(f'{key}.')} = " in text
        if inside or key == changed or key.startswith(f"{changed}."):
            return f"override '{override}'"
    return None


def _suggestion(location: tuple) -> str:
    keys, section = _place(location)
    described = [(key, meaning) for key, _, meaning in describe_recipe() if key.split(".")[-1] == keys[-1]]
    for key, meaning in described:
        if key.split(".")[-2:] == keys[-2:]:
            return f"; it belongs to {'.'.join([*keys[:-1], 'kind'])}={meaning.partition(':')[0]}"
    close = get_close_matches(keys[-1], section.model_fields, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{'.'.join([*keys[:-1], close[0]])}'?"
    if described:
        return f"; did you mean '{min((key for key, _ in described), key=len)}'?"
    return f"; valid here: {', '.join(section.model_fields)}"
