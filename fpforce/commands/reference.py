"""fpforce-reference: a sequence or a PDB -> training data and a held-out reference, simulated by OpenMM."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from fpforce.commands.entry import command
from fpforce.distributed.parts import Where

_SOURCE = (
    "one-letter codes, such as YYDPETGTWY, or FILE.pdb; with --model: FILE.pdb (structure-based), codes of amino acids "
    "(disordered) or of nucleotides (rna), C16 (alkane)"
)
_MODEL = (
    "beads of a published energy instead of all atoms: structure-based, disordered, alkane or rna; data.json and "
    "train_forces.npz then hold exact energies and forces"
)
_CAPPED = "between ACE and NME (a sequence: the default), or with charged ends; a PDB keeps its ends by default"
_LADDER = "temperatures in K, comma-separated, coldest first; replaces --temperature-k, --rungs and --top-temperature-k"
_START = (
    "comma-separated, taken by the runs in turn: built (a random conformation of a sequence), extended, pdb (as the "
    "source), or the path of a PDB of the same molecule; with --model: native, random, or such a path"
)
_MEAN_FORCES = "frames of the first run for which mean forces on beads are made, in mean_forces.npz"
_SMALLEST = "basins that hold less than this in every run are not judged; default: 0"
_TEMPERATURE = "of the data, K; default: 300, or the model's; structure-based: where half of it is folded"
_RUNGS = "1: Langevin dynamics; default: for a third of swaps accepted, with --model 1"
_TOP = "of the ladder, K; default: 600, with --model twice the coldest"
# All atoms, where an option is not given.
_OF_ATOMS: dict[str, Any] = {
    "temperature_k": 300.0,
    "top_temperature_k": 600.0,
    "ns": 10.0,
    "discard_ps": 1000.0,
    "interval_ps": 2.0,
    "timestep_fs": 4.0,
    "friction_per_ps": 1.0,
    "atoms": "heavy",
    "force_field": "amber99sbildn.xml,amber99_obc.xml",
    "hydrogen_mass_da": 4.0,
    "smallest_basin": 0.0,
}


@command
def main(
    source: Annotated[str, Argument(help=_SOURCE, show_default=False)],
    output: Annotated[Path, Argument(help="folder; its name becomes the topology file's", show_default=False)],
    model: Annotated[str | None, Option(help=_MODEL, show_default=False)] = None,
    capped: Annotated[bool | None, Option("--capped/--uncapped", help=_CAPPED, show_default=False)] = None,
    temperature_k: Annotated[float | None, Option(help=_TEMPERATURE, show_default=False)] = None,
    rungs: Annotated[int | None, Option(help=_RUNGS, show_default=False)] = None,
    top_temperature_k: Annotated[float | None, Option(help=_TOP, show_default=False)] = None,
    ladder: Annotated[str | None, Option(help=_LADDER, show_default=False)] = None,
    ns: Annotated[
        float | None, Option(help="kept length of each run, ns; default: 10, or the model's", show_default=False)
    ] = None,
    discard_ps: Annotated[
        float | None,
        Option(help="left out at the start of each run, ps; default: 1000, or the model's", show_default=False),
    ] = None,
    interval_ps: Annotated[
        float | None,
        Option(
            help="between frames, and between offers of exchange, ps; default: 2, or the model's", show_default=False
        ),
    ] = None,
    runs: Annotated[int, Option(help="independent runs: train.xtc, reference.xtc, run3.xtc, ...")] = 2,
    seed: Annotated[int, Option(help="of the runs, each of which has random numbers of its own")] = 1,
    only: Annotated[int, Option(help="simulate just this run, and write no data set; 0: all")] = 0,
    start: Annotated[str | None, Option(help=_START, show_default=False)] = None,
    atoms: Annotated[
        str | None, Option(help="heavy, all or ca, in the trajectories; default: heavy", show_default=False)
    ] = None,
    mean_forces: Annotated[int, Option(help=_MEAN_FORCES)] = 0,
    mean_force_ps: Annotated[float, Option(help="over which a mean force is averaged, ps")] = 10.0,
    beads: Annotated[str, Option(help="of the mean forces: preset or selection of single atoms")] = "backbone",
    force_field: Annotated[
        str | None,
        Option(
            help=f"OpenMM force field files, comma-separated; default: {_OF_ATOMS['force_field']}", show_default=False
        ),
    ] = None,
    timestep_fs: Annotated[
        float | None, Option(help="time step in fs; default: 4, or the model's", show_default=False)
    ] = None,
    hydrogen_mass_da: Annotated[
        float | None,
        Option(help="Da, taken from the heavy atom; 0: as it is, for 2 fs; default: 4", show_default=False),
    ] = None,
    friction_per_ps: Annotated[
        float | None, Option(help="in 1/ps; default: 1, or the model's", show_default=False)
    ] = None,
    smallest_basin: Annotated[float | None, Option(help=_SMALLEST, show_default=False)] = None,
    platform: Annotated[
        str, Option(help="OpenMM platform; auto: Reference up to 100 atoms and for beads, else a GPU or CPU")
    ] = "auto",
    threads: Annotated[int, Option(help="of the CPU platform")] = 1,
    checkpoint_minutes: Annotated[float, Option(help="between checkpoints, minutes")] = 1.0,
    workers: Annotated[
        int | None,
        Option(help="processes of this machine, by Dask, that simulate the runs; without it one", show_default=False),
    ] = None,
    scheduler: Annotated[
        str | None,
        Option(help="address of a Dask scheduler, or its scheduler.json, for the same", show_default=False),
    ] = None,
    resume: Annotated[bool, Option("--resume", help="go on where a call stopped, or to a larger --ns")] = False,
) -> int:
    """Make reference data of a peptide or a protein, all atoms in implicit solvent, or of a bead model.

    Independent temperature replica exchanges keep the coldest rung. OUTPUT gets train.xtc, reference.xtc, their
    topology, start frames and data.json, which tells how it was made, and with --mean-forces also mean_forces.npz,
    which trains as it is (data.trajectories and data.forces). Ctrl-C, SIGTERM and a kill are safe: --resume
    goes on. With several cores give --workers, or start the runs side by side with --only, then once more with
    --resume, without --only.

    With --model the molecule is one of beads whose energy is known, so that a force field learned from the data can be
    held against it frame by frame.

    Exit status: 0 done; 1 the runs do not agree; 2 wrong input; 130 interrupted.
    """
    from fpforce.reference.report import report

    given = {
        "temperature_k": temperature_k,
        "top_temperature_k": top_temperature_k,
        "ns": ns,
        "discard_ps": discard_ps,
        "interval_ps": interval_ps,
        "timestep_fs": timestep_fs,
        "friction_per_ps": friction_per_ps,
    }
    of_atoms = {
        "atoms": atoms,
        "force_field": force_field,
        "hydrogen_mass_da": hydrogen_mass_da,
        "smallest_basin": smallest_basin,
    }
    both = {
        "runs": runs,
        "seed": seed,
        "only": only,
        "starts": tuple(filter(None, (start or "").split(","))),
        "platform": platform,
        "threads": threads,
        "checkpoint_minutes": checkpoint_minutes,
        "resume": resume,
    }
    temperatures = None if ladder is None else _numbers(ladder)
    if model is None:
        chosen = _OF_ATOMS | {name: value for name, value in (given | of_atoms).items() if value is not None}
        chosen |= {"mean_forces": mean_forces, "mean_force_ps": mean_force_ps, "beads": beads}
        record = _all_atoms(source, output, chosen, capped, rungs, temperatures, both, Where(workers, scheduler))
    else:
        _refuse_with_model(
            {
                "capped": capped,
                **of_atoms,
                "mean_forces": mean_forces or None,
            }
        )
        chosen = {**given, "rungs": 1 if rungs is None else rungs, "temperatures_k": temperatures, **both}
        record = _beads(model, source, output, chosen, Where(workers, scheduler))
    if record is None:
        print(f"run {only} is complete; --resume without --only writes the data set once all are")
        return 0
    return report(record, output)


def _all_atoms(
    source: str,
    output: Path,
    chosen: dict[str, Any],
    capped: bool | None,
    rungs: int | None,
    temperatures: tuple[float, ...] | None,
    both: dict[str, Any],
    where: Where,
) -> dict[str, Any] | None:
    from fpforce.reference.make import Molecule, ReferenceSettings, seed_of_run
    from fpforce.reference.mean_force_data import MeanForceChoice
    from fpforce.reference.protocol import Protocol, load_force_field, suggest_rungs
    from fpforce.reference.runs_by_workers import make_reference_by
    from fpforce.simulation.exchange import geometric_ladder

    files = tuple(filter(None, chosen["force_field"].split(",")))
    if temperatures is None:
        coldest, hottest = chosen["temperature_k"], chosen["top_temperature_k"]
        if rungs is None:
            molecule = Molecule(source, load_force_field(files), capped, seed_of_run(both["seed"], 1))
            rungs = suggest_rungs(coldest, hottest, molecule.topology.getNumAtoms())
        temperatures = geometric_ladder(coldest, hottest, rungs)
    settings = ReferenceSettings(
        protocol=Protocol(
            temperatures_k=temperatures,
            timestep_fs=chosen["timestep_fs"],
            hydrogen_mass_da=chosen["hydrogen_mass_da"] or None,
            friction_per_ps=chosen["friction_per_ps"],
            interval_ps=chosen["interval_ps"],
            force_field=files,
        ),
        capped=capped,
        ns=chosen["ns"],
        discard_ps=chosen["discard_ps"],
        atoms=chosen["atoms"],
        smallest_population=chosen["smallest_basin"],
        mean_forces=MeanForceChoice(
            frames=chosen["mean_forces"], beads=chosen["beads"], picoseconds=chosen["mean_force_ps"]
        )
        if chosen["mean_forces"]
        else None,
        **both,
    )
    _print_ladder(temperatures)
    return make_reference_by(where, source, output, settings)


def _beads(model: str, source: str, output: Path, chosen: dict[str, Any], where: Where) -> dict[str, Any] | None:
    from fpforce.reference.bead_make import BeadSettings
    from fpforce.reference.models import build_model
    from fpforce.reference.runs_by_workers import make_bead_reference_by

    record = make_bead_reference_by(where, build_model(model, source), output, BeadSettings(**chosen))
    if record is not None:
        _print_ladder(record["made"]["temperatures_k"])
        print(f"temperature: {record['made']['temperature_k']:g} K")
    return record


def _print_ladder(temperatures: "tuple[float, ...] | list[float]") -> None:
    if len(temperatures) > 1:
        print(f"ladder: {', '.join(f'{t:g}' for t in temperatures)} K", flush=True)


def _refuse_with_model(options: dict[str, Any]) -> None:
    from fpforce.foundation.errors import InputError

    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"--{given[0].replace('_', '-')} is of all atoms: leave it out with --model")


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
