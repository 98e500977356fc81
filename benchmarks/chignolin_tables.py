"""The paper's variants on chignolin, ten CA beads.

python benchmarks/chignolin_tables.py [--seeds 3] [--processes 2] [--steps 12000]. The data are those of examples/chignolin/generate.py.
Every row is trained, sampled, simulated from the folded and from the extended peptide, 50 replicas x 2 ns of each, and compared with
the held-out halves of the runs in the plane of the two slowest time-lagged independent components. Writes
docs/results/chignolin_variants.json and .md; runs live in runs/chignolin.
"""

from studies import Study, variants

TABLES = {"variants": variants(case="chignolin", samples=10_000, replicas=50, picoseconds=2000.0)}
STUDY = Study("chignolin", TABLES, steps=12_000)

if __name__ == "__main__":
    STUDY.main(__doc__)
