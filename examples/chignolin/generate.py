"""Make the data of CLN025 (YYDPETGTWY, charged ends), started folded and extended: all atoms, implicit solvent, 400 K.

    python examples/chignolin/generate.py runs/chignolin_data

This is `fpforce-reference` with this folder's protocol, four runs and two starts: Langevin dynamics that begins folded
(folded.pdb), extended, extended, folded; replica exchange with --rungs. Each run is cut into blocks of 1 ns, which are
for training and held out by turns: both sets have both starts, early and late. Beside the backbone's basins it judges
folding, and it writes frames from which to start simulations. Ctrl-C and a kill are safe: `--resume` goes on, to a
larger --ns too.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from fpforce.commands.entry import command
from fpforce.reference.dataset import run_files
from fpforce.reference.protocol import Protocol
from fpforce.simulation.exchange import geometric_ladder

SEQUENCE = "YYDPETGTWY"
FOLDED = Path(__file__).with_name("folded.pdb")
STARTS = ("folded", "extended", "extended", "folded")
BLOCK_NS = 1.0
# Basins that hold less than this in every run are not judged: their free energy is not known to 0.3 kT.
SMALLEST_BASIN = 0.02


@command
def main(
    output: Annotated[Path, typer.Argument(help="folder for the data set")],
    ns: Annotated[float, typer.Option(help="kept length of each run at the lowest temperature, ns")] = 10.0,
    discard_ps: Annotated[float, typer.Option(help="left out at the start of each run, ps")] = 500.0,
    temperature_k: Annotated[float, typer.Option(help="of the data, K")] = 400.0,
    top_temperature_k: Annotated[float, typer.Option(help="of the ladder, K")] = 600.0,
    rungs: Annotated[int, typer.Option(help="temperatures of a run; 1: Langevin dynamics")] = 1,
    interval_ps: Annotated[float, typer.Option(help="between frames, and between offers of exchange, ps")] = 2.0,
    runs: Annotated[int, typer.Option(help="runs, which start folded, extended, extended, folded")] = 4,
    seed: Annotated[int, typer.Option(help="of the runs, each of which has random numbers of its own")] = 1,
    atoms: Annotated[str, typer.Option(help="heavy, all or ca, in the trajectories")] = "heavy",
    only: Annotated[int, typer.Option(help="simulate just this run, and write no data set; 0: all")] = 0,
    platform: Annotated[str, typer.Option(help="OpenMM platform; auto: a GPU where there is one, else CPU")] = "auto",
    threads: Annotated[int, typer.Option(help="of the CPU platform")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on where an earlier call stopped")] = False,
):
    """Generate training runs and held-out runs of CLN025 from folded and extended starts.

    Exit status: 0 done; 1 the runs do not agree in a basin or in folding; 2 wrong input; 130 interrupted.
    """
    from fpforce.reference.make import ReferenceSettings, make_reference
    from fpforce.reference.report import report

    protocol = Protocol(
        temperatures_k=geometric_ladder(temperature_k, top_temperature_k, rungs), interval_ps=interval_ps
    )
    settings = ReferenceSettings(
        protocol=protocol,
        capped=False,
        ns=ns,
        discard_ps=discard_ps,
        runs=runs,
        seed=seed,
        atoms=atoms,
        only=only,
        resume=resume,
        starts=tuple(str(FOLDED) if start == "folded" else start for start in STARTS),
        smallest_population=SMALLEST_BASIN,
        platform=platform,
        threads=threads,
    )
    record = make_reference(SEQUENCE, output, settings)
    if record is None:
        print(f"run {only} is complete; `--resume` without --only writes the data set once all are")
        return 0
    record["runs"] = {
        f"run{number + 1}": run | {"start": STARTS[number % len(STARTS)]}  # without the path of folded.pdb
        for number, run in enumerate(record["runs"].values())
    }
    folded = folded_frames(output, runs)
    record["folding"] = judge_folding(folded)
    record["division"] = divide(output, folded, interval_ps)
    for name in record.pop("start_frames"):
        (output / name).unlink()  # basins of a torsion are no starts of a hairpin: write_starts has those
    (output / "data.json").write_text(json.dumps(record, indent=1) + "\n")
    write_starts(output, protocol)
    return max(report(record, output), report_folding(record["folding"]))


def folded_frames(output, runs):
    """Which frames of each run are folded, with more than half of folded.pdb's CA contacts: one (frames,) bool for
    each.
    """
    from fpforce.analysis.folding import FOLDED_ABOVE, FoldedStructure
    from fpforce.trajectories.bead_frames import read_bead_frames

    folded = []
    for name in run_files(runs):
        frames = read_bead_frames(output / name, output / f"{output.resolve().name}.pdb", beads="ca")
        folded.append(FoldedStructure.read(FOLDED, frames.beads).contact_fraction(frames.positions_nm) > FOLDED_ABOVE)
    return folded


def judge_folding(folded):
    """Folded population of every run and whether the runs agree in it.

    As for the backbone's basins: the free energies of folding, of all runs, must lie within 0.3 kT.
    """
    from fpforce.reference.basins import agreement, indicator_statistics

    statistics = {
        f"run{number + 1}": {"started": STARTS[number % len(STARTS)]} | indicator_statistics(frames)
        for number, frames in enumerate(folded)
    }
    compared = [{SEQUENCE: {"folded": figures}} for figures in statistics.values()]
    return {"runs": statistics, "agreement": agreement(compared)}


def divide(output, folded, interval_ps):
    """Replace the trajectories of whole runs by blocks, in turn for training and held out: train/run1_1.xtc,
    reference/run1_2.xtc, ...

    Runs that disagree in folding would else give training and held-out set different distributions. Every second run
    begins with a held-out block. Returns the folded population of both sets.
    """
    import mdtraj

    topology, length = output / f"{output.resolve().name}.pdb", max(1, round(1000.0 * BLOCK_NS / interval_ps))
    frames_of = {"train": [], "reference": []}
    for kind in frames_of:
        (output / kind).mkdir(exist_ok=True)
        for earlier in (output / kind).glob("*.xtc"):
            earlier.unlink()
    for number, name in enumerate(run_files(len(folded))):
        whole = mdtraj.load(str(output / name), top=str(topology))
        for block, begin in enumerate(range(0, len(whole), length)):
            part, kind = slice(begin, begin + length), ("train", "reference")[(number + block) % 2]
            whole[part].save_xtc(str(output / kind / f"run{number + 1}_{block + 1}.xtc"))
            frames_of[kind].append(folded[number][part])
        (output / name).unlink()
    populations = {kind: float(np.concatenate(parts).mean()) if parts else None for kind, parts in frames_of.items()}
    return {"block_ns": BLOCK_NS, "folded_population": populations}


def report_folding(folding):
    """Print it; exit status 1 where the runs do not agree."""
    for name, run in folding["runs"].items():
        print(
            f"{name}, started {run['started']}: folded {run['population']:.4f} (folded or unfolded {run['crossings']} "
            "times)"
        )
    found = folding["agreement"]
    if found["reached"]:
        print(f"folding agrees to {found['largest_kt']:.2f} kT ({found['allowed_kt']} kT is allowed)")
        return 0
    why = (
        "a run never folded or never unfolded"
        if found["largest_kt"] is None
        else f"the runs differ by {found['largest_kt']:.2f} kT"
    )
    print(
        f"NOT CONVERGED in folding: {why}; {found['allowed_kt']} kT is allowed: go on with --resume and a larger --ns"
    )
    return 1


def write_starts(output, protocol):
    """start_folded.pdb and start_extended.pdb: the CA beads where runs begin."""
    import mdtraj

    from fpforce.molecule.mapping import map_beads
    from fpforce.reference.make import Molecule
    from fpforce.reference.protocol import load_force_field

    molecule = Molecule(SEQUENCE, load_force_field(protocol.force_field), False, 1)
    topology = mdtraj.Topology.from_openmm(molecule.topology)
    table = map_beads(topology, "ca")
    for name, start in (("folded", str(FOLDED)), ("extended", "extended")):
        positions_nm = table.positions(molecule.start_positions(start, 1)[None], topology)[0]
        table.write_pdb(output / f"start_{name}.pdb", positions_nm - positions_nm.mean(axis=0))


if __name__ == "__main__":
    main()
