"""Mean forces on beads: their atoms are held where a frame has them, the rest moves, and the forces are averaged.

In: an openmm.System, frames of all its particles, and the atom of each bead. Out: for every frame the mean force on
each bead, with its variance from blocks. It is the gradient of the beads' free energy, kT grad ln p(R), which single
forces have with a hundred times the noise.

Why the average is unbiased. Given the beads, the rest is distributed as in the data: a frame of an equilibrium
trajectory is a sample of that distribution already, fresh velocities keep it one, and so does Langevin dynamics of the
rest. Every moment of it has the mean force as its expectation, however slowly the rest moves; what is slower than the
blocks is noise that they do not see, and no bias.

Held atoms get a mass of HELD_MASS_DA instead of none. OpenMM refuses constraints between a massless and a massive atom;
with the mass, a hydrogen stays rigidly bonded to its held atom, as in the data. The force on a bead is then the sum
over its atom and all that constraints join to it (fpforce.trajectories.force_map): moving these together leaves the
constraints alone. But constraints of one group are coupled through the held atom's mass: the data have the density
exp(-U/kT) |Z|^(1/2) on the constrained surface, and with an infinite mass it is that of another Z. Samples are
therefore weighted by |Z|^(1/2) / |Z_held|^(1/2), which differs from a constant where a held atom has two rigid bonds or
more (CH2, NH3+). Beads that constraints join are refused, since no force tells them apart, and so are beads of several
atoms, whose centre of mass this does not hold.
Source: Ciccotti, Kapral and Vanden-Eijnden, ChemPhysChem 6, 1809 (2005) (mean forces with constraints); Fixman, Proc.
Natl. Acad. Sci. 71, 3050 (1974) (the weight); docs/method.md, Mean forces.
Longer than other files by the reasons above.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.seeds import seeds
from fpforce.foundation.signals import stop_signals
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.graph import neighbours_of, reached
from fpforce.reference.platform import choose_platform, platform_and_properties

if TYPE_CHECKING:
    import openmm

logger = logging.getLogger("fpforce")

# At 300 K it drifts 2e-6 nm in 30 ps, and its inverse is still far above the smallest single-precision number.
HELD_MASS_DA = 1e12
_REMOVED = ("CMMotionRemover", "AndersenThermostat", "Barostat")  # they would act on what is held
_LINE_EVERY_S = 30.0


@dataclass(frozen=True, kw_only=True)
class MeanForceSettings:
    """How the rest is sampled, in each frame.

    temperature_k: that of the data. picoseconds: over which forces are averaged, after settling_ps, in which rounded
    positions relax. every_steps: between two samples of the forces. blocks: into which the average is cut for its
    variance. The time step must suit the System's masses.
    """

    temperature_k: float
    picoseconds: float = 10.0
    settling_ps: float = 0.2
    timestep_fs: float = 2.0
    friction_per_ps: float = 2.0
    every_steps: int = 4
    blocks: int = 10
    seed: int = 0
    platform: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        smallest = min(self.temperature_k, self.picoseconds, self.timestep_fs, self.friction_per_ps)
        if not (smallest > 0.0 and self.settling_ps >= 0.0 and self.every_steps >= 1 and self.blocks >= 2):
            raise InputError(
                f"temperature_k {self.temperature_k:g}, picoseconds {self.picoseconds:g}, settling_ps "
                f"{self.settling_ps:g}, timestep_fs {self.timestep_fs:g}, friction_per_ps {self.friction_per_ps:g}, "
                f"every_steps {self.every_steps}, blocks {self.blocks}: give positive numbers, and 2 blocks or more"
            )
        if self.samples < 2 * self.blocks:
            raise InputError(
                f"picoseconds = {self.picoseconds:g} has {self.samples} samples of the forces, too few for "
                f"{self.blocks} blocks: average longer"
            )

    @property
    def samples(self) -> int:
        """Samples of the forces in a frame."""
        return round(1000.0 * self.picoseconds / self.timestep_fs) // self.every_steps


@dataclass(frozen=True)
class MeanForces:
    """Mean forces float32 (frames, beads, 3) in kJ/mol/nm and the variances of these means, in its square."""

    kj_per_mol_nm: np.ndarray
    variances: np.ndarray

    def write(self, path: str | Path, positions_nm: np.ndarray) -> None:
        """Write an .npz that trains as it is, both as trajectory and as forces.

        positions_nm (frames, atoms, 3): of the same frames, of those atoms that the recipe's topology will name.
        """
        if len(positions_nm) != len(self.kj_per_mol_nm):
            raise InputError(
                f"{len(positions_nm)} frames of positions for mean forces of {len(self.kj_per_mol_nm)}: give the same"
            )
        with replacing(Path(path)) as unfinished, open(unfinished, "wb") as file:
            np.savez_compressed(
                file,
                positions=np.asarray(positions_nm, dtype=np.float32),
                forces=self.kj_per_mol_nm,
                force_variances=self.variances,
            )


def mean_forces(
    system: "openmm.System",
    positions_nm: np.ndarray,
    beads: BeadTable | Sequence[int],
    settings: MeanForceSettings,
    *,
    box_nm: np.ndarray | None = None,
) -> MeanForces:
    """The mean force on every bead in every frame.

    Args:
        system: of the data, with its masses and constraints; it is left as it is.
        positions_nm: frames (frames, particles, 3) of all particles, such as every so-many-th of an equilibrium
            trajectory; rounding to 0.001 nm does no harm.
        beads: the particle of each bead, or a BeadTable of single atoms of this System.
        settings: MeanForceSettings.
        box_nm: box vectors (frames, 3, 3), of a periodic System whose box differs between frames.

    Returns:
        MeanForces.

    Raises:
        InputError: beads of several atoms, of virtual sites or without mass; beads that constraints join; positions of
            another number of particles; a simulation that breaks. KeyboardInterrupt: a signal came.
    """
    held = _held_atoms(system, beads)
    positions_nm = np.asarray(positions_nm, dtype=np.float64)
    if positions_nm.ndim != 3 or positions_nm.shape[1:] != (system.getNumParticles(), 3) or not len(positions_nm):
        raise InputError(
            f"positions of shape {positions_nm.shape} for a System of {system.getNumParticles()} particles: give "
            "(frames, particles, 3), hydrogens and solvent included"
        )
    if not np.isfinite(positions_nm).all():
        raise InputError("positions hold NaN or infinity: leave those frames out")
    groups = rigid_groups_of(system, held)
    context = _context(system, held, settings)
    found, began = [], time.monotonic()
    last_line = began
    with stop_signals() as stop:
        for number, frame in enumerate(positions_nm):
            if stop.is_set():
                raise KeyboardInterrupt(f"stopped after {number} of {len(positions_nm)} frames; nothing was kept")
            if box_nm is not None:
                context.setPeriodicBoxVectors(*np.asarray(box_nm[number], dtype=np.float64))
            found.append(_of_frame(context, frame, groups, settings, number))
            now = time.monotonic()
            if now - last_line > _LINE_EVERY_S:
                last_line = now
                left = (now - began) * (len(positions_nm) / (number + 1) - 1) / 60
                logger.info("mean forces: %d of %d frames, %.1f min left", number + 1, len(positions_nm), left)
    means, variances = (np.stack(parts).astype(np.float32) for parts in zip(*found, strict=True))
    return MeanForces(means, variances)


@dataclass(frozen=True)
class RigidGroup:
    """A bead's atom and all that constraints join to it.

    members: particles, the held one first. bonds (bonds, 2): the constrained pairs, by their places in members.
    inverse_masses (members,): 1/Da, by the System's own masses.
    """

    members: tuple[int, ...]
    bonds: np.ndarray
    inverse_masses: np.ndarray

    @property
    def is_coupled(self) -> bool:
        """Whether its constraints depend on each other, so that samples have weights."""
        return len(self.bonds) > 1

    def weight(self, positions_nm: np.ndarray) -> float:
        """|Z|^(1/2) / |Z_held|^(1/2) of positions (particles, 3).

        Z_kl = sum_i grad_i d_k . grad_i d_l / m_i with the constrained lengths d.
        """
        own = positions_nm[list(self.members)]
        along = own[self.bonds[:, 0]] - own[self.bonds[:, 1]]
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        slopes, rows = np.zeros((len(self.bonds), len(self.members), 3)), np.arange(len(self.bonds))
        slopes[rows, self.bonds[:, 0]], slopes[rows, self.bonds[:, 1]] = along, -along
        held = self.inverse_masses * (np.arange(len(self.members)) > 0)
        own_z, held_z = (np.einsum("kid,lid,i->kl", slopes, slopes, masses) for masses in (self.inverse_masses, held))
        return float(np.sqrt(np.linalg.det(own_z) / np.linalg.det(held_z)))


def rigid_groups_of(system: "openmm.System", held: Sequence[int]) -> list[RigidGroup]:
    """The group of every bead; InputError where constraints join two beads."""
    pairs = [system.getConstraintParameters(k)[:2] for k in range(system.getNumConstraints())]
    found = []
    for atom, members in ((atom, _joined_to(atom, pairs)) for atom in held):
        others = set(members) & set(held) - {atom}
        if others:
            raise InputError(
                f"constraints join the beads of particles {atom} and {min(others)}, so that no force tells them "
                "apart: choose beads in different rigid groups, or a System without this constraint"
            )
        places = {member: place for place, member in enumerate(members)}
        bonds = [(places[i], places[j]) for i, j in pairs if i in places]
        masses = np.array([system.getParticleMass(member)._value for member in members])
        found.append(RigidGroup(members, np.array(bonds, dtype=int).reshape(-1, 2), 1.0 / masses))
    return found


def _joined_to(atom: int, pairs: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The atom, then all that chains of constraints join to it."""
    return (atom, *sorted(reached(neighbours_of(pairs), [atom]) - {atom}))


