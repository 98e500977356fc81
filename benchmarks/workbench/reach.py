"""Which targets the recipes reach on alanine dipeptide: rows that benchmarks/studies/alanine_tables.py wrote in, a
Markdown section out.

Targets: the simulation's JS divergence within 0.005 of its floor, and its F(phi > 0) - F(phi < 0) within 0.3 kT of the
reference's; the JS divergence of iid samples within 0.005 of its floor; simulation and samples, within the standard
error of that, as near to each other as the nearer of the two is to the reference. Means over the seeds count. What the
simulation is asked for is reached only if every seed's has converged.
"""

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from workbench.rows import with_error

EXCESS_JS, FREE_ENERGY_KT = 0.005, 0.3
TABLES = ("variants", "variants_graph", "volumes", "calibration", "t_max", "long", "simulated_long", "every")


@dataclass(frozen=True)
class Reached:
    """Means over the seeds of one recipe; excesses of JS divergences over their floors, and the error of F in kT.

    error_kt is infinite where a basin was never visited.
    """

    name: str
    seeds: int
    converged: int
    simulation: float
    error_kt: float
    error_kt_error: float
    iid: float
    consistency: float
    consistency_error: float

    @staticmethod
    def of(name: str, rows: list[dict]) -> "Reached":
        """From the rows of all seeds; of one whose replicas all failed nothing but that it did not converge is
        taken.
        """
        whole = [row for row in rows if not row["error"]]
        errors = [_difference_kt(row) for row in whole]
        spreads = [row["self_consistency"]["excess_js_standard_error"] for row in whole]
        return Reached(
            name,
            len(rows),
            sum(row["converged"] for row in whole),
            _mean(whole, "simulation"),
            abs(statistics.mean(errors)),
            _standard_error_kt(whole),
            _mean(whole, "iid"),
            _mean(whole, "self_consistency"),
            math.hypot(*spreads) / len(whole),
        )

    @property
    def has_converged(self) -> bool:
        return self.converged == self.seeds

    def verdicts(self) -> dict[str, bool]:
        """Met or missed, by target."""
        return {
            "simulation": self.has_converged and self.simulation <= EXCESS_JS,
            "error_kt": self.has_converged and self.error_kt <= FREE_ENERGY_KT,
            "iid": self.iid <= EXCESS_JS,
            "consistency": self.has_converged
            and self.consistency - self.consistency_error <= min(self.simulation, self.iid),
        }


def section(results: Path) -> str:
    """The section of docs/measured/alanine-dipeptide.md, from the tables that are in `results`; empty without any."""
    groups: dict[str, list[dict]] = {}
    for table in TABLES:
        path = results / f"alanine_{table}.json"
        for row in json.loads(path.read_text())["rows"] if path.exists() else []:
            groups.setdefault(row["name"], []).append(row)
    found = [Reached.of(name, rows) for name, rows in groups.items() if _is_complete(rows)]
    if not found:
        return ""
    reference = next(row["reference_kt"] for rows in groups.values() for row in rows if not row["error"])
    lines = [
        f"Targets: JS divergence of the simulation within {EXCESS_JS:g} of its floor, F(phi > 0) - F(phi < 0) within "
        f"{FREE_ENERGY_KT:g} kT of the reference's {with_error(reference)} kT, JS divergence of iid samples within "
        f"{EXCESS_JS:g} of its floor, and simulation and samples no farther from each other, within a standard error, "
        "than the nearer of the two is from the reference. Means over the seeds; where not every simulation has "
        "converged, what it is asked for is missed.",
        "",
        *_sentences(found),
        "",
        "| recipe | converged | simulation JS excess | error of F, kT | iid JS excess | simulation - iid JS excess |",
        "|" + "---|" * 6,
    ]
    for one in found:
        verdicts = one.verdicts()
        values = {name: f"{getattr(one, name):.{2 if name == 'error_kt' else 4}f}" for name in verdicts}
        values["error_kt"] += f" ± {one.error_kt_error:.2f}"
        values["consistency"] += f" ± {one.consistency_error:.4f}"
        cells = [f"{values[name]} {'met' if met else 'missed'}" for name, met in verdicts.items()]
        lines.append(f"| {one.name} | {one.converged} of {one.seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _sentences(found: list[Reached]) -> list[str]:
    judged = [one for one in found if one.has_converged]
    if not judged:
        return ["No recipe's simulations have all converged."]
    best = max(judged, key=lambda one: (sum(one.verdicts().values()), one.seeds, -one.simulation))
    words = {
        "simulation": f"simulation JS {best.simulation:.4f} above its floor",
        "error_kt": f"F off by {best.error_kt:.2f} ± {best.error_kt_error:.2f} kT",
        "iid": f"iid JS {best.iid:.4f} above its floor",
        "consistency": f"simulation and samples {best.consistency:.4f} apart (above the floor)",
    }
    verdicts = best.verdicts()
    all_met = [one.name for one in found if all(one.verdicts().values())]
    return [
        f"The best recipe, by the targets it meets, its seeds and its simulation, is `{best.name}` ({best.seeds} "
        f"seed{'' if best.seeds == 1 else 's'}): "
        + "; ".join(f"{text}: **{'met' if verdicts[name] else 'missed'}**" for name, text in words.items())
        + ".",
        f"All four are met by: {', '.join(f'`{name}`' for name in all_met) or 'no recipe'}.",
    ]


def _is_complete(rows: list[dict]) -> bool:
    """Whether there is a seed with simulation and samples, and an excess of each."""
    whole = [row for row in rows if not row["error"]]
    return bool(whole) and all(
        row["iid"] and row["self_consistency"] and row["simulation"]["excess_js"] is not None for row in whole
    )


def _difference_kt(row: dict) -> float:
    value = row["simulation"]["free_energy_kt"]["value"]
    return float("inf") if value is None else value - row["reference_kt"]["value"]


def _standard_error_kt(rows: list[dict]) -> float:
    """Of the mean difference: simulations of several seeds are independent, the reference is the same."""
    simulated = math.hypot(*(row["simulation"]["free_energy_kt"]["standard_error"] or math.inf for row in rows)) / len(
        rows
    )
    return math.hypot(simulated, rows[0]["reference_kt"]["standard_error"])


def _mean(rows: list[dict], name: str) -> float:
    return statistics.mean(row[name]["excess_js"] for row in rows)
