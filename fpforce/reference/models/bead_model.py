"""What a bead model is: its beads, its exact energy as an OpenMM System, its native structure where it has one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable

if TYPE_CHECKING:
    import openmm


@dataclass(frozen=True)
class NativeContacts:
    """Pairs (C, 2) of beads that touch in the native structure, and their lengths (C,) there."""

    pairs: np.ndarray
    lengths_nm: np.ndarray

    FORMED_WITHIN = 1.2  # a contact is formed below this multiple of its native length

    def fraction(self, positions_nm: np.ndarray) -> np.ndarray:
        """Part of the contacts that are formed, (frames,), of positions (frames, n, 3)."""
        i, j = self.pairs.T
        lengths = np.linalg.norm(positions_nm[:, i] - positions_nm[:, j], axis=2)
        return (lengths < self.FORMED_WITHIN * self.lengths_nm).mean(axis=1)


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """How a model is simulated; temperature_k None: at its folding temperature."""

    temperature_k: float | None
    timestep_fs: float
    friction_per_ps: float
    interval_ps: float
    ns: float
    discard_ps: float

    @property
    def frames(self) -> int:
        """Kept frames of a run."""
        return round(1000.0 * self.ns / self.interval_ps)

    @property
    def discarded_frames(self) -> int:
        return round(self.discard_ps / self.interval_ps)


@dataclass(frozen=True, kw_only=True)
class BeadModel:
    """A molecule of beads with a published energy.

    kind: the model's name. name: the molecule's, such as its sequence. system: openmm.System, masses included.
    usual, usual_starts: its run, and where runs start in turn, unless another is asked for.
    contacts, native_nm (n, 3): of a model that has a native structure. scale_kj_per_mol: its unit of energy, from which
    a search for the folding temperature starts.
    parameters: JSON-able, everything that the energy depends on besides the beads. source: where form and parameters
    were published.
    """

    kind: str
    name: str
    beads: BeadTable
    system: "openmm.System"
    usual: RunPlan
    parameters: dict[str, Any]
    source: str
    native_nm: np.ndarray | None = None
    contacts: NativeContacts | None = None
    scale_kj_per_mol: float | None = None
    usual_starts: tuple[str, ...] = field(default=("random",))

    def identity(self) -> dict[str, Any]:
        """What must be the same when a run of the model goes on; JSON-able."""
        return {"model": self.kind, "molecule": self.name, "parameters": self.parameters}


def chain_of_residues(bead: str, element: str, residues: Sequence[str], masses_da: Sequence[float]) -> BeadTable:
    """A BeadTable of one bead a residue, all of one name and element, each bonded to the next."""
    beads = tuple(
        Bead(bead, residue, k, k + 1, "A", element, float(mass), (k,), (bead,))
        for k, (residue, mass) in enumerate(zip(residues, masses_da, strict=True))
    )
    return BeadTable(beads, tuple((k, k + 1) for k in range(len(beads) - 1)), "all")


def system_of(masses_da: Sequence[float] | np.ndarray, forces: Sequence["openmm.Force"]) -> "openmm.System":
    """openmm.System of particles in these forces, which it takes over; without a box and without constraints."""
    import openmm

    system = openmm.System()
    for mass in masses_da:
        system.addParticle(float(mass))
    for force in forces:
        system.addForce(force)
    return system


def require_letters(sequence: str, known: Sequence[str], fewest: int, what: str) -> None:
    """InputError unless a sequence has only known letters and enough of them."""
    wrong = next((letter for letter in sequence if letter not in known), None)
    if wrong is not None:
        raise InputError(f"{what} {sequence!r} has the letter {wrong!r}: give {''.join(known)}")
    if len(sequence) < fewest:
        raise InputError(f"{what} {sequence!r} has {len(sequence)} residues: give at least {fewest}")
