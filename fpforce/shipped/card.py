"""The card of a shipped model: what it is, of which data, how good, and what it cannot do.

In: NAME.md, a page that begins with facts in YAML. Out: a `Card`. benchmarks/pretrained writes these files, with every
figure in them.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

_RULE = "---\n"
BODY = "<!-- card -->\n"  # from here on it is text, which the documentation takes in


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card.

    summary: one line. sha256: of the model file that it is of. timestep_fs: with which it was judged. chain: how the
    start of a sequence is built (fpforce.shipped.chains); None for a force field of one molecule. figures: what was
    measured, JSON-able. text: the card without these facts, Markdown.
    """

    name: str
    summary: str
    sha256: str
    timestep_fs: float
    chain: str | None
    figures: dict[str, Any]
    text: str

    @staticmethod
    def read(path: Path) -> "Card":
        """The card in a file that `write` wrote."""
        _, facts, text = path.read_text(encoding="utf-8").split(_RULE, 2)
        return Card(**yaml.safe_load(facts), text=text.removeprefix(BODY))

    def facts(self) -> dict[str, Any]:
        """All of it but the text, JSON-able."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "text"}

    def write(self, path: Path) -> None:
        """NAME.md."""
        head = yaml.safe_dump(self.facts(), sort_keys=False, allow_unicode=True, width=120)
        path.write_text(f"{_RULE}{head}{_RULE}{BODY}{self.text}", encoding="utf-8")
