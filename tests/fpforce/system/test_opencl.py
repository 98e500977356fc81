"""OpenCL on a processor is not taken for a GPU, and is told apart without making a Context on it."""

import openmm
import pytest

from fpforce.system import opencl
from fpforce.system.opencl import opencl_gpus
from fpforce.system.platforms import make_context

GPU, CPU = 1 << 2, 1 << 1


class Loader:
    """An OpenCL with one platform for each dictionary {device type: names}, as its C functions answer."""

    def __init__(self, *platforms):
        self._platforms = platforms
        self._names = {}

    def clGetPlatformIDs(self, room, found, count):
        return self._answer(range(1, len(self._platforms) + 1), room, found, count)

    def clGetDeviceIDs(self, platform, kind, room, found, count):
        names = self._platforms[platform.value - 1].get(kind.value, ())
        if not names:
            return -1  # CL_DEVICE_NOT_FOUND
        numbers = [100 * platform.value + k for k in range(len(names))]
        self._names |= dict(zip(numbers, names, strict=True))
        return self._answer(numbers, room, found, count)

    def clGetDeviceInfo(self, device, _what, _room, text, _length):
        text.value = self._names[device.value].encode()
        return 0

    @staticmethod
    def _answer(numbers, room, found, count):
        if count is not None:
            count._obj.value = len(numbers)
        for k, number in enumerate(list(numbers)[: getattr(room, "value", room)] if found is not None else ()):
            found[k] = number
        return 0


@pytest.fixture
def installed(monkeypatch):
    """installed(*platforms): what OpenCL finds from here on."""

    def install(*platforms):
        monkeypatch.setattr(opencl, "_loader", lambda: Loader(*platforms) if platforms else None)
        opencl_gpus.cache_clear()

    yield install
    opencl_gpus.cache_clear()


@pytest.mark.parametrize(
    "platforms, gpus",
    [
        ((), ()),
        (({CPU: ["pthread-haswell-Intel(R) Xeon(R)"]},), ()),
        (({CPU: ["pthread-EPYC"]}, {GPU: ["NVIDIA H200"]}), ("NVIDIA H200",)),
        (({GPU: ["gfx90a", "gfx90a"], CPU: ["EPYC"]},), ("gfx90a", "gfx90a")),
    ],
    ids=["no OpenCL", "pocl", "pocl and a GPU", "two GPUs"],
)
def test_only_gpus_count(installed, platforms, gpus):
    installed(*platforms)
    assert opencl_gpus() == gpus


def test_auto_makes_no_context_on_an_opencl_without_a_gpu(installed, monkeypatch):
    installed({CPU: ["pthread-EPYC"]})
    opened = []

    def context(system, make_integrator, platform):
        opened.append(platform.getName())
        return openmm.Context(system, make_integrator(), openmm.Platform.getPlatform("Reference"))

    monkeypatch.setattr("fpforce.system.platforms._context", context)
    system = openmm.System()
    system.addParticle(1.0)
    _, name = make_context(system, lambda: openmm.VerletIntegrator(0.001))
    assert name == opened[-1] == "Reference" and "OpenCL" not in opened


def test_what_the_loader_of_this_machine_says_can_be_read():
    opencl_gpus.cache_clear()
    assert all(name and isinstance(name, str) for name in opencl_gpus())
