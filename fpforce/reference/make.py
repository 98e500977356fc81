"""From a sequence or a PDB to a data set: independent runs of one molecule, each in its own folder, then the files."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.foundation.seeds import seeds
from fpforce.reference.dataset import Run, write_dataset
from fpforce.reference.mean_force_data import MeanForceChoice, write_mean_forces
from fpforce.reference.peptide import build_peptide
from fpforce.reference.platform import choose_platform, context_for_minimisation
from fpforce.reference.protocol import Protocol, load_force_field
from fpforce.reference.run import ReferenceRun

if TYPE_CHECKING:
    from openmm import app

logger = logging.getLogger("fpforce")

ATOMS = ("heavy", "all", "ca")  # beads' presets, of mapping.py, that trajectories may hold


@dataclass(frozen=True, kw_only=True)
class ReferenceSettings:
    """What `make_reference` does; lengths are those of the coldest rung, of one run.

    capped: None leaves the ends of a PDB as they are, and caps a sequence.
    starts: of the runs in turn; see `start_positions`. Empty: a sequence is built anew for each run, a PDB
        starts as it is.
    atoms: one of ATOMS, in the trajectories; from `ca` no other beads can be chosen later.
    only: simulate just this run (from 1) and write no data set; 0: all of them.
    smallest_population: basins below it in every run are not judged; see `basins.agreement`.
    mean_forces: for which frames of the first run mean forces are made, None for none.
    """

    protocol: Protocol = field(default_factory=Protocol)
    capped: bool | None = None
    ns: float = 10.0
    discard_ps: float = 1000.0
    runs: int = 2
    seed: int = 1
    only: int = 0
    starts: tuple = ()
    atoms: str = "heavy"
    smallest_population: float = 0.0
    platform: str = "auto"
    threads: int = 1
    checkpoint_minutes: float = 1.0
    resume: bool = False
    mean_forces: MeanForceChoice | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or min(self.discard_ps, self.seed, self.checkpoint_minutes, self.smallest_population) < 0:
            raise InputError(
                f"ns {self.ns}, discard-ps {self.discard_ps}, seed {self.seed}, checkpoint-minutes "
                f"{self.checkpoint_minutes}, smallest-basin {self.smallest_population}: need at least one frame of "
                f"{self.protocol.interval_ps:g} ps, and nothing negative"
            )
        if self.runs < 1 or not 0 <= self.only <= self.runs:
            raise InputError(f"runs {self.runs}, only {self.only}: need at least one run, and only up to their number")
        if self.mean_forces is not None and self.mean_forces.frames > self.frames:
            raise InputError(
                f"mean forces for {self.mean_forces.frames} frames, and a run keeps {self.frames}: give fewer, or a "
                "longer ns"
            )
        if self.atoms not in ATOMS:
            raise InputError(f"atoms {self.atoms!r}: give {', '.join(ATOMS[:-1])} or {ATOMS[-1]}")

    @property
    def frames(self) -> int:
        """Kept frames of a run."""
        return round(1000.0 * self.ns / self.protocol.interval_ps)

    @property
    def discarded_frames(self) -> int:
        return round(self.discard_ps / self.protocol.interval_ps)


def make_reference(
    source: str | Path,
    output: str | Path,
    settings: ReferenceSettings,
    *,
    described: dict[str, Any] | None = None,
    show_progress: bool | Callable[[int, int], None] = True,
) -> dict[str, Any] | None:
    """Simulate, and write the data set.

    Args:
        source: one-letter codes, or a path that ends in .pdb.
        output: folder; its name becomes the topology file's.
        settings: ReferenceSettings.
        described: replaces what data.json tells under `made`.
        show_progress: of each run, on stderr or to a function of its step and 0.

    Returns:
        The record that data.json holds; None if `settings.only` left the data set for later.

    Raises:
        InputError: wrong input, or a folder that cannot be gone on with. KeyboardInterrupt: stopped, everything kept.
    """
    import mdtraj

    output = Path(output)
    if not settings.resume and not settings.only and output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty: go on with --resume, or choose another folder")
    force_field = load_force_field(settings.protocol.force_field)
    molecule = Molecule(source, force_field, settings.capped, seed_of_run(settings.seed, 1))
    platform = choose_platform(settings.platform, molecule.topology.getNumAtoms())
    discarded, runs = settings.discarded_frames, []
    for number in (settings.only,) if settings.only else range(1, settings.runs + 1):
        start = settings.starts[(number - 1) % len(settings.starts)] if settings.starts else molecule.usual_start
        seed = seed_of_run(settings.seed, number)
        run = ReferenceRun(
            output / f"run{number}",
            molecule.topology,
            settings.protocol.make_system(molecule.topology),
            molecule.start_positions(start, seed),
            settings.protocol,
            {
                "sequence": molecule.name,
                "seed of the data set": settings.seed,
                "seed": seed,
                "discarded_frames": discarded,
                "start": Path(start).name,
            },
            resume=settings.resume,
            platform=platform,
            threads=settings.threads,
        )
        run.run_to(discarded + settings.frames, 60.0 * settings.checkpoint_minutes, show_progress)
        positions = run.read_frames()[: settings.frames]
        runs.append(Run(positions, settings.protocol.interval_ps, run.facts() | {"start": start}))
        run.close()
    if settings.only:
        return None
    made = described or describe(molecule.name, settings.protocol, platform) | {"atoms": settings.atoms}
    if settings.mean_forces is not None:
        made |= {
            "mean_forces": write_mean_forces(
                output,
                molecule.topology,
                runs[0].positions_nm,
                settings.protocol,
                settings.mean_forces,
                atoms=settings.atoms,
                seed=settings.seed,
                platform=platform,
                threads=settings.threads,
            )
        }
    return write_dataset(
        output,
        output.resolve().name,
        mdtraj.Topology.from_openmm(molecule.topology),
        runs,
        made,
        atoms=settings.atoms,
        smallest_population=settings.smallest_population,
    )


def seed_of_run(seed: int, number: int) -> int:
    """The seed of run `number` (from 1) of a data set: of its start, its thermostat and its swaps."""
    return seeds(seed, "run", number)[0]


def describe(name: str, protocol: Protocol, platform: str) -> dict[str, Any]:
    """How data is made, a JSON-able dict, with the versions of what made it."""
    versions = {}
    for package in ("openmm", "mdtraj", "pdbfixer"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"sequence": name, **protocol.describe(), "platform": platform, "versions": versions}


class Molecule:
    """What is simulated: topology, and coordinates to start from."""

    def __init__(self, source: str | Path, force_field: "app.ForceField", capped: bool | None, seed: int) -> None:
        self._force_field = force_field
        self.is_file = str(source).lower().endswith(".pdb")
        if self.is_file:
            from fpforce.reference.structure import one_letter_codes, read_structure

            self.topology, self._read_nm = read_structure(Path(source), force_field, capped)
            self.sequence, self.capped = one_letter_codes(self.topology)
        else:
            self.sequence, self.capped = str(source), capped is not False
            self.topology, built_nm = build_peptide(self.sequence, force_field, seed, capped=self.capped)
            self._built = {seed: built_nm}
        self.usual_start = "pdb" if self.is_file else "built"
        names = [residue.name for residue in self.topology.residues()]
        ends = [end if end in (names[0], names[-1]) else "" for end in ("ACE", "NME")]
        self.name = "-".join(filter(None, (ends[0], self.sequence, ends[1])))

    def start_positions(self, start: str | Path, seed: int) -> np.ndarray:
        """Minimised coordinates (atoms, 3) in nm.

        start: `built`, from the sequence with a random conformation of its own for every seed; `extended`; `pdb`, the
            structure of the source; or the path of a PDB of the same molecule.
        """
        from fpforce.reference.structure import match_positions, read_structure

        if start == "pdb":
            if not self.is_file:
                raise InputError("start pdb is for a PDB as the source: give built, extended or the path of a PDB")
            return self._minimised(self._read_nm)
        if start in ("built", "extended"):
            if start == "built" and not self.is_file and seed in self._built:
                return self._built[seed]
            topology, positions_nm = build_peptide(
                self.sequence, self._force_field, seed, capped=self.capped, extended=start == "extended"
            )
            return match_positions(self.topology, topology, positions_nm, f"the {start} {self.sequence}")
        if not str(start).lower().endswith(".pdb"):
            raise InputError(f"start {start!r}: give built, extended, pdb or the path of a PDB")
        topology, positions_nm = read_structure(Path(start), self._force_field, self.capped)
        return self._minimised(match_positions(self.topology, topology, positions_nm, str(start)))

    def _minimised(self, positions_nm: np.ndarray) -> np.ndarray:
        """The nearest minimum, since added atoms may clash; the same in every process, so that runs can go on."""
        import openmm
        from openmm import app

        system = self._force_field.createSystem(self.topology, nonbondedMethod=app.NoCutoff)
        context = context_for_minimisation(system)
        context.setPositions(positions_nm)
        openmm.LocalEnergyMinimizer.minimize(context, 10.0, 500)
        positions_nm = context.getState(positions=True).getPositions(asNumpy=True)._value
        if not np.isfinite(positions_nm).all():
            raise InputError("the start structure cannot be minimised (its energy is not finite): repair its clashes")
        return np.array(positions_nm)
