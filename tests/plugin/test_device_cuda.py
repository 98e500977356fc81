"""The device kernels as CUDA code, compiled by NVRTC as OpenMM does when a Context is made; no GPU is needed, and none
is used.

OpenMM's own part of the text is read out of libOpenMMCUDA.so, where it is a C string. FPFORCE_OPENMM_CUDA names that
library where it is not among OpenMM's plugins (`make test-cuda` downloads it).
"""

import ctypes
import importlib.util
import os
from pathlib import Path

import pytest

from fpforce.plugin import library

KERNELS = Path(__file__).resolve().parents[2] / "plugin" / "platforms" / "common" / "src" / "kernels"
ARCHITECTURES = ("sm_80", "sm_90", "sm_120")

GEOMETRY = {"REPLICAS": 1000, "PADDED_NUM_ATOMS": 28000, "INVERSE_LENGTH": 7.5, "KT": 2.494}
INTERNAL = {
    "BEADS": 28,
    "PAIRS": 378,
    "DIHEDRALS": 25,
    "VOLUMES": 26,
    "WIDTH": 128,
    "LAYERS": 3,
    "COLUMNS": 128,
    "SLICES": 4,
    "THREADS": 512,
    "REPLICAS_AT_ONCE": 1,
    "FEATURES_ARE_LOCAL": 1,
    "SQUARED_LENGTH": 0.04,
    "BLUR": 0.2,
    "ARM_BLUR": 0.2,
    "ORDERS": 0,
    "WINDOWS": 0,
}
WINDOWS = {
    "BEADS": 12,
    "PAIRS": 66,
    "DIHEDRALS": 9,
    "VOLUMES": 10,
    "WINDOWS": 7,
    "WINDOW_INPUTS": 42,
    "WINDOW_WIDTH": 32,
    "WINDOWS_ARE_LOCAL": 1,
}
GRAPH = {
    "BEADS": 28,
    "WIDTH": 128,
    "HEAD_WIDTH": 16,
    "LAYERS": 3,
    "THREADS": 128,
    "REPLICAS_AT_ONCE": 1,
    "ROWS_AT_ONCE": 4,
    "FUSED": 0,
    "SLOTS": 1000,
    "SQUARED_LENGTH": 0.04,
    "AXIS_LENGTH": 0.04,
    "AXIS_AREA": 0.2,
    "RADIAL_FACTOR": -4.0,
    "NORM_EPSILON": 1e-5,
}
PRIOR = {"BEADS": 28, "LANES": 8, "HAS_QUADRATIC": 1, "WALL_HEIGHT": 1000.0, "THREADS": 224, "REPLICAS_AT_ONCE": 1}
FORMS = {
    "prior": ("prior", PRIOR),
    "prior of five beads, three replicas at once": (
        "prior",
        PRIOR | {"BEADS": 5, "LANES": 4, "THREADS": 64, "REPLICAS_AT_ONCE": 3},
    ),
    "wall alone": ("prior", PRIOR | {"HAS_QUADRATIC": 0}),
    "internal": ("internal", INTERNAL),
    "internal of two beads": ("internal", INTERNAL | {"BEADS": 2, "PAIRS": 1, "DIHEDRALS": 0, "VOLUMES": 0}),
    "internal of five beads, four replicas at once": (
        "internal",
        INTERNAL
        | {"BEADS": 5, "PAIRS": 10, "DIHEDRALS": 2, "VOLUMES": 3, "SLICES": 2, "THREADS": 256, "REPLICAS_AT_ONCE": 4},
    ),
    "internal, features in global memory": (
        "internal",
        INTERNAL | {"BEADS": 60, "PAIRS": 1770, "FEATURES_ARE_LOCAL": 0},
    ),
    "internal with series": ("internal", INTERNAL | {"ORDERS": 6, "DELTA": 0.01}),
    "internal with windows": ("internal", INTERNAL | WINDOWS),
    "internal with windows of one layer": ("internal", INTERNAL | WINDOWS | {"LAYERS": 1}),
    "internal with windows in global memory, four replicas at once": (
        "internal",
        INTERNAL | WINDOWS | {"SLICES": 2, "THREADS": 256, "REPLICAS_AT_ONCE": 4, "WINDOWS_ARE_LOCAL": 0},
    ),
    "graph_transformer, a launch for each step": ("graph", GRAPH),
    "graph_transformer, a group for each molecule": (
        "graph",
        GRAPH | {"BEADS": 10, "WIDTH": 64, "LAYERS": 2, "THREADS": 256, "FUSED": 1, "SLOTS": 264},
    ),
}


