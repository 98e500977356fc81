"""A transferable force field bound to one molecule: what every backend takes for a force field trained on it alone.

In: a transferable ForceField and a topology. Out: a BoundForceField, whose metadata, weights and program are those of the file
with the molecule's constants put in.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from fpforce.artifact import ForceField, format_version_of, load
from fpforce.errors import InputError
from fpforce.transferable.knowledge import Knowledge
from fpforce.transferable.recognise import recognise


@dataclass(frozen=True, repr=False)
class BoundForceField(ForceField):
    """A force field of one molecule, made from a transferable one; `constants` are the molecule's, by name of the weight."""

    constants: dict[str, np.ndarray]

    @property
    def molecule(self) -> str:
        """Residues in order, such as GLU2 ASN3."""
        return self.beads.residues

    def positions_of(self, frame) -> np.ndarray:
        """(n, 3) nm of the beads in an mdtraj Trajectory's first frame, of all atoms or of the beads, in any order within a residue.

        Raises InputError as `bind` does, and for another molecule.
        """
        knowledge = Knowledge.from_dict(load(self.path).metadata["transferable"]["knowledge"])
        found = recognise(frame, knowledge)
        return found.positions_nm[self.beads.order_in(found.beads.labels, "the frame")]

    def require_molecule(self, topology) -> None:
        """Raise InputError unless `topology`, of all atoms or of the beads, is of this molecule with its beads in this order."""
        found = recognise(topology, Knowledge.from_dict(load(self.path).metadata["transferable"]["knowledge"]))
        if found.beads.labels != self.beads.labels:
            ours, theirs = (", ".join(beads.labels[:3]) for beads in (self.beads, found.beads))
            raise InputError(f"{found.source} is {found.beads.residues} with the beads {theirs}, ..., and the force field is bound to "
                             f"{self.molecule} with {ours}, ...; bind it to this topology instead, or leave the topology out")

    def model_bytes(self) -> bytes:
        """A TorchScript archive of the bound program."""
        return self._program

    @cached_property
    def _program(self) -> bytes:
        return bound_program(self.path.read_bytes(), self.constants, len(self.beads))

    def description(self) -> str:
        return json.dumps(self.metadata)

    def weights_bytes(self) -> bytes:
        return self._weights

    @cached_property
    def _weights(self) -> bytes:
        from safetensors.numpy import load, save

        return save(load(super().weights_bytes()) | {name: np.ascontiguousarray(values) for name, values in self.constants.items()})

    def topology_pdb(self) -> str:
        text = io.StringIO()
        self.beads.write_pdb(text, np.zeros((len(self.beads), 3)) if self.positions_nm is None else self.positions_nm)
        return text.getvalue()

    @contextlib.contextmanager
    def program_file(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="fpforce-") as folder:
            path = Path(folder) / "bound.pt"
            path.write_bytes(self.model_bytes())
            yield path


def bind(force_field: ForceField, topology) -> BoundForceField:
    """The force field for the molecule of a topology; see ForceField.bind."""
    knowledge = Knowledge.from_dict(force_field.metadata["transferable"]["knowledge"])
    found = recognise(topology, knowledge)
    lengths = knowledge.bond_lengths(found.beads)
    scale_nm = force_field.metadata["transferable"]["scale_nm"]
    metadata = {name: value for name, value in force_field.metadata.items() if name != "transferable"} | {
        "beads": found.beads.to_dict(),
        "start_positions_nm": None if found.positions_nm is None else found.positions_nm.tolist(),
        "bonds_nm": {name: (scale_nm * values).tolist() for name, values in lengths.items()},
        "bound_to": found.source,
    }
    metadata["format_version"] = format_version_of(metadata)
    constants = knowledge.constants(found.beads, force_field.kind, force_field.metadata["model"]["settings"]["prior"], force_field.weights())
    bound = BoundForceField(force_field.path, metadata, found.beads, constants)
    return bound if bound.wall is None else replace(bound, constants=constants | bound.wall.constants())


def bound_program(model_bytes: bytes, constants: dict[str, np.ndarray], beads: int) -> bytes:
    """The bytes of a TorchScript archive: the transferable program with a molecule's constants instead of its example's, frozen."""
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
