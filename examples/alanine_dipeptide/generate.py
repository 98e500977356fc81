"""Make training data and a held-out reference for a capped peptide, all atoms, 300 K, from its sequence.

    python examples/alanine_dipeptide/generate.py runs/my_data --sequence A

Two independent temperature replica exchanges (the folders run1 and run2 of the output) become train.xtc and
reference.xtc with their topology, start frames and data.json. Ctrl-C is safe: `--resume` goes on. On two cores, start
`--only 1` and `--only 2` side by side, then the command once more with `--resume` to write the data set.
The force field is ff99SB-ILDN with the OBC solvent model, which OpenMM's Reference platform computes fastest.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from fpforce.reference.dataset import Run, write_dataset
from fpforce.reference.peptide import build_peptide, parse_sequence
from fpforce.reference.replica_exchange import ReplicaExchange

from fpforce.chirality import d_residues
from fpforce.commands.entry import command
from fpforce.errors import InputError
from fpforce.progress import SimulationProgress

TEMPERATURES_K = (300.0, 357.0, 424.0, 505.0, 600.0)
TIMESTEP_FS = 2.0
FRICTION_PER_PS = 1.0
INTERVAL_PS = 2.0
FORCE_FIELD = ("amber99sbildn.xml", "amber99_obc.xml")
_STEPS_PER_FRAME = round(1000 * INTERVAL_PS / TIMESTEP_FS)


@command
def main(
    output: Annotated[Path, typer.Argument(help="folder for the data set; its name becomes the topology file's")],
    sequence: Annotated[str, typer.Option(help="one-letter codes; the caps ACE and NME are added")] = "A",
    ns: Annotated[float, typer.Option(help="kept length of each run at 300 K, ns")] = 43.0,
    discard_ps: Annotated[float, typer.Option(help="left out at the start of each run, ps")] = 1000.0,
    seed: Annotated[int, typer.Option(help="the runs take seed and seed + 1")] = 1,
    only: Annotated[int, typer.Option(help="simulate just run 1 or 2, and write no data set; 0: both")] = 0,
    checkpoint_minutes: Annotated[float, typer.Option(help="between checkpoints, minutes")] = 1.0,
    resume: Annotated[bool, typer.Option("--resume", help="go on where an earlier call stopped")] = False,
):
    """Generate a training set and a held-out reference of a capped peptide by replica exchange in OpenMM."""
    import openmm

    parse_sequence(sequence)
    frames, discarded = round(1000 * ns / INTERVAL_PS), round(discard_ps / INTERVAL_PS)
    if frames < 1 or discarded < 0 or seed < 0 or only not in (0, 1, 2) or checkpoint_minutes < 0.0:
        raise InputError(
            f"ns {ns}, discard-ps {discard_ps}, seed {seed}, only {only}: need at least one frame of "
            f"{INTERVAL_PS:g} ps, nothing negative, and only = 0, 1 or 2"
        )
    if not resume and only == 0 and output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty: go on with --resume, or choose another folder")
    runs = []
    for number in (only,) if only else (1, 2):
        protocol = {"sequence": sequence, "seed": seed + number - 1, "discarded_frames": discarded}
        sampling = RungSampling(output / f"run{number}", protocol | {"openmm": openmm.version.version}, resume)
        sampling.run_to(discarded + frames, 60.0 * checkpoint_minutes)
        runs.append(Run(sampling.read_frames()[:frames], INTERVAL_PS, sampling.facts()))
    if only:
        print(f"run {only} is complete; `--resume` without --only writes the data set once both are")
        return None
    made = describe_protocol(sequence, openmm.version.version, "generate.py")
    return report(write_dataset(output, output.resolve().name, sampling.topology, runs, made), output)


class RungSampling:
    """The frames of one run's coldest rung in a folder: part-*.xtc, complete when they appear, and checkpoint.npz."""

    def __init__(self, folder, protocol, resume):
        import mdtraj
        from openmm import app

        forcefield = app.ForceField(*FORCE_FIELD)
        topology, positions_nm = build_peptide(protocol["sequence"], forcefield, protocol["seed"])
        system = forcefield.createSystem(topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds)
        self.topology = mdtraj.Topology.from_openmm(topology)
        self._folder, self._protocol = folder, protocol
        self._exchange = ReplicaExchange(
            system,
            positions_nm,
            TEMPERATURES_K,
            timestep_fs=TIMESTEP_FS,
            friction_per_ps=FRICTION_PER_PS,
            seed=protocol["seed"],
        )
        self._frames, self._parts, self._buffer, self._holders = 0, 0, [], []
        if folder.exists() and any(folder.iterdir()):
            self._restore(resume)
        folder.mkdir(parents=True, exist_ok=True)

    def run_to(self, frames, seconds_between_checkpoints):
        """Simulate until this many frames (the discarded ones included) are on disk; KeyboardInterrupt if stopped."""
        import time

        first, last_checkpoint = self._frames, time.monotonic()
        progress = SimulationProgress(
            frames * _STEPS_PER_FRAME, first * _STEPS_PER_FRAME, 1, TIMESTEP_FS, frames > first
        )
        # A signal inside a replica's steps would leave the others behind: it is noted, and heeded between frames.
        stop = []
        handlers = {s: signal.signal(s, lambda *_: stop.append(True)) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            with progress:
                while self._frames < frames and not stop:
                    self._exchange.advance(_STEPS_PER_FRAME)
                    self._buffer.append(self._exchange.frame())
                    self._holders.append(self._exchange.coldest)
                    self._frames += 1
                    progress.update(self._frames * _STEPS_PER_FRAME, 0)
                    if time.monotonic() - last_checkpoint > seconds_between_checkpoints:
                        self._checkpoint()
                        last_checkpoint = time.monotonic()
                self._checkpoint()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if self._frames < frames:
            raise KeyboardInterrupt(f"{self._folder} holds {self._frames} of {frames} frames; go on with --resume")

    def read_frames(self):
        """Positions (frames, atoms, 3) in nm without the discarded ones."""
        import mdtraj

        parts = [mdtraj.load(str(self._part(number)), top=self.topology).xyz for number in range(self._parts)]
        return np.concatenate(parts)[self._protocol["discarded_frames"] :]

    def facts(self):
        """What data.json tells of the run."""
        holders = np.array(self._holders)
        exchange = self._exchange
        return {
            "seed": self._protocol["seed"],
            "discarded_frames": self._protocol["discarded_frames"],
            "round_trips": exchange.round_trips.tolist(),
            "swap_acceptance": np.round(exchange.accepted / np.maximum(exchange.attempts, 1), 3).tolist(),
            "coldest_rung_changed_hands": int(np.count_nonzero(holders[1:] != holders[:-1])),
        }

    def _part(self, number):
        return self._folder / f"part-{number:05d}.xtc"

    def _checkpoint(self):
        """Write the frames since the last checkpoint as a part, then the state that goes with them."""
        import mdtraj

        if not self._buffer:
            return
        xyz = np.array(self._buffer, dtype=np.float32)
        found = d_residues(xyz, self.topology)
        if found:
            raise InputError(f"{self._folder}: {found[0][0]} turned into a D amino acid: start anew with another seed")
        time_ps = INTERVAL_PS * np.arange(self._frames - len(xyz), self._frames)
        partial = self._folder / "partial.xtc"
        mdtraj.Trajectory(xyz, self.topology, time=time_ps).save_xtc(str(partial))
        os.replace(partial, self._part(self._parts))
        self._parts, self._buffer = self._parts + 1, []
        partial = self._folder / "partial.npz"
        np.savez(
            partial,
            **self._exchange.state(),
            holders=np.array(self._holders, dtype=np.int8),
            progress=np.array([self._frames, self._parts]),
            protocol=np.array(json.dumps(self._protocol)),
        )
        os.replace(partial, self._folder / "checkpoint.npz")

    def _restore(self, resume):
        checkpoint = self._folder / "checkpoint.npz"
        if not resume:
            raise InputError(f"{self._folder} is not empty: go on with --resume, or choose another folder")
        if not checkpoint.exists():
            return
        with np.load(checkpoint) as state:
            made_by = json.loads(str(state["protocol"]))
            for key, value in self._protocol.items():
                if made_by.get(key) != value:
                    raise InputError(
                        f"{self._folder} was begun with {key} = {made_by.get(key)!r}, not {value!r}: "
                        "resume with the same, or choose another folder"
                    )
            self._exchange.restore(state)
            self._frames, self._parts = (int(count) for count in state["progress"])
            self._holders = state["holders"].tolist()


def describe_protocol(sequence, openmm_version, script):
    """How data of this protocol is made, for data.json."""
    return {
        "sequence": f"ACE-{sequence}-NME",
        "force_field": FORCE_FIELD,
        "platform": "Reference",
        "openmm": openmm_version,
        "integrator": "LangevinMiddleIntegrator",
        "timestep_fs": TIMESTEP_FS,
        "friction_per_ps": FRICTION_PER_PS,
        "constraints": "HBonds",
        "cutoff": None,
        "temperatures_k": TEMPERATURES_K,
        "exchange_interval_ps": INTERVAL_PS,
        "written_by": script,
    }


def report(record, output):
    """Print the figures of a data set; exit status 1 when its two runs do not agree."""
    for file, run in record["runs"].items():
        print(
            f"{file}: {run['frames']} frames, {sum(run['round_trips'])} round trips, "
            f"swaps accepted {run['swap_acceptance']}"
        )
        for residue, phi in run["phi"].items():
            free_energy = "unknown" if phi["free_energy_kt"] is None else f"{phi['free_energy_kt']:.2f} kT"
            print(
                f"  phi > 0 of {residue}: population {phi['population_positive']:.4f}, free energy {free_energy}, "
                f"phi = 0 crossed {phi['crossings_of_zero']} times"
            )
    agreement = record["agreement"]
    if agreement["reached"]:
        print(f"the runs agree to {agreement['largest_kt']:.2f} kT ({agreement['allowed_kt']} kT is allowed): {output}")
        return 0
    found = (
        "cannot be compared, because one never saw a basin"
        if agreement["largest_kt"] is None
        else f"differ by {agreement['largest_kt']:.2f} kT"
    )
    print(
        f"NOT CONVERGED: the free energies of phi > 0 in the two runs {found}; {agreement['allowed_kt']} kT is "
        f"allowed. The data is kept in {output}, but do not train on it: go on with --resume and a larger --ns",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    main()
