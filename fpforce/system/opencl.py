"""Which GPUs OpenCL knows, asked of the system's OpenCL loader itself.

In: nothing. Out: names of devices. OpenMM tells only after it has made a Context. Making one on an OpenCL that runs on
the processor (pocl) compiles for seconds, and can end the process.
"""

import ctypes
from functools import cache

_GPU = 1 << 2  # CL_DEVICE_TYPE_GPU
_NAME = 0x102B  # CL_DEVICE_NAME
_LOADERS = ("libOpenCL.so.1", "OpenCL.dll", "/System/Library/Frameworks/OpenCL.framework/OpenCL")


@cache
def opencl_gpus() -> tuple[str, ...]:
    """Names of the GPUs of all OpenCL implementations that are installed; none where there is no OpenCL."""
    loader = _loader()
    if loader is None:
        return ()
    return tuple(_name(loader, device) for platform in _platforms(loader) for device in _gpus(loader, platform))


def _loader() -> ctypes.CDLL | None:
    for name in _LOADERS:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _platforms(loader: ctypes.CDLL) -> list[int]:
    count = ctypes.c_uint()
    if loader.clGetPlatformIDs(0, None, ctypes.byref(count)):
        return []
    found = (ctypes.c_void_p * count.value)()
    return [] if loader.clGetPlatformIDs(count, found, None) else [one for one in found if one]


def _gpus(loader: ctypes.CDLL, platform: int) -> list[int]:
    count, wanted = ctypes.c_uint(), ctypes.c_uint64(_GPU)
    if loader.clGetDeviceIDs(ctypes.c_void_p(platform), wanted, 0, None, ctypes.byref(count)):
        return []  # none of this type, too, is an error to OpenCL
    found = (ctypes.c_void_p * count.value)()
    return [] if loader.clGetDeviceIDs(ctypes.c_void_p(platform), wanted, count, found, None) else list(found)


def _name(loader: ctypes.CDLL, device: int) -> str:
    text = ctypes.create_string_buffer(256)
    failed = loader.clGetDeviceInfo(ctypes.c_void_p(device), _NAME, ctypes.c_size_t(len(text)), text, None)
    return "unnamed GPU" if failed else text.value.decode(errors="replace")
