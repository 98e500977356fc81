"""One row of a table on an example: train, export, sample, simulate from two starts, evaluate.

Used by the other scripts here, which hand over rows to `run_all`; each runs in a process of its own, with one thread:
python benchmarks/workbench/rows.py FOLDER ROW [--only-train] (a Row as JSON). A finished stage is not repeated, so
that an interrupted benchmark goes on where it stopped. FOLDER/row.json holds the result.
"""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench.hardware import describe_hardware
from workbench.jobs import run_jobs
from workbench.places import ALANINE, EXAMPLES
from workbench.tiny import SMALL

TIMESTEP_FS = 4.0


@dataclass(frozen=True)
class Case:
    """An example: its folder and the files in it. starts: frames that simulations begin with, by name. folded: PDB of
    the fold.
    floor: of fpforce-evaluate.
    """

    folder: Path
    training: tuple[str, ...]
    reference: tuple[str, ...]
    topology: str
    starts: dict[str, str]
    folded: str | None = None
    floor: str = "auto"

    def files(self, names: tuple[str, ...]) -> list[Path]:
        return [self.folder / name for name in names]


CASES = {
    "alanine_dipeptide": Case(
        ALANINE,
        ("train.xtc",),
        ("reference.xtc",),
        "alanine_dipeptide.pdb",
        {basin: f"start_{basin}.pdb" for basin in ("negative", "positive")},
    ),
    "chignolin": Case(
        EXAMPLES / "chignolin",
        ("data/train/*.xtc",),
        ("data/reference/*.xtc",),
        "data/data.pdb",
        {start: f"data/start_{start}.pdb" for start in ("folded", "extended")},
        "folded.pdb",
        "training",
    ),
}


@dataclass(frozen=True)
class Row:
    """What is trained and how it is judged.

    case: one of CASES. recipe: a file of the example, with `overrides`; `steps` of training are shared out among its
    experts as the recipe shares out minutes. trained: the name of the folder, beside this row's, of a row whose
    checkpoint serves this one too, or is calibrated further by the overrides. samples: iid samples; none where 0.
    replicas: from each of two start frames, for so many picoseconds; none where 0.
    """

    recipe: str = "recipe.yaml"
    overrides: tuple[str, ...] = ()
    steps: int = 8000
    seed: int = 0
    trained: str | None = None
    t_eval: float | None = None
    samples: int = 21_440
    solver: str = "multistep"
    solver_steps: int = 200
    replicas: int = 128
    picoseconds: float = 200.0
    timestep_fs: float = TIMESTEP_FS
    case: str = "alanine_dipeptide"

    @staticmethod
    def from_dict(fields: dict) -> "Row":
        """The row of which `asdict` made these fields; what is missing has its default."""
        return Row(**fields | {"overrides": tuple(fields["overrides"])})

    def in_miniature(self) -> "Row":
        """The same stages within seconds: a small network on few frames, few samples, a short simulation."""
        calibrates_another = self.trained is not None and self.overrides
        small = (*SMALL, "data.stride=10", "run.compile=false") if self.trained is None or calibrates_another else ()
        return replace(
            self,
            overrides=(*self.overrides, *small),
            steps=min(self.steps, 60),
            samples=min(self.samples, 600),
            solver_steps=min(self.solver_steps, 10),
            replicas=min(self.replicas, 4),
            picoseconds=min(self.picoseconds, 2.0),
        )


def run(folder: Path, row: Row) -> None:
    """Do whatever of the row is not yet done in `folder`, on one thread."""
    if (folder / "row.json").exists():
        require_same(folder / "row.json", row)
        return
    from fpforce.analysis import evaluate
    from fpforce.foundation.errors import InputError
    from fpforce.training.export import export

    checkpoint, case = trained(folder, row), CASES[row.case]
    model, iid = folder / "model.pt", folder / "iid.xtc" if row.samples else None
    if not model.exists():
        export(checkpoint, model, t_eval=row.t_eval)
    if iid is not None:
        _sample(checkpoint, iid, row)
    simulations, failures = [], {}
    for number, (name, start) in enumerate(case.starts.items()):
        simulations.append(folder / f"from_{name}.xtc")
        failures[name] = _simulate(model, simulations[-1], case.folder / start, 2 * row.seed + number, row)
    try:
        evaluate(
            model,
            case.files(case.reference),
            simulations,
            topology=case.folder / case.topology,
            iid=iid,
            training=case.files(case.training),
            folded=case.folded and case.folder / case.folded,
            floor=case.floor,
            output=folder,
            overwrite=True,
        )
        report = json.loads((folder / "report.json").read_text())
    except InputError as error:  # not a frame is left to judge
        report = {"error": str(error)}
    (folder / "row.json").write_text(json.dumps(_summary(row, model, report, failures), indent=1))


def require_same(path: Path, row: Row) -> None:
    """End where a result is that of another row: it was made with other settings in this folder."""
    if Row.from_dict(json.loads(path.read_text())["row"]) != row:
        raise SystemExit(f"{path} was made with other settings than {row}; remove its folder, or put it elsewhere")