def openmm_cuda() -> Path:
    named = os.environ.get("FPFORCE_OPENMM_CUDA")
    found = Path(named) if named else library.openmm_libraries() / "plugins" / "libOpenMMCUDA.so"
    if not found.exists():
        pytest.skip(f"{found} is not there; make test-cuda gets it")
    return found


def embedded(binary: bytes, start: bytes) -> str:
    """The C string that begins so."""
    at = binary.index(start)
    return binary[at : binary.index(b"\0", at)].decode()


def program(kernel: str, defines: dict, precision: str, network: str) -> str:
    """The text that CudaContext::createModule() compiles."""
    binary = openmm_cuda().read_bytes()
    real, mixed = ("double" if precision == "double" else "float"), ("float" if precision == "single" else "double")
    flags = {"double": {"USE_DOUBLE_PRECISION": "1"}, "mixed": {"USE_MIXED_PRECISION": "1"}, "single": {}}[precision]
    for kind, base in (("real", real), ("mixed", mixed)):
        flags |= {f"make_{kind}{n}": f"make_{base}{n}" for n in (2, 3, 4)}
    suffix = "" if real == "double" else "f"
    flags |= {
        name.upper(): name + suffix
        for name in "sqrt rsqrt exp log pow cos sin tan acos asin atan erf erfc fma fabs".split()
    }
    flags |= {
        "RECIP(x)": f"(1.0{suffix}/(x))",
        "SYNC_WARPS": "__syncwarp();",
        "SHFL(var, srcLane)": "__shfl_sync(0xffffffff, var, srcLane);",
    }
    ours = {
        name: f"({value})" if isinstance(value, int) else f"({value:.9e}{'f' if mixed == 'float' else ''})"
        for name, value in (GEOMETRY | defines).items()
    } | {"NETWORK_REAL": network}
    text = [f"#define {name} {value}" for name, value in flags.items()]
    text += [f"typedef {real}{n} real{n};\ntypedef {mixed}{n} mixed{n};" for n in ("", 2, 3, 4)] + [
        "typedef unsigned int tileflags;"
    ]
    text += [embedded(binary, b"/**\n * This file contains CUDA definitions for the macros")]
    text += [f"#define {name} {value}" for name, value in ours.items()]
    text += [embedded(binary, b"/**\n * This file defines vector operations")]
    before = {"graph": ("graph_layout", "graph_forward", "graph_backward"), "internal": ("internal_windows",)}
    parts = ("beads", *before.get(kernel, ()), kernel)
    return "\n".join([*text, *((KERNELS / f"{part}.cc").read_text() for part in parts)])


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


@pytest.mark.parametrize(
    "precision, network", [("single", "float"), ("mixed", "float"), ("double", "float"), ("double", "double")]
)
@pytest.mark.parametrize("form", FORMS)
def test_kernels_compile_for_every_architecture(nvrtc, form, precision, network):
    kernel, defines = FORMS[form]
    text = program(kernel, defines, precision, network)
    for architecture in ARCHITECTURES:
        code = compiled(nvrtc, text, architecture)
        assert f"fpforce{kernel.capitalize()}".encode() in code


def test_a_mistake_in_the_text_is_found(nvrtc):
    text = program("prior", PRIOR, "mixed", "float").replace("const mixed depth", "const mixed deepness")
    with pytest.raises(AssertionError, match='identifier "depth" is undefined'):
        compiled(nvrtc, text, "sm_90")
