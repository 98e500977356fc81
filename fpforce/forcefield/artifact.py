"""model.pt, the one file that is a whole force field: its entries, read without torch.

In:  a TorchScript archive (a zip) whose `extra/` folder holds `fpforce.json` (metadata, beads, start frame),
     `fpforce.safetensors` (the weights), `topology.pdb` and `support.safetensors` (what frames are compared with).
Out: the metadata, and the bytes of any entry. What is made of them is in fpforce.forcefield.load.

Nothing in the file is executed or unpickled here; torch itself loads the program later, in fpforce.system.backends.
"""

import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import damage_as_value_error, mapping_in, refuse_bomb

# 2: models with a wall, which earlier readers would leave out; 3: internal models that see volumes; 4: of many
# molecules; 5: a prior whose pairs are coupled; 6: internal models with series of dihedrals and angles; 7: that see no
# time before `earliest`; 8: internal models with series of other pair distances; 9: a wall of each pair;
# 10: internal models with energies of stretches of beads; 11: chains of any length
FORMAT_VERSION = 11
METADATA_ENTRY = "fpforce.json"
WEIGHTS_ENTRY = "fpforce.safetensors"
TOPOLOGY_ENTRY = "topology.pdb"
SUPPORT_ENTRY = "support.safetensors"  # where fpforce.json has `support`


def read_metadata(path: Path) -> dict[str, Any]:
    """The fpforce.json of a model.pt.

    Raises InputError for a missing, truncated or damaged file, for a training checkpoint, for TorchScript without
    fpforce metadata, and for a file of a newer format version.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the model.pt file that fpforce-export wrote")
    if not path.exists():
        if str(path).startswith("pretrained:"):
            raise InputError(f"{path} is for commands; in Python it is fpforce.pretrained({str(path)[11:]!r})")
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
        metadata = mapping_in(read_extra(path, METADATA_ENTRY))
    except ValueError as error:
        raise InputError(f"{path}: extra/{METADATA_ENTRY} is not JSON ({error}); repeat fpforce-export") from None
    version = metadata.get("format_version")
    if not isinstance(version, int) or metadata.get("format") != "fpforce":
        raise InputError(f"{path}: extra/{METADATA_ENTRY} has no fpforce format version; repeat fpforce-export")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version}, written by a newer fpforce "
            f"({metadata.get('fpforce_version', 'unknown')}); this one reads up to version "
            f"{FORMAT_VERSION}: upgrade fpforce"
        )
    return metadata


def format_version_of(metadata: dict[str, Any]) -> int:
    """The lowest format version whose readers know all that `metadata` (of fpforce.json) describes."""
    if metadata["model"].get("kind") == "chain":
        return 11
    if metadata["model"].get("windows"):
        return 10
    if (metadata.get("wall") or {}).get("of_pairs"):
        return 9
    if metadata["model"].get("pair_series"):
        return 8
    if metadata["model"].get("constants", {}).get("earliest"):
        return 7
    if metadata["model"].get("series"):
        return 6
    if metadata["model"].get("coupled_pairs"):
        return 5
    if "transferable" in metadata and metadata["model"].get("kind") == "internal":
        return 4
    if metadata["model"].get("settings", {}).get("volumes"):
        return 3
    return 2 if metadata.get("wall") else 1


def describe_file(path: str | os.PathLike[str]) -> str:
    """What kind of model file `path` is, judged by its zip directory alone.

    Returns "model" (fpforce force field), "checkpoint" (torch.save, such as a Lightning .ckpt), "torchscript"
    (TorchScript without fpforce metadata), "truncated" (a zip whose directory is missing) or "unknown".
    """
    try:
        with damage_as_value_error(), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError):
        return "truncated" if _starts_like_zip(path) else "unknown"
    inside = {name.split("/", 1)[1] for name in names if "/" in name}
    if f"extra/{METADATA_ENTRY}" in inside:
        return "model"
    is_torchscript = "constants.pkl" in inside and any(name.startswith("code/") for name in inside)
    if is_torchscript:
        return "torchscript"
    return "checkpoint" if "data.pkl" in inside else "unknown"


def _starts_like_zip(path: str | os.PathLike[str]) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) in (b"PK", b"")
    except OSError:
        return False


def read_extra(archive: Path | BinaryIO, name: str, path: Path | None = None) -> bytes:
    """Contents of the one entry ending in /extra/<name> of an archive: a path, or an open file with the path it came
    from.
    """
    where = path or archive
    try:
        with damage_as_value_error(), zipfile.ZipFile(archive) as opened:
            refuse_bomb(opened)
            entries = [entry for entry in opened.namelist() if entry.endswith(f"/extra/{name}")]
            if len(entries) != 1:
                raise InputError(f"{where} has {len(entries)} entries extra/{name}, expected 1; repeat fpforce-export")
            return opened.read(entries[0])
    except (OSError, ValueError) as error:
        raise InputError(
            f"{where}: extra/{name} cannot be read ({error}); copy the file again or repeat fpforce-export"
        ) from None
