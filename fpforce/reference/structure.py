"""A PDB of one protein chain -> topology and coordinates of all its atoms, fit for the force field.

Missing heavy atoms are added by pdbfixer, hydrogens by OpenMM (histidine at NE2, everything else as at pH 7). Whatever
cannot be repaired without guessing is refused.
"""

import contextlib
import logging
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.errors import InputError, install_extra
from fpforce.molecule.chirality import d_residues, dihedral
from fpforce.reference.peptide import THREE_LETTERS

if TYPE_CHECKING:
    from openmm import app

logger = logging.getLogger("fpforce")

LETTERS = {name: letter for letter, name in THREE_LETTERS.items()} | {"HIS": "H", "HID": "H", "HIP": "H", "CYX": "C"}
_WATER = {"HOH", "WAT", "H2O", "DOD", "SOL", "TIP", "TIP3", "TIP4", "TIP5", "SPC"}
_LONGEST_PEPTIDE_BOND_NM = 0.20


def read_structure(
    path: Path, force_field: "app.ForceField", capped: bool | None = None
) -> tuple["app.Topology", np.ndarray]:
    """Read and repair a PDB.

    Args:
        path: PDB file; of several models the first is taken.
        force_field: openmm.app.ForceField.
        capped: add ACE and NME where they are missing (True), take the chain's own caps away (False), or leave the ends
            as they are (None): caps of the file stay, an end without a cap is charged.

    Returns:
        openmm.app.Topology, positions (atoms, 3) in nm, not minimised.

    Raises:
        InputError: no such file or no PDB, pdbfixer missing, several chains, a gap, a residue that is none of the 20
            amino acids, a D-residue, or a molecule that the force field has no parameters for.
    """
    import openmm
    from openmm import app, unit

    fixer = _open(path)
    _drop_solvent(fixer, path)
    residues = list(fixer.topology.residues())
    _require_one_chain_of_amino_acids(fixer.topology, residues, path)
    _require_no_gap(residues, fixer.positions, path)
    _require_l(fixer.topology, fixer.positions, path)
    modeller = app.Modeller(fixer.topology, fixer.positions)
    unwanted = [atom for atom in modeller.topology.atoms() if atom.element == app.element.hydrogen]
    if capped is False:
        unwanted += [residue for residue in modeller.topology.residues() if residue.name in ("ACE", "NME")]
    residues = [residue for residue in residues if residue.name not in ("ACE", "NME")]
    add = {"ACE": capped and not _has(fixer.topology, "ACE"), "NME": capped and not _has(fixer.topology, "NME")}
    if add["NME"]:
        unwanted += [atom for atom in residues[-1].atoms() if atom.name == "OXT"]
    modeller.delete(unwanted)
    fixer.topology, fixer.positions = modeller.topology, modeller.positions
    n_residues = sum(1 for _ in fixer.topology.residues())
    fixer.missingResidues = {(0, 0): ["ACE"]} if add["ACE"] else {}
    fixer.missingResidues |= {(0, n_residues): ["NME"]} if add["NME"] else {}
    fixer.findMissingAtoms()
    _say_what_is_added(fixer)
    fixer.addMissingAtoms(seed=1)
    modeller = app.Modeller(fixer.topology, fixer.positions)
    variants = ["HIE" if residue.name == "HIS" else None for residue in modeller.topology.residues()]
    try:
        with _python_random_seeded(1):
            modeller.addHydrogens(
                force_field, pH=7.0, variants=variants, platform=openmm.Platform.getPlatformByName("Reference")
            )
        force_field.createSystem(modeller.topology)
    except Exception as error:  # OpenMM raises bare ValueError and Exception alike
        raise InputError(f"{path}: the force field does not know this molecule: {error}") from error
    _require_l(modeller.topology, modeller.positions, path)
    _say_cis_bonds(modeller.topology, modeller.positions)
    return modeller.topology, np.array(modeller.positions.value_in_unit(unit.nanometer))


def one_letter_codes(topology: "app.Topology") -> tuple[str, bool]:
    """Sequence of an openmm topology without its caps, and whether it has caps."""
    names = [residue.name for residue in topology.residues()]
    capped = names[0] == "ACE" and names[-1] == "NME"
    return "".join(LETTERS[name] for name in names if name not in ("ACE", "NME")), capped


def match_positions(
    topology: "app.Topology", other: "app.Topology", other_positions_nm: np.ndarray, what: str
) -> np.ndarray:
    """Coordinates of one openmm topology for the same atoms listed in the order of another.

    Returns:
        (atoms, 3) in nm, in the order of `topology`.

    Raises:
        InputError: an atom of either is missing in the other; `what` names the other.
    """
    ours, theirs = _atom_keys(topology), _atom_keys(other)
    where = {key: i for i, key in enumerate(theirs)}
    missing = [key for key in ours if key not in where] or [key for key in theirs if key not in set(ours)]
    if missing:
        number, residue, atom = missing[0]
        raise InputError(
            f"{what} is another molecule: residue {number + 1} is {residue} with an atom {atom} in only one of "
            "the two; give the same sequence with the same ends"
        )
    return np.asarray(other_positions_nm)[[where[key] for key in ours]]


