"""libFPForce.so: whether it can be used here, and its functions.

In:  build.json (what openmm the library was built against, in a wheel several, or why it was not built) and the openmm
     that is installed.
Out: `problem()`, `model_problem()`, and `functions()`, the library with the types of every C function declared.
"""

import ctypes
import json
import runpy
from ctypes import POINTER, c_char_p, c_double, c_int, c_size_t, c_void_p
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

_REINSTALL = "then install fpforce again"
_TEXT, _FORCE = c_char_p, c_void_p
_MODEL = [c_char_p, c_size_t, c_char_p, c_size_t]

# Name -> (result, arguments). A result of _TEXT is the message of a failure, or None; see
# plugin/openmmapi/src/CInterface.cpp.
_SIGNATURES = {
    "problem": (_TEXT, []),
    "check_model": (_TEXT, _MODEL),
    "new": (_TEXT, [*_MODEL, POINTER(c_char_p)]),
    "is": (c_int, [_FORCE]),
    "set_model": (_TEXT, [_FORCE, *_MODEL]),
    "description": (c_void_p, [_FORCE, POINTER(c_size_t)]),
    "weights": (c_void_p, [_FORCE, POINTER(c_size_t)]),
    "kind": (c_char_p, [_FORCE]),
    "num_beads": (c_int, [_FORCE]),
    "add_replica": (_TEXT, [_FORCE, POINTER(c_int), c_int, POINTER(c_int)]),
    "num_replicas": (c_int, [_FORCE]),
    "replica_particles": (_TEXT, [_FORCE, c_int, POINTER(POINTER(c_int)), POINTER(c_int)]),
    "set_replica_particles": (_TEXT, [_FORCE, c_int, POINTER(c_int), c_int]),
    "precision": (c_int, [_FORCE]),
    "set_precision": (_TEXT, [_FORCE, c_int]),
    "num_threads": (c_int, [_FORCE]),
    "set_num_threads": (_TEXT, [_FORCE, c_int]),
    "terms": (c_int, [_FORCE]),
    "set_terms": (_TEXT, [_FORCE, c_int]),
    "scale_parameter": (c_char_p, [_FORCE]),
    "set_scale_parameter": (_TEXT, [_FORCE, c_char_p]),
    "default_scale": (c_double, [_FORCE]),
    "set_default_scale": (_TEXT, [_FORCE, c_double]),
    "update_parameters_in_context": (_TEXT, [_FORCE, c_void_p]),
    "evaluation_in_context": (_TEXT, [_FORCE, c_void_p, POINTER(c_char_p)]),
}


@cache
def problem() -> str | None:
    """Why the native plugin cannot be used here, with the remedy, or None.

    Reads the record of the build and maps the library; imports neither openmm nor torch.
    """
    record = _record()
    if "missing" in record:
        return f"the native plugin was not built: {record['missing']}; see to that, {_REINSTALL}"
    built = " and ".join(record["openmm"])
    preferred = record["openmm"][-1]
    try:
        running = version("openmm")
    except PackageNotFoundError:
        return f"openmm is not installed; pip install openmm=={preferred}"
    if _minor(running) not in map(_minor, record["openmm"]):
        return (
            f"the native plugin was built against openmm {built} and cannot be used with openmm {running}; "
            f"pip install openmm=={preferred}, or install fpforce again"
        )
    try:
        reason = functions().fpforce_problem()
    except OSError as error:
        return f"the native plugin cannot be loaded ({error}); install fpforce again"
    return reason.decode() if reason else None


@cache
def functions() -> ctypes.CDLL:
    """The library's functions, named fpforce_*. Raises OSError if it cannot be loaded."""
    library = ctypes.CDLL(str(openmm_libraries() / "fpforce" / _minor(version("openmm")) / "libFPForce.so"))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, f"fpforce_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def model_problem(description: str, weights: bytes) -> str | None:
    """Why the plugin cannot evaluate this model, or None; `problem()` must be None."""
    reason = functions().fpforce_check_model(*model_arguments(description, weights))
    return reason.decode(errors="replace") if reason else None


def model_arguments(description: str, weights: bytes) -> tuple:
    """A model as the C functions take it."""
    text, data = description.encode(), bytes(weights)
    return text, len(text), data, len(data)


def openmm_libraries() -> Path:
    """Folder of libOpenMM.so; openmm itself is not imported."""
    package = Path(find_spec("openmm").origin).parent
    return Path(runpy.run_path(str(package / "version.py"))["openmm_library_path"])


def _record() -> dict:
    try:
        return json.loads(files("fpforce.plugin").joinpath("build.json").read_text())
    except FileNotFoundError:
        return {"missing": "fpforce was not installed by pip"}


def _minor(release: str) -> str:
    """The minor version, as 8.5, of "8.5.2"."""
    return ".".join(release.split(".")[:2])
