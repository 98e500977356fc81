"""A transferable force field bound to one molecule: what every backend takes for a force field trained on it alone.

In: a transferable ForceField and a topology. Out: a BoundForceField, whose metadata, weights and program are those of
the file with the molecule's constants put in.
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

import numpy as np

from fpforce.forcefield.artifact import METADATA_ENTRY, WEIGHTS_ENTRY, ForceField, format_version_of, read_extra
from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.forcefield.transferable.recognise import recognise
from fpforce.foundation.errors import InputError


@dataclass(frozen=True, repr=False)
class BoundForceField(ForceField):
    """A force field of one molecule, made from a transferable one.

    constants: the molecule's, by name of the weight. transferable_one: what it was made from; content: the bytes of its
    file then.
    """

    constants: dict[str, np.ndarray]
    transferable_one: ForceField
    content: bytes

    @property
    def molecule(self) -> str:
        """Residues in order, such as GLU2 ASN3."""
        return self.beads.residues

    def positions_of(self, frame) -> np.ndarray:
        """(n, 3) nm of the beads in an mdtraj Trajectory's first frame, of all atoms or of the beads, in any order
        within a residue.

        Raises InputError as `bind` does, and for another molecule.
        """
        found = recognise(frame, knowledge_of(self.transferable_one), any_order=True)
        return found.positions_nm[self.beads.order_in(found.beads.labels, "the frame")]

    def bound(self, topology) -> "BoundForceField":
        """Itself, or for a topology of the same molecule, of all atoms or of its beads, what `bind` makes of that, with
        the same beads.

        Raises InputError as `bind` does, for another molecule, and for beads in another order.
        """
        if topology is None:
            return self
        found = bind(self.transferable_one, topology)
        if found.beads.labels != self.beads.labels:
            ours, theirs = (", ".join(one.beads.labels[:3]) for one in (self, found))
            raise InputError(
                f"{found.metadata['bound_to']} is {found.molecule} with the beads {theirs}, ..., and the force field "
                f"is bound "
                f"to {self.molecule} with {ours}, ...; bind it to this topology instead, or leave the topology out"
            )
        return found

    def model_bytes(self) -> bytes:
        """A TorchScript archive of the bound program."""
        return self._program

    @cached_property
    def _program(self) -> bytes:
        return bound_program(self.content, self.constants, len(self.beads))

    def description(self) -> str:
        return json.dumps(self.metadata)

    def weights_bytes(self) -> bytes:
        return self._weights

    @cached_property
    def _weights(self) -> bytes:
        from safetensors.numpy import save

        return save(
            _weights_in(self.content, self.path)
            | {name: np.ascontiguousarray(values) for name, values in self.constants.items()}
        )

    def topology_pdb(self) -> str:
        text = io.StringIO()
        self.beads.write_pdb(text, np.zeros((len(self.beads), 3)) if self.positions_nm is None else self.positions_nm)
        return text.getvalue()

    @cached_property
    def sha256(self) -> str:
        """Hash of the file that it was made from."""
        return sha256(self.content).hexdigest()

    @contextlib.contextmanager
    def program_file(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="fpforce-") as folder:
            path = Path(folder) / "bound.pt"
            path.write_bytes(self.model_bytes())
            yield path


def knowledge_of(force_field: ForceField) -> Knowledge:
    """What a transferable force field knows of types."""
    return Knowledge.from_dict(force_field.metadata["transferable"]["knowledge"])


def _weights_in(content: bytes, path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return load(read_extra(io.BytesIO(content), WEIGHTS_ENTRY, path))


def bind(force_field: ForceField, topology) -> BoundForceField:
    """The force field for the molecule of a topology; see ForceField.bind."""
    knowledge, content = knowledge_of(force_field), force_field.path.read_bytes()
    found = recognise(topology, knowledge)
    if json.loads(read_extra(io.BytesIO(content), METADATA_ENTRY, force_field.path)) != force_field.metadata:
        raise InputError(f"{force_field.path} has been replaced since it was loaded; load it again")
    lengths = knowledge.bond_lengths(found.beads)
    scale_nm = force_field.metadata["transferable"]["scale_nm"]
    metadata = {name: value for name, value in force_field.metadata.items() if name != "transferable"} | {
        "beads": found.beads.to_dict(),
        "start_positions_nm": None if found.positions_nm is None else found.positions_nm.tolist(),
        "bonds_nm": {name: (scale_nm * values).tolist() for name, values in lengths.items()},
        "bound_to": found.source,
    }
    metadata["format_version"] = format_version_of(metadata)
    prior, weights = force_field.metadata["model"]["settings"]["prior"], _weights_in(content, force_field.path)
    constants = knowledge.constants(found.beads, force_field.kind, prior, weights)
    bound = BoundForceField(force_field.path, metadata, found.beads, constants, force_field, content)
    return bound if bound.wall is None else replace(bound, constants=constants | bound.wall.constants())


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
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.freeze(program.eval(), preserved_attrs=["energies"]), buffer)
    return buffer.getvalue()
