"""The options of a command made from the fields of its settings, so that names, defaults and help have one home.

In: a function with a parameter `settings`, and a dataclass whose fields carry `help` (and may carry `option` and
`short`) in their metadata, as fpforce.simulation.settings has them. Out: a function with one option for every field.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

from typer import Option


def options_from(settings_class: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: where the function has a parameter `settings`, the command line has the fields of the class."""
    names = [each.name for each in dataclasses.fields(settings_class)]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def from_options(**given: Any) -> Any:
            settings = settings_class(**{name: given.pop(name) for name in names})
            return function(**given, settings=settings)

        parameters = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name == "settings":
                parameters += [_parameter(each) for each in dataclasses.fields(settings_class)]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        from_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        from_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return from_options

    return decorate


def _parameter(field: dataclasses.Field) -> inspect.Parameter:
    """A field as a keyword-only parameter that typer understands."""
    default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
    long = "--" + field.name.replace("_", "-")
    option = Option(
        *(name for name in (long, field.metadata["short"]) if name is not None),
        help=field.metadata["help"],
        show_default=not any(default is one for one in (inspect.Parameter.empty, None, False)),
    )
    kind = field.metadata["option"] or field.type
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )
