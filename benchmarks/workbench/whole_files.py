"""Whether files are whole, each by a reader of its kind that reads to its end.

In: a folder that a killed process has left. Out: what is torn in it, in words. Unfinished files (.part), locks and logs
do not count; a trajectory that grows is as long as its checkpoint says.
"""

import json
import zipfile
from pathlib import Path

import numpy as np

_NOT_FINAL = (".part", ".lock")


def torn_files(folder: Path) -> list[str]:
    """Names of torn files, and why they are."""
    torn = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix in _NOT_FINAL or path.name in ("lock", "copy") or "logs" in path.parts:
            continue
        try:
            _read(path)
        except Exception as error:
            torn.append(f"{path.relative_to(folder)} is torn: {type(error).__name__} {error!s:.100}")
    return torn


def _read(path: Path) -> None:
    if path.suffix in (".ckpt", ".pt"):
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:
                raise ValueError(f"entry {bad}")
    elif path.suffix in (".npz", ".checkpoint"):
        with np.load(path) as arrays:
            for name in arrays.files:
                _ = arrays[name]
            if "extents" in arrays.files and path.with_suffix("").stat().st_size < int(arrays["extents"][0]):
                raise ValueError("the trajectory is shorter than its checkpoint says")
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".yaml":
        import yaml

        yaml.safe_load(path.read_text())
    elif path.suffix == ".html":
        if not path.read_text().rstrip().endswith("</html>"):
            raise ValueError("no end")
    elif path.suffix == ".pdb":
        if "END" not in path.read_text():
            raise ValueError("no end")
    elif path.suffix == ".png":
        if not path.read_bytes().endswith(b"IEND\xaeB`\x82"):
            raise ValueError("no end")
