"""fpforce-evaluate: simulations of a force field against reference trajectories -> report.html, report.json and
support.npz.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from fpforce.commands.entry import command
from fpforce.commands.model_argument import ModelArgument, model_file

if TYPE_CHECKING:
    from fpforce.analysis.comparison import Estimate
    from fpforce.analysis.report import Report

_TOPOLOGY = "topology of the reference and training trajectories; a transferable force field is bound to it"


@command
def main(
    model: ModelArgument,
    reference: Annotated[list[Path], Option(help="held-out trajectory; repeatable", show_default=False)],
    simulation: Annotated[list[Path], Option(help="output of fpforce-simulate; repeat per start", show_default=False)],
    output: Annotated[Path, Option("--output", "-o", help="folder for the report", show_default=False)],
    topology: Annotated[Path | None, Option(help=_TOPOLOGY, show_default=False)] = None,
    training: Annotated[list[Path] | None, Option(help="training trajectory; repeatable", show_default=False)] = None,
    training_weights: Annotated[
        list[Path] | None,
        Option(
            help="how much each training frame counts, a file a training trajectory; repeatable", show_default=False
        ),
    ] = None,
    iid: Annotated[
        Path | None,
        Option(
            help="samples of the same model: by fpforce-sample, .npz or .npy in nm, or a trajectory", show_default=False
        ),
    ] = None,
    discard: Annotated[float, Option(help="fraction of the time left out at the start of each replica")] = 0.5,
    seed: Annotated[int, Option(help="of random thinning and bootstraps")] = 0,
    plane: Annotated[str, Option(help="auto, phi-psi or tica; auto takes phi/psi where the beads define it")] = "auto",
    tica_lag: Annotated[int, Option(help="lag of TICA and Markov models, in frames of reference and simulation")] = 10,
    folded: Annotated[
        Path | None,
        Option(help="PDB of a protein's folded structure: folding then is what is judged", show_default=False),
    ] = None,
    floor: Annotated[
        str,
        Option(
            help="trajectories: of the reference, from each other; training: that set from the reference; auto: the "
            "first"
        ),
    ] = "auto",
    overwrite: Annotated[bool, Option("--overwrite", help="replace an earlier report")] = False,
) -> None:
    """Judge whether simulations reproduce the reference ensemble.

    Prints the key figures and writes report.html (self-contained), report.json, and support.npz with how far single
    frames are from what the model has seen. Exit status: 0 evaluated, whatever the verdict; 2 wrong input.
    """
    from fpforce.analysis import evaluate

    report = evaluate(
        model_file(model),
        reference,
        simulation,
        topology=topology,
        training=training,
        training_weights=training_weights,
        iid=iid,
        output=output,
        discard=discard,
        seed=seed,
        overwrite=overwrite,
        plane=plane,
        tica_lag=tica_lag,
        folded=folded,
        floor=floor,
    )
    _show(report)


def _show(report: "Report") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    console = Console()
    # 80 columns hold every row without cutting a name; a narrower terminal folds it.
    columns = (Column("", overflow="fold"), "frames", "JS", "floor", "excess", "PMF error", "floor", "excess")
    table = Table(*columns, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.title = f"Distance from the reference at {report.assessment.frames_compared:,} frames"
    rows = dict(report.assessment.divergences)
    if report.assessment.self_consistency is not None:
        rows["simulation from iid"] = report.assessment.self_consistency
    for name, d in rows.items():
        estimates = (d.js, d.js_floor, d.excess_js, d.pmf_error, d.pmf_error_floor, d.excess_pmf_error)
        table.add_row(name, f"{d.frames:,}", *("-" if e is None else f"{e.value:.4f}" for e in estimates))
    console.print(table)
    comparison = report.figures["comparison"]
    bins = comparison["bins_per_axis"]
    at_64 = "" if bins == 64 else f" ({comparison['js_floor_at_64_bins']:.3f} with 64 x 64)"
    console.print(
        f"Floor: {comparison['floor']}; {bins} x {bins} bins, JS floor {comparison['js_floor']:.3f}{at_64}",
        highlight=False,
    )
    if report.assessment.divergences["simulation"].no_excess:
        console.print(f"No excess: {report.assessment.divergences['simulation'].no_excess}")
    checks = Table("criterion", "value", "allowed", "", title="Verdict", title_justify="left")
    for check in report.assessment.checks:
        value, allowed = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in (check.value, check.threshold))
        style = {"met": "green", "not met": "red"}.get(check.outcome, "yellow")
        value += "" if check.standard_error is None else f" ± {check.standard_error:.2g}"
        checks.add_row(check.label, "–" if check.value is None else value, allowed, f"[{style}]{check.outcome}[/]")
    console.print(checks)
    for plane in report.assessment.planes:
        ours, theirs = (plane.free_energies_kt[name] for name in ("simulation", "reference"))
        console.print(
            f"{plane.plane.name}: F({plane.plane.basin_names[1]}) - F({plane.plane.basin_names[0]}) = "
            f"{_with_error(ours)} kT (reference {_with_error(theirs)})"
        )
    support = report.assessment.support
    if support is None:
        console.print("What the model has seen: not measured; report.html says why")
    else:
        console.print(f"Outside of what the model has seen: {support.outside:.1%} (reference {support.floor:.1%})")
    console.print(f"Simulations: {report.assessment.convergence_verdict} ({report.assessment.convergence_reason})")
    console.print(f"Overall: [bold]{report.assessment.status}[/]")
    for finding in report.assessment.diagnosis:
        console.print(f"- [bold]{finding.cause}[/]: {escape(finding.text)}. {escape(finding.remedy)}:", highlight=False)
        console.print(f"  {escape(finding.command)}", soft_wrap=True, highlight=False)
    console.print(f"Report: {report.html_path}", soft_wrap=True)


def _with_error(estimate: "Estimate") -> str:
    """`value ± error`; a dash for a free energy of a basin that was never visited."""
    if not math.isfinite(estimate.value):
        return "–"
    error = "" if math.isnan(estimate.standard_error) else f" ± {estimate.standard_error:.2f}"
    return f"{estimate.value:z.2f}{error}"
