"""Figures of results that are in docs/results: python benchmarks/result_figures.py [--quick], which draws elsewhere.

In: docs/results/*.json that the other scripts wrote, and the outputs that are stored in the first tutorial. Out: PNGs
in docs/results, which docs/measured and README.md show. Nothing is computed anew; a figure whose JSON is missing is
left out.
"""

import argparse
import base64
import itertools
import json
from pathlib import Path

from workbench import options
from workbench.places import RESULTS

TUTORIAL = RESULTS.parent / "tutorials" / "muller_brown.ipynb"
SAMPLES, SIMULATION = "#D55E00", "#0072B2"
DOTS_PER_INCH = 110
JUDGED = {"js_ends": "end-to-end", "js_radius": "Rg", "js_dihedrals": "dihedrals"}


def variants(rows: list[dict], path: Path, difference: str) -> None:
    """Samples beside simulations of every variant: JS excess, and the error of the free energy difference named."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["name"] for row in rows))
    reference = next(row["reference_kt"] for row in rows if not row["error"])
    figure = Figure(figsize=(8.4, 0.9 + 0.42 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    right.axvspan(-reference["standard_error"], reference["standard_error"], color="#E8E8E8", zorder=0)
    for row in rows:
        if row["error"]:
            continue
        height = len(names) - 1 - names.index(row["name"])
        for shift, kind, colour in ((0.16, "iid", SAMPLES), (-0.16, "simulation", SIMULATION)):
            filled = colour if kind == "iid" or row["converged"] else "none"
            style = dict(marker="o", ms=5.5, mec=colour, mfc=filled, ls="none", clip_on=False)
            left.plot(row[kind]["excess_js"], height + shift, **style)
            value = row[kind]["free_energy_kt"]["value"]
            if value is not None:
                right.plot(value - reference["value"], height + shift, **style)
    left.set_yticks(range(len(names)), [name.replace("_", " ") for name in reversed(names)])
    left.set_ylim(-0.6, len(names) - 0.4)
    left.set_xscale("symlog", linthresh=0.005, linscale=0.6)
    ticks = (0.0, 0.005, 0.02, 0.05, 0.1)
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.set_xticks([], minor=True)
    left.axvline(0.0, color="0.6", lw=0.8)
    right.axvline(0.0, color="0.6", lw=0.8)
    left.set_xlabel("JS divergence less its floor")
    right.set_xlabel(f"error of {difference} / kT")
    for axis in (left, right):
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="#EEEEEE")
        axis.set_axisbelow(True)
    for colour, label in ((SAMPLES, "samples"), (SIMULATION, "simulation")):
        right.plot([], [], "o", color=colour, label=label)
    right.plot([], [], "o", mec=SIMULATION, mfc="none", label="not converged")
    right.fill_between([], [], color="#E8E8E8", label="reference's error")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def unseen(results: list[dict], path: Path) -> None:
    """JS excess of the simulations of every unseen sequence, by variant."""
    from matplotlib.figure import Figure

    order = sorted(range(len(results[0]["sequences"])), key=lambda i: results[0]["sequences"][i]["sequence"])
    figure = Figure(figsize=(8.4, 3.0), layout="constrained")
    axis = figure.subplots()
    colours = {"diffusion": "#D55E00", "fokker_planck": "#0072B2", "both": "#009E73", "calibrated": "#CC79A7"}
    for result in results:
        values = [result["sequences"][i]["excess_js"] for i in order]
        label = result["variant"].replace("_", " ")
        axis.plot(range(len(order)), values, "o", ms=5, color=colours[result["variant"]], label=label)
    axis.set_xticks(range(len(order)), [results[0]["sequences"][i]["sequence"] for i in order])
    axis.axhline(0.0, color="0.6", lw=0.8)
    axis.set_ylabel("JS divergence less its floor")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#EEEEEE")
    axis.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def support(rows: list[dict], path: Path) -> None:
    """Receiver operating characteristic of fpforce.support, a panel a case and a curve a kind of frames."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row["case"] for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in rows if row["kind"] != "reference"))
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#333333", "#999933", "#882255")
    columns = 3
    lines = -(-len(cases) // columns)
    figure = Figure(figsize=(8.4, 0.9 + 2.6 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis in axes[len(cases) :]:
        axis.set_axis_off()
    for axis, case in zip(axes, cases, strict=False):
        axis.axvline(0.01, color="0.75", lw=0.8, ls="--", zorder=0)
        for row in (row for row in rows if row["case"] == case and row["kind"] != "reference"):
            number = kinds.index(row["kind"])
            style = dict(color=colours[number % len(colours)], lw=1.6, clip_on=False)
            axis.plot(row["false"][1:], row["true"][1:], ls="--" if "own" in row["kind"] else "-", **style)
        axis.plot(row["false"][1:], row["false"][1:], color="0.6", lw=0.8, ls=":")
        axis.set(xscale="log", xlim=(1e-3, 1.0), ylim=(0.0, 1.0), xticks=(1e-3, 1e-2, 1e-1))
        axis.set_title(case.replace("_", " "), fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[max(0, len(cases) - columns) : len(cases)]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("right frames flagged")
    for axis in axes[: len(cases) : columns]:
        axis.set_ylabel("wrong frames flagged")
    for number, kind in enumerate(kinds):
        ls = "--" if "own" in kind else "-"
        axes[0].plot([], [], color=colours[number % len(colours)], label=kind, ls=ls)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def strangers(rows: list[dict], path: Path) -> None:
    """JS excess of samples and simulations of the default, a line for each molecule and a panel for each quantity."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["variant"] == "default"]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure = Figure(figsize=(8.4, 1.1 + 0.32 * len(cases)), layout="constrained")
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    for axis, (judged, label) in zip(axes, JUDGED.items(), strict=True):
        axis.axvspan(-1.0, 0.01, color="#EFEFEF", zorder=0)
        axis.axvline(0.0, color="0.6", lw=0.8)
        for row in rows:
            height = len(cases) - 1 - cases.index(row["case"])
            for shift, kind, colour in ((0.14, "samples", SAMPLES), (-0.14, "simulation", SIMULATION)):
                value = row[kind][judged] - row["floor"][judged]
                axis.plot(value, height + shift, "o", ms=5, color=colour, clip_on=False)
        axis.set_xlabel(f"{label}: JS less floor")
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="#E0E0E0")
        axis.set_axisbelow(True)
    axes[0].set_yticks(range(len(cases)), [name.replace("_", " ") for name in reversed(cases)])
    axes[0].set_ylim(-0.6, len(cases) - 0.4)
    axes[0].set_xscale("symlog", linthresh=0.02, linscale=1.2)
    ticks = (-0.02, 0.0, 0.02, 0.1)
    axes[0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0].set_xticks([], minor=True)
    lowest = min(row[kind][j] - row["floor"][j] for row in rows for kind in ("samples", "simulation") for j in JUDGED)
    axes[0].set_xlim(left=1.2 * min(lowest, -0.001))
    for colour, label in ((SAMPLES, "samples"), (SIMULATION, "simulation")):
        axes[0].plot([], [], "o", color=colour, label=label)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def overview(notebook: Path, path: Path) -> None:
    """The first figure among a notebook's stored outputs."""
    cells = json.loads(notebook.read_text())["cells"]
    images = [
        output["data"]["image/png"]
        for cell in cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    path.write_bytes(base64.b64decode("".join(images[0])))


def learning_curve(result: dict, path: Path) -> None:
    """JS excess of the simulations by the number of frames, a line for each kind of label, a point for each seed."""
    from matplotlib.figure import Figure

    colours = {"none": "0.35", "forces": SAMPLES, "mean": SIMULATION}
    labels = {"none": "no forces", "forces": "forces of the run", "mean": "mean forces"}
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axis = figure.subplots()
    axis.axhspan(0.0, 0.01, color="#E8E8E8", zorder=0)
    for (label, colour), term in itertools.product(colours.items(), ("with", "without")):
        rows = [row for row in result["rows"] if (row["label"], row["fokker_planck"]) == (label, term)]
        found = [(row["frames"], row["js"] - row["js_floor"]) for row in rows]
        if not found:
            continue
        counts = sorted({frames for frames, _ in found})
        means = [[excess for frames, excess in found if frames == count] for count in counts]
        style = dict(color=colour, mfc=colour if term == "with" else "none", ls="-" if term == "with" else ":")
        name = labels[label] + ("" if term == "with" else ", without Fokker-Planck")
        axis.plot(counts, [sum(one) / len(one) for one in means], "o", ms=4.5, label=name, **style)
        axis.plot(*zip(*found, strict=True), ".", color=colour, ms=3)
    axis.set_xscale("log")
    axis.set_yscale("symlog", linthresh=0.01, linscale=0.6)
    counts = sorted({row["frames"] for row in result["rows"]})
    axis.set_xticks(counts, [f"{count:,}" for count in counts])
    axis.set_xticks([], minor=True)
    ticks = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_yticks([], minor=True)
    axis.set_xlabel("frames of the training set")
    axis.set_ylabel("JS divergence less its floor")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def main() -> None:
    chosen = options.parse(argparse.ArgumentParser(description=__doc__))
    for path in draw(RESULTS, chosen.results):
        print(path)


def draw(results: Path, into: Path) -> list[Path]:
    """Draw what can be drawn from the JSON files in `results`, and return the PNGs in `into`."""
    figures = {
        "alanine_variants": lambda data, path: variants(data["rows"], path, "F(phi > 0) - F(phi < 0)"),
        "chignolin_variants": lambda data, path: variants(data["rows"], path, "F(folded) - F(unfolded)"),
        "dipeptides": unseen,
        "support": support,
        "strangers": strangers,
        "learning_curve": learning_curve,
    }
    drawn = []
    for name, figure in figures.items():
        source = results / f"{name}.json"
        if source.exists():
            figure(json.loads(source.read_text()), into / f"{name}.png")
            drawn.append(into / f"{name}.png")
    if TUTORIAL.exists():
        overview(TUTORIAL, into / "overview.png")
        drawn.append(into / "overview.png")
    return drawn


if __name__ == "__main__":
    main()
