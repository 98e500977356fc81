"""model.pt, the one file that is a whole force field: what is inside, read without torch.

In:  a TorchScript archive (a zip) whose `extra/` folder holds `fpforce.json` (metadata, beads, start frame),
     `fpforce.safetensors` (the weights) and `topology.pdb`.
Out: a `ForceField`.

Nothing in the file is executed or unpickled here; torch itself loads the program later, in fpforce.system.backends.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from fpforce.forcefield.wall import Wall
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.space import space_of

# 2: models with a wall, which earlier readers would leave out; 3: internal models that see volumes; 4: of many
# molecules
FORMAT_VERSION = 4
METADATA_ENTRY = "fpforce.json"
WEIGHTS_ENTRY = "fpforce.safetensors"
TOPOLOGY_ENTRY = "topology.pdb"
# What zipfile raises for damaged archives, depending on the place of the damage.
UNREADABLE_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class ForceField:
    """A trained coarse-grained force field: its beads, a start frame, its temperature and its program.

    `metadata` is the file's fpforce.json as a dict. One that was trained over many molecules is `transferable`: it has
    no beads, and asked for a topology, masses or positions raises InputError, until `bind` gives it a molecule.
    Units: nm, Da, K, kJ/mol.
    """

    path: Path
    metadata: dict
    beads: BeadTable

    def __repr__(self):
        return (
            f"ForceField({str(self.path)!r}, kind={self.kind!r}, beads={len(self.beads)}, "
            f"temperature_k={self.temperature_k:g})"
        )

    @property
    def transferable(self) -> bool:
        """Whether it is for any molecule of known types, and not bound to one yet."""
        return "transferable" in self.metadata

    @property
    def molecule(self) -> str | None:
        """The residues of the molecule that a transferable force field is bound to; None where it was trained
        on one.
        """
        return None

    def bind(self, topology) -> "ForceField":
        """The force field for one molecule, perhaps of a sequence never trained on, of a transferable one.

        topology: a file that mdtraj reads, an openmm or mdtraj Topology, or an mdtraj Trajectory, with all atoms or the
        beads alone. Water and ions are left out with a notice. Raises InputError for what the model does not know,
        naming the residue (fpforce.forcefield.transferable.recognise), and for a force field that is of one molecule
        already.
        """
        from fpforce.forcefield.transferable.bound import bind

        if not self.transferable:
            raise InputError(
                f"{self.path} is the force field of one molecule already; leave the topology out, or give a "
                f"transferable one"
            )
        return bind(self, topology)

    def bound(self, topology) -> "ForceField":
        """The force field of one molecule: itself, or where it is transferable what `bind` makes of it.

        Raises InputError for a transferable one without a topology, for one of a molecule with a topology, and for one
        that is bound with the topology of another molecule.
        """
        if not self.transferable and topology is None:
            return self
        if topology is None:
            raise InputError(
                f"{self.path} is a transferable force field: say for which molecule, with a topology (--topology "
                f"FILE.pdb, "
                "of all atoms or of the beads)"
            )
        return self.bind(topology)

    def refuse_unbound(self) -> None:
        """Raise InputError for a transferable force field that is of no molecule yet."""
        if self.transferable:
            raise InputError(
                f"{self.path} is a transferable force field and has no beads yet: bind it to a molecule, with a "
                f"topology of "
                "all atoms or of the beads (ForceField.bind)"
            )

    @property
    def kind(self) -> str:
        """Name of the energy model, such as `internal`."""
        return self.metadata["model"]["kind"]

    @property
    def conservative(self) -> bool:
        """Whether the forces are the gradient of an energy; if not, only they mean anything, not the energy."""
        return self.metadata["model"].get("conservative", True)

    @property
    def temperature_k(self) -> float:
        """Temperature of the training data; U is a free energy at this temperature only."""
        return float(self.metadata["temperature_k"])

    @property
    def kt_kj_per_mol(self) -> float:
        return float(self.metadata["kt_kj_per_mol"])

    @property
    def scale_nm(self) -> float:
        """The one length by which centred positions are divided before they enter the network."""
        return float(self.metadata["scale_nm"])

    @property
    def space(self):
        """What its degrees of freedom are: `fpforce.molecule.space.MOLECULE` or `PLANE`."""
        return space_of(len(self.beads))

    @property
    def t_eval(self) -> float:
        """Diffusion time at which the energy is evaluated."""
        return float(self.metadata["t_eval"])

    @cached_property
    def positions_nm(self) -> np.ndarray | None:
        """(n, 3) float64: a frame of the training data; of a bound one the topology's own, or None where that has no
        coordinates.
        """
        self.refuse_unbound()
        positions_nm = self.metadata["start_positions_nm"]
        return None if positions_nm is None else np.asarray(positions_nm, dtype=float)

    @property
    def masses_da(self) -> np.ndarray:
        """(n,) float64 bead masses."""
        self.refuse_unbound()
        return self.beads.masses_da

    @property
    def bonds_nm(self) -> dict[str, np.ndarray]:
        """`mean`, `min`, `max` of every bond's length in the training data, in the order of `beads.bonds`."""
        return {name: np.asarray(values, dtype=float) for name, values in self.metadata["bonds_nm"].items()}

    @cached_property
    def wall(self) -> Wall | None:
        """The excluded volume that is part of the energy, or None."""
        record = self.metadata.get("wall")
        return None if record is None else Wall.of(self.beads, record["smallest_distances"])

    @property
    def topology(self):
        """The beads as an openmm.app.Topology."""
        self.refuse_unbound()
        return self.beads.to_openmm()

    def replicated_topology(self, replicas: int):
        """An openmm.app.Topology of `replicas` copies of the molecule, each in chains of its own.

        Atoms are in the particle order of `make_system(..., replicas=replicas)`: replica r owns r*n .. (r+1)*n - 1.
        """
        from openmm import app

        single, topology = self.topology, app.Topology()
        for _ in range(replicas):
            copies = {}
            for chain in single.chains():
                new_chain = topology.addChain()
                for residue in chain.residues():
                    new_residue = topology.addResidue(residue.name, new_chain, residue.id, residue.insertionCode)
                    for atom in residue.atoms():
                        copies[atom] = topology.addAtom(atom.name, atom.element, new_residue)
            for first, second in single.bonds():
                topology.addBond(copies[first], copies[second])
        return topology

    @cached_property
    def sha256(self) -> str:
        """Hash of the whole file, which names the force field in every output."""
        return sha256(self.path.read_bytes()).hexdigest()

    def model_bytes(self) -> bytes:
        """The file's contents, which torch.jit.load reads through a buffer."""
        return self.path.read_bytes()

    @contextmanager
    def program_file(self) -> Iterator[Path]:
        """A file that holds the program, for as long as the context lasts."""
        yield Path(self.path).resolve()

    def weights(self) -> dict[str, np.ndarray]:
        """Every weight by name, read with safetensors' numpy loader."""
        from safetensors.numpy import load as load_safetensors

        return load_safetensors(self.weights_bytes())

    def description(self) -> str:
        """The text of fpforce.json, as the native plugin reads it."""
        return read_extra(self.path, METADATA_ENTRY).decode()

    def weights_bytes(self) -> bytes:
        """The bytes of fpforce.safetensors, as the native plugin reads them."""
        return read_extra(self.path, WEIGHTS_ENTRY)

    def topology_pdb(self) -> str:
        """The start frame as PDB text."""
        return read_extra(self.path, TOPOLOGY_ENTRY).decode()


