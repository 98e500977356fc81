"""The device kernels as CUDA code, compiled by NVRTC as OpenMM does when a Context is made; no GPU is needed, and none
is used.

OpenMM's own part of the text is read out of libOpenMMCUDA.so, where it is a C string. FPFORCE_OPENMM_CUDA names that
library where it is not among OpenMM's plugins (`make test-cuda` downloads it).
"""

import ctypes
import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("device_text", Path(__file__).with_name("device_text.py"))
device_text = importlib.util.module_from_spec(spec)
spec.loader.exec_module(device_text)

ARCHITECTURES = ("sm_80", "sm_90", "sm_120")
FLAGS = {"SYNC_WARPS": "__syncwarp();", "SHFL(var, srcLane)": "__shfl_sync(0xffffffff, var, srcLane);"}


def program(form: str, precision: str, network: str) -> str:
    """The text that CudaContext::createModule() compiles."""
    binary = device_text.openmm_library("CUDA").read_bytes()
    common = "/**\n * This file contains CUDA definitions for the macros"
    return device_text.program(binary, form, precision, network, FLAGS, [common])


@pytest.fixture(scope="session")
def nvrtc():
    """NVRTC, which comes with torch's CUDA packages or as nvidia-cuda-nvrtc."""
    spec = importlib.util.find_spec("nvidia")
    found = [
        path
        for folder in (spec.submodule_search_locations if spec else [])
        for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.*"))
    ]
    if not found:
        pytest.skip("no NVRTC here; pip install nvidia-cuda-nvrtc")
    for builtins in found[0].parent.glob("libnvrtc-builtins.so.*"):  # which NVRTC then finds by name
        ctypes.CDLL(str(builtins))
    return ctypes.CDLL(str(found[0]))


def compiled(nvrtc, text: str, architecture: str) -> bytes:
    """The device's machine code; fails with the compiler's log."""
    made, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(made), text.encode(), b"fpforce.cu", 0, None, None) == 0
    options = (ctypes.c_char_p * 2)(f"-arch={architecture}".encode(), b"--use_fast_math")
    status = nvrtc.nvrtcCompileProgram(made, 2, options)
    nvrtc.nvrtcGetProgramLogSize(made, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(made, log)
    assert status == 0, log.value.decode()
    nvrtc.nvrtcGetCUBINSize(made, ctypes.byref(size))
    code = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(made, code)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(made))
    return code.raw


@pytest.mark.parametrize("precision, network", device_text.PRECISIONS)
@pytest.mark.parametrize("form", device_text.FORMS)
def test_kernels_compile_for_every_architecture(nvrtc, form, precision, network):
    kernel, _ = device_text.FORMS[form]
    text = program(form, precision, network)
    for architecture in ARCHITECTURES:
        code = compiled(nvrtc, text, architecture)
        assert f"fpforce{kernel.capitalize()}".encode() in code


def test_a_mistake_in_the_text_is_found(nvrtc):
    text = program("prior", "mixed", "float").replace("const mixed depth", "const mixed deepness")
    with pytest.raises(AssertionError, match='identifier "depth" is undefined'):
        compiled(nvrtc, text, "sm_90")
