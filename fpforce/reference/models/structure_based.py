"""Structure-based CA model: the native structure is the minimum of the energy, and the chain folds to it.

In: a PDB of a protein, of all its atoms or of its CA alone. Out: a BeadModel.

    E = sum_bonds 100 e (r - r0)^2 + sum_angles 20 e (theta - theta0)^2
      + sum_dihedrals e [(1 - cos(phi - phi0)) + (1 - cos 3 (phi - phi0)) / 2]
      + sum_native e [5 (r0 / r)^12 - 6 (r0 / r)^10] + sum_others e (0.4 nm / r)^12

r in angstrom in the first term, every r0, theta0, phi0 from the structure. A pair makes a native contact if it is at
least four residues apart and within 1.2 nm; pairs nearer along the chain do not repel each other. Bonds other than
along the chain (disulfides) are those of the file's CONECT records; the two residues make no contact besides. Chains
without a bond, as of a dimer, are held together by the native contacts between them, and may part at a temperature that
is too high.
Source: Clementi, Nymeyer and Onuchic, J. Mol. Biol. 298 (2000) 937; contacts by cutoff on CA instead of by atoms.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.chirality import dihedral
from fpforce.molecule.mapping import map_beads
from fpforce.reference.models.bead_model import BeadModel, NativeContacts, RunPlan, system_of

if TYPE_CHECKING:
    import openmm

EPSILON_KJ_PER_MOL = 1.2  # villin and Trp-cage then fold near 310 K
# Below 1 nm so few contacts are left of a small protein that it folds without a barrier.
CONTACT_NM = 1.2
FEWEST_APART = 4
MASS_DA = 100.0
_REPULSION_NM = 0.4
_SHORTEST = 5


def build(source: str) -> BeadModel:
    """The model of a PDB; InputError if it cannot be read as chains without gaps, has fewer than five CA, or no
    contacts.
    """
    return of_structure(*read_native(Path(source)), name=Path(source).stem)


def read_native(path: Path) -> tuple[BeadTable, np.ndarray]:
    """CA beads of a PDB, with their bonds, and their positions (n, 3) in nm, of its first model."""
    import mdtraj

    if not path.is_file():
        raise InputError(f"{path}: no such file; a structure-based model needs a PDB of the native structure")
    try:
        loaded = mdtraj.load(str(path))
    except Exception as error:  # its parser raises whatever the text makes it stumble over
        raise InputError(f"{path} cannot be read as a PDB: {error}") from error
    alpha = [atom.index for atom in loaded.topology.atoms if atom.name == "CA" and atom.element.symbol == "C"]
    if len(alpha) < _SHORTEST:
        raise InputError(f"{path} has {len(alpha)} CA atoms: give a protein of at least {_SHORTEST} residues")
    beads = map_beads(loaded.topology, "ca", several_chains=True)
    positions_nm = beads.positions(loaded.xyz[:1], loaded.topology)[0].astype(np.float64)
    return beads, positions_nm - positions_nm.mean(axis=0)


def of_structure(beads: BeadTable, native_nm: np.ndarray, name: str) -> BeadModel:
    """The model of CA beads whose native positions are (n, 3) nm."""
    n = len(beads)
    chain_of = np.array([bead.chain for bead in beads.beads])
    along = [(k, k + 1) for k in range(n - 1) if chain_of[k] == chain_of[k + 1]]
    missing = [pair for pair in along if pair not in beads.bonds]
    if missing:
        first, second = (beads.beads[k] for k in missing[0])
        raise InputError(f"{name}: {first} and {second} follow each other without a bond: give chains without gaps")
    links = [pair for pair in beads.bonds if pair not in along]
    several = len(set(chain_of)) > 1
    contacts = native_contacts(native_nm, links, chain_of)
    forces = [
        _bonds(native_nm, beads.bonds),
        _angles(native_nm, chain_of),
        _dihedrals(native_nm, chain_of),
        _native(contacts),
        _repulsion(contacts, links, chain_of),
    ]
    return BeadModel(
        kind="structure-based",
        name=name,
        beads=beads,
        system=system_of([MASS_DA] * n, forces),
        usual=RunPlan(
            temperature_k=None, timestep_fs=20.0, friction_per_ps=0.2, interval_ps=4.0, ns=80.0, discard_ps=2000.0
        ),
        parameters={
            "epsilon_kj_per_mol": EPSILON_KJ_PER_MOL,
            "native_nm": np.round(native_nm, 6).tolist(),
            "contacts": contacts.pairs.tolist(),
            "links": [list(pair) for pair in links],
            "contact_cutoff_nm": CONTACT_NM,
            "mass_da": MASS_DA,
        },
        source="Clementi, Nymeyer and Onuchic, J. Mol. Biol. 298 (2000) 937; contacts: CA within 1.2 nm",
        native_nm=native_nm,
        contacts=contacts,
        scale_kj_per_mol=EPSILON_KJ_PER_MOL,
        usual_starts=("native",) if links or several else ("native", "random"),
    )


def native_contacts(native_nm: np.ndarray, links: list[tuple[int, int]], chain_of: np.ndarray) -> NativeContacts:
    """Pairs of two chains, or at least FEWEST_APART residues apart, within CONTACT_NM; those of `links` are bonds and
    no contacts. chain_of (n,): the chain of each bead.
    """
    i, j = _pairs(chain_of)
    lengths = np.linalg.norm(native_nm[i] - native_nm[j], axis=1)
    linked = set(links)
    near = (lengths < CONTACT_NM) & np.array([pair not in linked for pair in zip(i, j, strict=True)], dtype=bool)
    if not near.any():
        raise InputError(
            f"no CA pair at least {FEWEST_APART} residues apart is within {CONTACT_NM} nm: give a folded structure"
        )
    return NativeContacts(np.stack([i[near], j[near]], axis=1), lengths[near])


def _bonds(native_nm: np.ndarray, pairs: Sequence[tuple[int, int]]) -> "openmm.Force":
    import openmm

    force = openmm.HarmonicBondForce()
    stiffness = 2.0 * 100.0 * 100.0 * EPSILON_KJ_PER_MOL  # OpenMM's k is halved, and in nm^-2
    for i, j in pairs:
        force.addBond(i, j, float(np.linalg.norm(native_nm[i] - native_nm[j])), stiffness)
    return force


def _angles(native_nm: np.ndarray, chain_of: np.ndarray) -> "openmm.Force":
    import openmm

    force = openmm.HarmonicAngleForce()
    for k in _within(chain_of, 3):
        before, after = native_nm[k] - native_nm[k + 1], native_nm[k + 2] - native_nm[k + 1]
        cosine = before @ after / (np.linalg.norm(before) * np.linalg.norm(after))
        force.addAngle(k, k + 1, k + 2, float(np.arccos(cosine)), 2.0 * 20.0 * EPSILON_KJ_PER_MOL)
    return force


def _dihedrals(native_nm: np.ndarray, chain_of: np.ndarray) -> "openmm.Force":
    import openmm

    force = openmm.PeriodicTorsionForce()
    for k in _within(chain_of, 4):
        native = float(dihedral(native_nm[None], (k, k + 1, k + 2, k + 3))[0])
        for fold, height in ((1, 1.0), (3, 0.5)):
            # OpenMM's 1 + cos(n phi - phase): a minimum at the native angle.
            phase = (fold * native + np.pi + np.pi) % (2.0 * np.pi) - np.pi
            force.addTorsion(k, k + 1, k + 2, k + 3, fold, phase, height * EPSILON_KJ_PER_MOL)
    return force


def _native(contacts: NativeContacts) -> "openmm.Force":
    import openmm

    force = openmm.CustomBondForce("e*(5*(s/r)^12-6*(s/r)^10)")
    force.addPerBondParameter("e")
    force.addPerBondParameter("s")
    for (i, j), length in zip(contacts.pairs, contacts.lengths_nm, strict=True):
        force.addBond(int(i), int(j), [EPSILON_KJ_PER_MOL, float(length)])
    return force


def _repulsion(contacts: NativeContacts, links: Sequence[tuple[int, int]], chain_of: np.ndarray) -> "openmm.Force":
    import openmm

    force = openmm.CustomBondForce("e*(s/r)^12")
    force.addPerBondParameter("e")
    force.addPerBondParameter("s")
    native = {tuple(pair) for pair in contacts.pairs.tolist()} | set(links)
    for i, j in zip(*_pairs(chain_of), strict=True):
        if (i, j) not in native:
            force.addBond(int(i), int(j), [EPSILON_KJ_PER_MOL, _REPULSION_NM])
    return force


def _within(chain_of: np.ndarray, count: int) -> list[int]:
    """The first of every `count` beads that follow each other in one chain."""
    return [k for k in range(len(chain_of) - count + 1) if len(set(chain_of[k : k + count])) == 1]


def _pairs(chain_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs i < j of two chains, or at least FEWEST_APART residues apart in one."""
    i, j = np.triu_indices(len(chain_of), 1)
    far = (j - i >= FEWEST_APART) | (chain_of[i] != chain_of[j])
    return i[far], j[far]