def _atom_keys(topology: "app.Topology") -> list[tuple[int, str, str]]:
    """(residue number from 0, residue, atom); H of a charged N-terminus is H1 in force fields and H in PDBs."""
    keys = []
    for number, residue in enumerate(topology.residues()):
        names = [atom.name for atom in residue.atoms()]
        charged = {"H2", "H3"} <= set(names) and residue.name not in ("ACE", "NME")
        keys += [(number, residue.name, "H1" if charged and name == "H" else name) for name in names]
    return keys


@contextlib.contextmanager
def _python_random_seeded(seed: int) -> Iterator[None]:
    """OpenMM places hydrogens by Python's generator, differently in every process; its state is put back."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def _open(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a sequence in one-letter codes or a PDB")
    try:
        from pdbfixer import PDBFixer
    except ImportError as error:
        raise InputError(f"reading a PDB needs pdbfixer: {install_extra('reference')}") from error
    import openmm

    try:
        # By default it takes whatever OpenMM holds for the fastest, which may be an OpenCL that cannot run it.
        fixer = PDBFixer(filename=str(path), platform=openmm.Platform.getPlatformByName("CPU"))
    except Exception as error:  # its parser raises whatever the text makes it stumble over
        raise InputError(f"{path} cannot be read as a PDB: {error}") from error
    if not fixer.topology.getNumAtoms():
        raise InputError(f"{path} has no atoms: give a PDB of a protein")
    return fixer


def _drop_solvent(fixer: Any, path: Path) -> None:
    from openmm import app

    from fpforce.molecule.residues import ION_RESIDUES

    def is_solvent(residue: Any) -> bool:
        alone = sum(1 for _ in residue.atoms()) == 1
        return residue.name in _WATER or (alone and residue.name.upper().rstrip("+-0123456789") in ION_RESIDUES)

    solvent = [residue for residue in fixer.topology.residues() if is_solvent(residue)]
    if solvent:
        counts = Counter(residue.name for residue in solvent)
        logger.info("%s: %s dropped", path, ", ".join(f"{count} {name}" for name, count in counts.items()))
        modeller = app.Modeller(fixer.topology, fixer.positions)
        modeller.delete(solvent)
        fixer.topology, fixer.positions = modeller.topology, modeller.positions


def _require_one_chain_of_amino_acids(topology: "app.Topology", residues: Sequence[Any], path: Path) -> None:
    for residue in residues:
        if residue.name not in LETTERS and residue.name not in ("ACE", "NME"):
            raise InputError(
                f"{path}: residue {residue.name} {residue.id} of chain {residue.chain.id} is none of the 20 amino "
                "acids: remove it, or replace it by its standard parent"
            )
    chains = list(topology.chains())
    if len(chains) != 1 or not residues:
        names = ", ".join(chain.id for chain in chains) or "none"
        raise InputError(f"{path} has {len(chains)} protein chains ({names}): keep exactly one")


def _require_no_gap(residues: Sequence[Any], positions: Any, path: Path) -> None:
    from openmm import unit

    xyz = np.array(positions.value_in_unit(unit.nanometer))
    for before, after in zip(residues, residues[1:], strict=False):
        carbon, nitrogen = _atom(before, "C"), _atom(after, "N")
        if None in (carbon, nitrogen):
            continue
        distance = np.linalg.norm(xyz[carbon] - xyz[nitrogen])
        if distance > _LONGEST_PEPTIDE_BOND_NM:
            raise InputError(
                f"{path}: gap between {before.name} {before.id} and {after.name} {after.id} (C and N are "
                f"{distance:.2f} nm apart): give a complete chain"
            )


def _atom(residue: Any, name: str) -> int | None:
    return next((atom.index for atom in residue.atoms() if atom.name == name), None)


def _require_l(topology: "app.Topology", positions: Any, path: Path) -> None:
    import mdtraj
    from openmm import unit

    xyz = np.array(positions.value_in_unit(unit.nanometer))
    found = d_residues(xyz[None], mdtraj.Topology.from_openmm(topology))
    if found:
        raise InputError(f"{path}: {found[0][0]} is a D amino acid; only L residues are supported")


def _has(topology: "app.Topology", name: str) -> bool:
    return any(residue.name == name for residue in topology.residues())


def _say_what_is_added(fixer: Any) -> None:
    for residue, atoms in fixer.missingAtoms.items():
        logger.info("%s %s: %s added", residue.name, residue.id, ", ".join(atom.name for atom in atoms))


def _say_cis_bonds(topology: "app.Topology", positions: Any) -> None:
    from openmm import unit

    from fpforce.reference.peptide import peptide_bonds

    xyz = np.array(positions.value_in_unit(unit.nanometer))
    residues = list(topology.residues())
    for residue, omega in zip(residues, peptide_bonds(topology), strict=False):
        if abs(dihedral(xyz[None], omega)[0]) < np.radians(90.0):
            logger.info("the peptide bond after %s %s is cis", residue.name, residue.id)
