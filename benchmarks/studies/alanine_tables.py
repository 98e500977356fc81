"""The tables on alanine dipeptide: the paper's variants, and what each ingredient does.

python benchmarks/studies/alanine_tables.py [TABLE ...] [--seeds 3] [--processes 2] [--steps 8000] [--quick]. Tables
are listed in TABLES; all by default. Every row is trained, sampled, simulated from both basins and compared with the
held-out reference (studies.py, rows.py). Writes docs/results/alanine_TABLE.json and .md; runs live in runs/alanine.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench.row_tables import Study, Table, variants
from workbench.rows import Row

GRAPH = ("model.kind=graph_transformer", "model.width=32", "model.layers=2", "optimizer.batch_size=128")
DIFFUSION, FOKKER_PLANCK, BOTH = (Row(f"recipes/{name}.yaml") for name in ("diffusion", "fokker_planck", "both"))
WITHOUT_VOLUMES = ("model.volumes=false",)
PLAIN_DIFFUSION = "without volumes, diffusion"  # the training that scans of the unregularised model take


def _up_to(t_max: float, part: float = 0.75) -> Row:
    """Two experts, of which the one that is simulated reaches t_max; the next is a score of its own. part: of the
    training.
    """
    experts = (
        f"experts=[{{t_max: {t_max}, max_minutes: {8 * part:g}}}, "
        f"{{t_max: 1.0, conservative: false, max_minutes: {8 - 8 * part:g}}}]"
    )
    return replace(FOKKER_PLANCK, overrides=(experts,))


_CALIBRATIONS = {
    "likelihoods": ("calibration.likelihood_frames=1000",),
    "4 rounds of simulation": (
        "calibration.rounds=4",
        "calibration.replicas=512",
        "calibration.picoseconds=100",
        "calibration.timestep_fs=2",
    ),
}
_ROUNDS, _LONG = "4 rounds of simulation", "fokker_planck, 4 times as long"
_SIMULATED_LONG = ("fokker_planck", f"fokker_planck, {_ROUNDS}")
_SOLVERS = {"euler-maruyama": (100, 300, 1000, 3000, 10000), "multistep": (50, 200), "ode": (50,)}

TABLES = {
    "variants": variants(),
    "variants_graph": variants("graph ", GRAPH, length=0.5),  # a step takes several times as long
    "volumes": variants("without volumes, ", WITHOUT_VOLUMES),
    "calibration": Table(
        {
            f"{name}, {how}": replace(row, overrides=settings)
            for name, row in (("fokker_planck", FOKKER_PLANCK), ("both", BOTH))
            for how, settings in _CALIBRATIONS.items()
        },
        {f"{name}, {how}": name for name in ("fokker_planck", "both") for how in _CALIBRATIONS},
    ),
    "t_max": Table({f"t_max {t_max:g}": _up_to(t_max) for t_max in (0.1, 0.3, 0.6)}, seeds=2),
    "two_for_one": Table(
        {f"t = {t:g}": replace(DIFFUSION, t_eval=t, samples=0) for t in (0.001, 0.003, 0.03, 0.1)},
        {f"t = {t:g}": PLAIN_DIFFUSION for t in (0.001, 0.003, 0.03, 0.1)},
        seeds=1,
    ),
    "timestep": Table(
        {f"{fs:g} fs": replace(DIFFUSION, overrides=(), samples=0, timestep_fs=fs) for fs in (0.5, 1.0, 2.0)},
        {f"{fs:g} fs": PLAIN_DIFFUSION for fs in (0.5, 1.0, 2.0)},
        seeds=1,
    ),
    "solver": Table(
        {
            f"{solver}, {steps} steps": replace(
                DIFFUSION,
                samples=10_720,
                solver=solver,
                solver_steps=steps,
                replicas=108,
                # as many simulated frames, or samples are judged at fewer
                picoseconds=50.0,
            )
            for solver, counts in _SOLVERS.items()
            for steps in counts
        },
        {f"{solver}, {steps} steps": "diffusion" for solver, counts in _SOLVERS.items() for steps in counts},
        seeds=1,
        samples_only=True,
    ),
    "width": Table(
        {
            f"width {width}, alpha_FP {weight}": replace(
                FOKKER_PLANCK, overrides=(f"model.width={width}", f"loss.fokker_planck_weight={weight}")
            )
            for width in (32, 128)
            for weight in ("0", "5e-5", "5e-4", "5e-3")
            if (width, weight) != (128, "5e-4")
        },
        seeds=1,
    ),
    # simulated for longer, too: barriers that are learned better are higher
    "long": Table(
        {
            name: replace(FOKKER_PLANCK, overrides=overrides, picoseconds=1200.0)
            for name, overrides in (
                (_LONG, ()),
                (f"{_LONG}, {_ROUNDS}", _CALIBRATIONS[_ROUNDS]),
                (f"without volumes, {_LONG}", WITHOUT_VOLUMES),
            )
        },
        {f"{_LONG}, {_ROUNDS}": _LONG},
        length=4.0,
    ),
    "simulated_long": Table(
        {f"{name}, simulated for 1.2 ns": replace(FOKKER_PLANCK, picoseconds=1200.0) for name in _SIMULATED_LONG},
        {f"{name}, simulated for 1.2 ns": name for name in _SIMULATED_LONG},
    ),
    "every": Table(
        {
            f"fokker_planck, {part}every 2nd step": replace(
                FOKKER_PLANCK, overrides=("loss.fokker_planck_every=2", *more)
            )
            for part, more in (("", ()), ("a quarter of the batch ", ("loss.fokker_planck_fraction=0.25",)))
        }
    ),
    "score": Table({"score": Row("recipes/score.yaml", WITHOUT_VOLUMES)}, seeds=2),
}


STUDY = Study("alanine", TABLES, steps=8000, quick=("variants", "two_for_one"))

if __name__ == "__main__":
    STUDY.main(__doc__)
