"""Docstrings of the house style as reStructuredText, which is what autodoc hands on.

In the house style a paragraph may be entries, `name: what it is`, one after the other, their further lines indented or
not; a code name stands in single backticks; the words Args, Returns and Raises may head such entries. Out: the same
with bullet lists and literals, so that no docstring needs markup of its own.
"""

import inspect
import re
from collections.abc import Iterable

ENTRY = re.compile(r"^([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*):(?: (.*))?$")
HEADS = {"Args:": "Arguments", "Returns:": "Returns", "Raises:": "Raises", "Source:": "Source"}


def as_rst(lines: list[str], names: Iterable[str] = ()) -> list[str]:
    """Lines of reStructuredText for the lines of a docstring; `names` are those of the parameters or fields."""
    result: list[str] = []
    for paragraph in _paragraphs(lines):
        result += [*_rst(paragraph, frozenset(names)), ""]
    return result


def _paragraphs(lines: list[str]) -> list[list[str]]:
    paragraphs, current = [], []
    for line in lines:
        if line.strip():
            current.append(line)
        elif current:
            paragraphs.append(current)
            current = []
    return [*paragraphs, current] if current else paragraphs


def _rst(lines: list[str], names: frozenset[str]) -> list[str]:
    head = HEADS.get(lines[0].strip())
    if head is not None:
        return [f"**{head}**", "", *_shown(_entries(lines[1:], names, any_case=True))]
    return _shown(_entries(lines, names, any_case=False))


def _entries(lines: list[str], names: frozenset[str], any_case: bool) -> list[tuple[str, str]]:
    """(name, text) in order; the name is empty of text that belongs to none.

    An entry begins with a line, or behind a full stop or semicolon where its name is among `names`. A sentence that
    begins at the left margin, with a capital, ends the entry before it.
    """
    entries: list[tuple[str, str]] = []
    for line in _one_entry_a_line(lines, names):
        text = line.strip()
        found = ENTRY.match(text)
        ended = not any_case and bool(entries) and entries[-1][1].endswith(".")
        if found and (any_case or found[1][0].islower()):
            entries.append((found[1], found[2] or ""))
        elif not entries or (ended and entries[-1][0] and line[0].isupper()):
            entries.append(("", text))
        else:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {text}")
    return entries


def _one_entry_a_line(lines: list[str], names: frozenset[str]) -> list[str]:
    split = []
    for line in lines:
        last = 0
        for found in re.finditer(r"(?<=[.;]) (?=([a-z_]\w*):(?: |$))", line):
            if found[1] in names:
                split.append(line[last : found.start()])
                last = found.end()
        split.append(line[last:])
    return split


def _shown(entries: list[tuple[str, str]]) -> list[str]:
    shown: list[str] = []
    for name, text in entries:
        if name:
            shown.append(f"- ``{name}``: {_inline(text.strip())}")
        else:
            shown += ["", _inline(text), ""]
    return shown


def _inline(text: str) -> str:
    """Single backticks as literals; elsewhere nothing that reStructuredText would read as markup."""
    parts = re.split(r"(`+[^`]+`+)", text)
    return "".join(
        f"``{part.strip('`')}``" if part.startswith("`") else re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part)
        for part in parts
    )


def setup(app):
    def convert(app, what, name, obj, options, lines):
        try:
            names = inspect.signature(obj).parameters if callable(obj) else ()
        except ValueError:  # of a class without a signature
            names = ()
        lines[:] = as_rst(lines, names)

    app.connect("autodoc-process-docstring", convert)
    return {"parallel_read_safe": True}
