"""The class FPForce: the native force as a Python object like OpenMM's own.

In:  a model (fpforce.json and fpforce.safetensors of model.pt).
Out: an openmm.Force for System.addForce, CustomCVForce.addCollectiveVariable and XmlSerializer.
"""

import ctypes
from array import array
from ctypes import byref, c_char_p, c_int, c_size_t

import openmm

from fpforce.plugin.library import functions, model_arguments, problem


class FPForce(openmm.Force):
    """The learned free energy of coarse-grained molecules, evaluated by compiled code on the host's processor.

        U = sum over replicas of [ prior + fpforce_scale * network ]      kJ/mol

    Every replica is one molecule of `getNumBeads()` beads, made of any particles of the System; replicas do not
    interact. `fpforce_scale` is a global parameter of the Context. Methods and their rules are those of the C++ class
    (plugin/openmmapi/include/FPForce.h); errors are openmm.OpenMMException.

    System.getForce returns a plain openmm.Force; `FPForce.cast` makes it an FPForce again.
    """

    Single, Double = 0, 1
    All, Network, Prior = 0, 1, 2

    def __init__(self, description: str, weights: bytes):
        """A force without replicas. description: the text of fpforce.json; weights: the bytes of
        fpforce.safetensors.
        """
        reason = problem()
        if reason is not None:
            raise openmm.OpenMMException(reason)
        xml = c_char_p()
        _check(functions().fpforce_new(*model_arguments(description, weights), byref(xml)))
        self.this = openmm.XmlSerializer.deserialize(xml.value.decode()).this

    @classmethod
    def from_file(cls, force_field) -> "FPForce":
        """A force without replicas from a model.pt, or from a ForceField; InputError for a transferable one that is not
        bound.
        """
        from fpforce.forcefield.load import loaded

        force_field = loaded(force_field).bound()
        return cls(force_field.description(), force_field.weights_bytes())

    @staticmethod
    def isinstance(force) -> bool:
        """Whether an openmm.Force, however it was obtained, is an FPForce."""
        return isinstance(force, openmm.Force) and problem() is None and bool(functions().fpforce_is(int(force.this)))

    @classmethod
    def cast(cls, force) -> "FPForce":
        """The FPForce that an openmm.Force is; both are the same object of the System. Raises TypeError for another
        Force.
        """
        if not cls.isinstance(force):
            raise TypeError(f"{force!r} is not an FPForce")
        found = cls.__new__(cls)
        found.this = force.this
        return found

    @staticmethod
    def Scale() -> str:
        """The default name of the global parameter that scales the network."""
        return "fpforce_scale"

    def setModel(self, description: str, weights: bytes) -> None:
        """Set the model: the text of fpforce.json and the bytes of fpforce.safetensors."""
        self._call("set_model", *model_arguments(description, weights))

    def getDescription(self) -> str:
        """The text of the model's fpforce.json."""
        return self._bytes("description").decode()

    def getWeights(self) -> bytes:
        """The bytes of the model's fpforce.safetensors."""
        return self._bytes("weights")

    def getKind(self) -> str:
        """The kind of the model, such as `internal`."""
        return self._get("kind").decode()

    def getNumBeads(self) -> int:
        """Beads of one molecule."""
        return self._get("num_beads")

    def addReplica(self, particles) -> int:
        """Add a molecule made of these particles, in the order of the model's beads; returns its index."""
        index = c_int()
        self._call("add_replica", *_integers(particles), byref(index))
        return index.value

    def getNumReplicas(self) -> int:
        """Number of molecules."""
        return self._get("num_replicas")

    def getReplicaParticles(self, index: int) -> tuple[int, ...]:
        """The particles of a molecule, in the order of the model's beads."""
        particles, count = ctypes.POINTER(c_int)(), c_int()
        self._call("replica_particles", _whole(index), byref(particles), byref(count))
        return tuple(particles[: count.value])

    def setReplicaParticles(self, index: int, particles) -> None:
        """Set the particles of a molecule."""
        self._call("set_replica_particles", _whole(index), *_integers(particles))

    def getPrecision(self) -> int:
        """FPForce.Single or FPForce.Double."""
        return self._get("precision")

    def setPrecision(self, precision: int) -> None:
        """Set the floating-point type of the network, FPForce.Single (the default) or FPForce.Double."""
        self._call("set_precision", _whole(precision))

    def getNumThreads(self) -> int:
        """Threads that share the replicas; 0 for automatic."""
        return self._get("num_threads")

    def setNumThreads(self, threads: int) -> None:
        """Set how many threads share the replicas, the calling one included; 0 (the default) for automatic."""
        self._call("set_num_threads", _whole(threads))

    def getTerms(self) -> int:
        """FPForce.All, FPForce.Network or FPForce.Prior."""
        return self._get("terms")

    def setTerms(self, terms: int) -> None:
        """Set which parts of the energy this force adds, FPForce.All (the default), FPForce.Network or
        FPForce.Prior.
        """
        self._call("set_terms", _whole(terms))

    def getScaleParameter(self) -> str:
        """Name of the global parameter that scales the network, or ""."""
        return self._get("scale_parameter").decode()

    def setScaleParameter(self, name: str) -> None:
        """Set the name of the global parameter that scales the network; "" for none."""
        self._call("set_scale_parameter", name.encode())

    def getDefaultScale(self) -> float:
        """Value of the scale parameter in a new Context."""
        return self._get("default_scale")

    def setDefaultScale(self, scale: float) -> None:
        """Set the value of the scale parameter in a new Context (default 1)."""
        self._call("set_default_scale", scale)

    def updateParametersInContext(self, context: openmm.Context) -> None:
        """Copy the model, precision and number of threads to a Context made with this force; kind and beads must be as
        before.
        """
        if not isinstance(context, openmm.Context):
            raise TypeError(f"{context!r} is not an openmm.Context")
        self._call("update_parameters_in_context", int(context.this))

    def _get(self, name: str):
        return getattr(functions(), f"fpforce_{name}")(int(self.this))

    def _call(self, name: str, *arguments) -> None:
        _check(getattr(functions(), f"fpforce_{name}")(int(self.this), *arguments))

    def _bytes(self, name: str) -> bytes:
        size = c_size_t()
        address = getattr(functions(), f"fpforce_{name}")(int(self.this), byref(size))
        return ctypes.string_at(address, size.value)


def _check(message: bytes | None) -> None:
    if message is not None:
        raise openmm.OpenMMException(message.decode(errors="replace"))


def _whole(number) -> int:
    """A whole number that fits a C int; ctypes would cut others silently."""
    return array("i", [number])[0]


def _integers(numbers) -> tuple:
    numbers = array("i", numbers)
    return (c_int * len(numbers)).from_buffer(numbers), len(numbers)
