"""What the device kernel's factories take for granted of OpenMM's classes, asserted by a compiler that has the
vendors' headers.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from fpforce.plugin import library

SOURCE = Path(__file__).resolve().parents[2] / "plugin" / "tests" / "device_layout.cpp"
HEADERS = {
    "OPENCL": (("/usr/include",), "CL/opencl.h", []),
    "CUDA": (("/usr/local/cuda/include",), "cuda.h", []),
    "HIP": (("/opt/rocm/include", "/usr/include"), "hip/hip_runtime.h", ["-D__HIP_PLATFORM_AMD__"]),
}


def compiled(platform, source):
    """The finished compiler for the source with one vendor's headers; skips without them."""
    folders, header, options = HEADERS[platform]
    compiler = shutil.which("g++")  # whose attribute `error` the check of addresses is
    found = next((folder for folder in folders if (Path(folder) / header).exists()), None)
    if compiler is None or found is None:
        pytest.skip(f"needs g++ and {header}")
    openmm = library.openmm_libraries().parent / "include"
    abi = int(b"__cxx11" in (library.openmm_libraries() / "libOpenMM.so").read_bytes())
    command = [
        compiler,
        "-std=c++17",
        "-O2",
        f"-D_GLIBCXX_USE_CXX11_ABI={abi}",
        f"-DPLATFORM_{platform}",
        *options,
        f"-I{openmm}",
        "-isystem",
        found,
        "-x",
        "c++",
        "-c",
        "-o",
        "/dev/null",
        str(source),
    ]
    if found == "/usr/include":
        command = [part for part in command if part not in ("-isystem", found)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("platform", HEADERS)
def test_a_platforms_device_is_laid_out_as_the_factory_expects(platform):
    done = compiled(platform, SOURCE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("platform", HEADERS)
def test_another_layout_is_found(platform, tmp_path):
    # A class with something before its ComputeContext, in place of the platform's own.
    text = SOURCE.read_text().replace(
        "static_assert(std::is_same_v",
        "struct Before { virtual ~Before() {} long value; };\n"
        "struct Moved : Before, Device {};\nstatic_assert(std::is_same_v",
    )
    other = tmp_path / "other.cpp"
    other.write_text(text.replace("void check(Device* device)", "void check(Moved* device)"))
    done = compiled(platform, other)
    assert done.returncode != 0 and "does not lie at the beginning of a device" in done.stderr
