"""The cards of the force fields that come with the package: their words in cards/, their figures from
studies/pretrained.py.

In: a model's name and its figures. Out: NAME.md, a fpforce.shipped.card.Card.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from workbench.rows import with_error


@dataclass(frozen=True)
class Kind:
    """What a model is, whatever was measured of it: the fields of a Card."""

    summary: str
    timestep_fs: float
    chain: str | None


KINDS = {
    "alanine_dipeptide": Kind("ACE-ALA-NME, 5 backbone beads (C, N, CA, C, N), 300 K", 4.0, None),
    "dipeptides": Kind(
        "capped dipeptides of 18 amino acids (no GLY, no PRO), 10 beads (N CA CB C O), 310 K", 4.0, "capped_peptide"
    ),
    "disordered": Kind("disordered chains of 20 to 60 residues, one CA bead each, 298.15 K", 20.0, "disordered"),
}


def write(name: str, folder: Path, figures: dict) -> None:
    """The card of folder/NAME.pt, beside it."""
    from fpforce.shipped.card import Card

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("cards")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters |= {"digits": _digits, "with_error": with_error, "percent": _percent, "count": "{:,}".format}
    Card(
        name=name,
        summary=KINDS[name].summary,
        sha256=sha256((folder / f"{name}.pt").read_bytes()).hexdigest(),
        timestep_fs=KINDS[name].timestep_fs,
        chain=KINDS[name].chain,
        figures=figures,
        text=environment.get_template(f"{name}.md.j2").render(figures),
    ).write(folder / f"{name}.md")


def _digits(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float, sign: str = "") -> str:
    return f"{value:{sign}.1%}"
