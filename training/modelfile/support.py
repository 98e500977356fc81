"""What a model itself says of frames that are strange to it.

In: a trained energy in physical units, and frames. Out: a `Gauge`, and by it measures of frames by name, each larger
the stranger a frame is; fpforce.forcefield.support makes one distance of them. Frames of the data get the noise that
the force field has. None is added to a frame of a simulation, and none taken away: it is asked about as it is, at the
time t of a moderate noise, where the network has seen what lies between the frames of the data.

- `pair distances`: how far a pair distance is out of its range in the training data, in parts of this range.
- `energy at s`: E(alpha x, t) in kT, minus the log density of the data that noise of variance s has blurred.
- `last layer at s`: the Mahalanobis distance of the last layer's inputs h from those of training frames, the spread of
  the energies of an ensemble of last layers that are each fitted to data like the training's: with E = w.h and w of
  covariance proportional to C^-1, C that of h, the variance of E is proportional to h.C^-1 h.
Source: docs/method.md, The support of a force field.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fpforce.forcefield.support import FEWEST, HELD_OUT, LEFT_OUT, TRAINING, Edges, excursions
from fpforce.training.checkpoint.record import TrainingRecord
from fpforce.training.diffusion import alpha, sigma, sigma_squared, time_of_variance
from fpforce.training.modelfile.physical_energy import PhysicalEnergy

VARIANCES = (0.01, 0.1)  # of the noise: the detail that a simulation moves in, and what tells states apart
RIDGE = 1e-4  # of the largest variance of the last layer's inputs, added to every one
_NUMBERS_AT_ONCE = 1_000_000
_BATCH = 512

Range = tuple[np.ndarray, np.ndarray]
NO_RANGES: Range = (np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Gauge:
    """What frames are measured by.

    variances (levels,): of the noise. low_nm, high_nm (pairs,): range of each distance; empty for one bead. mean
    (levels, features), whitening (levels, features, features): of the last layer's inputs; without features where
    there is no such layer. energies: whether those of all frames that are compared have one zero.
    """

    variances: np.ndarray
    low_nm: np.ndarray
    high_nm: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray
    energies: bool

    @classmethod
    def fit(
        cls,
        models: Sequence[PhysicalEnergy],
        frames_nm: Sequence[np.ndarray],
        ranges_nm: Range,
        t_max: float,
        energies: bool,
    ) -> "Gauge":
        """By frames (frames, beads, 3) of the training of each of some molecules, whose energies are `models`.

        ranges_nm: of the pair distances of the only molecule, or empty. t_max: the largest time that the energy is for.
        energies: whether they measure, as those of one molecule can.
        """
        largest = float(sigma_squared(torch.tensor(t_max, dtype=torch.float64)))
        variances = np.unique(np.minimum(VARIANCES, largest))
        means, whitenings = [], []
        for variance in variances.tolist():
            asked = [_asked(one, frames, variance)[1] for one, frames in zip(models, frames_nm, strict=True)]
            h = torch.cat(asked)
            means.append(h.mean(0))
            whitenings.append(_whitening(h))
        mean, whitening = (torch.stack(one).float().numpy() for one in (means, whitenings))
        return cls(variances, ranges_nm[0], ranges_nm[1], mean, whitening, energies)

    def measures(self, model: PhysicalEnergy, frames_nm: np.ndarray) -> dict[str, np.ndarray]:
        """Measures (frames,) by name of frames (frames, beads, 3) in nm; none where nothing can be told."""
        found: dict[str, np.ndarray] = {}
        if len(self.low_nm):
            found["pair distances"] = excursions(frames_nm, self.low_nm, self.high_nm)
        has_layer = self.mean.shape[1] > 0
        for level, variance in enumerate(self.variances.tolist() if has_layer or self.energies else ()):
            energies, h = _asked(model, frames_nm, variance)
            if self.energies:
                found[f"energy at {variance:g}"] = energies.numpy()
            if has_layer:
                mean, whitening = (torch.from_numpy(one[level]).double() for one in (self.mean, self.whitening))
                found[f"last layer at {variance:g}"] = ((h - mean) @ whitening).square().mean(1).sqrt().numpy()
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name, as a file holds them."""
        names = ("variances", "low_nm", "high_nm", "mean", "whitening")
        return {name: np.ascontiguousarray(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class Support:
    """What model.pt says of what the model has seen: by what frames are measured, and where the edge is."""

    gauge: Gauge
    edges: Edges

    def record(self) -> dict:
        """What fpforce.json says of it."""
        return self.edges.record() | {"energies": self.gauge.energies}


def support_of_one(model: PhysicalEnergy, record: TrainingRecord, t_max: float) -> Support | None:
    """Of the molecule that a record is of: the edge is where the frames held out of its training have it.

    Where too few were, one half of the training's is measured by the other. None for a record of an earlier version,
    for too few frames altogether, and for a model that can measure nothing.
    """
    kept = record.support
    if kept is None:
        return None
    rng, noise_nm = np.random.default_rng(0), float(sigma(model.t_eval.double())) / float(model.inverse_scale)

    def as_simulated(normalised: Tensor) -> np.ndarray:
        frames_nm = record.normalisation.to_nm(normalised.double()).numpy()
        return frames_nm + noise_nm * rng.standard_normal(frames_nm.shape)

    known, other, of = as_simulated(kept["frames"]), kept["held_out"], HELD_OUT
    low_nm, high_nm = (record.scale_nm * one.numpy() for one in (kept["low"], kept["high"]))
    ranges_nm = _wider(low_nm, high_nm, known)
    if other is None or len(other) < FEWEST:
        known, other, of = known[::2], known[1::2], TRAINING
    else:
        other = as_simulated(other)
    return calibrated(model, known, other, ranges_nm, t_max, of)


def _wider(low_nm: np.ndarray, high_nm: np.ndarray, frames_nm: np.ndarray) -> Range:
    """Ranges of distances (pairs,) that hold those of the frames (frames, beads, 3), too: bonds that constraints held
    are as narrow in the data as no simulation has them.
    """
    if len(low_nm):
        first, second = np.triu_indices(frames_nm.shape[1], k=1)
        step = max(1, _NUMBERS_AT_ONCE // len(first))
        for start in range(0, len(frames_nm), step):
            part = frames_nm[start : start + step]
            distances = np.linalg.norm(part[:, first] - part[:, second], axis=-1)
            low_nm, high_nm = np.minimum(low_nm, distances.min(0)), np.maximum(high_nm, distances.max(0))
    return low_nm, high_nm


def support_of_many(
    models: Sequence[PhysicalEnergy], frames_nm: Sequence[np.ndarray], ranges_nm: Sequence[Range], t_max: float
) -> Support | None:
    """Of some molecules of a transferable model, each with frames of its training (frames, beads, 3) and the ranges of
    its distances. Each molecule is measured by the others, as an unseen one will be; one alone by half of its frames.
    The gauge has no ranges, since each molecule has its own. None as of one.
    """
    if len(models) == 1:
        models, ranges_nm, of = [*models, *models], [*ranges_nm, *ranges_nm], TRAINING
        frames_nm = [frames_nm[0][::2], frames_nm[0][1::2]]
    else:
        of = LEFT_OUT
    parts = []
    for left_out, (low_nm, high_nm) in enumerate(ranges_nm):
        others = [k for k in range(len(models)) if k != left_out]
        gauge = Gauge.fit([models[k] for k in others], [frames_nm[k] for k in others], NO_RANGES, t_max, False)
        gauge = replace(gauge, low_nm=low_nm, high_nm=high_nm)
        parts.append(gauge.measures(models[left_out], frames_nm[left_out]))
    measures = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _edged(Gauge.fit(models, frames_nm, NO_RANGES, t_max, False), measures, of)


def calibrated(
    model: PhysicalEnergy, known_nm: np.ndarray, other_nm: np.ndarray, ranges_nm: Range, t_max: float, of: str
) -> Support | None:
    """Of one molecule, measured by frames that are known (frames, beads, 3), with the edge where others have it; `of`
    says what these are. None where they are too few, or nothing can be measured.
    """
    gauge = Gauge.fit([model], [known_nm], ranges_nm, t_max, model.energy.conservative)
    return _edged(gauge, gauge.measures(model, other_nm), of)


def _edged(gauge: Gauge, measures: dict[str, np.ndarray], of: str) -> Support | None:
    enough = bool(measures) and len(next(iter(measures.values()))) >= FEWEST
    return Support(gauge, Edges.at(measures, of)) if enough else None


def _whitening(h: Tensor) -> Tensor:
    """(features, features) that makes the covariance of h (frames, features) the identity, but for the ridge."""
    if not h.shape[1]:
        return h.new_zeros(0, 0)
    spread, modes = torch.linalg.eigh(torch.cov(h.T).reshape(h.shape[1], -1))
    return modes * torch.rsqrt(spread.clamp_min(0.0) + RIDGE * spread.max() + 1e-12)


def _asked(model: PhysicalEnergy, frames_nm: np.ndarray, variance: float) -> tuple[Tensor, Tensor]:
    """Energies (frames,) in kT with the wall's, and inputs of the last layer for each bead (frames, features), without
    features where there is none. In float64.
    """
    layer = model.energy.network.readout()
    t = time_of_variance(torch.tensor([variance], dtype=torch.float64)).to(model.t_eval.dtype)
    shrunk = alpha(t) / alpha(model.t_eval)
    energies, inputs, seen = [], [], []
    handle = None if layer is None else layer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    try:
        with torch.no_grad():
            for part in torch.from_numpy(np.asarray(frames_nm, dtype=np.float64)).split(_BATCH):
                x = (model.centre(part) * model.inverse_scale).to(t.dtype)
                energy = model.energy(shrunk * x, t)
                energies.append((energy if model.wall is None else energy + model.wall(x)).double())
                inputs.append((seen.pop() if seen else x.new_zeros(len(x), 0)).double() / model.beads)
    finally:
        if handle is not None:
            handle.remove()
    return torch.cat(energies), torch.cat(inputs)