def run_all(rows: dict[Path, Row], bases: dict[Path, Row], processes: int) -> dict[Path, dict]:
    """Results by folder. bases: rows that others take their training from; those that are not in `rows` are only
    trained.
    """
    arguments = {folder: [str(folder), json.dumps(asdict(row))] for folder, row in (bases | rows).items()}
    run_jobs(
        __file__, {folder: [*arguments[folder], "--only-train"] for folder in bases if folder not in rows}, processes
    )
    for wave in ([folder for folder, row in rows.items() if row.trained is None], rows):
        run_jobs(__file__, {folder: arguments[folder] for folder in wave}, processes)
    return {folder: json.loads((folder / "row.json").read_text()) for folder in rows}


def with_error(estimate: dict | None) -> str:
    """An estimate of report.json in a table."""
    if estimate is None or estimate["value"] is None:
        return "-"
    value, error = estimate["value"], estimate["standard_error"]
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"


def _uncalibrated(row: Row) -> list[str]:
    """What keeps the variants of a table apart: of rounds of calibration only those that a row or its recipe names."""
    from fpforce.training.recipe.read import load_recipe

    named = load_recipe(CASES[row.case].folder / row.recipe, row.overrides).calibration.rounds
    return [] if named is not None else ["calibration.rounds=0"]


def trained(folder: Path, row: Row) -> Path:
    """The row's checkpoint, trained as far as it is not yet."""
    import shutil

    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train

    checkpoint = folder / "model.ckpt"
    if row.trained is not None:
        source = folder.parent / row.trained / "model.ckpt"
        if not row.overrides:
            return source
        if not checkpoint.exists():
            shutil.copy(source, checkpoint)
    own = [
        f"output={folder}",
        f"run.max_steps={row.steps}",
        "run.max_minutes=null",
        "run.threads=1",
        f"run.seed={row.seed}",
    ]
    example = CASES[row.case].folder
    experts = load_recipe(example / row.recipe, row.overrides).experts
    minutes = [expert.max_minutes or 1.0 for expert in experts]
    for k, share in enumerate(minutes):
        own += [f"experts.{k}.max_minutes=null", f"experts.{k}.max_steps={round(row.steps * share / sum(minutes))}"]
    return train(
        load_recipe(example / row.recipe, ["run.compile=true", *_uncalibrated(row), *row.overrides, *own]),
        resume=checkpoint.exists(),
        show_progress=False,
    )


def _sample(checkpoint: Path, output: Path, row: Row) -> None:
    from fpforce.training.sample import SampleSettings, sample

    record = Path(f"{output}.json")
    if not record.exists() or json.loads(record.read_text())["drawn"] < row.samples:
        sample(
            checkpoint,
            output,
            SampleSettings(
                samples=row.samples,
                solver=row.solver,
                steps=row.solver_steps,
                t_end=row.t_eval,
                seed=row.seed,
                resume=record.exists(),
            ),
        )


def _simulate(model: Path, output: Path, start: Path, seed: int, row: Row) -> list[float]:
    """Picoseconds at which replicas failed; forces without an energy are simulated too."""
    from fpforce.simulation.simulate import SimulationSettings, simulate

    result = simulate(
        model,
        output,
        SimulationSettings(
            steps=round(1000 * row.picoseconds / row.timestep_fs),
            replicas=row.replicas,
            timestep_fs=row.timestep_fs,
            seed=seed,
            start=start,
            override_not_conservative=True,
            resume=Path(f"{output}.checkpoint").exists(),
        ),
    )
    return sorted(1e-3 * row.timestep_fs * failed["step"] for failed in result.failed.values())


def _summary(row: Row, model: Path, report: dict, failures: dict[str, list[float]]) -> dict:
    """What tables are made of."""
    import fpforce

    training = fpforce.load(model).metadata["training"]
    residual = (training.get("fokker_planck_residual") or {}).get("residual") or [None]
    found = {
        "row": asdict(row),
        "hardware": describe_hardware(),
        "residual_at_t_eval": residual[0],
        "largest_residual": max(residual, key=lambda r: r or 0.0),
        "failed_at_ps": failures,
        "error": report.get("error"),
    }
    if "error" in report:
        return found
    keys = ("js", "js_floor", "excess_js", "pmf_error_floor", "excess_pmf_error", "free_energy_kt", "frames_compared")
    for name in ("simulation", "iid"):
        found[name] = {key: report[name][key] for key in keys} if report.get(name) else None
    simulation, calibration = report["simulation"], report["training"].get("calibration") or {}
    likelihood = calibration.get("likelihood") or {"seconds": 0.0}
    return found | {
        "converged": simulation["converged"],
        "bond_w1_nm": simulation["bond_w1_nm"]["max"],
        "non_finite_frames": simulation["non_finite_frames"],
        "self_consistency": report.get("self_consistency"),
        "reference_kt": report["reference"]["free_energy_kt"],
        "training_seconds": report["training"]["seconds"],
        "hand_overs": report["training"].get("hand_overs"),
        "calibration_seconds": calibration.get("seconds", 0.0) + likelihood["seconds"],
    }


if __name__ == "__main__":
    (trained if "--only-train" in sys.argv[3:] else run)(Path(sys.argv[1]), Row.from_dict(json.loads(sys.argv[2])))
