"""fpforce-reference: a sequence or a PDB -> training data and a held-out reference, simulated by OpenMM."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fpforce.commands.entry import command

_SOURCE = "one-letter codes, such as YYDPETGTWY, or FILE.pdb"
_CAPPED = "between ACE and NME (a sequence: the default), or with charged ends; a PDB keeps its ends by default"
_LADDER = "temperatures in K, comma-separated, coldest first; replaces --temperature-k, --rungs and --top-temperature-k"
_START = (
    "comma-separated, taken by the runs in turn: built (a random conformation of a sequence), extended, pdb (as the "
    "source), or the path of a PDB of the same molecule"
)
_MEAN_FORCES = "frames of the first run for which mean forces on beads are made, in mean_forces.npz"
_SMALLEST = "basins that hold less than this in every run are not judged"


@command
def main(
    source: Annotated[str, Argument(help=_SOURCE, show_default=False)],
    output: Annotated[Path, Argument(help="folder; its name becomes the topology file's", show_default=False)],
    capped: Annotated[bool | None, Option("--capped/--uncapped", help=_CAPPED, show_default=False)] = None,
    temperature_k: Annotated[float, Option(help="of the data, K")] = 300.0,
    rungs: Annotated[
        int | None, Option(help="1: Langevin dynamics; default: for a third of swaps accepted", show_default=False)
    ] = None,
    top_temperature_k: Annotated[float, Option(help="of the ladder, K")] = 600.0,
    ladder: Annotated[str | None, Option(help=_LADDER, show_default=False)] = None,
    ns: Annotated[float, Option(help="kept length of each run, ns")] = 10.0,
    discard_ps: Annotated[float, Option(help="left out at the start of each run, ps")] = 1000.0,
    interval_ps: Annotated[float, Option(help="between frames, and between offers of exchange, ps")] = 2.0,
    runs: Annotated[int, Option(help="independent runs: train.xtc, reference.xtc, run3.xtc, ...")] = 2,
    seed: Annotated[int, Option(help="of the runs, each of which has random numbers of its own")] = 1,
    only: Annotated[int, Option(help="simulate just this run, and write no data set; 0: all")] = 0,
    start: Annotated[str | None, Option(help=_START, show_default=False)] = None,
    atoms: Annotated[str, Option(help="heavy, all or ca, in the trajectories")] = "heavy",
    mean_forces: Annotated[int, Option(help=_MEAN_FORCES)] = 0,
    mean_force_ps: Annotated[float, Option(help="over which a mean force is averaged, ps")] = 10.0,
    beads: Annotated[str, Option(help="of the mean forces: preset or selection of single atoms")] = "backbone",
    force_field: Annotated[
        str, Option(help="OpenMM force field files, comma-separated")
    ] = "amber99sbildn.xml,amber99_obc.xml",
    timestep_fs: Annotated[float, Option(help="time step in fs")] = 4.0,
    hydrogen_mass_da: Annotated[float, Option(help="Da, taken from the heavy atom; 0: as it is, for 2 fs")] = 4.0,
    friction_per_ps: Annotated[float, Option(help="in 1/ps")] = 1.0,
    smallest_basin: Annotated[float, Option(help=_SMALLEST)] = 0.0,
    platform: Annotated[
        str, Option(help="OpenMM platform; auto: Reference up to 100 atoms, else a GPU or CPU")
    ] = "auto",
    threads: Annotated[int, Option(help="of the CPU platform")] = 1,
    checkpoint_minutes: Annotated[float, Option(help="between checkpoints, minutes")] = 1.0,
    resume: Annotated[bool, Option("--resume", help="go on where a call stopped, or to a larger --ns")] = False,
) -> int:
    """Make reference data of a peptide or a protein, all atoms in implicit solvent.

    Independent temperature replica exchanges keep the coldest rung. OUTPUT gets train.xtc, reference.xtc, their
    topology, start frames and data.json, which tells how it was made, and with --mean-forces also mean_forces.npz,
    which trains as it is (data.trajectories and data.forces). Ctrl-C, SIGTERM and a kill are safe: --resume
    goes on. With several cores, start the runs side by side with --only, then once more with --resume, without --only.

    Exit status: 0 done; 1 the runs do not agree; 2 wrong input; 130 interrupted.
    """
    from fpforce.reference.make import Molecule, ReferenceSettings, make_reference, seed_of_run
    from fpforce.reference.mean_force_data import MeanForceChoice
    from fpforce.reference.protocol import Protocol, load_force_field, suggest_rungs
    from fpforce.reference.report import report
    from fpforce.simulation.exchange import geometric_ladder

    files = tuple(filter(None, force_field.split(",")))
    if ladder is not None:
        temperatures = _numbers(ladder)
    else:
        if rungs is None:
            molecule = Molecule(source, load_force_field(files), capped, seed_of_run(seed, 1))
            n_atoms = molecule.topology.getNumAtoms()
            rungs = suggest_rungs(temperature_k, top_temperature_k, n_atoms)
        temperatures = geometric_ladder(temperature_k, top_temperature_k, rungs)
    settings = ReferenceSettings(
        protocol=Protocol(
            temperatures_k=temperatures,
            timestep_fs=timestep_fs,
            hydrogen_mass_da=hydrogen_mass_da or None,
            friction_per_ps=friction_per_ps,
            interval_ps=interval_ps,
            force_field=files,
        ),
        capped=capped,
        ns=ns,
        discard_ps=discard_ps,
        runs=runs,
        seed=seed,
        only=only,
        starts=tuple(filter(None, (start or "").split(","))),
        atoms=atoms,
        smallest_population=smallest_basin,
        platform=platform,
        threads=threads,
        checkpoint_minutes=checkpoint_minutes,
        resume=resume,
        mean_forces=MeanForceChoice(frames=mean_forces, beads=beads, picoseconds=mean_force_ps)
        if mean_forces
        else None,
    )
    if len(temperatures) > 1:
        print(f"ladder: {', '.join(f'{t:g}' for t in temperatures)} K", flush=True)
    record = make_reference(source, output, settings)
    if record is None:
        print(f"run {only} is complete; --resume without --only writes the data set once all are")
        return 0
    return report(record, output)


def _numbers(text: str) -> tuple[float, ...]:
    from fpforce.foundation.errors import InputError

    try:
        temperatures = tuple(float(word) for word in text.split(","))
    except ValueError:
        temperatures = ()
    if (
        not temperatures
        or temperatures[0] <= 0.0
        or any(b <= a for a, b in zip(temperatures, temperatures[1:], strict=False))
    ):
        raise InputError(f"ladder {text!r}: give rising temperatures in K, comma-separated, such as 300,357,424,505")
    return temperatures
