"""Joins wheels that were built beside several OpenMMs in one that needs no compiler, and tries it: `make wheels`.

python .ci/wheels.py FOLDER MODEL BUILD... In: a model.pt, and folders with one wheel each, whose plugins are for one
minor version of OpenMM each. Out: FOLDER/fpforce-VERSION-py3-none-manylinux_*.whl with all of the plugins, and the
sdist. The wheel is installed in environments without a compiler, for every Python of PYTHONS (names or paths; else
those of python3.11 to python3.14 that are there), and has to compute the model beside every one of those OpenMMs.
Nothing is uploaded.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from distributions import ROOT, faults_of_sdist, faults_of_wheel
from wheel.wheelfile import WheelFile

PLUGINS = "OpenMM.libs/lib/fpforce/"
RECORD = "fpforce/plugin/build.json"
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
# What differs between builds of the same sources and is not joined: the first's is taken.
OF_ANY_BUILD = ("OpenMM.libs/lib/plugins/libFPForcePlugin.so",)

# Run by the Python that the wheel was installed for, in an empty folder, and without a compiler.
TRIAL = """
import shutil, subprocess, sys
import fpforce, numpy, openmm
from fpforce.plugin import problem
assert not any(map(shutil.which, ("g++", "c++", "gcc", "cc", "clang", "cmake"))), "there is a compiler"
assert problem() is None, problem()
field = fpforce.load(sys.argv[1])
system = fpforce.make_system(field, backend="native", replicas=2)
open("system.xml", "w").write(openmm.XmlSerializer.serialize(system))
numpy.save("positions.npy", numpy.tile(field.positions_nm, (2, 1)))
energy = '''
import sys, numpy, openmm
system = openmm.XmlSerializer.deserialize(open("system.xml").read())
platform, langevin = openmm.Platform.getPlatform("Reference"), openmm.LangevinMiddleIntegrator(300, 1, 0.002)
context = openmm.Context(system, langevin, platform)
context.setPositions(numpy.load("positions.npy"))
print(context.getState(energy=True).getPotentialEnergy()._value)
context.getIntegrator().step(100)
assert numpy.isfinite(context.getState(energy=True).getPotentialEnergy()._value)
assert "fpforce" not in sys.modules
'''
print(subprocess.run([sys.executable, "-c", energy], check=True, capture_output=True, text=True).stdout.strip())
"""


def main() -> None:
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    folder, model = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    pythons = interpreters(os.environ.get("PYTHONS", "").split())
    builds = [wheel for build in sys.argv[3:] for wheel in Path(build).glob("*.whl")]
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        joined, versions = join(builds, Path(name))
        run(["auditwheel", "repair", "--exclude", "libOpenMM.so", "--wheel-dir", folder, joined])
    (wheel,) = folder.glob("*.whl")
    run([sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT])
    (sdist,) = folder.glob("*.tar.gz")
    if wrong := faults_of_sdist(sdist) + faults_of_wheel(wheel):
        raise SystemExit("error: " + "\n       ".join(wrong))
    for python in pythons:
        try_wheel(wheel, python, versions, model)
    print(f"{wheel}\n{sdist}\ntried with {', '.join(pythons)} and openmm {', '.join(versions)}")


def interpreters(names: list[str]) -> list[str]:
    """The Pythons to try the wheel with: those named, all of which have to run, else python3.11 to python3.14 as far as
    they do. A name alone proves nothing: pyenv has scripts for the versions that it would run elsewhere, too.
    """

    def runs(name: str) -> bool:
        found = shutil.which(name)
        return (
            bool(found) and subprocess.run([found, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0
        )

    found = [name for name in names or PYTHONS if runs(name)]
    if missing := set(names) - set(found):
        raise SystemExit(f"error: PYTHONS names {', '.join(sorted(missing))}, which does not run or has no venv")
    if not found:
        raise SystemExit(
            f"error: none of {', '.join(PYTHONS)} runs; name some: make wheels PYTHONS='/path/to/python3.12'"
        )
    return found


def join(wheels: list[Path], folder: Path) -> tuple[Path, list[str]]:
    """(the wheel in `folder` with the plugins of all, the OpenMMs that they were built against).

    Ends the program where two wheels differ in anything else than their plugin.
    """
    with zipfile.ZipFile(wheels[0]) as first:
        contents = {entry.filename: (entry, first.read(entry)) for entry in first.infolist()}
    versions: list[str] = []
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            record = json.loads(archive.read(RECORD))
            if "missing" in record:
                raise SystemExit(f"error: {wheel} has no plugin: {record['missing']}")
            versions += record["openmm"]
            for entry in archive.infolist():
                content = archive.read(entry)
                if entry.filename.startswith(PLUGINS):
                    contents[entry.filename] = (entry, content)
                elif not _may_differ(entry.filename) and contents.get(entry.filename, (None, None))[1] != content:
                    raise SystemExit(f"error: {entry.filename} of {wheel} is not that of {wheels[0]}; build both anew")
    joined = folder / wheels[0].name
    with WheelFile(joined, "w") as archive:
        for name, (entry, content) in contents.items():
            if name == RECORD:
                content = json.dumps({"openmm": versions}).encode()
            elif name.endswith(".dist-info/METADATA"):
                content = re.sub(rb"^Requires-Dist: openmm==[\d.]+\.\*\r?\n", b"", content, flags=re.MULTILINE)
            if not name.endswith(".dist-info/RECORD"):  # made anew
                archive.writestr(entry, content)
    return joined, versions


def try_wheel(wheel: Path, python: str, versions: list[str], model: Path) -> None:
    """Install the wheel where there is no compiler, and compute the model beside each OpenMM that has a wheel for this
    Python; all have to agree.
    """
    with tempfile.TemporaryDirectory() as name:
        environment = Path(name)
        run([python, "-m", "venv", environment])
        bare = {"PATH": str(environment / "bin"), "HOME": os.environ.get("HOME", name)}
        bare |= {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        own, work = environment / "bin" / "python", environment / "work"
        work.mkdir()
        energies = {}
        for version in versions:
            release = version if version.count(".") > 1 else f"{version}.0"  # 8.4.0 calls itself 8.4
            install = [own, "-m", "pip", "install", "--quiet", "--only-binary=:all:", f"openmm=={release}"]
            if subprocess.run([*install, "--no-deps", "--dry-run"], env=bare, capture_output=True).returncode:
                print(f"{python}: openmm {release} has no wheel for it", flush=True)
                continue
            run([*install, wheel], env=bare)
            done = run([own, "-c", TRIAL, model], env=bare, cwd=work, capture_output=True, text=True)
            energies[release] = float(done.stdout)
    if not energies:
        raise SystemExit(f"error: {python} has no wheel of openmm {', '.join(versions)}, so that nothing was tried")
    if max(energies.values()) - min(energies.values()) > 1e-9:
        raise SystemExit(f"error: energies differ between OpenMMs: {energies}")
    print(f"{python}: {energies}", flush=True)


def run(command: list, **options) -> subprocess.CompletedProcess:
    """subprocess.run that ends the program where the command fails, with what it said."""
    done = subprocess.run(list(map(str, command)), **options)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(map(str, command[:6]))} ... has failed\n{done.stderr or ''}")
    return done


def _may_differ(name: str) -> bool:
    return name in (RECORD, *OF_ANY_BUILD) or name.endswith((".dist-info/METADATA", ".dist-info/RECORD"))


if __name__ == "__main__":
    main()
