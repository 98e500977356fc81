"""Sources of others in plugin/third_party are those that its README names, byte for byte."""

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "plugin" / "third_party"


def test_sources_of_others_are_as_they_were_released():
    named = re.findall(r"^\| `([^`]+)` \|.*`([^`]+)` \| ([0-9a-f]{64}) \|$", (FOLDER / "README.md").read_text(), re.M)
    assert {path for path, _, _ in named} == {
        str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.h*") if path.is_file()
    }
    for path, licence, digest in named:
        assert hashlib.sha256((FOLDER / path).read_bytes()).hexdigest() == digest
        assert "Permission is hereby granted" in (FOLDER / licence).read_text()
