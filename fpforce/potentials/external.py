"""A particle in an external potential U(x, y): its energy as numbers, and its samples by OpenMM.

In: a formula. Out: energies in kJ/mol, an openmm.System of many particles that do not see each other, frames in nm. No
force acts along z, so z is independent of x and y, whatever it does, and is dropped: frames have z = 0.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.mapping import list_beads

if TYPE_CHECKING:
    import openmm


@dataclass(frozen=True, kw_only=True)
class ExternalPotential:
    """U(x, y) / kJ/mol with x, y in nm.

    expression: the formula, of + - * / ( ) and exp only, which OpenMM and Python read alike.
    basin: another one, of x and y, positive in the basin whose weight is reported.
    box_nm: ((x, x), (y, y)) limits beyond which there is next to nothing. starts_nm: name -> (x, y) of a start frame.
    """

    name: str
    expression: str
    basin: str
    box_nm: tuple[tuple[float, float], tuple[float, float]]
    starts_nm: dict[str, tuple[float, float]]
    temperature_k: float = 300.0
    mass_da: float = 1.0

    @property
    def kt_kj_per_mol(self) -> float:
        return BOLTZMANN_KJ_PER_MOL_K * self.temperature_k

    @property
    def beads(self) -> BeadTable:
        """Its BeadTable: one particle."""
        return list_beads([{"name": "P", "residue": "PAR", "mass_da": self.mass_da}])

    def energy(self, x_nm: np.ndarray, y_nm: np.ndarray) -> np.ndarray:
        """U in kJ/mol at arrays of any shape."""
        return _evaluate(self.expression, x_nm, y_nm)

    def in_basin(self, x_nm: np.ndarray, y_nm: np.ndarray) -> np.ndarray:
        """Whether points lie in the basin whose weight is reported."""
        return _evaluate(self.basin, x_nm, y_nm) > 0.0

    def make_system(self, particles: int) -> "openmm.System":
        """An openmm.System of so many particles, each on its own in the potential."""
        import openmm

        system, force = openmm.System(), openmm.CustomExternalForce(self.expression)
        for index in range(particles):
            system.addParticle(self.mass_da)
            force.addParticle(index, [])
        system.addForce(force)
        return system

    def simulate(
        self,
        *,
        particles: int,
        frames: int,
        discarded_ps: float,
        interval_ps: float,
        seed: int,
        timestep_fs: float = 5.0,
        friction_per_ps: float = 1.0,
    ) -> np.ndarray:
        """Positions (particles, frames, 3) float32 in nm by Langevin dynamics, z dropped; a function of the seed.

        Particles start at the start frames in turn; frames are saved from discarded_ps on.
        """
        import openmm
        from openmm import unit

        integrator = openmm.LangevinMiddleIntegrator(
            self.temperature_k * unit.kelvin, friction_per_ps / unit.picosecond, timestep_fs * unit.femtosecond
        )
        integrator.setRandomNumberSeed(2 * seed + 1)
        context = openmm.Context(
            self.make_system(particles), integrator, openmm.Platform.getPlatformByName("Reference")
        )
        starts = list(self.starts_nm.values())
        context.setPositions([(*starts[k % len(starts)], 0.0) for k in range(particles)])
        context.setVelocitiesToTemperature(self.temperature_k, 2 * seed + 2)
        integrator.step(round(1000.0 * discarded_ps / timestep_fs))
        saved = np.zeros((frames, particles, 3), dtype=np.float32)
        for frame in saved:
            integrator.step(round(1000.0 * interval_ps / timestep_fs))
            frame[:, :2] = context.getState(positions=True).getPositions(asNumpy=True)._value[:, :2]
        return saved.transpose(1, 0, 2)


def _evaluate(expression: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A formula of this package (never of a file), with numpy's exp; the one place where it is written serves OpenMM
    too.
    """
    return eval(expression, {"__builtins__": {}, "exp": np.exp}, {"x": x, "y": y})
