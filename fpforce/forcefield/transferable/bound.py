"""A transferable force field, and the same bound to one molecule, which backends take for one trained on it alone.

In: a model.pt trained over many molecules, and a topology. Out: a BoundForceField, whose metadata, weights and program
are those of the file with the molecule's constants put in.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.forcefield.artifact import (
    METADATA_ENTRY,
    SUPPORT_ENTRY,
    WEIGHTS_ENTRY,
    format_version_of,
    read_extra,
)
from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.model_file import ModelFile
from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.forcefield.transferable.recognise import recognise
from fpforce.foundation.errors import InputError

if TYPE_CHECKING:
    import mdtraj


@dataclass(frozen=True)
class TransferableForceField(ModelFile):
    """A force field for any molecule of the types it knows; `bind` makes it the force field of one.

    `metadata` is the file's fpforce.json as a dict. Units: nm, K, kJ/mol.
    """

    def __repr__(self) -> str:
        return (
            f"TransferableForceField({str(self.path)!r}, kind={self.kind!r}, mapping={self.mapping!r}, "
            f"temperature_k={self.temperature_k:g})"
        )

    @cached_property
    def knowledge(self) -> Knowledge:
        """What it knows of types of beads."""
        return Knowledge.from_dict(self.metadata["transferable"]["knowledge"])

    @property
    def mapping(self) -> str:
        """By which atoms become beads: a preset or a selection, the recipe's data.beads."""
        return self.metadata["beads"]["mapping"]

    def bind(self, topology: Any, *, source: str | None = None) -> "BoundForceField":
        """The force field for one molecule, perhaps of a sequence never trained on.

        topology: a file that mdtraj reads, an openmm or mdtraj Topology, or an mdtraj Trajectory, with all atoms or the
        beads alone. Water and ions are left out with a notice. source: what messages and records call it, in place of
        the file's name. Raises InputError for what the model does not know, naming the residue
        (fpforce.forcefield.transferable.recognise).
        """
        content = self.path.read_bytes()
        found = recognise(topology, self.knowledge, source=source)
        if json.loads(read_extra(io.BytesIO(content), METADATA_ENTRY, self.path)) != self.metadata:
            raise InputError(f"{self.path} has been replaced since it was loaded; load it again")
        lengths = self.knowledge.bond_lengths(found.beads)
        scale_nm = self.metadata["transferable"]["scale_nm"]
        metadata = {name: value for name, value in self.metadata.items() if name != "transferable"} | {
            "beads": found.beads.to_dict(),
            "start_positions_nm": None if found.positions_nm is None else found.positions_nm.tolist(),
            "bonds_nm": {name: (scale_nm * values).tolist() for name, values in lengths.items()},
            "bound_to": found.source,
            "model": self.metadata["transferable"].get("of_one", self.metadata["model"]),
        }
        metadata["format_version"] = format_version_of(metadata)
        constants = self.knowledge.constants(found.beads, self.metadata["model"], _weights_in(content, self.path))
        bound = BoundForceField(self.path, metadata, found.beads, constants, self, content)
        return bound if bound.wall is None else replace(bound, constants=constants | bound.wall.constants())

    def bound(self, topology: Any = None) -> "BoundForceField":
        """What `bind` makes of it; InputError without a topology."""
        if topology is None:
            raise InputError(
                f"{self.path} is a transferable force field: say for which molecule, with a topology (--topology "
                "FILE.pdb, of all atoms or of the beads)"
            )
        return self.bind(topology)


