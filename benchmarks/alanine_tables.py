"""The tables on alanine dipeptide: the paper's variants, and what each ingredient does.

python benchmarks/alanine_tables.py [TABLE ...] [--seeds 3] [--processes 2] [--steps 8000]. Tables are listed in TABLES; all by
default. Every row is trained, sampled, simulated from both basins and compared with the held-out reference (alanine.py).
Writes docs/results/alanine_TABLE.json and .md; runs live in runs/alanine and are resumed stage by stage. A row that the
results hold already, made from the same settings, is kept and not made again; --again takes it from the runs instead.
"""

import argparse
import json
import statistics
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from alanine import ROOT, Row, run_all, with_error

RUNS = ROOT / "runs" / "alanine"
GRAPH = ("model.kind=graph_transformer", "model.width=32", "model.layers=2", "optimizer.batch_size=128")
DIFFUSION, FOKKER_PLANCK = Row("recipes/diffusion.yaml"), Row("recipes/fokker_planck.yaml")
MIXTURE, BOTH = Row("recipes/mixture.yaml"), Row("recipes/both.yaml")
TWO_FOR_ONE_TIME = 0.01
WITHOUT_VOLUMES = ("model.volumes=false",)
PLAIN_DIFFUSION = "without volumes, diffusion"  # the training that scans of the unregularised model take


@dataclass(frozen=True)
class Table:
    """rows by name; `trained` names the row, of any table, whose training a row takes; seeds: at most so many; length: of
    the trainings, in units of --steps.
    """

    rows: dict[str, Row]
    trained: dict[str, str] = field(default_factory=dict)
    seeds: int = 3
    length: float = 1.0


def _variants(prefix: str, overrides: tuple[str, ...], length: float = 1.0) -> Table:
    bare = {"diffusion": DIFFUSION, "two_for_one": replace(DIFFUSION, t_eval=TWO_FOR_ONE_TIME), "mixture": MIXTURE,
            "fokker_planck": FOKKER_PLANCK, "both": BOTH}
    rows = {prefix + name: replace(row, overrides=overrides) for name, row in bare.items()}
    return Table(rows, {f"{prefix}two_for_one": f"{prefix}diffusion"}, length=length)


def _up_to(t_max: float, part: float = 0.75) -> Row:
    """Two experts, of which the one that is simulated reaches t_max; the next is a score of its own. part: of the training."""
    experts = (f"experts=[{{t_max: {t_max}, max_minutes: {8 * part:g}}}, "
               f"{{t_max: 1.0, conservative: false, max_minutes: {8 - 8 * part:g}}}]")
    return Row("recipe.yaml", (experts,))


_CALIBRATIONS = {"likelihoods": ("calibration.likelihood_frames=1000",), "4 rounds of simulation": ("calibration.rounds=4",)}
_ROUNDS, LONG = "4 rounds of simulation", "fokker_planck, 4 times as long"
_SOLVERS = {"euler-maruyama": (100, 300, 1000, 3000, 10000), "multistep": (50, 200), "ode": (50,)}

