"""fpforce.plugin: the native OpenMM force `FPForce`, for Python.

In:  libFPForce.so, which lies in a folder among OpenMM's own libraries, and build.json, the record of how it was built.
Out: `FPForce`, an openmm.Force; `problem()`, why it cannot be used.

Nothing is compiled for Python: the library's C functions are called through ctypes, and OpenMM's XML serializer makes
the Python object. Importing this package loads neither OpenMM nor the library.
"""

from fpforce.plugin.library import problem

__all__ = ["FPForce", "problem"]


def __getattr__(name):
    if name == "FPForce":
        from fpforce.plugin.force import FPForce

        return FPForce
    raise AttributeError(f"module 'fpforce.plugin' has no attribute {name!r}")
