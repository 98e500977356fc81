"""Where a bead model's run starts: the native structure, a random chain or a given one, in the nearest minimum."""

from pathlib import Path

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.reference.models.bead_model import BeadModel
from fpforce.reference.platform import context_for_minimisation

STARTS = ("native", "random")
_ANGLES_RAD = (1.7, 2.5)  # between neighbouring bonds of a random chain
_FEWEST_NM = 1.3  # times the bond: nearer than this no two beads come that are not neighbours
_MOST_TRIES = 2000


def start_positions(model: BeadModel, start: str, seed: int) -> np.ndarray:
    """Positions (n, 3) in nm, minimised.

    start: `native`; `random`, a self-avoiding walk of its own for every seed; or the path of a PDB of the same beads,
        or of atoms that they can be taken from.

    Raises:
        InputError: another start, a native structure that the model has not, a PDB of another molecule, or a start that
            cannot be minimised.
    """
    import openmm

    if start == "native":
        if model.native_nm is None:
            raise InputError(f"start native: the model {model.kind} has no native structure; give random")
        positions_nm = model.native_nm
    elif start == "random":
        positions_nm = random_chain(len(model.beads), _bond_nm(model), np.random.default_rng(seed))
    elif start.lower().endswith(".pdb"):
        positions_nm = _read(model, Path(start))
    else:
        raise InputError(f"start {start!r}: give {', '.join(STARTS)} or the path of a PDB with --model")
    context = context_for_minimisation(model.system)
    context.setPositions(positions_nm)
    openmm.LocalEnergyMinimizer.minimize(context, 1.0, 2000)
    positions_nm = np.array(context.getState(positions=True).getPositions(asNumpy=True)._value)
    if not np.isfinite(positions_nm).all():
        raise InputError(f"the start {start} of {model.name} cannot be minimised (its energy is not finite)")
    return positions_nm


def random_chain(n: int, bond_nm: float, generator: np.random.Generator) -> np.ndarray:
    """A self-avoiding walk (n, 3) of equal bonds, with random torsions and angles of a chain molecule."""
    for _ in range(_MOST_TRIES):
        walk = _walk(n, bond_nm, generator)
        if walk is not None:
            return walk - walk.mean(axis=0)
    raise InputError(f"no random chain of {n} beads was found: use another seed")


def _read(model: BeadModel, path: Path) -> np.ndarray:
    """Positions (n, 3) of a PDB's first model."""
    import mdtraj

    if not path.is_file():
        raise InputError(f"start {path}: no such file")
    try:
        loaded = mdtraj.load(str(path))
    except Exception as error:  # its parser raises whatever the text makes it stumble over
        raise InputError(f"start {path} cannot be read as a PDB: {error}") from error
    try:
        return model.beads.positions(loaded.xyz[:1], loaded.topology)[0].astype(np.float64)
    except InputError as error:
        raise InputError(f"start {path} is of another molecule: {error}") from None


def _walk(n: int, bond_nm: float, generator: np.random.Generator) -> np.ndarray | None:
    walk = np.zeros((n, 3))
    direction = np.array([1.0, 0.0, 0.0])
    for k in range(1, n):
        for _ in range(20):
            step = _turned(direction, np.pi - generator.uniform(*_ANGLES_RAD), generator) if k > 1 else direction
            place = walk[k - 1] + bond_nm * step
            if k < 2 or np.linalg.norm(walk[: k - 1] - place, axis=1).min() > _FEWEST_NM * bond_nm:
                walk[k], direction = place, step
                break
        else:
            return None
    return walk


def _turned(direction: np.ndarray, by_rad: float, generator: np.random.Generator) -> np.ndarray:
    """A unit vector at an angle to another, any way around it."""
    aside = np.cross(direction, generator.standard_normal(3))
    aside /= np.linalg.norm(aside)
    return np.cos(by_rad) * direction + np.sin(by_rad) * aside


def _bond_nm(model: BeadModel) -> float:
    """Mean rest length of the model's harmonic bonds."""
    import openmm

    (force,) = (one for one in model.system.getForces() if isinstance(one, openmm.HarmonicBondForce))
    return float(np.mean([force.getBondParameters(k)[2]._value for k in range(force.getNumBonds())]))
