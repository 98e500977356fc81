"""The plugin's energies and forces against the eager model in float64, and what physics asks of them.

Both kinds of network, with weights of order one (a trained last layer starts at zero, which would hide everything),
on real frames and on a thousand of them perturbed at random by 0.005 nm, which breaks bonds by some 3 widths.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import unit

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.plugin import FPForce

KT = 300.0 * BOLTZMANN_KJ_PER_MOL_K
MODELS = {
    "internal": {"kind": "internal", "width": 40, "layers": 3},
    "internal, series": {"kind": "internal", "width": 24, "layers": 2, "series": True, "earliest": 0.02},
    "internal, windows": {"kind": "internal", "width": 24, "layers": 2, "window": 4, "window_width": 20},
    "graph_transformer": {"kind": "graph_transformer", "width": 48, "layers": 2, "head_width": 16},
    "graph_transformer, narrow heads, no identity": {
        "kind": "graph_transformer",
        "width": 30,
        "layers": 3,
        "head_width": 10,
        "identity": False,
    },
    "internal, wall": {"kind": "internal", "width": 24, "layers": 2, "wall": True},
    "graph_transformer, wall, no prior": {
        "kind": "graph_transformer",
        "width": 16,
        "layers": 1,
        "head_width": 16,
        "wall": True,
        "prior": False,
    },
}


@dataclass(frozen=True)
class Case:
    """A model, and what torch computes of it in float64 in every frame."""

    description: str
    weights: bytes
    frames_nm: np.ndarray  # (1072, 5, 3): real frames, then perturbed ones
    energies: dict  # terms -> (1072,) kJ/mol
    forces: dict  # terms -> (1072, 5, 3) kJ/mol/nm

    def save(self, path: Path) -> None:
        arrays = {
            f"{name}_{terms}": values
            for name in ("energies", "forces")
            for terms, values in getattr(self, name).items()
        }
        np.savez(
            path,
            description=self.description,
            weights=np.frombuffer(self.weights, np.uint8),
            frames_nm=self.frames_nm,
            **arrays,
        )

    @classmethod
    def load(cls, path: Path) -> "Case":
        with np.load(path) as stored:
            parts = {
                name: {terms: stored[f"{name}_{terms}"] for terms in ("All", "Network", "Prior")}
                for name in ("energies", "forces")
            }
            return cls(str(stored["description"]), stored["weights"].tobytes(), stored["frames_nm"], **parts)


@pytest.fixture(scope="module", params=MODELS)
def case(request, made_once):
    """A Case of one kind of model."""
    name = request.param
    path = made_once(
        f"{name.replace(', ', '-').replace(' ', '-')}.npz",
        lambda path: make_case(MODELS[name], request.getfixturevalue("alanine_set")).save(path),
    )
    return Case.load(path)


def make_case(settings, alanine_set) -> Case:
    import copy

    import torch
    from safetensors.torch import save

    from fpforce.forcefield.wall import Wall, wall_record
    from fpforce.training.modelfile.physical_energy import PhysicalEnergy
    from fpforce.training.models import build_model
    from fpforce.training.recipe.plan import plan_experts
    from fpforce.training.recipe.read import parse_recipe

    recipe = parse_recipe(
        {
            "data": {"trajectories": ["unread.xtc"]},
            "temperature_k": 300,
            "output": "unused",
            "model": {key: value for key, value in settings.items() if key not in ("series", "earliest")},
        }
    )
    energy = build_model(
        plan_experts(recipe)[0], alanine_set.frames, alanine_set.prior_pairs, alanine_set.beads, alanine_set.scale_nm
    )
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in energy.named_parameters():
            if name.endswith("norm.weight"):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            elif parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
            else:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    if settings.get("series"):
        energy.network.have_pairs(**energy.network.resolution_of_pairs(alanine_set.frames), orders=4)
        energy.network.add_modes(0.02 * torch.randn(2 * (2 + 3) * 6 + 2 * 7 * 4, generator=generator))
    if settings.get("earliest"):
        energy.network.coordinates.earliest.fill_(settings["earliest"])
    energy = energy.eval().requires_grad_(False)
    wall = None
    if settings.get("wall"):  # farther out than in the data, so that it acts on many of the frames
        smallest = [entry | {"distance_nm": 1.25 * entry["distance_nm"]} for entry in alanine_set.smallest_distances()]
        wall = Wall.of(alanine_set.beads, smallest)
    eager = PhysicalEnergy(copy.deepcopy(energy).double(), 5, alanine_set.scale_nm, KT, 1e-5, wall=wall)
    description = json.dumps(
        {
            "format": "fpforce",
            "format_version": 1 if wall is None else 2,
            "wall": None if wall is None else wall_record(smallest),
            "model": {
                "kind": settings["kind"],
                "settings": recipe.model.model_dump(mode="json") | {"v_min": plan_experts(recipe)[0].v_min},
                "constants": energy.network.constants(),
            },
            "scale_nm": alanine_set.scale_nm,
            "temperature_k": 300.0,
            "kt_kj_per_mol": KT,
            "t_eval": 1e-5,
            "beads": alanine_set.beads.to_dict(),
        }
    )
    tensors = energy.state_dict() | (
        {} if wall is None else {name: torch.from_numpy(values) for name, values in wall.constants().items()}
    )
    weights = save({name: value.contiguous() for name, value in tensors.items()})
    parts = {"All": eager, "Network": copy.deepcopy(eager), "Prior": copy.deepcopy(eager)}
    parts["Network"].energy.prior = parts["Network"].wall = None
    parts["Prior"].energy.network.forward = lambda x, t: torch.zeros(len(x), dtype=x.dtype)
    frames_nm = some_frames(alanine_set)
    energies, forces = {}, {}
    for terms, part in parts.items():
        positions = torch.from_numpy(frames_nm).reshape(-1, 3).requires_grad_()
        energy = part.energies(positions)
        (slope,) = torch.autograd.grad(energy.sum(), positions)
        energies[terms], forces[terms] = energy.detach().numpy(), -slope.numpy().reshape(frames_nm.shape)
    return Case(description, weights, frames_nm, energies, forces)


def some_frames(alanine_set) -> np.ndarray:
    real = alanine_set.frames.double().numpy() * alanine_set.scale_nm
    generator = np.random.default_rng(0)
    moved = real[generator.integers(len(real), size=1000)]
    return np.concatenate([real[::15][:72], moved + 0.005 * generator.normal(size=moved.shape)])


def context_of(case, replicas, precision=FPForce.Single, threads=1, terms=FPForce.All):
    force = FPForce(case.description, case.weights)
    force.setPrecision(precision)
    force.setNumThreads(threads)
    force.setTerms(terms)
    system = openmm.System()
    for replica in range(replicas):
        force.addReplica(range(5 * replica, 5 * replica + 5))
        for _ in range(5):
            system.addParticle(12.0)
    system.addForce(force)
    return openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def energy_and_forces(context, positions_nm):
    context.setPositions(positions_nm.reshape(-1, 3))
    state = context.getState(energy=True, forces=True)
    return (
        state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
        state.getForces(asNumpy=True)
        .value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        .reshape(positions_nm.shape),
    )


@pytest.mark.parametrize("terms", ["All", "Network", "Prior"])
@pytest.mark.parametrize("precision, tolerance", [("Single", 1e-5), ("Double", 1e-10)])
def test_energies_and_forces_equal_the_eager_model_in_float64(case, precision, tolerance, terms):
    frames, energies, forces = case.frames_nm, case.energies[terms], case.forces[terms]
    settings = {"precision": getattr(FPForce, precision), "terms": getattr(FPForce, terms)}
    found, found_forces = energy_and_forces(context_of(case, len(frames), **settings), frames)
    assert abs(found - energies.sum()) < tolerance * np.abs(energies).sum()
    rms = np.sqrt(np.square(forces).mean(axis=(1, 2), keepdims=True))
    assert (np.abs(found_forces - forces) <= tolerance * rms).all()
    single = context_of(case, 1, **settings)
    for frame, energy in zip(case.frames_nm[:90:9], energies[:90:9], strict=True):
        assert energy_and_forces(single, frame[None])[0] == pytest.approx(energy, rel=tolerance, abs=tolerance * KT)


def test_force_is_minus_the_energy_gradient(case):
    # Central differences of the float64 build with h = 1e-5 nm: truncation h^2 E''' and rounding 1e-13 / h.
    context = context_of(case, 1, FPForce.Double)
    frame, h = case.frames_nm[3], 1e-5
    _, forces = energy_and_forces(context, frame[None])
    for bead in range(5):
        for axis in range(3):
            step = np.zeros_like(frame)
            step[bead, axis] = h
            later, earlier = (energy_and_forces(context, (frame + sign * step)[None])[0] for sign in (1, -1))
            assert -(later - earlier) / (2 * h) == pytest.approx(
                forces[0, bead, axis], rel=1e-5, abs=1e-5 * np.abs(forces).max()
            )


def test_energy_is_invariant_under_rotation_and_translation_and_mirror_images_differ(case):
    context = context_of(case, 1, FPForce.Double)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    for frame in case.frames_nm[:5]:
        energy, forces = energy_and_forces(context, frame[None])
        moved, moved_forces = energy_and_forces(context, (frame @ rotation.T + [40.0, -2.0, 1.0])[None])
        assert moved == pytest.approx(energy, abs=1e-8)
        np.testing.assert_allclose(moved_forces, forces @ rotation.T, atol=1e-8 * np.abs(forces).max())
        assert abs(energy_and_forces(context, (frame * [1.0, 1.0, -1.0])[None])[0] - energy) > 1e-3


def test_replicas_and_threads_do_not_change_a_single_bit(case):
    some = case.frames_nm[:130]
    _, together = energy_and_forces(context_of(case, 130), some)
    _, shared = energy_and_forces(context_of(case, 130, threads=3), some)
    assert np.array_equal(together, shared)
    order = np.random.default_rng(2).permutation(130)
    _, permuted = energy_and_forces(context_of(case, 130), some[order])
    assert np.array_equal(permuted, together[order])


def test_a_replica_far_from_the_others_has_the_same_force(case):
    # A free molecule drifts hundreds of nm in a microsecond; float32 positions there would be 3e-5 nm coarse.
    context = context_of(case, 1)
    _, near = energy_and_forces(context, case.frames_nm[:1])
    _, far = energy_and_forces(context, case.frames_nm[:1] + 1000.0)
    np.testing.assert_allclose(far, near, atol=1e-5 * np.abs(near).max())


def test_a_replica_with_positions_that_are_not_finite_leaves_the_others_alone(case):
    context = context_of(case, 40)
    _, forces = energy_and_forces(context, case.frames_nm[:40])
    broken = case.frames_nm[:40].copy()
    broken[7, 2, 1] = np.nan
    _, found = energy_and_forces(context, broken)
    assert not np.isfinite(found[7]).all()
    assert np.array_equal(np.delete(found, 7, axis=0), np.delete(forces, 7, axis=0))
