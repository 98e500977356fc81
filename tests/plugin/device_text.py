"""The text of the device kernels as OpenMM's GPU platforms hand it to their compilers, for the tests that compile it.

In: the kernels of plugin/platforms/common, and the platform's library, where OpenMM's part of the text is C strings.
Out: the whole text, of every form (FORMS) in every precision (PRECISIONS).
"""

import os
from pathlib import Path

import pytest

from fpforce.plugin import library

KERNELS = Path(__file__).resolve().parents[2] / "plugin" / "platforms" / "common" / "src" / "kernels"
# OpenMM's precision, and the network's own.
PRECISIONS = [("single", "float"), ("mixed", "float"), ("double", "float"), ("double", "double")]
VECTORS = "/**\n * This file defines vector operations"

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


def openmm_library(platform: str) -> Path:
    """The file that FPFORCE_OPENMM_<platform> names, else libOpenMM<platform>.so of OpenMM's plugins; skips without."""
    named = os.environ.get(f"FPFORCE_OPENMM_{platform}")
    found = Path(named) if named else library.openmm_libraries() / "plugins" / f"libOpenMM{platform}.so"
    if not found.exists():
        pytest.skip(f"{found} is not there; make test-{platform.lower()} gets it")
    return found


def embedded(binary: bytes, start: str) -> str:
    """The C string that begins so."""
    at = binary.index(start.encode())
    return binary[at : binary.index(b"\0", at)].decode()


def define_lines(defines: dict) -> str:
    return "\n".join(f"#define {name} {value}" for name, value in defines.items())


def program(binary: bytes, form: str, precision: str, network: str, flags: dict, starts: list[str]) -> str:
    """The text that createModule() of a platform's context compiles.

    binary: the platform's library. flags: what it defines besides the precision's names, or instead of them.
    starts: how those of its texts begin that stand before our defines (the first) and between them and the vectors.
    """
    kernel, defines = FORMS[form]
    real, mixed = ("double" if precision == "double" else "float"), ("float" if precision == "single" else "double")
    named = {"double": {"USE_DOUBLE_PRECISION": "1"}, "mixed": {"USE_MIXED_PRECISION": "1"}, "single": {}}[precision]
    for kind, base in (("real", real), ("mixed", mixed)):
        named |= {f"make_{kind}{n}": f"make_{base}{n}" for n in (2, 3, 4)}
    suffix = "" if real == "double" else "f"
    named |= {
        name.upper(): name + suffix
        for name in "sqrt rsqrt exp log pow cos sin tan acos asin atan erf erfc fma fabs".split()
    }
    named |= {"RECIP(x)": f"(1.0{suffix}/(x))"}
    ours = {
        name: f"({value})" if isinstance(value, int) else f"({value:.9e}{'f' if mixed == 'float' else ''})"
        for name, value in (GEOMETRY | defines).items()
    } | {"NETWORK_REAL": network}
    first, *others = (embedded(binary, start) for start in [*starts, VECTORS])
    types = [f"typedef {real}{n} real{n};\ntypedef {mixed}{n} mixed{n};" for n in ("", 2, 3, 4)]
    text = [define_lines(named | flags), *types, "typedef unsigned int tileflags;", first, define_lines(ours), *others]
    before = {"graph": ("graph_layout", "graph_forward", "graph_backward"), "internal": ("internal_windows",)}
    parts = ("beads", *before.get(kernel, ()), kernel)
    return "\n".join([*text, *((KERNELS / f"{part}.cc").read_text() for part in parts)])
