"""The C++ tests of the native plugin's kernels, built and run where a compiler is found (`make test-native`
does more).
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


def run(*command):
    """The standard output of a command, which must succeed."""
    finished = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=900)
    assert finished.returncode == 0, f"{command[0]} failed ({finished.returncode}):\n{finished.stdout}{finished.stderr}"
    return finished.stdout


@pytest.fixture(scope="module")
def programs():
    """The folder of the test programs, kept between runs so that only what has changed is built again."""
    if shutil.which("cmake") is None or COMPILER is None:
        pytest.skip("needs cmake and a C++ compiler")
    folder = ROOT / "build" / "native-pytest"
    run("cmake", "-S", ROOT / "plugin" / "tests", "-B", folder)
    run("cmake", "--build", folder, "--parallel", os.cpu_count() or 1)
    return folder


def test_kernels_pass_their_own_tests(programs):
    report = run(programs / "kernel_tests").splitlines()[-1]
    assert report.endswith(" 0 failed") and int(report.split()[0]) > 40


def test_damaged_models_are_refused_by_an_error_that_names_the_entry(programs):
    assert "damaged models" in run(programs / "fuzz_model", 20000, 7)