TABLES = {
    "variants": _variants("", ()),
    "variants_graph": _variants("graph ", GRAPH, length=0.5),  # a step takes several times as long
    "volumes": _variants("without volumes, ", WITHOUT_VOLUMES),
    "calibration": Table({f"{name}, {how}": replace(row, overrides=settings)
                          for name, row in (("fokker_planck", FOKKER_PLANCK), ("both", BOTH))
                          for how, settings in _CALIBRATIONS.items()},
                         {f"{name}, {how}": name for name in ("fokker_planck", "both") for how in _CALIBRATIONS}),
    "t_max": Table({f"t_max {t_max:g}": _up_to(t_max) for t_max in (0.1, 0.3, 0.6)}, seeds=2),
    "two_for_one": Table({f"t = {t:g}": replace(DIFFUSION, t_eval=t, samples=0) for t in (0.001, 0.003, 0.03, 0.1)},
                         {f"t = {t:g}": PLAIN_DIFFUSION for t in (0.001, 0.003, 0.03, 0.1)}, seeds=1),
    "timestep": Table({f"{fs:g} fs": replace(DIFFUSION, overrides=(), samples=0, timestep_fs=fs) for fs in (0.5, 1.0, 2.0)},
                      {f"{fs:g} fs": PLAIN_DIFFUSION for fs in (0.5, 1.0, 2.0)}, seeds=1),
    "solver": Table({f"{solver}, {steps} steps": replace(DIFFUSION, samples=10_720, solver=solver, solver_steps=steps, replicas=108,
                                                          picoseconds=50.0)  # as many simulated frames, or samples are judged at fewer
                     for solver, counts in _SOLVERS.items() for steps in counts},
                    {f"{solver}, {steps} steps": "diffusion" for solver, counts in _SOLVERS.items() for steps in counts}, seeds=1),
    "width": Table({f"width {width}, alpha_FP {weight}": Row(overrides=(f"model.width={width}", f"loss.fokker_planck_weight={weight}"))
                    for width in (32, 128) for weight in ("0", "5e-5", "5e-4", "5e-3") if (width, weight) != (128, "5e-4")}, seeds=1),
    # simulated for longer, too: barriers that are learned better are higher
    "long": Table({name: replace(FOKKER_PLANCK, overrides=overrides, picoseconds=1200.0)
                   for name, overrides in ((LONG, ()), (f"{LONG}, {_ROUNDS}", _CALIBRATIONS[_ROUNDS]), (f"without volumes, {LONG}", WITHOUT_VOLUMES))},
                  {f"{LONG}, {_ROUNDS}": LONG}, length=4.0),
    "every": Table({"fokker_planck, every 2nd step": replace(FOKKER_PLANCK, overrides=("loss.fokker_planck_every=2",))}),
    "score": Table({"score": Row("recipes/score.yaml", WITHOUT_VOLUMES)}, seeds=2),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--only-write", action="store_true", help="run nothing: tables of the rows that are there")
    parser.add_argument("--again", action="store_true", help="take no rows from the results, only from runs/alanine")
    chosen = parser.parse_args()
    for name in chosen.tables or TABLES:
        table, path = TABLES[name], ROOT / "docs" / "results" / f"alanine_{name}.json"
        rows = {(row_name, seed): _with_seed(row_name, seed, table, chosen.steps) for row_name in table.rows for seed in range(table.seeds)}
        found = _known(path, rows)  # those of further seeds stay in the table
        missing = {key: row for key, row in rows.items() if key[1] < chosen.seeds and (chosen.again or key not in found)}
        if chosen.only_write:
            made = {key: folder_of(*key) / "row.json" for key in missing}
            found |= {key: json.loads(row.read_text()) for key, row in made.items() if row.exists()}
        else:
            bases = {RUNS / row.trained: _base(*key, table, chosen.steps) for key, row in missing.items() if row.trained}
            made = run_all({folder_of(*key): row for key, row in missing.items()}, bases, chosen.processes)
            found |= {key: made[folder_of(*key)] for key in missing}
        results = [{"name": key[0]} | found[key] for key in rows if key in found]
        if not results:
            continue
        result = {"steps": chosen.steps, "rows": results}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1))
        path.with_suffix(".md").write_text(_markdown(result))
        print(_markdown(result), flush=True)


def _with_seed(name: str, seed: int, table: Table, steps: int) -> Row:
    trained = table.trained.get(name)
    return replace(table.rows[name], seed=seed, steps=round(table.length * steps),
                   trained=None if trained is None else folder_of(trained, seed).name)


def _base(name: str, seed: int, table: Table, steps: int) -> Row:
    """The row that another row takes its training from."""
    row = next(each.rows[table.trained[name]] for each in TABLES.values() if table.trained[name] in each.rows)
    return replace(row, seed=seed, steps=round(table.length * steps))


