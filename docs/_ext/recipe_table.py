"""The directive `recipe-keys`: a table of every key of a recipe with its default and meaning, read from the program.

In: fpforce.training.recipe.read.describe_recipe. Out: Markdown, which MyST makes into one table for each section.
"""

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


def recipe_tables() -> str:
    """A heading and a table for each section of the recipe, in the order of the program."""
    from fpforce.training.recipe.read import describe_recipe

    sections: dict[str, list[str]] = {}
    for key, default, meaning in describe_recipe():
        section = key.split(".")[0] if "." in key else key
        shown = "**required**" if default == "required" else f"`{default}`"
        sections.setdefault(section, []).append(f"| `{key}` | {shown} | {_cell(meaning)} |")
    parts = []
    for section, rows in _gathered(sections).items():
        parts += [f"**{section}**", "", "| key | default | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(parts)


def _gathered(sections: dict[str, list[str]]) -> dict[str, list[str]]:
    """Keys that stand alone (temperature_k, output) become one section of the name `required`."""
    alone = [name for name, rows in sections.items() if len(rows) == 1 and f"`{name}`" in rows[0]]
    gathered = {"data": sections["data"], " and ".join(f"`{name}`" for name in alone): [sections[n][0] for n in alone]}
    return gathered | {f"{name}": rows for name, rows in sections.items() if name not in (*alone, "data")}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


class RecipeKeys(SphinxDirective):
    """`{recipe-keys}` without arguments."""

    def run(self):
        container = nodes.container(classes=["recipe-keys"])
        self.state.nested_parse(StringList(recipe_tables().splitlines(), "the recipe's keys"), 0, container)
        return [container]


def setup(app):
    app.add_directive("recipe-keys", RecipeKeys)
    return {"parallel_read_safe": True}
