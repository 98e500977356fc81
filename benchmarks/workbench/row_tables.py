"""Tables of rows (rows.py) on one example: what is missing is made, the rest is taken from the results.

A row is kept where the results hold one that was made from the same settings. What a script with TABLES needs is
`Study`.
"""

import argparse
import json
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench import options
from workbench.places import RUNS
from workbench.rows import Row, run_all, with_error

TWO_FOR_ONE_TIME = 0.01


@dataclass(frozen=True)
class Table:
    """rows by name; `trained` names the row, of any table, whose training a row takes; seeds: at most so many; length:
    of the trainings, in units of --steps; samples_only: the simulations, which a report cannot do without, are short
    and not shown.
    """

    rows: dict[str, Row]
    trained: dict[str, str] = field(default_factory=dict)
    seeds: int = 3
    length: float = 1.0
    samples_only: bool = False


def variants(prefix: str = "", overrides: tuple[str, ...] = (), length: float = 1.0, **common) -> Table:
    """The paper's five, from the recipes of an example; common: of every Row."""
    bare = {
        name: Row(f"recipes/{name}.yaml", overrides, **common)
        for name in ("diffusion", "mixture", "fokker_planck", "both")
    }
    rows = {"diffusion": bare["diffusion"], "two_for_one": replace(bare["diffusion"], t_eval=TWO_FOR_ONE_TIME)} | bare
    return Table(
        {prefix + name: row for name, row in rows.items()},
        {f"{prefix}two_for_one": f"{prefix}diffusion"},
        length=length,
    )


