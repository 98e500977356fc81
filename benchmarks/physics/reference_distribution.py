"""Alanine dipeptide at 4 fs with heavy hydrogens against the example's data, made at 2 fs with natural masses.

    fpforce-reference A runs/step --rungs 1 --runs 1 --start extended --interval-ps 1 --ns 20
    python benchmarks/physics/reference_distribution.py runs/step/train.xtc >> docs/results/reference_timestep.md

Langevin dynamics of this length does not settle phi > 0, so torsions are compared within phi < 0; the floor is the
difference of the example's two runs at the same number of frames. --quick takes the example's own run for the other.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.places import ALANINE

BINS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trajectory", type=Path, nargs="?", help="heavy atoms of alanine dipeptide at 300 K")
    chosen = options.parse(parser)
    if chosen.trajectory is None and not chosen.quick:
        parser.error("a trajectory is needed: heavy atoms of alanine dipeptide at 300 K")
    show(chosen.trajectory or ALANINE / "train.xtc")


def show(trajectory: Path) -> None:
    """Print bonds, angles and the phi/psi distribution beside those of the example's runs."""
    import mdtraj

    topology = mdtraj.load_topology(str(ALANINE / "alanine_dipeptide.pdb"))
    runs = [
        mdtraj.load(str(path), top=topology) for path in (ALANINE / "train.xtc", ALANINE / "reference.xtc", trajectory)
    ]
    first, second, tested = (_geometry(run) for run in runs)
    n_frames = min(run.n_frames for run in runs)
    planes = [_plane(run[:n_frames]) for run in runs]
    print("| figure | 4 fs, heavy hydrogens, against 2 fs | 2 fs, run 2 against run 1 |")
    print("|---|---|---|")
    for what, unit, index in (("bond", "nm", 0), ("angle", "degrees", 2)):
        means = [np.abs(run[index] - first[index]).max() for run in (tested, second)]
        ratios = [run[index + 1] / first[index + 1] for run in (tested, second)]
        print(f"| largest shift of the means of {what}s, {unit} | {means[0]:.1e} | {means[1]:.1e} |")
        print(f"| width of {what}s, ratio | {_range(ratios[0])} | {_range(ratios[1])} |")
    print(f"| alpha of phi < 0 | {_alpha(runs[2])} | {_alpha(runs[0])}, {_alpha(runs[1])} |")
    print(f"| JS of phi < 0, {n_frames} frames | {_js(planes[2], planes[0]):.4f} | {_js(planes[1], planes[0]):.4f} |")


def _geometry(trajectory):
    """Means and standard deviations of bonds (nm), then of angles (degrees)."""
    import mdtraj

    from fpforce.molecule.mapping import map_beads

    table = map_beads(trajectory.topology, "all")
    bonds = mdtraj.compute_distances(trajectory, table.bonds)
    angles = np.degrees(mdtraj.compute_angles(trajectory, table.angles))
    return bonds.mean(0), bonds.std(0), angles.mean(0), angles.std(0)


def _torsions(trajectory):
    import mdtraj

    return mdtraj.compute_phi(trajectory)[1][:, 0], mdtraj.compute_psi(trajectory)[1][:, 0]


def _plane(trajectory):
    phi, psi = _torsions(trajectory)
    return np.histogram2d(phi[phi < 0], psi[phi < 0], bins=BINS, range=[[-np.pi, np.pi]] * 2)[0].ravel()


def _js(p, q):
    from fpforce.analysis.divergences import js_divergence

    return float(js_divergence(p, q))


def _alpha(trajectory):
    phi, psi = _torsions(trajectory)
    alpha = ((psi >= np.radians(-125)) & (psi < np.radians(50)))[phi < 0]
    blocks = [block.mean() for block in np.array_split(alpha, 10)]
    return f"{alpha.mean():.3f} +- {np.std(blocks, ddof=1) / np.sqrt(10):.3f}"


def _range(ratios):
    return f"{ratios.min():.3f} to {ratios.max():.3f}"


if __name__ == "__main__":
    main()
