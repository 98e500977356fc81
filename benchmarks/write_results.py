"""Puts the tables that the other scripts wrote to docs/results/ into the pages of docs/measured/.

python benchmarks/write_results.py [--quick], which writes the pages elsewhere.
In: docs/results/NAME.md, and figures there. Out: one page for each entry of PAGES. The tables are not changed.
Longer than other files, since most of it is the text around the tables.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from workbench import options, reach
from workbench.places import RESULTS

HERE = Path(__file__).resolve().parent
FOLDER = "measured"  # of the pages, beside the folder of tables
SECTIONS = (
    (
        "The paper's variants on alanine dipeptide, `internal`",
        "alanine_variants",
        "alanine_tables.py variants",
        "Each recipe of examples/alanine_dipeptide/recipes, the same number of steps in all. Samples and two "
        "simulations, every replica "
        "of the one started from a single phi < 0 frame, of the other from a single phi > 0 frame, pooled, against the "
        "held-out "
        "reference at 21,417 frames; F is F(phi > 0) - F(phi < 0). Excesses are over the floor.",
    ),
    (
        "The same, `graph_transformer`",
        "alanine_variants_graph",
        "alanine_tables.py variants_graph",
        "Two layers, 32 wide, half the steps.",
    ),
    (
        "The variants without signed volumes",
        "alanine_volumes",
        "alanine_tables.py volumes",
        "The first table's trainings with `model.volumes=false`: the network tells mirror images apart by dihedrals of "
        "consecutive beads alone "
        "([Handedness](../method.md#handedness)), and iid samples have too much phi > 0.",
    ),
    (
        "Handedness in noise",
        "handedness",
        "handedness.py",
        "Log odds of a noisy frame and its mirror image, by the energy and exactly. The slope is 1 for a model that "
        "knows the handedness as "
        "well as the data do, and 0 for one that does not see it.",
    ),
    (
        "Calibration of basin weights",
        "alanine_calibration",
        "alanine_tables.py calibration",
        "The same trainings, calibrated in each way that a recipe offers ([Calibration](../method.md#calibration)).",
    ),
    (
        "Where the expert that is simulated ends",
        "alanine_t_max",
        "alanine_tables.py t_max",
        "Two experts that meet at t_max; the second is a score of its own. `fokker_planck` above is t_max = 1.",
    ),
    (
        "Two for one: the unregularised model at larger t",
        "alanine_two_for_one",
        "alanine_tables.py two_for_one",
        "The model of `diffusion` without volumes, evaluated at t.",
    ),
    (
        "Discretisation or inconsistency: the time step",
        "alanine_timestep",
        "alanine_tables.py timestep",
        "The model of `diffusion` without volumes at t = 1e-5, simulated with smaller time steps (4 fs above).",
    ),
    (
        "Discretisation or inconsistency: the samplers",
        "alanine_solver",
        "alanine_tables.py solver",
        "Samples of the model of `diffusion`, seed 0, by several solvers and numbers of steps. Its simulation is in "
        "the first table: what it lacks, "
        "samples by any of these have.",
    ),
    (
        "Width of the network and weight of the Fokker-Planck term",
        "alanine_width",
        "alanine_tables.py width",
        "`internal`, one model over all t.",
    ),
    (
        "Longer trainings",
        "alanine_long",
        "alanine_tables.py long",
        "Four times the steps of the tables above, and six times as long simulations: barriers that are learned better "
        "are higher, and "
        "within 200 ps replicas from the two basins do not yet agree.",
    ),
    (
        "Longer simulations",
        "alanine_simulated_long",
        "alanine_tables.py simulated_long",
        "Models of the tables above, simulated six times as long: what 200 ps leave uncertain are the weights of the "
        "basins.",
    ),
    (
        "The Fokker-Planck term in every second step",
        "alanine_every",
        "alanine_tables.py every",
        "The term at twice its weight in every second step, on 1/8 of the batch as in the tables above, which have it "
        "in every step, and on "
        "1/4: what these save is in the table of costs.",
    ),
    (
        "A score that is no gradient",
        "alanine_score",
        "alanine_tables.py score",
        "Without volumes, and simulated against the command's advice.",
    ),
    (
        "Two Gaussians that are not joined at small t",
        "two_gaussians",
        "two_gaussians.py",
        "Ten standard deviations apart, with weights 0.9 and 0.1, in the plane: what the expert that is simulated "
        "knows of the weights.",
    ),
    (
        "The paper's variants on the Müller-Brown potential",
        "muller_brown",
        "muller_brown.py",
        "![Free-energy maps of all variants, and the Fokker-Planck residual](../results/muller_brown.png)\n\n"
        "Each variant of examples/muller_brown/recipes against the exact density, by JS divergence on 64 x 64 bins; "
        "the floor is "
        "that of as many independent samples of the exact density, so that samples and simulations can be compared "
        "though "
        "their numbers differ. JS of exp(-E) is that of the force field itself, by quadrature, without any sampling; F "
        "is F(lower) "
        "- F(upper) across the path's higher saddle. The map in the last row is what the force field at that t has too "
        "much or too "
        "little of; white and grey lines are the exact free energy at 2, 4 and 6 kT. `no_prior` variants do without "
        "the analytic prior, as "
        "the paper's networks do: what is unregularised is then farthest off at t = 1e-5, where spurious modes drain "
        "the true ones, though "
        "the same network is right at t = 0.01; with the Fokker-Planck term it is right at every t.",
    ),
    (
        "Dipeptides never trained on",
        "dipeptides",
        "dipeptides.py",
        "One `internal` model for all dipeptides (examples/dipeptides/recipe.yaml, 77 training sequences), with and "
        "without experts and the "
        "Fokker-Planck term, "
        "against each unseen sequence's own molecular dynamics, two runs of 1 ns, whose distance from each other is "
        "the floor. `calibrated` is "
        "`both` with a force field of its own for each sequence, calibrated by the model's own samples of it: 300 "
        "likelihoods, then 4 rounds of "
        "simulation ([Calibration](../method.md#calibration)). 1,000 frames fill few of 64 x 64 bins, "
        "and a frame in a bin "
        "that is empty elsewhere counts "
        "(ln 1000)^2 times its weight: PMF errors are large, their floors too, and a simulation that is nearer to both "
        "runs together than these "
        "are to each other has an excess below zero.",
    ),
    (
        "The same, `graph_transformer`",
        "dipeptides_graph_transformer",
        "dipeptides.py --recipe graph_transformer.yaml",
        "The model for molecules of any length.",
    ),
    (
        "The paper's variants on chignolin",
        "chignolin_variants",
        "chignolin_tables.py",
        "Ten CA beads, `internal` with a wall (examples/chignolin). Simulations begin folded and extended; F is "
        "F(folded) - F(unfolded). Training and "
        "held-out set are alternate blocks of the same four runs, which disagree in folding; the floor is the distance "
        "of the one from the other.",
    ),
    (
        "The same, calibrated",
        "chignolin_calibration",
        "chignolin_tables.py calibration",
        "The trainings of the table above, calibrated by likelihoods or in rounds of simulation "
        "([Calibration](../method.md#calibration)).",
    ),
    (
        "A long simulation of chignolin",
        "long_run_chignolin",
        "long_run.py --case chignolin --model "
        "runs/chignolin/fokker_planck_6_rounds_of_simulation_0/model.pt --replicas 50 --steps 1000000",
        "100 replicas x 10^6 steps of the first seed of `fokker_planck, 6 rounds of simulation`.",
    ),
    (
        "Larger proteins",
        "protein_sizes",
        "protein_sizes.py",
        "Stability and cost on data of some picoseconds, not quality.",
    ),
    (
        "A long simulation of the demo's force field",
        "long_run",
        "long_run.py",
        "The force field of `make demo`, simulated from both basins for longer than the demo has time for.",
    ),
    (
        "What the Fokker-Planck term costs",
        "training_cost",
        "training_cost.py",
        "The demo's data: whole training steps with several ways to compute the term, and what trainings of "
        "equal length make of them.",
    ),
    (
        "How many frames are enough",
        "learning_curve",
        "learning_curve.py",
        "Five beads, by frames taken evenly from the training run, with no forces, with the forces of the run ([Forces "
        "in the data](../method.md#forces-in-the-data)), or with mean forces, the average over what the beads leave "
        "free. The repository has forces on 536 frames. A simulation from both basins against the reference: JS "
        "divergence in the (phi, psi) plane less its floor, which is the distance of the whole training run, and how "
        "far the free-energy difference of the basins is off. Of 300 frames few are at phi > 0, so that the data "
        "themselves do not know it better than to half a kT. What has no figure has not been made.",
    ),
    (
        "What forces in the data buy",
        "forces_blending",
        "forces_blending.py run1.npz run2.npz all_atoms.pdb",
        "Alanine dipeptide as five beads, with the forces on all atoms of the training run ([Forces in the "
        "data](../method.md#forces-in-the-data)).",
    ),
    (
        "Langevin steps per second",
        "langevin_speed",
        "langevin_speed.py",
        "Frozen models of several kinds and sizes on the Reference platform, every backend in one run. Steps a second, "
        "and the line on two threads, are of an earlier version of the native force, on a quiet machine; the rates in "
        "the other tables are by seconds of the processor, while other programs took most of it.",
    ),
    (
        "The same simulation statistics with native and TorchForce",
        "backend_statistics",
        "backend_statistics.py",
        "The demo's force field simulated from both basins with both backends, phi/psi compared with each "
        "other directly.",
    ),
    (
        "A training step of `graph_transformer`",
        "graph_step",
        "graph_step.py",
        "As it was when all 48 features of an edge were made, on the whole batch at once and with a backward pass to "
        "the positions, and as it is, with the same weights and draws; and what it costs with a cutoff.",
    ),
    (
        "A training step of `chain`",
        "chain_step",
        "chain_step.py",
        "Over eight chains of different sequences, beside `graph_transformer`, both as the recipe has them.",
    ),
    (
        "Scaling with the number of beads",
        "scaling",
        "scaling.py",
        "![Time and memory for one molecule against the number of beads](../results/scaling.png)\n\n"
        "The graph transformer with a cutoff, over all pairs (`dense`) and over those within the cutoff (`radius`), on "
        "a chain that "
        "fills a cube at the density of a protein's CA beads. Taken with other programs running, with torch-cluster, "
        "and before steps went in parts.",
    ),
    (
        "Many workers",
        "scaling_out",
        "scaling_out.py",
        "A simulation in shards ([Many machines](../how-to/cluster.md)). Efficiency is the rate per worker over that "
        "of one process without Dask. Beyond two workers it is that of a simulated scheduler, with the measured times "
        "of a task. Taken while other programs took most of the processor: the times are upper bounds.",
    ),
    (
        "Time steps of the reference",
        "reference_timestep",
        "reference_timestep.py",
        "Langevin dynamics of the atoms with 2 and 4 fs.",
    ),
    (
        "Scaling of velocities in the replica exchange",
        "reference_exchange_bias",
        "reference_exchange_bias.py",
        "Swaps that scale the velocities of the whole step, as the program does, and those that the integrator keeps.",
    ),
    (
        "Memory of the native force",
        "memory",
        "memory.py",
        "What a Context with FPForce allocates beyond one of the same System without it.",
    ),
    (
        "Training data larger than memory",
        "large_data",
        "large_data.py",
        "Trajectories of all atoms mapped to files (`fpforce-map --output`) and to the disk (`data.on_disk`), batches "
        "drawn from there, a short training. Taken while other programs took most of the processor: the rates are "
        "lower bounds.",
    ),
    (
        "Evaluations larger than memory",
        "large_evaluation",
        "large_evaluation.py",
        "`fpforce-evaluate` on long simulations in shards, from the first byte read to the report; one thread, while "
        "other programs took most of the processor. The report itself, pictures above all, has its seconds whatever "
        "the frames.",
    ),
    (
        "Kills",
        "kills",
        "kills.py",
        "`kill -9` at random moments of every verb, then on: no file under its final name may be torn, progress in the "
        "files may not fall, and the result has to be that of a run that nobody disturbed.",
    ),
    (
        "Faults around a run",
        "faults",
        "faults.py",
        "Every verb meets every fault, has to end with at most one line that says why, and has to come to the "
        "undisturbed result once the fault is gone.",
    ),
    (
        "Damaged files",
        "damage",
        "damage.py",
        "Files damaged at random, in their bytes and in the values that they hold, and given to their readers.",
    ),
    (
        "Hostile files",
        "hostile",
        "hostile.py",
        "Files with a payload that would run a command, take all memory or write elsewhere. What may run by itself, "
        "and where, is in SECURITY.md.",
    ),
    (
        "Memory over long runs, threads and processes",
        "steady",
        "steady.py",
        "Whether memory grows, and whether trajectories from threads (CPU platform), forks and spawned processes "
        "are those of a single call. On Reference threads share OpenMM's stream of random numbers: there forces and "
        "frames are looked at.",
    ),
    (
        "Molecules that no default was chosen on",
        "strangers",
        "strangers.py CASE ...",
        "The recipe has files, beads, temperature and output, and nothing else. 8,000 steps of training; samples "
        "from the diffusion model; simulations from two states of the data, as fpforce-fit finds them, 32 replicas of "
        "800 ps each, the first quarter left out; or up to sixteen times as long until their radii of gyration are "
        "worth 1,000 independent frames and the report no longer calls them not sampled; and where replicas stay in "
        "the state that they start in, or that is not enough, both with an exchange of five temperatures. "
        "Everything is compared with frames that nothing was trained on. A line for each molecule, the worst of its "
        "seeds: JS divergences of the simulation less the floor, which is the distance of the training frames; JS "
        "divergences of the simulation from the model's own samples; the farthest that the two starts are apart; and "
        "from the report of fpforce-evaluate how far the free-energy difference of the basins is off, beyond the "
        "reference's own error (nothing where a basin is empty), how many frames are outside of what the model has "
        "seen, beyond as many of the reference, and what it says in the end: its verdict, and the causes that it "
        "names. The method was developed on `tau`, `alanine` and "
        "`chignolin`; by a seed that was written down first `tau_backbone` and `alanine_heavy` were drawn to be worked "
        "on as well. Since then defaults were chosen on `hexadecane` and `trp_cage`, too. CASES without a line have "
        "not been run by this version. `tau_backbone` without windows was far from right: in the simulation of its "
        "model replicas gather within a nanosecond in a compact state, which rounds of 78 ps did not see. The tau "
        "fragment comes from the example data of the package mdance and is not in the repository.",
    ),
    (
        "The runs one by one",
        "strangers_runs",
        "strangers.py CASE ...",
        "The rows behind these lines: samples, simulations from each start and both together, as they are, and the "
        "floor.",
    ),
    (
        "Which measure finds what",
        "support",
        "support.py CASE ... --frames 600 --steps 3000 --tau FOLDER --systems FOLDER",
        "Frames that are wrong by construction, measured by models as strangers.py trains them, 8,000 steps; of the "
        "Müller-Brown potential two of 3,000 steps without the analytic prior. Clashes are made by a turn about "
        "a bond, which leaves bonds and angles as they are; the own simulations are of 6 ps, from frames of the "
        "reference. A measure flags what is beyond 99% of the frames held out of the training, "
        "which `reference` tells from other frames that nothing was trained on. `energy` and `last layer` are at the "
        "variance of the noise, those of the denoising error and of the score at 0.1; neighbours are among "
        "1,000 frames of the training, those by RMSD among 250; `energy against the flow` is |E + ln q| of 40 frames, "
        "beyond 99% of the reference's own.",
    ),
    (
        "A protein that folds, against its exact energy",
        "folding_proteins",
        "folding_proteins.py villin --seeds 1 --steps 4000",
        "Structure-based models ([how they are made](../how-to/exact-reference.md)), at their folding temperature. "
        "Each is trained with and without exact forces and Fokker-Planck term. Force errors are relative root mean "
        "squares at frames of the reference, which no training saw: of the training alone, and after the denoising fit "
        "and eight rounds of calibration, which found the simulation so many nats from the data. Simulations are 32 "
        "replicas of 800 ps from the folded and as many from an unfolded structure, the first quarter left out; "
        "excesses are over the distance of the training frames from the reference; a frame with more than half of its "
        "native contacts within 0.8 nm is folded. With exact forces on 20,000 frames the term did not change the error "
        "of forces of the one seed that was tried.",
    ),
    (
        "Scores against exact ones",
        "exact_scores",
        "exact_scores.py FOLDER LABEL=CHECKPOINT ...",
        "Trainings of 8,000 steps as strangers.py makes them, without rounds of calibration. Where the model that made "
        "the data is known, restrained dynamics of it gives the exact score of a frame with noise of a standard "
        "deviation sigma (the columns, in units of the molecule's size). The least denoising loss is that of the exact "
        "score; the excess, a square, is what the loss of another score is above it. Half of it times the degrees of "
        "freedom, integrated over ln(alpha^2 / sigma^2), bounds the relative entropy of the data from samples, in "
        "nats. Errors of forces are those at t_eval, relative root mean square, along bonds, along 1-3 distances and "
        "perpendicular to both. What trainings are called is as in [What single parts do](#what-single-parts-do); "
        "`alpha that grows` has no windows either.",
    ),
    (
        "What couplings of the prior change",
        "prior_couplings",
        "prior_couplings.py CASE ... --tau FOLDER --systems FOLDER",
        "The analytic prior by itself, before any training, fitted to the training frames and measured on the "
        "reference with noise of a standard deviation sigma (the columns), in units of the molecule's size: the "
        "denoising loss, where a score of zero has 1, and the Fokker-Planck residual, root mean square per degree of "
        "freedom ([Pairs that share beads](../method.md#pairs-that-share-beads)).",
    ),
    (
        "Where the inconsistency arises",
        "where_consistency_breaks_tau",
        "where_consistency_breaks.py CHECKPOINT tau --tau FOLDER",
        "Of a model of the peptide of 12 beads, trained on all 3,001 frames without the term.",
    ),
    (
        "What single parts do",
        "strangers_parts",
        "strangers.py CASE --variants VARIANT",
        "The same with a part left out or changed. All but `without windows` are of earlier versions, each named by "
        "what it lacked or had, so that the command makes other figures now; all but `without windows` and `windows "
        "that see all noise` were simulated from the most open and the most closed frame. `without windows` is "
        "`default` with `model.window=0` ([Windows](../method.md#windows)); the stretches of `windows that see all "
        "noise` saw distances at t itself. `without a wall` is `without windows` with "
        "`model.wall=false` and eight rounds ([Wall](../method.md#wall)). `alpha that grows`: "
        "`loss.fokker_planck_weight` grew with the size of the molecule, and the noise of the term was let be "
        "([Losses](../method.md#losses)). Where a molecule has two floors, its data were made anew in between, by the "
        "same command. A few frames of `tau` are of a compact state that replicas hardly leave within a round, so that "
        "only an exchange sees its weight: `six more rounds, at four temperatures` followed on the rounds of `five "
        "rounds, of dihedrals and angles` of the same seed, `calibration.rungs=4 calibration.top_temperature_k=500`, "
        "and `six more rounds` without. `five rounds, of dihedrals and angles` is of the version before that, and has "
        "the same trainings; its rounds are five, and do not move the distances of other pairs. The series of "
        "distances were made on `trp_cage` and `tau`; the others were looked at afterwards. Rows without a line for "
        "one start against the other were made before there was one, and their samples are 3,000, for which the floor "
        "of a plane is some 0.1. All bonds of `tau_backbone` are constrained in its data ([noise widens "
        "them](../method.md#variables)). `small noise unseen` is `model.unseen=0.125` "
        "([Network](../method.md#internal)), which was found on checkpoints of `tau`, `hexadecane`, `trp_cage` and "
        "`villin`; `histatin5` was looked at first with it and without. `without a denoising fit` is "
        "`five rounds, of dihedrals and angles` without that fit "
        "([Series](../method.md#series-of-dihedrals-and-angles)), which was made on "
        "`tau` and `hexadecane`; rows named below have none either, being older. "
        "`replicas that go on` is the same, of a version whose rounds of simulation went on "
        "from where their replicas had ended; that they begin at frames drawn by their new weights was made on "
        "`villin`. Where its row of samples has `last layer alone` for a neighbour of the same seed, both are of one "
        "training: the latter's rounds of simulation move the last layer alone (`calibration.series=false`), those of "
        "the two before also the series of dihedrals and angles, which were made on `tau` and `hexadecane`; how smooth "
        "they must be was chosen on `alanine_heavy`. All other rows are of versions whose prior knew nothing of what "
        "pairs have to do with one another ([Pairs that share beads](../method.md#pairs-that-share-beads)); "
        "`pairs by themselves` is otherwise as `last layer alone` is. How far couplings reach was chosen on `tau`, "
        "`trp_cage`, `villin`, `hexadecane` and `alanine_heavy`, by the prior alone and by the gap of `tau`. "
        "`without calibration` is the same training "
        "before its rounds of simulation "
        "([Calibration](../method.md#calibration)), which were first tried on `tau` and `trp_cage`. Of villin and "
        "hexadecane, which were looked at after that, the first had been seen without calibration. `alpha 5e-4` has "
        "the `loss.fokker_planck_weight` of five beads, whatever the molecule. `time "
        "seen at small noise` has `diffusion.v_min` = 0.001 in place of 0.05 ([Network](../method.md#network)); its "
        "sets were among those by which 0.05 was chosen: `tau` seed 0 by 0.01, 0.05 and 0.1, the others by one try.",
    ),
)


@dataclass(frozen=True)
class Page:
    """A page of docs/measured: `figures` are (file in docs/results, caption), left out where the file is missing."""

    title: str
    introduction: str
    sections: tuple[str, ...]
    figures: tuple[tuple[str, str], ...] = ()
    reach: bool = False


PAGES = {
    "alanine-dipeptide": Page(
        "Alanine dipeptide",
        "The variants of the paper on one small molecule, by three seeds each. The recipe's defaults were chosen among "
        "some ten variants by comparison with this same reference, on seed 0, so its figures are not those of a "
        "reference seen only once.",
        (
            "alanine_variants",
            "alanine_variants_graph",
            "learning_curve",
            "alanine_volumes",
            "handedness",
            "alanine_calibration",
            "alanine_t_max",
            "alanine_two_for_one",
            "alanine_timestep",
            "alanine_solver",
            "alanine_width",
            "alanine_long",
            "alanine_simulated_long",
            "alanine_every",
            "alanine_score",
            "long_run",
        ),
        (
            (
                "alanine_variants.png",
                "Excess of the JS divergence over its floor and error of the basins' free energy difference, of "
                "samples and simulations of every variant; a point for each seed, hollow where the simulation has "
                "not converged",
            ),
            (
                "learning_curve.png",
                "Excess of the JS divergence of simulations by the number of training frames; grey: within 0.01 of the "
                "floor",
            ),
        ),
        reach=True,
    ),
    "potentials": Page(
        "Potentials whose density is known",
        "Particles in two dimensions, where everything can be checked against exact figures.",
        ("muller_brown", "two_gaussians"),
    ),
    "dipeptides": Page(
        "Sequences never trained on",
        "One force field for many dipeptides, judged on sequences that the training has not seen.",
        ("dipeptides", "dipeptides_graph_transformer"),
        (
            (
                "dipeptides.png",
                "Excess of the JS divergence of simulations over its floor, a point for each of 20 unseen sequences",
            ),
        ),
    ),
    "chignolin": Page(
        "Chignolin and larger proteins",
        "Proteins as CA beads. The data of chignolin are not converged: what is asked of a force field is the "
        "distribution of these data.",
        ("chignolin_variants", "chignolin_calibration", "long_run_chignolin", "folding_proteins", "protein_sizes"),
        (
            (
                "chignolin_variants.png",
                "Excess of the JS divergence over its floor and error of the folding free energy, of samples and "
                "simulations of every variant; a point for each seed, hollow where the simulation has not converged",
            ),
        ),
    ),
    "strangers": Page(
        "Strangers",
        "Does a simulation have the distribution of the data, for molecules that no default was chosen on, where "
        "frames are few for the beads, too?",
        (
            "strangers",
            "strangers_runs",
            "exact_scores",
            "prior_couplings",
            "where_consistency_breaks_tau",
            "strangers_parts",
        ),
        (
            (
                "strangers.png",
                "JS divergences of samples and simulations from held-out frames, less their floors, a point for each "
                "seed; grey: within 0.01 of the floor",
            ),
        ),
    ),
    "support": Page(
        "What a model has seen",
        "How well frames that are wrong are told from right ones by [the support of a force "
        "field](../method.md#the-support-of-a-force-field), and by other measures. A simulation whose frames are all "
        "right one by one is not told by any of them, however wrong its weights are.",
        ("support",),
        (
            (
                "support.png",
                "Part of the wrong frames that is flagged against the part of the right ones, by fpforce.support; a "
                "curve for each kind of frames, the edge at 1% is the grey line",
            ),
        ),
    ),
    "cost-and-speed": Page(
        "Cost, speed and memory",
        "What trainings and simulations cost. All of it was measured on a processor; nothing here says how fast a GPU "
        "is.",
        (
            "training_cost",
            "forces_blending",
            "langevin_speed",
            "backend_statistics",
            "graph_step",
            "chain_step",
            "scaling",
            "scaling_out",
            "memory",
            "large_data",
            "large_evaluation",
        ),
    ),
    "robustness": Page(
        "Robustness",
        "What becomes of a run, and of its files, when something goes wrong. `make torture` makes all tables of this "
        "page; each of its scripts has a --quick.",
        ("kills", "faults", "damage", "hostile", "steady"),
    ),
    "reference-data": Page(
        "The reference data",
        "Whether 4 fs with heavy hydrogens sample what 2 fs sample, and whether swaps of the replica exchange bias "
        "them.",
        ("reference_timestep", "reference_exchange_bias"),
    ),
}


def main() -> None:
    chosen = options.parse(argparse.ArgumentParser(description=__doc__))
    folder = chosen.results.parent / FOLDER
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        text = page_text(page, RESULTS)
        (folder / f"{name}.md").write_text(text)
        print(f"{folder / name}.md: {text.count(chr(10) + '## ')} sections")


def command_of(script: str) -> str:
    """The command of a script named in SECTIONS, with the folder that it is in."""
    name, *arguments = script.split()
    (path,) = HERE.glob(f"*/{name}")
    return " ".join(["python", f"benchmarks/{path.relative_to(HERE)}", *arguments])


def page_text(page: Page, results: Path) -> str:
    """Markdown of a page, without the sections whose tables have not been made."""
    parts = [f"# {page.title}\n\n{page.introduction}\n"]
    parts += [f"![{caption}](../results/{name})\n" for name, caption in page.figures if (results / name).exists()]
    if page.reach and (reached := reach.section(results)):
        parts.append(f"## What is reached\n\n{reached}")
    for title, name, script, text in SECTIONS:
        path = results / f"{name}.md"
        if name not in page.sections:
            continue
        if not path.exists():
            print(f"left out, not yet made by {script}: {path}")
            continue
        parts.append(f"## {title}\n\n{text} Made by `{command_of(script)}`.\n\n{path.read_text()}")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
