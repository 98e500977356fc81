"""The folded structure of a protein, and how near to it frames are: native contacts and RMSD of the CA beads.

In: a bead table with at least four consecutive CA beads, and a PDB of the folded structure. Out: a `FoldedStructure`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpforce.analysis.observables import bond_lengths
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable

SHORTEST_CHAIN = 4
CONTACT_NM = 0.8
FEWEST_APART = 3  # residues along the chain; nearer ones make no contact
FORMED_WITHIN = 1.2  # a native contact is formed below this multiple of its length in the folded structure
FOLDED_ABOVE = 0.5  # a frame with more than this fraction of native contacts is folded
_CHUNK = 20_000
# Names of protonation states in force fields, which PDBs do not tell apart.
_STATES = dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "HIS") | {
    "CYX": "CYS",
    "CYM": "CYS",
    "ASH": "ASP",
    "GLH": "GLU",
    "LYN": "LYS",
}


def protein_chain(beads: BeadTable) -> list[int] | None:
    """Bead indices of the longest run of consecutive CA beads of one chain, or None if shorter than SHORTEST_CHAIN."""
    runs, previous = [[]], None
    for index, bead in enumerate(beads.beads):
        if bead.name != "CA":
            continue
        here = (bead.chain, bead.residue_index, bead.residue_number)
        if previous is not None and here != (previous[0], previous[1] + 1, previous[2] + 1):
            runs.append([])
        runs[-1].append(index)
        previous = here
    longest = max(runs, key=len)
    return longest if len(longest) >= SHORTEST_CHAIN else None


def contact_pairs(chain: Sequence[int]) -> np.ndarray:
    """Pairs of beads of a chain that can be in contact, (P, 2): at least FEWEST_APART residues apart."""
    return np.array([(a, b) for k, a in enumerate(chain) for b in chain[k + FEWEST_APART :]])


@dataclass(frozen=True)
class FoldedStructure:
    """CA beads `chain` of the model at `positions_nm` (m, 3); native `contacts` (C, 2) with their `lengths_nm` (C,)."""

    chain: list[int]
    positions_nm: np.ndarray
    contacts: np.ndarray
    lengths_nm: np.ndarray
    source: str = "array"

    @classmethod
    def of(cls, beads: BeadTable, chain_positions_nm: np.ndarray, source: str = "array") -> "FoldedStructure":
        """From positions (m, 3), nm, of the model's CA chain. Native: CA pairs at least 3 residues apart within 0.8 nm.

        Raises InputError for a model without such a chain and for a structure without contacts.
        """
        chain = protein_chain(beads)
        if chain is None:
            raise InputError(
                f"folding needs at least {SHORTEST_CHAIN} consecutive CA beads, which this model lacks; leave out "
                "--folded"
            )
        positions_nm = np.asarray(chain_positions_nm, dtype=np.float64)
        if positions_nm.shape != (len(chain), 3):
            raise InputError(
                f"the folded structure has CA positions {positions_nm.shape}; this model needs ({len(chain)}, 3)"
            )
        everywhere = np.zeros((len(beads), 3))
        everywhere[chain] = positions_nm
        pairs = contact_pairs(chain)
        lengths = bond_lengths(everywhere, pairs)
        native = lengths < CONTACT_NM
        if not native.any():
            raise InputError(
                f"{source} has no CA pair within {CONTACT_NM} nm at least {FEWEST_APART} residues apart: it is not "
                "folded; give the folded structure, in the unit of its format"
            )
        return cls(chain, positions_nm, pairs[native], lengths[native], source)

    @classmethod
    def read(cls, path: str | Path, beads: BeadTable) -> "FoldedStructure":
        """From a PDB (or another file that brings its topology) of the same sequence, its first frame: CA atoms by
        order.

        Raises InputError when its CA residues are not those of the model's chain.
        """
        from fpforce.trajectories.files import existing_file, holds_topology, load_frame

        path, chain = existing_file(Path(path), "folded structure"), protein_chain(beads)
        if not holds_topology(path):
            raise InputError(f"folded structure {path} does not name its atoms; give a PDB")
        try:
            frame = load_frame(path, 0)
        except Exception as error:
            raise InputError(f"folded structure {path} cannot be read: {error}; give a PDB") from error
        atoms = [atom for atom in frame.topology.atoms if atom.name == "CA" and atom.residue.name != "CA"]  # no calcium
        found, wanted = [atom.residue.name for atom in atoms], [beads.beads[k].residue for k in chain or []]
        alike = [
            _STATES.get(theirs, theirs) == _STATES.get(ours, ours) for theirs, ours in zip(found, wanted, strict=False)
        ]
        if chain is not None and (len(found) != len(wanted) or not all(alike)):
            at = alike.index(False) if False in alike else len(alike)
            theirs, ours = (names[at] if at < len(names) else "nothing" for names in (found, wanted))
            raise InputError(
                f"folded structure {path} has {len(found)} residues with CA, the model's chain {len(wanted)}: residue "
                f"{at + 1} is {theirs} there and {ours} here; give a PDB of the same sequence"
            )
        return cls.of(beads, frame.xyz[0, [atom.index for atom in atoms]], str(path))

    def contact_fraction(self, positions_nm: np.ndarray) -> np.ndarray:
        """Fraction of native contacts Q (F,) of frames (F, beads, 3): those within FORMED_WITHIN of their native
        length.

        Source: C. Clementi, H. Nymeyer and J. N. Onuchic, J. Mol. Biol. 298, 937 (2000), for CA chains.
        """
        formed = np.empty(len(positions_nm))
        for first in range(0, len(positions_nm), _CHUNK):
            part = slice(first, first + _CHUNK)
            formed[part] = np.mean(
                bond_lengths(positions_nm[part], self.contacts) < FORMED_WITHIN * self.lengths_nm, axis=-1
            )
        return formed

    def rmsd_nm(self, positions_nm: np.ndarray) -> np.ndarray:
        """RMSD (F,) in nm of the CA beads of frames (F, beads, 3) from the structure, after superposition by rotation.

        Source: W. Kabsch, Acta Cryst. A 32, 922 (1976); reflections are excluded, so a mirror image is far off.
        """
        target = self.positions_nm - self.positions_nm.mean(axis=0)
        frames = np.asarray(positions_nm)[:, self.chain].astype(np.float64)
        frames -= frames.mean(axis=1, keepdims=True)
        covariance = np.einsum("fia,ib->fab", frames, target)
        singular = np.linalg.svd(covariance, compute_uv=False)
        singular[:, 2] *= np.where(np.linalg.det(covariance) < 0.0, -1.0, 1.0)
        squares = (frames**2).sum(axis=(1, 2)) + (target**2).sum() - 2.0 * singular.sum(axis=1)
        return np.sqrt(np.maximum(squares, 0.0) / len(self.chain))
