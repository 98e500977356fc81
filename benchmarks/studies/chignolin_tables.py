"""The paper's variants on chignolin, ten CA beads, and what calibration adds to them.

python benchmarks/studies/chignolin_tables.py [TABLE ...] [--seeds 3] [--processes 2] [--steps 12000] [--quick]. The
data are those of examples/chignolin. Every row is trained, sampled, simulated from the folded and from the extended
peptide, 50 replicas x 2 ns of each, and compared with the held-out blocks of the runs in the plane of the two slowest
time-lagged independent components. Writes docs/results/chignolin_TABLE.json and .md; runs live in runs/chignolin.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench.row_tables import Study, Table, variants
from workbench.rows import Row

LENGTHS = {"case": "chignolin", "samples": 10_000, "replicas": 50, "picoseconds": 2000.0}
REGULARISED = ("fokker_planck", "both")
CALIBRATIONS = {  # the second with replicas that have time to fold and unfold from round to round
    "likelihoods": ("calibration.likelihood_frames=1000",),
    "6 rounds of simulation": (
        "calibration.rounds=6",
        "calibration.replicas=256",
        "calibration.picoseconds=200",
        "calibration.timestep_fs=4",
    ),
}

TABLES = {
    "variants": variants(**LENGTHS),
    "calibration": Table(
        {
            f"{name}, {how}": Row(f"recipes/{name}.yaml", settings, **LENGTHS)
            for name in REGULARISED
            for how, settings in CALIBRATIONS.items()
        },
        {f"{name}, {how}": name for name in REGULARISED for how in CALIBRATIONS},
    ),
}
STUDY = Study("chignolin", TABLES, steps=12_000, quick=("variants", "fokker_planck"))

if __name__ == "__main__":
    STUDY.main(__doc__)
