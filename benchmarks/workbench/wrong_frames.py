"""Frames that are wrong by construction, made of right ones.

In: right frames (frames, beads, 3) in nm of a chain, or a force field to simulate. Out: wrong frames. A turn about a
bond keeps all bonds and angles, so that nothing but the clash is wrong.
"""

import numpy as np

from workbench.frames_compared import thinned

TRIES = 500
STEPS, EVERY, TIMESTEP_FS = 3000, 300, 2.0  # of the simulations, of which the second half is taken
REPLICAS = 60
SQUEEZED = 30.0  # kT: what the attraction adds to the energy of a frame of the data, on average


def mirrored(frames: np.ndarray) -> np.ndarray:
    """The mirror images."""
    return frames * [1.0, 1.0, -1.0]


def clashing(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames turned about a bond until two beads at least three apart are at 0.5 to 0.85 of the smallest distance that
    any such two have in the frames; those of which no turn is found are left out.
    """
    apart = np.triu_indices(frames.shape[1], 3)
    smallest = min(_distances(part, apart).min() for part in np.array_split(frames, -(-len(frames) // 200)))
    found = []
    for frame in frames:
        for _ in range(TRIES):
            turned = _turned(frame, rng)
            if 0.5 * smallest < _distances(turned, apart).min() < 0.85 * smallest:
                found.append(turned)
                break
    return np.array(found).reshape(-1, *frames.shape[1:])


def displaced(frames: np.ndarray, length_nm: float, rng: np.random.Generator) -> np.ndarray:
    """One bead of each frame moved by so much in any direction."""
    moved, away = frames.copy(), rng.normal(size=(len(frames), 3))
    away *= length_nm / np.linalg.norm(away, axis=1, keepdims=True)
    moved[np.arange(len(frames)), rng.integers(frames.shape[1], size=len(frames))] += away
    return moved


def simulated(field, frames: np.ndarray, heat: float = 1.0, squeezed: bool = False) -> np.ndarray:
    """Frames of a simulation with the force field at `heat` times its temperature, from right frames.

    squeezed: with an attraction between all beads, harmonic in their distance, by which the molecule collapses.
    """
    import openmm
    from openmm import unit

    import fpforce

    starts = thinned(frames, REPLICAS).astype(float)
    system, beads = fpforce.make_system(field, replicas=len(starts)), frames.shape[1]
    if squeezed:
        pairs = np.array(np.triu_indices(beads, 1)).T
        mean_square = float(np.mean([_distances(frames, (pairs[:, 0], pairs[:, 1])) ** 2]))
        stiffness = 2.0 * SQUEEZED * beads * field.kt_kj_per_mol / (len(pairs) * mean_square)
        attraction = openmm.HarmonicBondForce()
        for replica in range(len(starts)):
            for i, j in (replica * beads + pairs).tolist():
                attraction.addBond(i, j, 0.0, stiffness)
        system.addForce(attraction)
    integrator = openmm.LangevinMiddleIntegrator(
        heat * field.temperature_k * unit.kelvin, 1 / unit.picosecond, TIMESTEP_FS * unit.femtosecond
    )
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(starts.reshape(-1, 3))
    found = []
    for done in range(EVERY, STEPS + 1, EVERY):
        integrator.step(EVERY)
        if done > STEPS // 2:
            state = context.getState(getPositions=True).getPositions(asNumpy=True)
            found.append(state.value_in_unit(unit.nanometer).reshape(starts.shape))
    together = np.concatenate(found)
    return together[np.isfinite(together).all(axis=(1, 2))]


def _turned(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All beads behind a bond turned about it by any angle."""
    bond = rng.integers(1, len(frame) - 2)
    axis, angle = frame[bond + 1] - frame[bond], rng.uniform(-np.pi, np.pi)
    axis = axis / np.linalg.norm(axis)
    across = np.cross(np.eye(3), -axis)
    rotation = np.eye(3) + np.sin(angle) * across + (1.0 - np.cos(angle)) * across @ across
    turned = frame.copy()
    turned[bond + 2 :] = (turned[bond + 2 :] - frame[bond + 1]) @ rotation.T + frame[bond + 1]
    return turned


def _distances(frames: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.linalg.norm(frames[..., pairs[0], :] - frames[..., pairs[1], :], axis=-1)
