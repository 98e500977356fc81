"""The command line of every benchmark: its own options, --quick and --into.

In: a parser with the script's options, and what --quick makes of their defaults. Out: the chosen options, with
`results` (folder of tables and figures) and `runs` (folder of models and trajectories), both of which exist.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from workbench.places import RESULTS, RUNS


def parse(parser: argparse.ArgumentParser, **quick) -> argparse.Namespace:
    """Parse the command line. quick: defaults in place of the usual ones where --quick is given.

    A quick run does what the whole one does, in miniature, and never writes to docs/results or runs: its figures mean
    nothing.
    """
    parser.add_argument(
        "--quick",
        action="store_true",
        help="do the same in miniature, within a minute, to see that it works; writes to a temporary folder",
    )
    parser.add_argument(
        "--into", type=Path, metavar="FOLDER", help="write to FOLDER/results and FOLDER/runs, quick or not"
    )
    is_quick = "--quick" in sys.argv[1:]
    if is_quick:
        parser.set_defaults(**quick)
    chosen = parser.parse_args()
    if is_quick and chosen.into is None:
        chosen.into = Path(tempfile.mkdtemp(prefix="fpforce-quick-"))
        print(f"{parser.prog}: a quick run, in {chosen.into}; its figures mean nothing", flush=True)
    into = None if chosen.into is None else chosen.into.resolve()
    chosen.results, chosen.runs = (RESULTS, RUNS) if into is None else (into / "results", into / "runs")
    for folder in (chosen.results, chosen.runs):
        folder.mkdir(parents=True, exist_ok=True)
    return chosen


def handed_on(chosen: argparse.Namespace) -> list[str]:
    """The shared options of this command line, for a script that is started as a job of it."""
    into = [] if chosen.into is None else ["--into", str(chosen.into.resolve())]
    return [*(["--quick"] if chosen.quick else []), *into]
