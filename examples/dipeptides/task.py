"""One run of one dipeptide to a length: simulate, then publish its beads and what is known of it.

Layout of the output, for a sequence WK:

    train/WK.pdb train/WK.xtc                      beads, complete up to the last stage
    test/NN.pdb test/NN_run1.xtc test/NN_run2.xtc
    train/WK/run1.json                             figures of the run; written last, so a stage is done when it is there
    train/WK/run1/                                 parts and checkpoint, with C of ACE and N of NME for all torsions
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

TEMPERATURE_K = 310.0
HOTTEST_K = 531.0
INTERVAL_PS = 1.0
BEADS = ("N", "CA", "CB", "C", "O")
_SEEDS_TO_TRY = 3


@dataclass(frozen=True)
class Task:
    """One run of one sequence, to a length, over a ladder of temperatures; `kind` is train or test."""

    kind: str
    sequence: str
    run: int
    ns: float
    rungs: int
    discard_ps: float

    @property
    def frames(self):
        """Kept frames."""
        return round(1000.0 * self.ns / INTERVAL_PS)

    @property
    def discarded(self):
        """Frames left out at the start."""
        return round(self.discard_ps / INTERVAL_PS)

    def folder(self, output):
        """Of parts and checkpoint."""
        return Path(output) / self.kind / self.sequence / f"run{self.run}"

    def record(self, output):
        """Path of the figures of the run."""
        return self.folder(output).with_suffix(".json")

    def is_done(self, output):
        """Whether the run is published, over as many rungs, with at least these frames."""
        record = self.record(output)
        if not record.exists():
            return False
        facts = json.loads(record.read_text())
        return len(facts["swap_acceptance"]) == self.rungs - 1 and facts["frames"] >= self.frames

    def __str__(self):
        return f"{self.kind} {self.sequence} run {self.run} to {self.ns:g} ns"


def do_task(output, task, seconds_between_checkpoints, parent):
    """Do a task in a process of its own, which ends with status 0 done, 1 failed, 130 stopped.

    parent: process id of the driver; when that is gone, the run stops with a checkpoint.
    """
    from fpforce.foundation.errors import InputError

    try:
        for attempt in range(_SEEDS_TO_TRY):
            run = _prepare(output, task, attempt)
            try:
                run.run_to(
                    task.discarded + task.frames,
                    seconds_between_checkpoints,
                    show_progress=False,
                    keep_going=lambda: os.getppid() == parent,
                )
            except InputError as error:
                # A residue turned D, or the run is unstable: its frames are worth nothing, another seed starts anew.
                print(f"{task}: {error}", file=sys.stderr, flush=True)
                run.close()
                shutil.rmtree(task.folder(output))
                continue
            publish(output, task, run)
            return
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except InputError as error:
        print(f"{task}: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def publish(output, task, run):
    """Write the beads of a run as XTC with their PDB, then its figures."""
    import mdtraj
    import numpy as np

    from fpforce.molecule.mapping import map_beads
    from fpforce.reference.basins import basin_statistics

    positions = run.read_frames()[: task.frames]
    table = map_beads(run.topology, [a.index for a in run.topology.atoms if a.residue.name not in ("ACE", "NME")])
    beads = table.positions(positions, run.topology)
    folder = Path(output) / task.kind
    name = task.sequence if task.kind == "train" else f"{task.sequence}_run{task.run}"
    partial = task.folder(output) / "beads.partial.xtc"
    time_ps = INTERVAL_PS * np.arange(len(beads))
    mdtraj.Trajectory(beads, table.to_mdtraj(), time=time_ps).save_xtc(str(partial))
    os.replace(partial, folder / f"{name}.xtc")
    if task.run == 1:
        partial = task.folder(output) / "beads.partial.pdb"
        table.write_pdb(partial, beads[0])
        os.replace(partial, folder / f"{task.sequence}.pdb")
    facts = {
        "trajectory": f"{task.kind}/{name}.xtc",
        "topology": f"{task.kind}/{task.sequence}.pdb",
        "frames": len(beads),
        "interval_ps": INTERVAL_PS,
        "ns": 1e-3 * INTERVAL_PS * len(beads),
        **run.facts(),
        "basins": basin_statistics(positions, run.topology),
    }
    write_json(task.record(output), facts)


def write_json(path, record):
    """Replace a JSON file as a whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(partial, path)


def protocol_of(rungs):
    """Protocol of runs with so many rungs."""
    from fpforce.reference.protocol import Protocol
    from fpforce.simulation.exchange import geometric_ladder

    return Protocol(temperatures_k=geometric_ladder(TEMPERATURE_K, HOTTEST_K, rungs), interval_ps=INTERVAL_PS)


def _prepare(output, task, attempt):
    """The run, at its last checkpoint; a run that was begun keeps its seed."""
    import numpy as np

    from fpforce.reference.peptide import build_peptide
    from fpforce.reference.protocol import load_force_field
    from fpforce.reference.run import ReferenceRun

    folder = task.folder(output)
    seed_file = folder.with_suffix(".seed")
    if attempt == 0 and seed_file.exists():
        seed = int(seed_file.read_text())
    else:
        # Independent for every kind, sequence, run and attempt, and the same on every machine.
        words = [*f"{task.kind} {task.sequence}".encode(), task.run, attempt]
        if attempt and seed_file.exists():
            words.append(int(seed_file.read_text()))
        seed = int(np.random.SeedSequence(words).generate_state(1)[0] // 2)
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = seed_file.with_suffix(".partial")
        partial.write_text(f"{seed}\n")
        os.replace(partial, seed_file)
    protocol = protocol_of(task.rungs)
    # Langevin dynamics would keep a start at phi > 0 for a good part of its length; replica exchange forgets it, and
    # its independent runs start apart on purpose.
    topology, positions_nm = build_peptide(
        task.sequence, load_force_field(protocol.force_field), seed, extended=task.rungs == 1
    )
    stored = [
        atom.index
        for atom in topology.atoms()
        if (atom.name in BEADS and atom.residue.name not in ("ACE", "NME"))
        or (atom.residue.name, atom.name) in (("ACE", "C"), ("NME", "N"))
    ]
    identity = {"sequence": task.sequence, "seed": seed, "discarded_frames": task.discarded}
    system = protocol.make_system(topology)
    return ReferenceRun(folder, topology, system, positions_nm, protocol, identity, resume=True, stored=stored)
