"""Distances of bond lengths and angles from the reference, at equal frame counts, with their finite-sample floors.

In: sampled positions of every set in nm, thinned once to the same number of frames. Out: W1 distances in nm and
radians.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fpforce.analysis.comparison import Floor
from fpforce.analysis.divergences import w1_distance
from fpforce.analysis.sample import Sample
from fpforce.analysis.sampled_frames import SampledFrames
from fpforce.analysis.w1_errors import (
    ALL_COMPARED,
    ALL_REFERENCE,
    COMPARED,
    Chains,
    DistanceErrors,
    Origins,
    errors_of,
    moved_by_frames,
)
from fpforce.molecule.beads import BeadTable


@dataclass(frozen=True)
class GeometryDistance:
    """W1 distance of one bond length (nm) or angle (rad) from the reference, its floor, and the values compared.

    `w1_training`: of the training frames from the reference; `w1_from_training`: of the simulation from them; None
    without any. `standard_error` of the distance less its floor, of which the simulation has `own_error`, and
    `training_errors` of that of the training frames; None where blocks are not known.
    """

    name: str
    w1: float
    w1_floor: float
    reference: np.ndarray
    simulation: np.ndarray
    w1_training: float | None = None
    w1_from_training: float | None = None
    standard_error: float | None = None
    own_error: float | None = None
    training_errors: DistanceErrors | None = None


@dataclass(frozen=True)
class ThinnedFrames:
    """Positions (frames, beads, 3) in nm, equally many: reference, simulation and the two sides of the floor; of the
    training frames so many at most, or None. `origins` of the frames, where they are known, and then `everything`: all
    that were sampled of simulation, reference and training frames, by name. `training_origins`: as `origins` with the
    training frames in place of the simulation.
    """

    reference: np.ndarray
    simulation: np.ndarray
    floor: tuple[np.ndarray, np.ndarray]
    training: np.ndarray | None = None
    origins: Origins | None = None
    everything: Mapping[str, np.ndarray] = field(default_factory=dict)
    training_origins: Origins | None = None

    def blurred(self, noise_nm: float, seed: int) -> "ThinnedFrames":
        """The same with noise on reference, sides of the floor and training frames, as a force field of the data has
        it: bonds that constraints held are as narrow in the data as no simulation has them.
        """
        rng = np.random.default_rng(seed)
        data = (self.reference, *self.floor, *(() if self.training is None else (self.training,)))
        reference, first, second, *training = (x + noise_nm * rng.standard_normal(x.shape) for x in data)
        everything = dict(self.everything)
        for name in [name for name in everything if name != "simulation"]:
            everything[name] = everything[name] + noise_nm * rng.standard_normal(everything[name].shape)
        return replace(
            self,
            reference=reference,
            floor=(first, second),
            training=training[0] if training else None,
            everything=everything,
        )


def draw_geometry(
    sampled: dict[str, SampledFrames], samples: dict[str, Sample], floor: Floor, frames: int, rng: np.random.Generator
) -> ThinnedFrames:
    """ThinnedFrames of sets (name -> SampledFrames) with their `Sample`s (name -> Sample): `frames` of each, or as many
    as were sampled of the smallest.
    """
    sides = floor.sides(samples["reference"], rng)
    sets = [(name, None) for name in ("reference", "simulation")] + list(sides)
    available = [
        np.arange(len(sampled[name])) if inside is None else np.flatnonzero(inside[sampled[name].block])
        for name, inside in sets
    ]
    count = min(frames, *map(len, available))
    chosen = [np.sort(rng.permutation(one)[:count]) if count < len(one) else one for one in available]
    names = [name for name, _ in sets]
    reference, simulation, first, second = (
        sampled[name].positions_nm[numbers] for name, numbers in zip(names, chosen, strict=True)
    )
    everything = {ALL_COMPARED: "simulation", ALL_REFERENCE: "reference"}
    origins = Origins(
        dict(zip(COMPARED, names, strict=True)) | everything,
        dict(zip(COMPARED, chosen, strict=True))
        | {role: np.arange(len(sampled[name])) for role, name in everything.items()},
        {name: Chains.of(sampled[name]) for name in dict.fromkeys(names)},
        short=2 * len(samples["simulation"]) <= min(len(samples["reference"]), floor.frames),
    )
    training, training_origins = None, None
    frames_of = {name: sampled[name].positions_nm for name in everything.values()}
    if "training" in sampled:
        numbers = np.arange(len(sampled["training"]))
        if count < len(numbers):
            numbers = np.sort(rng.permutation(len(numbers))[:count])
        frames_of["training"] = sampled["training"].positions_nm
        training = frames_of["training"][numbers]
        training_origins = origins.of_another("training", numbers, Chains.of(sampled["training"]))
    return ThinnedFrames(reference, simulation, (first, second), training, origins, frames_of, training_origins)


def geometry_distances(
    observable: Callable[[np.ndarray, list[tuple[int, ...]]], np.ndarray],
    beads: BeadTable,
    groups: Sequence[tuple[int, ...]],
    thinned: ThinnedFrames,
) -> tuple[GeometryDistance, ...]:
    """One GeometryDistance for each group of beads; `observable(positions, [group])` is bond_lengths or bond_angles."""
    results = []
    for group in groups:
        sets = (thinned.reference, thinned.simulation, *thinned.floor)
        reference, simulation, first, second = (observable(positions, [group])[:, 0] for positions in sets)
        name = ":".join(str(beads.beads[i]) for i in group)
        w1, w1_floor = w1_distance(simulation, reference), w1_distance(first, second)
        w1_training = w1_from_training = None
        if thinned.training is not None:
            training = observable(thinned.training, [group])[:, 0]
            w1_training, w1_from_training = w1_distance(training, reference), w1_distance(simulation, training)
        found: list[DistanceErrors | None] = []
        compared = [(simulation, thinned.origins)]
        if thinned.training is not None:
            compared.append((training, thinned.training_origins))
        for values, origins in compared:
            if origins is None:
                found.append(None)
                continue
            of_roles = dict(zip(COMPARED, (reference, values, first, second), strict=True))
            for role in (ALL_COMPARED, ALL_REFERENCE):
                of_roles[role] = observable(thinned.everything[origins.sets[role]], [group])[:, 0]
            found.append(errors_of(moved_by_frames(of_roles, origins), origins))
        own, *of_the_training = found
        results.append(
            GeometryDistance(
                name,
                w1,
                w1_floor,
                reference,
                simulation,
                w1_training,
                w1_from_training,
                standard_error=None if own is None else own.total,
                own_error=None if own is None else own.own,
                training_errors=of_the_training[0] if of_the_training else None,
            )
        )
    return tuple(results)
