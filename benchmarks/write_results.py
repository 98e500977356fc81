"""Puts the tables that the other scripts wrote to docs/results/ into docs/results.md: python benchmarks/write_results.py."""

from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
SECTIONS = (
    ("What the Fokker-Planck term buys", "fokker_planck_ablation", "fokker_planck_ablation.py",
     "The demo's recipe with and without the term, the same number of steps. Two simulations, every replica of the one "
     "started from a single phi < 0 frame, of the other from a single phi > 0 frame, pooled and compared with the "
     "held-out reference at 21,417 frames. The reference has F(phi > 0) - F(phi < 0) = 3.81 ± 0.21 kT."),
    ("The paper's variants on the Müller-Brown potential", "muller_brown", "muller_brown.py",
     "![Free-energy maps of all variants, and the Fokker-Planck residual](results/muller_brown.png)\n\n"
     "Each variant of examples/muller_brown/recipes against the exact density, by JS divergence on 64 x 64 bins; the floor is "
     "that of as many independent samples of the exact density, so that samples and simulations can be compared though "
     "their numbers differ. JS of exp(-E) is that of the force field itself, by quadrature, without any sampling; F is F(lower) "
     "- F(upper) across the path's higher saddle. The map in the last row is what the force field at that t has too much or too "
     "little of; white and grey lines are the exact free energy at 2, 4 and 6 kT."),
    ("A long simulation of the demo's force field", "long_run", "long_run.py",
     "The force field of `make demo`, simulated from both basins for longer than the demo has time for."),
    ("Calibration of basin weights", "calibration", "calibration.py",
     "The demo's recipe after a short training, calibrated in each way that a recipe offers (docs/method.md, Calibration), every "
     "force field simulated from both basins and compared with the held-out reference at 21,417 frames."),
    ("What the Fokker-Planck term costs", "training_cost", "training_cost.py",
     "A whole training step of the demo's recipe, with the term on different parts of the batch."),
    ("What forces in the data buy", "forces_blending", "forces_blending.py run1.npz run2.npz all_atoms.pdb",
     "Alanine dipeptide as five beads, with the forces on all atoms of the training run (docs/method.md, Forces in the data)."),
    ("Langevin steps per second", "langevin_speed", "langevin_speed.py", "Frozen models of several kinds and sizes on the Reference platform, every backend in one run."),
    ("The same simulation statistics with native and TorchForce", "backend_statistics", "backend_statistics.py",
     "The demo's force field simulated from both basins with both backends, phi/psi compared with each other directly."),
    ("Scaling with the number of beads", "scaling", "scaling.py",
     "![Time and memory for one molecule against the number of beads](results/scaling.png)\n\n"
     "The graph transformer with a cutoff, over all pairs (`dense`) and over those within the cutoff (`radius`), on a chain that "
     "fills a cube at the density of a protein's CA beads. Taken with other programs running."),
    ("Memory of the native force", "memory", "memory.py",
     "What a Context with FPForce allocates beyond one of the same System without it."),
)


def main() -> None:
    parts = ["# Results\n\nEvery table here is written by a script in benchmarks/, with its hardware; "
             "`python benchmarks/write_results.py` collects them. Excess is the figure less its floor, the same "
             "figure between training set and held-out reference, which are independent runs. "
             "The recipe's defaults were chosen among some ten variants by comparison with this same reference, on seed 0, "
             "so its figures are not those of a reference seen only once. Training times were taken with other programs "
             "running.\n"]
    for title, name, script, text in SECTIONS:
        table = (DOCS / "results" / f"{name}.md").read_text()
        parts.append(f"## {title}\n\n{text} Made by `python benchmarks/{script}`.\n\n{table}")
    (DOCS / "results.md").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
