"""Prints the recipe reference, a Markdown table made from fpforce/training/recipe.py; `--write` puts it into
README.md.
"""

import sys
from pathlib import Path

from fpforce.training.recipe.read import describe_recipe

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- recipe reference: begin -->\n", "<!-- recipe reference: end -->"


def reference() -> str:
    """The table, one row for each key."""
    rows = [
        f"| `{key}` | {'**required**' if default == 'required' else f'`{default}`'} | {meaning} |"
        for key, default, meaning in describe_recipe()
    ]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def with_reference(text: str) -> str:
    """README text with its table replaced."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + reference() + END + rest.split(END)[1]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        README.write_text(with_reference(README.read_text()))
    else:
        print(reference(), end="")
