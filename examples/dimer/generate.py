"""The ideal coiled coil: CA of two helices wound around each other, by Crick's parameters -> native.pdb.

Two heptads of Fos (chain A) and Jun (chain B), in the register in which they pair: residues a and d, of which d is
leucine, face the axis between the helices.
Source: Crick, Acta Cryst. 6 (1953) 685; in the form of Grigoryan and DeGrado, J. Mol. Biol. 405 (2011) 1079, eq. 1.
"""

from pathlib import Path

import mdtraj
import numpy as np

FOS, JUN = "TDQLEDEKSALQTE", "VKTLKAQNSELAST"  # heptads abcdefg abcdefg
SUPERHELIX_RADIUS_NM, HELIX_RADIUS_NM, RISE_NM = 0.49, 0.226, 0.151
HELIX_TURN = np.radians(720.0 / 7.0)  # a residue, as seen from the superhelix: 3.5 residues a turn
SUPERHELIX_TURN = np.radians(100.0) - HELIX_TURN  # left-handed; 3.6 residues a turn of the helix in all
INWARD = np.pi + (2.0 * np.pi - 3.0 * HELIX_TURN) / 2.0  # of residue a; the axis is between a and d


def helix(residues: int, start: float) -> np.ndarray:
    """CA positions (residues, 3) in nm of a helix whose superhelix begins at the angle `start`."""
    k = np.arange(residues)
    pitch = np.arcsin(SUPERHELIX_TURN * SUPERHELIX_RADIUS_NM / RISE_NM)
    around, own = SUPERHELIX_TURN * k + start, HELIX_TURN * k + INWARD
    out = SUPERHELIX_RADIUS_NM + HELIX_RADIUS_NM * np.cos(own)
    aside = HELIX_RADIUS_NM * np.cos(pitch) * np.sin(own)
    along = RISE_NM * np.cos(pitch) * k - HELIX_RADIUS_NM * np.sin(pitch) * np.sin(own)
    return np.stack(
        [out * np.cos(around) - aside * np.sin(around), out * np.sin(around) + aside * np.cos(around), along], 1
    )


def main() -> None:
    """Write native.pdb beside this file."""
    topology = mdtraj.Topology()
    for name, sequence in (("A", FOS), ("B", JUN)):
        chain = topology.add_chain(name)
        for number, letter in enumerate(sequence, start=1):
            residue = topology.add_residue(THREE_LETTERS[letter], chain, resSeq=number)
            topology.add_atom("CA", mdtraj.element.carbon, residue)
    positions_nm = np.concatenate([helix(len(FOS), 0.0), helix(len(JUN), np.pi)])
    mdtraj.Trajectory(positions_nm[None], topology).save_pdb(str(Path(__file__).with_name("native.pdb")))


THREE_LETTERS = {
    "A": "ALA", "D": "ASP", "E": "GLU", "K": "LYS", "L": "LEU", "N": "ASN", "Q": "GLN", "S": "SER", "T": "THR",
    "V": "VAL",
}  # fmt: skip

if __name__ == "__main__":
    main()
