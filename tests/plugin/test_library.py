"""Loading of the plugin: without torch, beside another OpenMM, and where it was not built."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.plugin import library
from fpforce.system.backends import native

ROOT = Path(__file__).resolve().parents[2]
# Such as 8.5.2; 8.4.0 calls itself 8.4.
BUILT = json.loads(files("fpforce.plugin").joinpath("build.json").read_text())["openmm"][-1]
MINOR = ".".join(version("openmm").split(".")[:2])


def test_native_simulation_leaves_torch_alone(field, run_python):
    code = (
        "import sys, fpforce\n"
        "from fpforce.simulation.simulate import SimulationSettings, simulate\n"
        "settings = SimulationSettings(steps=20, replicas=2, backend='auto', platform='Reference', "
        "report_interval_ps=0.02)\n"
        "result = simulate(sys.argv[1], 'out.xtc', settings, show_progress=False)\n"
        "print(result.backend, 'torch' in sys.modules, 'fpforce.training' in sys.modules)"
    )
    assert run_python(code, field.path).split() == ["native", "False", "False"]


def test_asking_whether_native_is_available_imports_neither_openmm_nor_torch(field, run_python):
    code = (
        "import sys, fpforce\n"
        "from fpforce.system.backends import native\n"
        "print(native.unavailable(fpforce.load(sys.argv[1])), {'openmm', 'torch'} & set(sys.modules))"
    )
    assert run_python(code, field.path).strip() == "None set()"


def test_library_loads_before_openmm_and_after_it(run_python):
    loads = "from fpforce.plugin import library; assert library.functions().fpforce_problem() is None\n"
    uses = "import openmm; from fpforce.plugin import FPForce; print(openmm.Platform.getPluginLoadFailures())\n"
    for code in (loads + uses, uses + loads):
        assert "FPForce" not in run_python(code)


def test_library_asks_for_no_newer_libstdcxx_than_rhel_9_has():
    """3.4.29 is that of GCC 11; with GCC 12 std::condition_variable::wait would be of 3.4.30."""
    from openmm.version import openmm_library_path

    content = Path(openmm_library_path, "fpforce", MINOR, "libFPForce.so").read_bytes()
    compiler = re.search(rb"GCC: \([^)]*\) (\d+)", content)
    if compiler is None or int(compiler[1]) > 12:
        pytest.skip("another compiler, whose libstdc++ may have newer parts")
    assert max(map(int, re.findall(rb"GLIBCXX_3\.4\.(\d+)", content))) <= 29


@pytest.fixture
def other_openmm(tmp_path):
    """other_openmm(version) -> a library which, preloaded, has OpenMM say that it is of this version."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here")

    def make(name):
        source = tmp_path / "version.cpp"
        source.write_text(
            "#include <string>\n"
            "namespace OpenMM { struct Platform { static const std::string& getOpenMMVersion(); };\n"
            "const std::string& Platform::getOpenMMVersion() {\n"
            f'static const std::string version = "{name}"; return version; }} }}\n'
        )
        path = tmp_path / "libversion.so"
        new_strings = b"__cxx11" in (library.openmm_libraries() / "libOpenMM.so").read_bytes()
        abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(new_strings)}"
        subprocess.run([compiler, abi, "-shared", "-fPIC", "-o", path, source], check=True)
        return path

    return make


REGISTERED = (
    "import openmm\n"
    'try: openmm.XmlSerializer.deserialize(\'<Force type="FPForce" version="0"/>\')\n'
    "except openmm.OpenMMException as error: print(error)\n"
    "try:\n"
    "    from fpforce.plugin import library\n"
    "    print(library.functions().fpforce_problem())\n"
    "except OSError as error: print(error)\n"
)


@pytest.mark.parametrize("name", ["8.2.1", "9.5.2", "8", "", "nonsense"])
def test_beside_another_openmm_nothing_is_registered_and_openmm_works(other_openmm, run_python, name):
    serializer, problem = run_python(REGISTERED, LD_PRELOAD=str(other_openmm(name))).splitlines()
    assert "no serialization proxy registered for type 'FPForce'" in serializer
    assert f"was built against openmm {BUILT} and cannot be used with openmm {name};" in problem


