"""Trajectories that name their own atoms, beside the topology that is to say what these are.

In: files, and the topology. Out: a warning for each file whose atoms have other names, or an InputError where their
number is another: readers of such formats go by the file's own topology, and would take the first atoms that there are.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fpforce.foundation.errors import InputError
from fpforce.molecule.covalent import symbol_of
from fpforce.molecule.residues import is_water, standard_name
from fpforce.trajectories.files import holds_topology
from fpforce.trajectories.topology_files import read_topology
from fpforce.trajectories.unreadable import other_count

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Atom


def name_warnings(paths: Sequence[Path], topology: "mdtraj.Topology", source: Path | None) -> list[str]:
    """What the files' own topologies call otherwise than the topology, whose file is `source`, if it has one."""
    found = []
    for path in paths:
        if not holds_topology(path) or (source is not None and path.resolve() == source.resolve()):
            continue
        own = None
        with suppress(InputError):  # what is wrong with the file is said where it is read
            own = read_topology(path)
        if own is None:
            continue
        if own.n_atoms != topology.n_atoms:
            raise other_count(path, own.n_atoms, topology.n_atoms)
        others = [pair for pair in zip(own.atoms, topology.atoms, strict=True) if not _alike(*pair)]
        if others:
            here, there = others[0]
            found.append(
                f"{path} has names of its own for its atoms, and those of {len(others)} of {own.n_atoms} are not those "
                f"of the topology, which are taken: the first is {here}, and {there} in the topology"
            )
    return found


def _alike(here: "Atom", there: "Atom") -> bool:
    """Whether two names may be those of one atom: programs differ in the states of residues and in hydrogens."""
    if is_water(here.residue) and is_water(there.residue):
        return True
    if standard_name(here.residue) != standard_name(there.residue):
        return False
    return here.name == there.name or symbol_of(here) == symbol_of(there) == "H"