def load(path) -> ForceField:
    """Read a force field from `model.pt` without importing torch.

    Raises InputError for a missing, truncated or damaged file, for a training checkpoint, for TorchScript without
    fpforce metadata, and for a file of a newer format version.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"model file is {path!r}; give the path of a model.pt")
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the model.pt file that fpforce-export wrote")
    if not path.exists():
        raise InputError(f"model file {path} does not exist; check the path, or make it with fpforce-export")
    found = describe_file(path)
    if found == "checkpoint":
        raise InputError(
            f"{path} is a training checkpoint, not a force field; convert it first: "
            f"fpforce-export {path} {path.with_suffix('.pt')}"
        )
    if found == "torchscript":
        raise InputError(
            f"{path} is a TorchScript file without fpforce metadata (no extra/{METADATA_ENTRY}); "
            "give a model.pt written by fpforce-export"
        )
    if found == "truncated":
        raise InputError(
            f"{path} is truncated or damaged ({path.stat().st_size} bytes, its zip directory cannot be "
            "read); copy it again or repeat fpforce-export"
        )
    if found == "unknown":
        raise InputError(f"{path} is not a force field file; give a model.pt written by fpforce-export")
    try:
        metadata = json.loads(read_extra(path, METADATA_ENTRY))
    except ValueError as error:
        raise InputError(f"{path}: extra/{METADATA_ENTRY} is not JSON ({error}); repeat fpforce-export") from None
    version = metadata.get("format_version") if isinstance(metadata, dict) else None
    if not isinstance(version, int) or metadata.get("format") != "fpforce":
        raise InputError(f"{path}: extra/{METADATA_ENTRY} has no fpforce format version; repeat fpforce-export")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version}, written by a newer fpforce "
            f"({metadata.get('fpforce_version', 'unknown')}); this one reads up to version "
            f"{FORMAT_VERSION}: upgrade fpforce"
        )
    try:
        force_field = ForceField(
            path=path,
            metadata=metadata,
            beads=BeadTable.from_dict(metadata["beads"]),
        )
        start_shape = (0, 3) if force_field.transferable else np.shape(force_field.positions_nm)
        for name in ("kind", "temperature_k", "kt_kj_per_mol", "scale_nm", "t_eval", "bonds_nm", "wall"):
            getattr(force_field, name)
    except KeyError as error:
        raise InputError(f"{path}: extra/{METADATA_ENTRY} lacks {error}; repeat fpforce-export") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: extra/{METADATA_ENTRY} is damaged ({error}); repeat fpforce-export") from None
    if start_shape != (len(force_field.beads), 3):
        raise InputError(
            f"{path}: the start frame has shape {start_shape} for {len(force_field.beads)} beads; repeat fpforce-export"
        )
    return force_field


def format_version_of(metadata: dict) -> int:
    """The lowest format version whose readers know all that `metadata` (of fpforce.json) describes."""
    if "transferable" in metadata and metadata["model"].get("kind") == "internal":
        return 4
    if metadata["model"].get("settings", {}).get("volumes"):
        return 3
    return 2 if metadata.get("wall") else 1


def describe_file(path) -> str:
    """What kind of model file `path` is, judged by its zip directory alone.

    Returns "model" (fpforce force field), "checkpoint" (torch.save, such as a Lightning .ckpt), "torchscript"
    (TorchScript without fpforce metadata), "truncated" (a zip whose directory is missing) or "unknown".
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except UNREADABLE_ZIP:
        return "truncated" if _starts_like_zip(path) else "unknown"
    inside = {name.split("/", 1)[1] for name in names if "/" in name}
    if f"extra/{METADATA_ENTRY}" in inside:
        return "model"
    is_torchscript = "constants.pkl" in inside and any(name.startswith("code/") for name in inside)
    if is_torchscript:
        return "torchscript"
    return "checkpoint" if "data.pkl" in inside else "unknown"


def _starts_like_zip(path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) in (b"PK", b"")
    except OSError:
        return False


def read_extra(archive, name: str, path=None) -> bytes:
    """Contents of the one entry ending in /extra/<name> of an archive: a path, or an open file with the path it came
    from.
    """
    path = path or archive
    try:
        with zipfile.ZipFile(archive) as archive:
            entries = [entry for entry in archive.namelist() if entry.endswith(f"/extra/{name}")]
            if len(entries) != 1:
                raise InputError(f"{path} has {len(entries)} entries extra/{name}, expected 1; repeat fpforce-export")
            return archive.read(entries[0])
    except UNREADABLE_ZIP as error:
        raise InputError(
            f"{path}: extra/{name} cannot be read ({error}); copy the file again or repeat fpforce-export"
        ) from None
