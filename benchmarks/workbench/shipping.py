"""A model.pt as the package ships it: without the paths of the machine that made it.

In: a model.pt that was exported. Out: the same force field, in whose record files are named from the repository's
folder, and whose program has no debug symbols, which name source files (torch does without them).
"""

import json
import zipfile
from pathlib import Path

from workbench.places import ROOT

_SYMBOLS = ".debug_pkl"


def ship(model: Path, target: Path) -> None:
    """Write `target`; ends the program where a path is left."""
    from fpforce.forcefield.artifact import METADATA_ENTRY
    from fpforce.foundation.atomic_files import replacing

    with zipfile.ZipFile(model) as source, replacing(target) as unfinished:
        with zipfile.ZipFile(unfinished, "w") as shipped:
            for entry in source.infolist():
                if entry.filename.endswith(_SYMBOLS):
                    continue
                content = source.read(entry)
                if entry.filename.endswith(f"/extra/{METADATA_ENTRY}"):
                    content = json.dumps(_relative(json.loads(content)), indent=1, allow_nan=False).encode()
                if str(ROOT).encode() in content:
                    raise SystemExit(f"{model}: {entry.filename} names a folder of this machine, {ROOT}")
                shipped.writestr(entry, content, entry.compress_type)


def _relative(value):
    """JSON with every path below the repository as it is from there."""
    if isinstance(value, dict):
        return {name: _relative(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_relative(part) for part in value]
    return value.removeprefix(f"{ROOT}/") if isinstance(value, str) else value
