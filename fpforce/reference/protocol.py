"""How reference data is simulated: force field, integrator, ladder of temperatures, and what is kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import ParseError

import numpy as np

from fpforce.foundation.errors import InputError

if TYPE_CHECKING:
    import openmm
    from openmm import app

FORCE_FIELD = ("amber99sbildn.xml", "amber99_obc.xml")


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """Langevin dynamics on a ladder of temperatures, and how often a frame of the coldest is kept."""

    temperatures_k: tuple = (300.0,)
    timestep_fs: float = 4.0
    friction_per_ps: float = 1.0
    interval_ps: float = 2.0

    def __post_init__(self) -> None:
        steps = 1000.0 * self.interval_ps / self.timestep_fs if self.timestep_fs > 0.0 else 0.0
        if steps < 1.0 or abs(steps - round(steps)) > 1e-6:
            raise InputError(
                f"interval-ps {self.interval_ps:g} is no multiple of timestep-fs {self.timestep_fs:g}: change one"
            )

    @property
    def steps_per_frame(self) -> int:
        """Steps between two frames, which is between two offers of exchange too."""
        return round(1000.0 * self.interval_ps / self.timestep_fs)

    def describe(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return {
            "integrator": "LangevinMiddleIntegrator",
            "timestep_fs": self.timestep_fs,
            "friction_per_ps": self.friction_per_ps,
            "temperatures_k": list(self.temperatures_k),
            "exchange_interval_ps": self.interval_ps,
        }

    def to_dict(self) -> dict[str, Any]:
        """What must be the same when a run goes on."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class Protocol(Dynamics):
    """The physics of a run of all atoms.

    The default time step of 4 fs needs heavy hydrogens: their mass is taken from the atom they are bound to, which
    changes no equilibrium average of positions and slows the fastest bends. Bonds to hydrogen are constrained.
    """

    hydrogen_mass_da: float | None = 4.0
    force_field: tuple = FORCE_FIELD

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.timestep_fs > 2.5 and not (self.hydrogen_mass_da or 0.0) >= 3.0:
            raise InputError(
                f"timestep-fs {self.timestep_fs:g} is unstable with light hydrogens: give hydrogen-mass-da 4, or 2 fs"
            )

    def make_system(self, topology: "app.Topology") -> "openmm.System":
        """openmm.System of an openmm.app.Topology in this force field, without a cutoff."""
        from openmm import app, unit

        options = {} if self.hydrogen_mass_da is None else {"hydrogenMass": self.hydrogen_mass_da * unit.dalton}
        return load_force_field(self.force_field).createSystem(
            topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds, **options
        )

    def describe(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return {
            "force_field": list(self.force_field),
            **super().describe(),
            "hydrogen_mass_da": self.hydrogen_mass_da,
            "constraints": "HBonds",
            "cutoff": None,
        }


def load_force_field(names: Sequence[str]) -> "app.ForceField":
    """openmm.app.ForceField; InputError if a file is missing or no force field."""
    from openmm import app

    seen: set[Path] = set()
    for name in names:
        _refuse_scripts(Path(name), seen)
    try:
        return app.ForceField(*names)
    except (ValueError, OSError, ParseError) as error:
        raise InputError(f"force field {' + '.join(names)}: {error}") from error


def _refuse_scripts(path: Path, seen: set[Path]) -> None:
    """Raise InputError for a user's XML with a script in it, or in what it includes, which OpenMM would run."""
    if path in seen or not path.is_file():
        return  # one that comes with OpenMM
    seen.add(path)
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ParseError, ValueError) as error:
        raise InputError(f"force field {path} cannot be read: {error}") from None
    if root.find("Script") is not None or root.find("InitializationScript") is not None:
        raise InputError(f"force field {path} has a script in it, which OpenMM would run: remove it, or use another")
    for include in root.findall("Include"):
        for place in (path.parent, Path()):
            _refuse_scripts(place / include.get("file", ""), seen)


def suggest_rungs(coldest_k: float, hottest_k: float, n_atoms: int) -> int:
    """Number of rungs for which about a third of the swaps are accepted.

    The ladder of alanine dipeptide (22 atoms, ratio 1.19) accepts 55%; the acceptance of a ratio depends on
    sqrt(atoms) ln(ratio), since the width of the energies grows with sqrt(atoms).
    """
    step = 1.6 * np.log(1.19) * np.sqrt(22.0 / n_atoms)
    return 1 + max(1, int(np.ceil(np.log(hottest_k / coldest_k) / step)))
