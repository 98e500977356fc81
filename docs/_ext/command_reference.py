"""The directive `command-help`: what a command does, its arguments and options, read from the command itself.

In: the name of a console script of fpforce. Out: Markdown from the function behind it: docstring, usage, a
table of the options that typer's annotations declare.
"""

import inspect
import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from types import UnionType
from typing import Union, get_args, get_origin

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


def commands() -> dict[str, str]:
    """module:function of every console script of fpforce, by its name."""
    scripts = entry_points(group="console_scripts")
    return {script.name: script.value for script in scripts if script.value.startswith("fpforce.commands.")}


@dataclass(frozen=True)
class Parameter:
    """An argument or option: `names` as they are typed, `kind` of its value (empty of a switch), `default` or None."""

    names: tuple[str, ...]
    kind: str
    default: object
    required: bool
    repeatable: bool
    meaning: str


def parameters_of(function) -> tuple[list[Parameter], list[Parameter]]:
    """(arguments, options) of a function whose parameters are annotated by typer."""
    arguments, options = [], []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        annotation, information = get_args(parameter.annotation)[:2]
        required = parameter.default is inspect.Parameter.empty
        is_argument = type(information).__name__ == "ArgumentInfo"
        typed = "--" + parameter.name.replace("_", "-")
        # Within Annotated typer takes the first name for a default.
        declared = [information.default, *(information.param_decls or ())]
        declared = [part for name in declared if isinstance(name, str) for part in name.split("/")]
        declared = tuple(name for name in declared if name.startswith("-")) or (typed,)
        found = Parameter(
            (information.metavar or parameter.name,) if is_argument else declared,
            _kind(annotation),
            None if required else parameter.default,
            required,
            get_origin(_without_none(annotation)) is list,
            information.help or "",
        )
        (arguments if is_argument else options).append(found)
    return arguments, options


def command_page(name: str) -> str:
    """Markdown: what the command does, its usage, and a table each of its arguments and options."""
    module, main = commands()[name].split(":")
    function = getattr(import_module(module), main).command
    arguments, options = parameters_of(function)
    usage = " ".join([name, "[OPTIONS]", *(_usage(argument) for argument in arguments)])
    parts = [_help(inspect.getdoc(function) or ""), "", "```text", usage, "```", ""]
    if arguments:
        parts += ["| argument | meaning |", "|---|---|"]
        parts += [f"| `{argument.names[0]}` | {_cell(argument.meaning)} |" for argument in arguments]
        parts += [""]
    parts += ["| option | default | meaning |", "|---|---|---|"]
    parts += [f"| {_names(option)} | {_default(option)} | {_cell(option.meaning)} |" for option in options]
    return "\n".join(parts)


def _help(text: str) -> str:
    """Paragraphs as they are; indented ones, which are shell lines or lists, as literal blocks."""
    shown = []
    for block in re.split(r"\n\s*\n", text.replace("\x08", "").strip("\n")):
        lines = block.splitlines()
        literal = all(line.startswith("  ") for line in lines)
        shown.append(f"```text\n{block}\n```" if literal else _escaped(" ".join(line.strip() for line in lines)))
    return "\n\n".join(shown)


def _escaped(text: str) -> str:
    """Options as code, and nothing that Markdown would read as emphasis or HTML."""
    text = re.sub(r"(?<![\w`-])(--?[a-z][a-z-]*)", r"`\1`", text)
    return re.sub(r"(?<!`)([*<>|])", r"\\\1", text)


def _without_none(annotation):
    """The type of an optional one."""
    if get_origin(annotation) in (Union, UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _kind(annotation) -> str:
    annotation = _without_none(annotation)
    if get_origin(annotation) is list:
        return _kind(get_args(annotation)[0])
    if annotation is bool:
        return ""
    return {"str": "TEXT", "Path": "PATH", "int": "INTEGER", "float": "NUMBER"}.get(annotation.__name__, "VALUE")


def _usage(argument: Parameter) -> str:
    shown = argument.names[0].upper() + ("..." if argument.repeatable else "")
    return shown if argument.required else f"[{shown}]"


def _names(option: Parameter) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(option.names, key=len))
    return f"{names} {option.kind}" + (", repeatable" if option.repeatable else "")


def _default(option: Parameter) -> str:
    if option.required:
        return "**required**"
    return "" if option.default in (None, False, (), []) else f"`{option.default}`"


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split()))


class CommandHelp(SphinxDirective):
    """`{command-help} fpforce-train`."""

    required_arguments = 1

    def run(self):
        container = nodes.container(classes=["command-help"])
        source = StringList(command_page(self.arguments[0]).splitlines(), f"help of {self.arguments[0]}")
        self.state.nested_parse(source, 0, container)
        return [container]


def setup(app):
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