@dataclass(frozen=True)
class Study:
    """Tables of one example, by name; runs live in runs/NAME, results in docs/results/NAME_TABLE.json and .md.

    With other than the usual number of steps both are in runs/NAME_STEPS. quick: the row that --quick makes of which
    table, with the row whose training it takes, if any.
    """

    name: str
    tables: dict[str, Table]
    steps: int
    quick: tuple[str, str]
    all_runs: Path = RUNS

    def main(self, description: str) -> None:
        """Make what a command line asks for."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("tables", nargs="*", choices=[*self.tables, []], default=[])
        parser.add_argument("--seeds", type=int, default=3)
        parser.add_argument("--processes", type=int, default=2)
        parser.add_argument("--steps", type=int, default=self.steps)
        parser.add_argument("--only-write", action="store_true", help="run nothing: tables of the rows that are there")
        parser.add_argument(
            "--again", action="store_true", help=f"take no rows from the results, only from runs/{self.name}"
        )
        chosen = options.parse(parser, seeds=1, processes=1, steps=60)
        if chosen.quick and chosen.tables:
            parser.error("--quick makes one row of its own choice; leave the tables out")
        placed = replace(self, all_runs=chosen.runs)
        if chosen.quick:
            placed.in_miniature().make(chosen, chosen.results)
        elif chosen.steps != self.steps:
            own = replace(placed, name=f"{self.name}_{chosen.steps}", steps=chosen.steps)
            own.make(chosen, own.runs)
        else:
            placed.make(chosen, chosen.results)

    def in_miniature(self) -> "Study":
        """One row, by few steps, and the row whose training it takes."""
        table, name = self.tables[self.quick[0]], self.quick[1]
        names = [*([table.trained[name]] if name in table.trained else []), name]
        rows = {each: table.rows[each].in_miniature() for each in names if each in table.rows}
        return replace(self, tables={self.quick[0]: replace(table, rows=rows)})

    def make(self, chosen: argparse.Namespace, results_folder: Path) -> None:
        """The tables that are asked for."""
        for name in chosen.tables or self.tables:
            table, path = self.tables[name], results_folder / f"{self.name}_{name}.json"
            rows = {
                (row, seed): self.with_seed(row, seed, table, chosen.steps)
                for row in table.rows
                for seed in range(table.seeds)
            }
            found = known(path, rows)  # those of further seeds stay in the table
            missing = {
                key: row for key, row in rows.items() if key[1] < chosen.seeds and (chosen.again or key not in found)
            }
            if chosen.only_write:
                made = {key: self.folder_of(*key) / "row.json" for key in missing}
                found |= {key: json.loads(row.read_text()) for key, row in made.items() if row.exists()}
            else:
                bases = {
                    self.runs / row.trained: self.base(*key, table, chosen.steps)
                    for key, row in missing.items()
                    if row.trained
                }
                made = run_all({self.folder_of(*key): row for key, row in missing.items()}, bases, chosen.processes)
                found |= {key: made[self.folder_of(*key)] for key in missing}
            results = [{"name": key[0]} | found[key] for key in rows if key in found]
            if not results:
                continue
            result = {"steps": chosen.steps, "samples_only": table.samples_only, "rows": results}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=1))
            path.with_suffix(".md").write_text(_markdown(result))
            print(_markdown(result), flush=True)

    @property
    def runs(self) -> Path:
        return self.all_runs / self.name

    def folder_of(self, name: str, seed: int) -> Path:
        return self.runs / f"{name.replace(' ', '_').replace(',', '')}_{seed}"

    def with_seed(self, name: str, seed: int, table: Table, steps: int) -> Row:
        trained = table.trained.get(name)
        return replace(
            table.rows[name],
            seed=seed,
            steps=round(table.length * steps),
            trained=None if trained is None else self.folder_of(trained, seed).name,
        )

    def base(self, name: str, seed: int, table: Table, steps: int) -> Row:
        """The row that another row takes its training from."""
        row = next(each.rows[table.trained[name]] for each in self.tables.values() if table.trained[name] in each.rows)
        return replace(row, seed=seed, steps=round(table.length * steps))


def known(path: Path, rows: dict[tuple[str, int], Row]) -> dict[tuple[str, int], dict]:
    """Rows that a file of results holds, made from the same settings."""
    held = json.loads(path.read_text())["rows"] if path.exists() else []
    found = {
        (row["name"], row["row"]["seed"]): {name: value for name, value in row.items() if name != "name"}
        for row in held
    }
    return {key: found[key] for key, row in rows.items() if key in found and Row.from_dict(found[key]["row"]) == row}


def _markdown(result: dict) -> str:
    """A row for each seed, and means with standard deviations where there are several."""
    judged = [row for row in result["rows"] if _is_usable(row)]
    if result.get("samples_only"):
        return _markdown_of_samples(judged)
    one, row = judged[0], judged[0]["row"]
    lines = [
        f"{max(r['row']['steps'] for r in result['rows'])} steps of training on one thread, {row['picoseconds']:g} ps "
        f"x {2 * row['replicas']} replicas, the second half counted. Floors: JS {one['simulation']['js_floor']:.4f}, "
        f"PMF error {one['simulation']['pmf_error_floor']:.3f}; reference F {with_error(one['reference_kt'])} kT; "
        f"{', '.join(dict.fromkeys(r['hardware'] for r in result['rows']))}.",
        "",
        "| variant | seed | training (s) | iid JS excess | iid PMF excess | iid F, kT | simulation JS excess | "
        "simulation PMF excess "
        "| simulation F, kT | simulation - iid JS excess | bond W1 (nm) | FP residual at t = 1e-5 | converged |",
        "|" + "---|" * 13,
    ]
    for name in dict.fromkeys(row["name"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["name"] == name]
        lines += [_line(row) for row in rows]
        whole = [row for row in rows if _is_usable(row)]
        if len(whole) > 1:
            lines.append(_mean_line(name, whole, len(rows)))
    if any("†" in line for line in lines):
        lines += [
            "",
            "† The mean takes in simulations that have not converged (last column), whose figures depend on where they "
            "began: it is no figure of the model.",
        ]
    return "\n".join(lines) + "\n"


def _markdown_of_samples(rows: list[dict]) -> str:
    """A row for each seed, of what samples alone are judged by."""
    first = rows[0]
    lines = [
        f"{first['row']['steps']} steps of training on one thread; {first['iid']['frames_compared']:,} samples. "
        f"Floors: JS {first['iid']['js_floor']:.4f}, PMF error {first['iid']['pmf_error_floor']:.3f}; reference F "
        f"{with_error(first['reference_kt'])} kT; {', '.join(dict.fromkeys(row['hardware'] for row in rows))}.",
        "",
        "| sampler | seed | iid JS excess | iid PMF excess | iid F, kT |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        iid = row["iid"]
        lines.append(
            f"| {row['name']} | {row['row']['seed']} | {_excess(iid, 'excess_js', 4)} | "
            f"{_excess(iid, 'excess_pmf_error', 3)} "
            f"| {with_error(iid['free_energy_kt'])} |"
        )
    return "\n".join(lines) + "\n"


def _line(row: dict) -> str:
    name, seed = row["name"], row["row"]["seed"]
    if not _is_usable(row):
        return f"| {name} | {seed} |" + " - |" * 10 + f" no{_failures(row)} |"
    simulation, iid = row["simulation"], row["iid"]
    consistency = _excess(row["self_consistency"], "excess_js", 4)
    sampled = (
        f"{_excess(iid, 'excess_js', 4)} | {_excess(iid, 'excess_pmf_error', 3)} | "
        f"{with_error(iid and iid['free_energy_kt'])}"
    )
    residual = row["residual_at_t_eval"]
    return (
        f"| {name} | {seed} | {row['training_seconds'] + row['calibration_seconds']:.0f} | {sampled} "
        f"| {_excess(simulation, 'excess_js', 4)} | {_excess(simulation, 'excess_pmf_error', 3)} "
        f"| {with_error(simulation['free_energy_kt'])} "
        f"| {consistency} | {row['bond_w1_nm']:.1e} "
        f"| {'-' if residual is None else f'{residual:.2g}'} | {'yes' if row['converged'] else 'no'}{_failures(row)} |"
    )


def _excess(figures: dict | None, name: str, digits: int) -> str:
    """A dash without samples, or where too few frames were compared for an excess."""
    return "-" if figures is None or figures[name] is None else f"{figures[name]:.{digits}f}"


def _mean_line(name: str, rows: list[dict], seeds: int) -> str:
    """Over the usable rows of `seeds`; a dagger where simulations that have not converged enter."""
    converged = sum(row["converged"] for row in rows)
    dagger = "" if converged == len(rows) else " †"

    def mean(*path: str) -> str:
        values = []
        for row in rows:
            for key in path:
                row = row[key] if row is not None else None
            values.append(row)
        if any(value is None for value in values):
            return "-"
        digits = 3 if "pmf" in path[-1] else 2 if path[-1] == "value" else 4
        mark = "" if path[0] == "iid" else dagger
        return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}{mark}"

    parts = [
        mean("iid", "excess_js"),
        mean("iid", "excess_pmf_error"),
        mean("iid", "free_energy_kt", "value"),
        mean("simulation", "excess_js"),
        mean("simulation", "excess_pmf_error"),
        mean("simulation", "free_energy_kt", "value"),
        mean("self_consistency", "excess_js"),
    ]
    return (
        f"| **{name}, mean** | | "
        f"{statistics.mean(row['training_seconds'] + row['calibration_seconds'] for row in rows):.0f} | "
        + " | ".join(parts)
        + f" | {max(row['bond_w1_nm'] for row in rows):.1e} (largest) | | {converged} of {seeds} |"
    )


def _is_usable(row: dict) -> bool:
    """Whether its simulations could be evaluated, and not every replica failed."""
    return not row["error"] and sum(map(len, row["failed_at_ps"].values())) < 2 * row["row"]["replicas"]


def _failures(row: dict) -> str:
    """How many replicas failed, and when."""
    times = sorted(time for each in row["failed_at_ps"].values() for time in each)
    if not times:
        return ""
    return (
        f", {len(times)} of {2 * row['row']['replicas']} replicas failed, half of these by "
        f"{statistics.median(times):.3g} ps"
    )
