"""Builds the sdist and the wheel, looks through both, and tries the wheel: `make dist`.

python .ci/distributions.py FOLDER. In: this folder, as it is. Out: FOLDER/fpforce-VERSION.tar.gz and .whl, after the
checks below; the wheel is made from the sdist. Nothing is uploaded.
"""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_COMPARED = (".py", ".j2", ".pt", ".md")
MODULES = ("fpforce.training.train", "fpforce.commands.simulate", "fpforce.plugin", "fpforce.analysis.report")


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    build(Path(sys.argv[1]).resolve())


def build(folder: Path) -> list[Path]:
    """Make both files in an empty `folder`; ends the program where something is wrong with them."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    wrong = faults_of_sdist(sdist) + faults_of_wheel(wheel) + differences_of_work_tree(wheel)
    if wrong:
        raise SystemExit("error: " + "\n       ".join(wrong))
    try_wheel(wheel)
    print(f"{sdist}\n{wheel}")
    return [sdist, wheel]


def version() -> str:
    """The version, which pyproject.toml alone holds."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def faults_of_sdist(path: Path) -> list[str]:
    """What is wrong with the sources, each in a line."""
    with tarfile.open(path) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile() or member.issym()]
    return [
        *_twice(path, names),
        *_missing(
            path, names, "training/train.py", "fpforce/analysis/report.html.j2", "plugin/CMakeLists.txt", *_shipped()
        ),
        *[
            f"{path.name}: {name}, which training/ holds already"
            for name in names
            if name.startswith("fpforce/training")
        ],
    ]


def faults_of_wheel(path: Path) -> list[str]:
    """What is wrong with the wheel, each in a line: every Python file, template and shipped model, nothing twice,
    the plugin.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    sources = {"fpforce": "fpforce", "training": "fpforce/training", "plugin/python": "fpforce/plugin"}
    needed = [
        f"{inside}/{found.relative_to(ROOT / outside)}"
        for outside, inside in sources.items()
        for pattern in ("*.py", "*.j2", "py.typed")
        for found in (ROOT / outside).rglob(pattern)
        if not (outside == "fpforce" and "training" in found.relative_to(ROOT / outside).parts[:1])
    ]
    found = [name.rpartition("/")[2] for name in names]
    return [
        *_twice(path, names),
        *_missing(path, names, *needed, *_shipped()),
        *_missing(path, found, "libFPForce.so", "libFPForcePlugin.so"),
        *[f"{path.name}: {name}, a test" for name in names if name.startswith(("tests/", "fpforce/tests"))],
    ]


def differences_of_work_tree(wheel: Path) -> list[str]:
    """Files that `pip install .` in this folder would not install like the wheel, which came from the sdist."""
    with tempfile.TemporaryDirectory() as name:
        without_plugin = ["--config-settings=wheel.cmake=false", "--quiet"]  # compiling it once is enough
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", *without_plugin, "--wheel-dir", name, ROOT]
        subprocess.run(command, check=True)
        (other,) = Path(name).glob("*.whl")
        found, wanted = (_python_files(path) for path in (other, wheel))
    return [f"{path}: only in the wheel of the {'work tree' if path in found else 'sdist'}" for path in found ^ wanted]


def _shipped() -> list[str]:
    """The models that come with the package, and their cards."""
    files = [path for pattern in ("*.pt", "*.md") for path in (ROOT / "fpforce" / "shipped").glob(pattern)]
    return [path.relative_to(ROOT).as_posix() for path in files]


def _python_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("fpforce/") and name.endswith(_COMPARED)}


def try_wheel(wheel: Path) -> None:
    """Import modules of all parts from the wheel in an environment of its own, beside this environment's packages."""
    with tempfile.TemporaryDirectory() as name:
        python = Path(name) / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", name], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
        lines = [
            "import sys, sysconfig, importlib.resources",
            f"sys.path.append({sysconfig.get_path('purelib')!r})",  # after its own: what fpforce needs, not fpforce
            "home = sysconfig.get_path('purelib')",
            *(f"import {module}; assert {module}.__file__.startswith(home), {module}.__file__" for module in MODULES),
            "assert importlib.resources.files('fpforce.analysis').joinpath('report.html.j2').is_file()",
            "from fpforce.shipped.pretrained import names, path_of",
            "assert all(str(path_of(name)).startswith(home) for name in names()), names()",
            f"assert len(names()) == {len(list((ROOT / 'fpforce' / 'shipped').glob('*.pt')))}, names()",
            f"assert fpforce.__version__ == {version()!r}, fpforce.__version__",
        ]
        subprocess.run([python, "-c", "\n".join(lines)], check=True, cwd=name)


def _twice(path: Path, names: list[str]) -> list[str]:
    return [f"{path.name}: {name} is there {count} times" for name, count in Counter(names).items() if count > 1]


def _missing(path: Path, names: list[str], *needed: str) -> list[str]:
    return [f"{path.name}: {name} is missing" for name in sorted(set(needed) - set(names))]


if __name__ == "__main__":
    main()
