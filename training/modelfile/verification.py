"""The check of a force field before model.pt is written: the program against the trained energy, and its symmetries.

In: the TorchScript program, the eager module that it was made of, and frames. Out: the largest deviations, or an
InputError naming the check that failed.
"""

import copy
import math

import torch
from torch import Tensor, nn

from fpforce.foundation.errors import InputError
from fpforce.molecule.space import PLANE, space_of
from fpforce.training.diffusion import sigma
from fpforce.training.modelfile.physical_energy import PhysicalEnergy
from fpforce.training.recipe.sections import LARGEST_T_EVAL


def verify(program: torch.jit.ScriptModule, physical: PhysicalEnergy, frames_nm: Tensor) -> dict[str, float]:
    """Compare the frozen program with the eager model in float64 on frames (frames, n, 3) in nm, and test symmetries.

    Returns the largest deviations, energies in kT, forces relative to their root mean square. Raises InputError naming
    the first check that fails. Mirror images must differ, or, where the network is not chiral, be alike. Of a network
    that is not invariant under rotation by construction the error is recorded, and mirror images must differ by more
    than rotated copies do. A particle in the plane is moved along z instead.
    """
    space = space_of(physical.beads)
    reference = copy.deepcopy(physical).double()
    exact_energy, exact_force = _energy_and_force(reference, frames_nm)
    energy, force = _energy_and_force(program, frames_nm)
    single, single_force = _energy_and_force(program, frames_nm.float())
    rms = exact_force.square().mean().sqrt()
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    rotation = rotation * torch.linalg.det(rotation)
    moved = _energy_and_force(reference, space.equivalent(frames_nm, rotation, torch.tensor([1.0, -2.0, 3.0])))[0]
    mirrored = _energy_and_force(reference, frames_nm * torch.tensor([1.0, 1.0, -1.0]))[0]
    kt, network = physical.kt, physical.energy.network
    invariant = space is PLANE or network.rotation_invariant
    mirroring = (mirrored - exact_energy).abs() / kt
    turning = (moved - exact_energy).abs() / kt
    measured = {
        "energy_error_kt": float((energy - exact_energy).abs().max() / kt),
        "force_error": float((force - exact_force).abs().max() / rms),
        "energy_error_float32_kt": float((single.double() - exact_energy).abs().max() / kt),
        "force_error_float32": float((single_force.double() - exact_force).abs().max() / rms),
        "invariance_error_kt": float(turning.max()),
        "mirror_difference_kt": float(mirroring.median()),
        "frames": len(frames_nm),
    }
    limits = {
        "energy_error_kt": 1e-2,
        "force_error": 1e-2,
        "energy_error_float32_kt": 2e-2,
        "force_error_float32": 2e-2,
        "invariance_error_kt": 1e-6 if invariant else math.inf,
    }
    for name, limit in limits.items():
        if not measured[name] <= limit:
            raise InputError(
                f"the exported model fails its check: {name} is {measured[name]:.3g}, limit {limit:g}; "
                "the checkpoint's weights are damaged or too extreme for float32, train it further or anew (a cutoff "
                "below all distances, model.cutoff_nm, leaves a model without neighbours, too)"
            )
    if not network.chiral:
        if not float(mirroring.max()) <= limits["invariance_error_kt"]:
            raise InputError(
                f"the exported model fails its check: frames and their mirror images differ by {mirroring.max():.3g} "
                "kT, and model.chiral = false says that they do not; the checkpoint is damaged, train anew"
            )
        return measured
    chance = 1e-3 + float(turning.median())
    if physical.beads >= 4 and not measured["mirror_difference_kt"] > chance:
        what = "energy" if physical.energy.conservative else "what stands for an energy of their score"
        raise InputError(
            f"frames and their mirror images differ in {what} by {measured['mirror_difference_kt']:.3g} kT "
            f"only, no more than {chance:.3g} kT: {_why_alike(float(physical.t_eval))}"
        )
    return measured


def verify_rebuilt(rebuilt: nn.Module, physical: PhysicalEnergy, frames_nm: Tensor) -> None:
    """Raise InputError unless what a torch without TorchScript makes of the file is the energy that is exported."""
    energy, force = _energy_and_force(physical, frames_nm)
    again, force_again = _energy_and_force(rebuilt, frames_nm)
    off = float((again - energy).abs().max() / physical.kt), float((force_again - force).abs().max())
    if not (off[0] <= 1e-2 and off[1] <= 1e-2 * float(force.square().mean().sqrt())):
        raise InputError(
            "the exported model fails its check: made anew from its description and weights, its energies are off by "
            f"{off[0]:.3g} kT and its forces by {off[1]:.3g} kJ/mol/nm; this is an error of fpforce, report it"
        )


def _why_alike(t_eval: float) -> str:
    """Why a model takes mirror images for alike, and what to do."""
    if t_eval > LARGEST_T_EVAL:
        noise = float(sigma(torch.tensor(t_eval)))
        return (
            f"at t = {t_eval:g}, where noise is {noise:.0%} of the molecule's size, they are nearly alike, and no "
            "force field can tell them apart; choose a smaller --t-eval (the recipe's, without it; at most "
            f"{LARGEST_T_EVAL:g})"
        )
    return (
        "the model has not learned chirality; train it further, or, of a molecule that has no hand, with "
        "model.chiral = false"
    )


def _energy_and_force(module: nn.Module, frames_nm: Tensor) -> tuple[Tensor, Tensor]:
    positions = frames_nm.reshape(-1, 3).detach().requires_grad_()
    energies = module.energies(positions)
    (slope,) = torch.autograd.grad(energies.sum(), positions)
    return energies.detach(), -slope
