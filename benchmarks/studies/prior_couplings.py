"""The prior by itself, with and without what its pairs have to do with one another.

python benchmarks/studies/prior_couplings.py CASE... [--tau FOLDER] [--systems FOLDER] [--frames 1000]

The prior is fitted to the training frames of each CASE of strangers.py. On frames of its reference with noise of a
standard deviation sigma: the denoising loss (1 is a score of zero), and the Fokker-Planck residual, root mean square
per degree of freedom, by a tenth of as many frames. There is no network and no training in it.

Writes docs/results/prior_couplings.md.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from fpforce.training.data.dataset import TrainingSet
from fpforce.training.diffusion import centred_noise, degrees_of_freedom, diffuse, time_of_variance
from fpforce.training.loop.held_out_losses import spread_evenly
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.residual import exact_residual
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.prior import AnalyticPrior, fit_prior
from fpforce.trajectories.bead_frames import read_bead_frames

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from studies.strangers import CASES, brought
from workbench import options

NOISE = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.4)


class Nothing(nn.Module):
    """A network that has learned nothing."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return 0.0 * x.sum(dim=(1, 2)) + 0.0 * t


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"one or more of {', '.join(CASES)}")
    parser.add_argument("--tau", type=Path, help="folder of tau.pdb, train.xtc and held.xtc")
    parser.add_argument("--systems", type=Path, help="folder of the sets that fpforce-reference --model makes")
    parser.add_argument("--frames", type=int, default=1000)
    chosen = options.parse(parser, frames=20)
    torch.set_num_threads(1)
    lines = [
        "| molecule | beads | figure | pairs |" + "".join(f" {noise:g} |" for noise in NOISE),
        "|---|---|---|---|" + "---|" * len(NOISE),
    ]
    for name in chosen.cases or ["alanine_1000"]:
        if name not in CASES:
            parser.error(f"{name} is none of {', '.join(CASES)}")
        lines += rows(name, chosen)
        print(lines[-4], *lines[-3:], sep="\n", flush=True)
    (chosen.results / "prior_couplings.md").write_text("\n".join(lines) + "\n")


def rows(name: str, chosen: argparse.Namespace) -> list[str]:
    """Four lines of the table: two figures, of pairs by themselves and of coupled pairs."""
    case = CASES[name]
    files = brought(case, chosen.runs / "prior_couplings" / name, chosen)
    training = TrainingSet.of(read_bead_frames(files.training, files.topology, beads=case.beads))
    reference = TrainingSet.of(
        read_bead_frames(files.reference, files.topology, beads=case.beads), training.normalisation
    )
    x0 = spread_evenly(reference.frames, chosen.frames).double()
    coupled = fit_prior(training.frames.double(), training.prior_pairs)
    alone = fit_prior(training.frames[:64].double(), training.prior_pairs)
    alone.load_state_dict({key: value for key, value in coupled.state_dict().items() if "couplings" not in key})
    found = []
    for figure, measure in (("denoising loss", _denoising), ("residual", _residual)):
        for kind, prior in (("by themselves", alone), ("coupled", coupled)):
            values = "".join(f" {measure(prior, x0, noise):.3f} |" for noise in NOISE)
            found.append(f"| {name} | {x0.shape[1]} | {figure} | {kind} |{values}")
    return found


def _noised(x0: Tensor, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """Frames with noise of that standard deviation, their times, and the noise in units of it."""
    t = time_of_variance(torch.tensor([noise**2], dtype=torch.float64)).expand(len(x0))
    z = centred_noise(x0.shape, torch.Generator().manual_seed(0), x0)
    return diffuse(x0, t, z), t, z


def _denoising(prior: AnalyticPrior, x0: Tensor, noise: float) -> float:
    x, t, z = _noised(x0, noise)
    x.requires_grad_()
    return float(denoising_loss(-torch.autograd.grad(prior(x, t).sum(), x)[0], t, z))


def _residual(prior: AnalyticPrior, x0: Tensor, noise: float) -> float:
    x, t, _ = _noised(x0[::10], noise)
    found = exact_residual(DiffusionEnergy(Nothing(), prior), x, t)
    return float(found.square().mean().sqrt() / degrees_of_freedom(x.shape[1]))


if __name__ == "__main__":
    main()