def _held_atoms(system: "openmm.System", beads: BeadTable | Sequence[int]) -> list[int]:
    """The particle of each bead; InputError where a bead is not one particle that moves."""
    if isinstance(beads, BeadTable):
        for bead in beads.beads:
            if len(bead.atoms) != 1:
                raise InputError(
                    f"bead {bead} is the centre of {len(bead.atoms)} atoms, and mean forces hold single atoms: choose "
                    "beads of one atom, or train on the forces of the trajectory (data.forces), which groups have too"
                )
        atoms = [bead.atoms[0] for bead in beads.beads]
    else:
        atoms = [int(atom) for atom in beads]
    if len(atoms) < 2 or len(set(atoms)) < len(atoms):
        raise InputError(f"beads {atoms}: give two particles or more, each once")
    for atom in atoms:
        if not 0 <= atom < system.getNumParticles():
            raise InputError(f"bead of particle {atom}: the System has {system.getNumParticles()}, counted from 0")
        if system.isVirtualSite(atom) or not system.getParticleMass(atom)._value > 0.0:
            raise InputError(f"bead of particle {atom}: it has no mass (a virtual site?); choose an atom that moves")
    return atoms


def _context(system: "openmm.System", held: Sequence[int], settings: MeanForceSettings) -> "openmm.Context":
    """Of a copy of the System with heavy beads and without what would move them."""
    import openmm
    from openmm import unit

    copy = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    for index in reversed(range(copy.getNumForces())):
        if type(copy.getForce(index)).__name__.endswith(_REMOVED):
            copy.removeForce(index)
    for atom in held:
        copy.setParticleMass(atom, HELD_MASS_DA)
    integrator = openmm.LangevinMiddleIntegrator(
        settings.temperature_k * unit.kelvin,
        settings.friction_per_ps / unit.picosecond,
        settings.timestep_fs * unit.femtosecond,
    )
    (seed,) = seeds(settings.seed, "mean forces")
    integrator.setRandomNumberSeed(seed)
    name = choose_platform(settings.platform, system.getNumParticles())
    return openmm.Context(copy, integrator, *platform_and_properties(name, settings.threads))