def _known(path: Path, rows: dict[tuple[str, int], Row]) -> dict[tuple[str, int], dict]:
    """Rows that a file of results holds, made from the same settings."""
    held = json.loads(path.read_text())["rows"] if path.exists() else []
    found = {(row["name"], row["row"]["seed"]): {name: value for name, value in row.items() if name != "name"} for row in held}
    return {key: found[key] for key, row in rows.items() if key in found and found[key]["row"] == json.loads(json.dumps(asdict(row)))}


def folder_of(name: str, seed: int) -> Path:
    return RUNS / f"{name.replace(' ', '_').replace(',', '')}_{seed}"


def _markdown(result: dict) -> str:
    """A row for each seed, and means with standard deviations where there are several."""
    judged = [row for row in result["rows"] if _is_usable(row)]
    one, row = judged[0], judged[0]["row"]
    lines = [
        f"{max(r['row']['steps'] for r in result['rows'])} steps of training on one thread, {row['picoseconds']:g} ps x "
        f"{2 * row['replicas']} replicas, the second half counted. Floors: JS {one['simulation']['js_floor']:.4f}, PMF error "
        f"{one['simulation']['pmf_error_floor']:.3f}; reference F {with_error(one['reference_kt'])} kT; "
        f"{', '.join(dict.fromkeys(r['hardware'] for r in result['rows']))}.", "",
        "| variant | seed | training (s) | iid JS excess | iid PMF excess | iid F, kT | simulation JS excess | simulation PMF excess "
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
        lines += ["", "† The mean takes in simulations that have not converged (last column), whose figures depend on where they began: "
                      "it is no figure of the model."]
    return "\n".join(lines) + "\n"


def _line(row: dict) -> str:
    name, seed = row["name"], row["row"]["seed"]
    if not _is_usable(row):
        return f"| {name} | {seed} |" + " - |" * 10 + f" no{_failures(row)} |"
    simulation, iid = row["simulation"], row["iid"]
    consistency = _excess(row["self_consistency"], "excess_js", 4)
    sampled = f"{_excess(iid, 'excess_js', 4)} | {_excess(iid, 'excess_pmf_error', 3)} | {with_error(iid and iid['free_energy_kt'])}"
    residual = row["residual_at_t_eval"]
    return (f"| {name} | {seed} | {row['training_seconds'] + row['calibration_seconds']:.0f} | {sampled} "
            f"| {_excess(simulation, 'excess_js', 4)} | {_excess(simulation, 'excess_pmf_error', 3)} "
            f"| {with_error(simulation['free_energy_kt'])} "
            f"| {consistency} | {row['bond_w1_nm']:.1e} "
            f"| {'-' if residual is None else f'{residual:.2g}'} | {'yes' if row['converged'] else 'no'}{_failures(row)} |")


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

    parts = [mean("iid", "excess_js"), mean("iid", "excess_pmf_error"), mean("iid", "free_energy_kt", "value"),
             mean("simulation", "excess_js"), mean("simulation", "excess_pmf_error"), mean("simulation", "free_energy_kt", "value"),
             mean("self_consistency", "excess_js")]
    return (f"| **{name}, mean** | | {statistics.mean(row['training_seconds'] for row in rows):.0f} | " + " | ".join(parts)
            + f" | {max(row['bond_w1_nm'] for row in rows):.1e} (largest) | | {converged} of {seeds} |")


def _is_usable(row: dict) -> bool:
    """Whether its simulations could be evaluated, and not every replica failed."""
    return not row["error"] and sum(map(len, row["failed_at_ps"].values())) < 2 * row["row"]["replicas"]


def _failures(row: dict) -> str:
    """How many replicas failed, and when."""
    times = sorted(time for each in row["failed_at_ps"].values() for time in each)
    if not times:
        return ""
    return f", {len(times)} of {2 * row['row']['replicas']} replicas failed, half of these by {statistics.median(times):.3g} ps"


if __name__ == "__main__":
    main()
