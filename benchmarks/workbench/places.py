"""Where the benchmarks find the examples, and where they write."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
ALANINE = EXAMPLES / "alanine_dipeptide"
RESULTS = ROOT / "docs" / "results"  # tables and figures, which are committed
RUNS = ROOT / "runs"  # models and trajectories, which are not