@dataclass(frozen=True, repr=False)
class BoundForceField(ForceField):
    """A force field of one molecule, made from a transferable one.

    constants: the molecule's, by name of the weight. transferable_one: what it was made from; content: the bytes of its
    file then.
    """

    constants: dict[str, np.ndarray]
    transferable_one: TransferableForceField
    content: bytes

    @property
    def molecule(self) -> str:
        """Residues in order, such as GLU2 ASN3."""
        return self.beads.residues

    def positions_of(self, frame: "mdtraj.Trajectory") -> np.ndarray:
        """(n, 3) nm of the beads in an mdtraj Trajectory's first frame, of all atoms or of the beads, in any order
        within a residue.

        Raises InputError as `bind` does, and for another molecule.
        """
        found = recognise(frame, self.transferable_one.knowledge, any_order=True)
        assert found.positions_nm is not None, "a frame has coordinates"
        return found.positions_nm[self.beads.order_in(found.beads.labels, "the frame")]

    def bound(self, topology: Any = None) -> "BoundForceField":
        """Itself, or for a topology of the same molecule, of all atoms or of its beads, what `bind` makes of that, with
        the same beads.

        Raises InputError as `bind` does, for another molecule, and for beads in another order.
        """
        if topology is None:
            return self
        found = self.transferable_one.bind(topology)
        if found.beads.labels != self.beads.labels:
            ours, theirs = (", ".join(one.beads.labels[:3]) for one in (self, found))
            raise InputError(
                f"{found.metadata['bound_to']} is {found.molecule} with the beads {theirs}, ..., and the force field "
                f"is bound to {self.molecule} with {ours}, ...; bind it to this topology instead, or leave the "
                "topology out"
            )
        return found

    def model_bytes(self) -> bytes:
        """A TorchScript archive of the bound program."""
        return self._program

    @cached_property
    def _program(self) -> bytes:
        return bound_program(self.content, self.constants, len(self.beads))

    def description(self) -> str:
        """The text of its metadata, as the native plugin reads it."""
        return json.dumps(self.metadata)

    def weights_bytes(self) -> bytes:
        """Shared weights and the molecule's constants, as the native plugin reads them."""
        return self._weights

    def support_bytes(self) -> bytes:
        """The file's, which is of all molecules: ranges of distances are the molecule's own (`ranges_nm`)."""
        return read_extra(io.BytesIO(self.content), SUPPORT_ENTRY, self.path)

    def ranges_nm(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest distance (pairs,) of each pair of beads, by what the model knows of their types."""
        return self.transferable_one.knowledge.ranges_nm(self.beads, self.metadata["training"]["scale_nm"])

    @cached_property
    def _weights(self) -> bytes:
        from safetensors.numpy import save

        return save(
            _weights_in(self.content, self.path)
            | {name: np.ascontiguousarray(values) for name, values in self.constants.items()}
        )

    def topology_pdb(self) -> str:
        """The topology's frame as PDB text, or all beads at 0 where it has none."""
        text = io.StringIO()
        self.beads.write_pdb(text, np.zeros((len(self.beads), 3)) if self.positions_nm is None else self.positions_nm)
        return text.getvalue()

    @cached_property
    def sha256(self) -> str:
        """Hash of the file that it was made from."""
        return sha256(self.content).hexdigest()

    @contextlib.contextmanager
    def program_file(self) -> Iterator[Path]:
        """A temporary file that holds the bound program."""
        with tempfile.TemporaryDirectory(prefix="fpforce-") as folder:
            path = Path(folder) / "bound.pt"
            path.write_bytes(self.model_bytes())
            yield path


def _weights_in(content: bytes, path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return load(read_extra(io.BytesIO(content), WEIGHTS_ENTRY, path))


def bound_program(model_bytes: bytes, constants: dict[str, np.ndarray], beads: int) -> bytes:
    """The bytes of a TorchScript archive: the transferable program with a molecule's constants instead of its
    example's, frozen.
    """
    import torch

    program = torch.jit.load(io.BytesIO(model_bytes), map_location="cpu")
    for name, values in constants.items():
        *places, last = name.split(".")
        owner = program if name.startswith("wall.") else program.energy
        for place in places:
            owner = getattr(owner, place)
        setattr(owner, last, torch.from_numpy(values).to(getattr(owner, last).dtype))
    program.beads = beads
    coordinates = getattr(program.energy.network, "coordinates", None)
    if coordinates is not None:
        coordinates.beads = beads
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.freeze(program.eval(), preserved_attrs=["energies"]), buffer)
    return buffer.getvalue()