def _of_frame(
    context: "openmm.Context",
    frame_nm: np.ndarray,
    groups: Sequence[RigidGroup],
    settings: MeanForceSettings,
    number: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean force (beads, 3) of one frame, and its variance."""
    import openmm

    integrator, coupled = context.getIntegrator(), [group for group in groups if group.is_coupled]
    context.setPositions(frame_nm)
    context.applyConstraints(1e-6)
    context.setVelocitiesToTemperature(settings.temperature_k, seeds(settings.seed, "frame", number)[0])
    forces, weights = np.empty((settings.samples, len(groups), 3)), np.ones(settings.samples)
    try:
        integrator.step(round(1000.0 * settings.settling_ps / settings.timestep_fs))
        for sample in range(settings.samples):
            integrator.step(settings.every_steps)
            state = context.getState(forces=True, positions=bool(coupled))
            of_atoms = state.getForces(asNumpy=True)._value
            forces[sample] = [of_atoms[list(group.members)].sum(0) for group in groups]
            if coupled:
                now_nm = state.getPositions(asNumpy=True)._value
                weights[sample] = np.prod([group.weight(now_nm) for group in coupled])
    except openmm.OpenMMException as error:
        raise InputError(f"frame {number}: the simulation around the held beads breaks: {error}") from None
    if not (np.isfinite(forces).all() and np.isfinite(weights).all()):
        raise InputError(
            f"frame {number}: forces on the beads are not finite while the rest moves: give a smaller timestep_fs, or "
            "frames of this very System"
        )
    return weighted_mean(forces, weights, settings.blocks)


def weighted_mean(samples: np.ndarray, weights: np.ndarray, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (beads, 3) of samples (samples, beads, 3), in time order, with weights (samples,); its variance."""
    mean = np.average(samples, axis=0, weights=weights)
    off = (weights / weights.mean())[:, None, None] * (samples - mean)
    parts = np.stack([part.mean(0) for part in np.array_split(off, blocks)])
    return mean, parts.var(axis=0, ddof=1) / blocks
