"""The molecule of a sequence: what is in it, and coordinates to start from, as the training data began.

In: one-letter codes. Out: a `Chain`, whose topology is known before its coordinates are made, which takes longer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mdtraj


@dataclass(frozen=True)
class Chain:
    """A molecule. start: makes its coordinates (atoms, 3) in nm from a seed."""

    topology: "mdtraj.Topology"
    start: Callable[[int], np.ndarray]

    def frame(self, seed: int) -> "mdtraj.Trajectory":
        """The molecule with coordinates."""
        import mdtraj

        return mdtraj.Trajectory(self.start(seed)[None], self.topology)


def capped_peptide(sequence: str) -> Chain:
    """ACE-sequence-NME with all its atoms, extended, minimised in ff99SB-ILDN with implicit solvent."""
    import mdtraj

    from fpforce.reference.peptide import build_peptide, peptide_topology
    from fpforce.reference.protocol import FORCE_FIELD, load_force_field

    force_field = load_force_field(FORCE_FIELD)
    topology = mdtraj.Topology.from_openmm(peptide_topology(sequence, force_field))
    return Chain(topology, lambda seed: build_peptide(sequence, force_field, seed, extended=True)[1])


def disordered(sequence: str) -> Chain:
    """One bead a residue, a self-avoiding random walk, minimised in CALVADOS 2."""
    from fpforce.reference.models.disordered import build
    from fpforce.reference.models.start import start_positions

    model = build(sequence)
    return Chain(model.beads.to_mdtraj(), lambda seed: start_positions(model, "random", seed))


CHAINS: dict[str, Callable[[str], Chain]] = {"capped_peptide": capped_peptide, "disordered": disordered}
