"""What a force field of one bead in the plane samples, by quadrature: exp(-E(alpha x, t)) on bins."""

import numpy as np
import torch

from fpforce.potentials.exact_density import ExactDensity, density_of_energy
from fpforce.training.diffusion import alpha, centred


def density_of_model(model, record, t: float, edges, in_basin) -> ExactDensity:
    """Of a DiffusionEnergy at t, with the checkpoint's record; bins between two `edges` in nm, in_basin of arrays x and
    y.
    """

    def energy_kt(x, y):
        points = torch.tensor(np.stack([x, y, 0.0 * x], -1)[:, None] - record.origin_nm)
        points = centred(points * float(alpha(torch.tensor(t))) / record.scale_nm).float()
        return np.concatenate([model(part, torch.tensor([t])).double().numpy() for part in points.split(65536)])

    return density_of_energy(energy_kt, edges, in_basin, points_per_bin=4)
