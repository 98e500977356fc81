"""Make training data and a held-out reference for a capped peptide, all atoms, 300 K, from its sequence.

    python examples/alanine_dipeptide/generate.py runs/my_data --sequence A

This is `fpforce-reference` with the protocol of this folder's data: 2 fs, natural masses, five rungs up to 600 K. Two
independent temperature replica exchanges (the folders run1 and run2 of the output) become train.xtc and reference.xtc
with their topology, start frames and data.json. Ctrl-C is safe: `--resume` goes on. On two cores, start `--only 1` and
`--only 2` side by side, then the command once more with `--resume` to write the data set.
"""

from pathlib import Path
from typing import Annotated

import typer

from fpforce.commands.entry import command
from fpforce.reference.protocol import Protocol

INTERVAL_PS = 2.0
PROTOCOL = Protocol(
    temperatures_k=(300.0, 357.0, 424.0, 505.0, 600.0),
    timestep_fs=2.0,
    hydrogen_mass_da=None,
    interval_ps=INTERVAL_PS,
)


@command
def main(
    output: Annotated[Path, typer.Argument(help="folder for the data set; its name becomes the topology file's")],
    sequence: Annotated[str, typer.Option(help="one-letter codes; the caps ACE and NME are added")] = "A",
    ns: Annotated[float, typer.Option(help="kept length of each run at 300 K, ns")] = 43.0,
    discard_ps: Annotated[float, typer.Option(help="left out at the start of each run, ps")] = 1000.0,
    seed: Annotated[int, typer.Option(help="of the runs, each of which has random numbers of its own")] = 1,
    only: Annotated[int, typer.Option(help="simulate just run 1 or 2, and write no data set; 0: both")] = 0,
    checkpoint_minutes: Annotated[float, typer.Option(help="between checkpoints, minutes")] = 1.0,
    resume: Annotated[bool, typer.Option("--resume", help="go on where an earlier call stopped")] = False,
):
    """Generate a training set and a held-out reference of a capped peptide by replica exchange in OpenMM."""
    import openmm

    from fpforce.reference.make import ReferenceSettings, make_reference
    from fpforce.reference.peptide import parse_sequence
    from fpforce.reference.report import report

    parse_sequence(sequence)
    settings = ReferenceSettings(
        protocol=PROTOCOL,
        ns=ns,
        discard_ps=discard_ps,
        seed=seed,
        only=only,
        platform="Reference",
        checkpoint_minutes=checkpoint_minutes,
        resume=resume,
    )
    described = describe_protocol(sequence, openmm.version.version, "generate.py")
    record = make_reference(sequence, output, settings, described=described)
    if record is None:
        print(f"run {only} is complete; `--resume` without --only writes the data set once both are")
        return 0
    return report(record, output)


def describe_protocol(sequence, openmm_version, script):
    """How data of this protocol is made, for data.json."""
    return {
        "sequence": f"ACE-{sequence}-NME",
        **PROTOCOL.describe(),
        "platform": "Reference",
        "openmm": openmm_version,
        "written_by": script,
    }


if __name__ == "__main__":
    main()