def test_beside_another_patch_release_the_plugin_works(other_openmm, run_python):
    serializer, problem = run_python(REGISTERED, LD_PRELOAD=str(other_openmm(f"{MINOR}.99"))).splitlines()
    assert "FPForce: the XML has version 0" in serializer and problem == "None"


@pytest.fixture
def record(tmp_path, monkeypatch):
    """record(content) makes the record of the build say so."""
    library.problem.cache_clear()

    def write(content):
        if content is not None:
            (tmp_path / "build.json").write_text(json.dumps(content))
        monkeypatch.setattr(library, "files", lambda package: tmp_path)

    yield write
    library.problem.cache_clear()


@pytest.mark.parametrize(
    "content, message",
    [
        (
            {"missing": "no C++ compiler was found"},
            "was not built: no C.. compiler was found; .* install fpforce again",
        ),
        (
            {"openmm": ["8.2.1"]},
            f"was built against openmm 8.2.1 and cannot be used with openmm {version('openmm')}; pip install",
        ),
        (
            {"openmm": ["8.1.0", "8.2.1"]},
            f"was built against openmm 8.1.0 and 8.2.1 and cannot be used with openmm {version('openmm')}; "
            "pip install openmm==8.2.1",
        ),
        (None, "was not built: fpforce was not installed by pip"),
    ],
)
def test_why_native_is_unavailable_is_said_with_the_remedy(field, record, content, message):
    record(content)
    with pytest.raises(InputError, match=f"backend native: the native plugin {message}"):
        fpforce.make_system(field, backend="native")


@pytest.mark.parametrize(
    "compiler, python, missing",
    [
        ("/bin/false", sys.executable, "no C++ compiler that works was found"),
        (
            None,
            os.path.realpath(Path(sys.base_prefix) / "bin" / "python3"),
            "openmm was not installed in the Python that built",
        ),
    ],
    ids=["compiler", "openmm"],
)
def test_where_compiling_is_impossible_the_build_succeeds_and_records_why(tmp_path, compiler, python, missing):
    # What pip does in its place: configure, build and install. The Python files do not depend on it.
    cmake = shutil.which("cmake")
    if cmake is None or (compiler is None and shutil.which("c++") is None):
        pytest.skip("needs cmake and a C++ compiler")
    if compiler is None and subprocess.run([python, "-c", "import openmm"], capture_output=True).returncode == 0:
        pytest.skip("the Python of this environment has an openmm of its own")
    environment = os.environ | ({"CXX": compiler} if compiler else {})
    for step in (
        ["-S", ROOT, "-B", tmp_path / "build", f"-DPython_EXECUTABLE={python}"],
        ["--build", tmp_path / "build"],
        ["--install", tmp_path / "build", "--prefix", tmp_path / "site"],
    ):
        done = subprocess.run([cmake, *map(str, step)], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    installed = [path for path in (tmp_path / "site").rglob("*") if path.is_file()]
    assert [path.name for path in installed] == ["build.json"]
    assert json.loads(installed[0].read_text())["missing"].startswith(missing)


def test_native_is_unavailable_without_openmm(record, monkeypatch, field):
    def missing(name):
        raise library.PackageNotFoundError(name)

    record({"openmm": ["8.5.2"]})  # as a build in an environment that has lost its openmm since
    monkeypatch.setattr(library, "version", missing)
    assert native.unavailable(field) == "openmm is not installed; pip install openmm==8.5.2"


def test_libraries_lie_where_openmm_looks_and_say_what_they_need(field):
    package = Path(importlib.util.find_spec("openmm").origin).parent
    folder = package.parent / "OpenMM.libs" / "lib"
    assert (folder / "fpforce" / MINOR / "libFPForce.so").exists() and (
        folder / "plugins" / "libFPForcePlugin.so"
    ).exists()
    assert library.openmm_libraries().resolve() == folder.resolve()
