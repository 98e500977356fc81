"""Makes a release: `make release VERSION=1.2.3`, or with DRY_RUN=1 all but the tag.

python .ci/release.py VERSION [--dry-run]. In: a clean work tree whose pyproject.toml, the one place of the version, and
CHANGELOG.md name VERSION. Out: dist/ with sdist and wheel, and the tag vVERSION, which a push and an upload would take
from there. Nothing is uploaded.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--dry-run", action="store_true", help="do not tag")
    chosen = parser.parse_args()
    if wrong := faults(ROOT, chosen.version):
        raise SystemExit("error: " + "\n       ".join(wrong))
    subprocess.run([sys.executable, ROOT / ".ci" / "distributions.py", ROOT / "dist"], check=True)
    if chosen.dry_run:
        print(f"ready to be v{chosen.version}; not tagged")
        return
    message = f"fpforce {chosen.version}\n\n{section(ROOT / 'CHANGELOG.md', chosen.version)}"
    subprocess.run(
        ["git", "tag", "-a", f"v{chosen.version}", "--cleanup=verbatim", "-m", message], check=True, cwd=ROOT
    )
    print(f"tagged v{chosen.version}; nothing is uploaded")


def faults(folder: Path, version: str) -> list[str]:
    """Why the work tree in `folder` cannot be released as `version`, each in a line."""
    wrong = []
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        wrong.append(f"{version!r} is no version of three numbers, such as 1.2.3")
    if _git(folder, "status", "--porcelain"):
        wrong.append("the work tree has changes that are not committed: git status")
    named = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
    if named != version:
        wrong.append(f"pyproject.toml says version {named}: write {version} there, and commit it")
    if not section(folder / "CHANGELOG.md", version):
        wrong.append(f"CHANGELOG.md has nothing under '## {version}': give what is unreleased that heading")
    if section(folder / "CHANGELOG.md", "Unreleased"):
        wrong.append(f"CHANGELOG.md still has changes under '## Unreleased': move them to '## {version}'")
    if _git(folder, "tag", "--list", f"v{version}"):
        wrong.append(f"the tag v{version} is there already")
    return wrong


def section(changelog: Path, version: str) -> str:
    """What CHANGELOG.md says of a version, without its heading; empty where it has none."""
    parts = re.split(r"^## (\S+).*$", changelog.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(version, "").strip()


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, cwd=folder, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
