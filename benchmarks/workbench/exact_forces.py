"""Forces of a model against those of the energy that made the data.

In: model.pt, and frames with their exact forces. Out: the relative root mean square error.
"""

from pathlib import Path

import numpy as np

FORCE_FRAMES = 500


def force_error(model: Path, reference: np.ndarray, exact: np.ndarray) -> float:
    """Root mean square error of a model's forces over that of the exact ones (frames, beads, 3) in kJ/mol/nm, at
    FORCE_FRAMES of the reference's frames (frames, beads, 3) in nm.
    """
    from openmm import Context, VerletIntegrator, unit

    import fpforce

    context = Context(fpforce.make_system(model), VerletIntegrator(0.001))
    chosen = np.linspace(0, len(reference) - 1, FORCE_FRAMES).round().astype(int)
    ours = []
    for frame in reference[chosen]:
        context.setPositions(frame.astype(float))
        forces = context.getState(getForces=True).getForces(asNumpy=True)
        ours.append(forces.value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
    return float(np.linalg.norm(np.array(ours) - exact[chosen]) / np.linalg.norm(exact[chosen]))
