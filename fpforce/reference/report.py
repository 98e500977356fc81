"""What the makers of reference data print, and the exit status that follows from the agreement of the runs."""

import sys
from pathlib import Path
from typing import Any


def report(record: dict[str, Any], output: Path) -> int:
    """Print the figures of a data set; exit status 1 when its runs do not agree."""
    for file, run in record["runs"].items():
        ladder = ""
        if run.get("swap_acceptance"):
            ladder = f", {sum(run['round_trips'])} round trips, swaps accepted {run['swap_acceptance']}"
        print(f"{file}: {run['frames']} frames, {run['ns_per_day']:,.0f} ns/day{ladder}")
        for residue, basins in run["basins"].items():
            described = (
                f"{basin} {figures['population']:.4f} (left or entered {figures['crossings']} times)"
                for basin, figures in basins.items()
            )
            print(f"  {residue}: {', '.join(described)}")
    agreement = record["agreement"]
    between = f"the {agreement['between']}"
    if agreement["reached"] is None:
        print(f"one frame cannot be compared with anything: {output}")
        return 0
    if agreement["reached"]:
        print(
            f"{between} agree to {agreement['largest_kt']:.2f} kT in every basin ({agreement['allowed_kt']} kT is "
            f"allowed; worst: {agreement['worst']}): {output}"
        )
        return 0
    found = (
        f"cannot be compared ({agreement['worst'] or 'no torsions'}: one never saw this basin, or none left it)"
        if agreement["largest_kt"] is None
        else f"differ by {agreement['largest_kt']:.2f} kT in {agreement['worst']}"
    )
    print(
        f"NOT CONVERGED: the free energies of basins of {between} {found}; {agreement['allowed_kt']} kT is "
        f"allowed. The data is kept in {output}, but do not train on it: go on with --resume and a larger --ns",
        file=sys.stderr,
    )
    return 1
