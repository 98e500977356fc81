"""The device kernels as HIP code, compiled as OpenMM does when a Context is made; no GPU is needed, and none is used.

hiprtc of Debian 12 (ROCm 5.2), with OpenMM's options, makes machine code for gfx90a, whose wavefronts are 64 wide, and
for gfx1030, where they are 32 wide. It knows no newer GPU: those are left to clang 19, near that of ROCm 6, which goes
as far as the assembly, in mixed precision and without ROCm's device library. OpenMM's own part of the text is read out
of libOpenMMHIP.so. FPFORCE_OPENMM_HIP names that library where it is not among OpenMM's plugins (`make test-hip`
downloads it).
"""

import ctypes
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("device_text", Path(__file__).with_name("device_text.py"))
device_text = importlib.util.module_from_spec(spec)
spec.loader.exec_module(device_text)

HIPRTC = "libamdhip64.so.5"
HEADER = Path("/usr/include/hip/hip_runtime.h")
CLANG = "clang-19"
PACKAGES = f"apt-get install libamdhip64-dev {CLANG}"
# The 32-wide ones, for which OpenMM defines AMD_RDNA.
NARROW = ("gfx1030", "gfx1100")
OPTIONS = ("-O3", "-ffast-math", "-munsafe-fp-atomics", "-Wall", "-Wno-hip-only")
# Both networks of double precision, on one architecture each: nothing in the kernels depends on the wavefront's width.
LINKED = [
    ("gfx90a", "single", "float"),
    ("gfx90a", "mixed", "float"),
    ("gfx90a", "double", "double"),
    ("gfx1030", "single", "float"),
    ("gfx1030", "mixed", "float"),
    ("gfx1030", "double", "float"),
]


@pytest.fixture(scope="session")
def openmm_hip() -> bytes:
    return device_text.openmm_library("HIP").read_bytes()


@pytest.fixture(scope="session")
def hiprtc(openmm_hip):
    try:
        return ctypes.CDLL(HIPRTC)
    except OSError as error:
        pytest.skip(f"no hiprtc here ({error}); {PACKAGES}")


@pytest.fixture(scope="session")
def clang(openmm_hip) -> str:
    found = shutil.which(CLANG)
    if found is None or not HEADER.exists():
        pytest.skip(f"needs {CLANG} and {HEADER}; {PACKAGES}")
    return found


def program(binary: bytes, form: str, precision: str, network: str, architecture: str) -> str:
    """The text that HipContext::createModule() compiles."""
    flags = {"USE_HIP": "1"} | ({"AMD_RDNA": "1"} if architecture in NARROW else {})
    if precision != "double":
        flags |= {"SQRT": "__fsqrt_rn", "RSQRT": "__frsqrt_rn", "EXP": "__expf", "LOG": "__logf"}
    common = "/**\n * This file contains HIP definitions for the macros"
    lanes = "/**\n * This file contains the device function for using cross-lane operations"
    return device_text.program(binary, form, precision, network, flags, [common, lanes])


def options(architecture: str) -> list[str]:
    """OpenMM's, in its order."""
    vectorised = ["-fno-slp-vectorize"] if architecture.startswith(("gfx90a", "gfx94")) else []
    return [*OPTIONS, f"--offload-arch={architecture}", *vectorised]


def linked(hiprtc, text: str, architecture: str) -> bytes:
    """The device's machine code, by hiprtc; fails with the compiler's log."""
    made, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert hiprtc.hiprtcCreateProgram(ctypes.byref(made), text.encode(), None, 0, None, None) == 0
    # The last is what OpenMM gives to a ROCm before 6.1, whose complex numbers bring operators of their own for float2.
    given = [*options(architecture), "-D", "HIP_INCLUDE_HIP_AMD_DETAIL_HIP_COMPLEX_H"]
    status = hiprtc.hiprtcCompileProgram(made, len(given), (ctypes.c_char_p * len(given))(*map(str.encode, given)))
    hiprtc.hiprtcGetProgramLogSize(made, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value + 1)
    hiprtc.hiprtcGetProgramLog(made, log)
    assert status == 0, log.value.decode()
    hiprtc.hiprtcGetCodeSize(made, ctypes.byref(size))
    code = ctypes.create_string_buffer(size.value)
    hiprtc.hiprtcGetCode(made, code)
    hiprtc.hiprtcDestroyProgram(ctypes.byref(made))
    return code.raw


@pytest.mark.parametrize("architecture, precision, network", LINKED)
@pytest.mark.parametrize("form", device_text.FORMS)
def test_hiprtc_makes_machine_code_of_every_form(hiprtc, openmm_hip, form, architecture, precision, network):
    kernel, _ = device_text.FORMS[form]
    code = linked(hiprtc, program(openmm_hip, form, precision, network, architecture), architecture)
    assert f"fpforce{kernel.capitalize()}".encode() in code
    assert f"amdgcn-amd-amdhsa--{architecture}".encode() in code


@pytest.mark.parametrize("architecture", ["gfx942", "gfx1100"])
@pytest.mark.parametrize("form", device_text.FORMS)
def test_a_newer_clang_compiles_every_form_for_newer_gpus(clang, openmm_hip, form, architecture, tmp_path):
    kernel, _ = device_text.FORMS[form]
    source, assembly = tmp_path / "fpforce.hip", tmp_path / "fpforce.s"
    source.write_text(program(openmm_hip, form, "mixed", "float", architecture))
    how = ["-x", "hip", "--cuda-device-only", "-nogpulib", "-D__HIP_PLATFORM_AMD__", "-include", str(HEADER)]
    command = [clang, *how, *options(architecture), "-S", "-o", str(assembly), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    text = assembly.read_text()
    assert f".amdhsa_kernel fpforce{kernel.capitalize()}" in text
    assert f".wavefront_size: {32 if architecture in NARROW else 64}\n" in text


def test_a_mistake_in_the_text_is_found(hiprtc, openmm_hip):
    text = program(openmm_hip, "prior", "mixed", "float", "gfx90a").replace("const mixed depth", "const mixed deepness")
    with pytest.raises(AssertionError, match="use of undeclared identifier 'depth'"):
        linked(hiprtc, text, "gfx90a")
