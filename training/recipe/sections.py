"""The sections of a recipe: every choice of a training run, typed, with its default and the values that it may have.

In: plain mappings, as training.recipe.read reads them. Out: a `Recipe`; pydantic reports what is wrong, with the words
given here.
Longer than other files, since every key of a recipe is found in one place.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from fpforce.distributed.parts import Where
from fpforce.training.recipe.models import (
    PAIRS,
    ChainRecipe,
    GraphTransformerRecipe,
    InternalRecipe,
    ModelRecipe,
    Section,
)

FEWEST_LIKELIHOODS = 10  # frames; a fit to fewer is one to chance
# Of t_eval: there noise is a third of the molecule's size. Beyond it mirror images are nearly alike, and no force
# field can tell them apart.
LARGEST_T_EVAL = 0.1
T_EVAL = 1e-5  # where neither the recipe nor constraints of the data ask for another


class DataRecipe(Section):
    """What is learned from: trajectories, and the beads they are mapped to."""

    trajectories: list[Path] = Field(
        [],
        description="one or more trajectories, or patterns such as data/*.xtc, any format mdtraj reads; "
        "this or molecules is required",
    )
    molecules: list[Path] = Field(
        [],
        description="many molecules for one transferable model: folders (or patterns of PDBs) with "
        "NAME.pdb and NAME.xtc or NAME_*.xtc (or another format) for each",
    )
    residue_types: dict[str, str] = Field(
        {},
        description="names of residues that are one type for a transferable model, each with the type that it counts "
        "as, such as {LYSH: LYS}; every other name is a type of its own",
    )
    topology: Path | None = Field(None, description="topology file, where the trajectories hold none")
    beads: str | list | dict = Field("backbone", description="preset, mdtraj selection, or groups of atoms")
    length_unit: Literal["nm", "angstrom"] | None = Field(None, description="unit of bare .npy/.npz arrays")
    stride: int = Field(1, ge=1, description="use every so-many-th frame")
    held_out: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="share of the frames of one molecule, in blocks of time, that is not trained on "
        "but watched, to see what is memorised; more of few frames, of which 20 are needed; 0: none",
    )
    on_disk: bool = Field(
        False,
        description="keep the bead frames in OUTPUT/frames instead of in memory, for trajectories that are larger "
        "than it; they and their forces are mapped in pieces, once, and statistics come from 100,000 of them",
    )
    readable_frames: bool = Field(
        False, description="take the complete frames of trajectories that end within one, as a killed run leaves them"
    )
    several_chains: bool = Field(
        False,
        description="accept chains that no bond joins, if they stay together in every frame, as those of a dimer",
    )
    allow_d_residues: bool = Field(False, description="accept D-amino acids instead of refusing them")
    forces: list[Path] | None = Field(
        None,
        description="forces on the atoms, one .npz or .npy for each trajectory (a "
        "trajectory .npz may hold them itself); they sharpen the denoising target",
    )
    force_unit: Literal[
        "kJ/mol/nm", "kJ/mol/angstrom", "kcal/mol/nm", "kcal/mol/angstrom", "eV/angstrom", "hartree/bohr"
    ] = Field("kJ/mol/nm", description="unit of the forces")
    constraints: Literal["h-bonds", "none"] | list[tuple[int, int]] = Field(
        "h-bonds", description="what the simulation held rigid: h-bonds, none, or pairs of atoms"
    )
    force_map: Literal["optimal", "sum"] = Field(
        "optimal",
        description="force on a bead: sum over all that is rigidly joined to it; optimal: plus forces of other "
        "atoms, weighted for the least noise",
    )

    weights: list[Path] | None = Field(
        None,
        description="how much each frame counts, one .npz, .npy or text file for each trajectory, where the simulation "
        "was biased (metadynamics, REST, MBAR)",
    )

    @field_validator("trajectories", "molecules", "forces", "weights", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _one_molecule_on_disk(self) -> "DataRecipe":
        for name in ("molecules", "readable_frames"):
            if self.on_disk and getattr(self, name):
                raise ValueError(
                    f"on_disk keeps whole trajectories of one molecule, and {name} = {getattr(self, name)} is another "
                    "case; leave one of the two out"
                )
        return self

    @model_validator(mode="after")
    def _one_molecule_or_many(self) -> "DataRecipe":
        if not self.trajectories and not self.molecules:
            raise ValueError(
                "trajectories = [] and molecules = []: nothing to learn from; give trajectories of one molecule, or a "
                "folder of many molecules"
            )
        if not self.molecules:
            if self.residue_types:
                raise ValueError(
                    "residue_types is for transferable models, and molecules = []; leave it out, or give molecules"
                )
            return self
        chained = next((kind for kind in self.residue_types.values() if kind in self.residue_types), None)
        if chained is not None:
            raise ValueError(
                f"residue_types has {chained} as a type and as a name of another type; give the last type for both"
            )
        for name in ("trajectories", "topology", "forces", "weights", "length_unit"):
            if getattr(self, name):
                raise ValueError(
                    f"{name} is for one molecule, and molecules = {', '.join(map(str, self.molecules))} for many; "
                    "leave one of the two out"
                )
        if self.several_chains:
            raise ValueError("several_chains is for one system, and molecules for many; leave one of the two out")
        if not isinstance(self.beads, str):
            raise ValueError(
                "beads by atom or group fit one molecule; with molecules give a preset or an mdtraj selection"
            )
        return self

    @field_validator("forces", "weights")
    @classmethod
    def _one_for_each_trajectory(cls, files: list[Path] | None, others: ValidationInfo) -> list[Path] | None:
        trajectories = others.data.get("trajectories")
        if files is not None and trajectories and len(files) != len(trajectories):
            raise ValueError(
                f"{len(files)} files for {len(trajectories)} trajectories; give one for each, in the same order"
            )
        return files


class DiffusionRecipe(Section):
    """Diffusion times."""

    t_max: float = Field(
        1.0, gt=0, le=1, description="a single expert is trained up to here; several have ends of their own"
    )
    t_eval: float | None = Field(
        None,
        gt=0,
        le=LARGEST_T_EVAL,
        description="time at which the exported force field is evaluated; null: 1e-5, or where bonds of the data were "
        "held by constraints the time at which noise makes them as wide as a time step of 4 fs allows",
    )
    t_min: float | None = Field(None, gt=0, description="smallest time of the training; t_eval by default")
    v_min: float | None = Field(
        None,
        gt=0,
        le=0.1,
        description="noise variance (normalised) below which the network hardly sees the time any more; null: "
        "0.05 for one molecule of more than 5 beads and the kind `internal`, less of a chain so long that neighbours "
        "are less than 0.9 apart in these units; else 0.001",
    )

    @model_validator(mode="after")
    def _evaluated_where_trained(self) -> "DiffusionRecipe":
        if not self.evaluated_at < self.t_max:
            raise ValueError(
                f"t_eval = {self.evaluated_at:g} must be below t_max = {self.t_max:g}, the end of the training"
            )
        if self.smallest > self.evaluated_at:
            raise ValueError(
                f"t_min = {self.t_min:g} must not be above t_eval = {self.evaluated_at:g}, where the force field is "
                "used"
            )
        return self

    @property
    def evaluated_at(self) -> float:
        """t_eval, or T_EVAL where the recipe leaves it open."""
        return T_EVAL if self.t_eval is None else self.t_eval

    @property
    def smallest(self) -> float:
        """The smallest time that is trained."""
        return self.evaluated_at if self.t_min is None else self.t_min


class LossRecipe(Section):
    """Loss terms; L = denoising + fokker_planck_weight * Fokker-Planck."""

    fokker_planck_weight: float | None = Field(
        None,
        ge=0,
        description="alpha_FP; 0 trains by denoising alone; null: 5e-4",
    )
    fokker_planck_fraction: float = Field(
        0.125, gt=0, le=1, description="points of the FP term, as a part of the batch size"
    )
    fokker_planck_every: int = Field(
        1, ge=1, description="the FP term is computed in every so many steps, with as many times its weight"
    )
    fokker_planck_evenness: float = Field(
        1.0,
        ge=0,
        le=1,
        description="frames for it are drawn by density^-evenness, so that rare states keep their weight",
    )
    fokker_planck_sigma: float = Field(1e-4, gt=0, le=0.1, description="sigma_w of the weak form, normalised units")
    flow_weight: float | None = Field(
        None,
        ge=0,
        description="weight of the Fokker-Planck equation in integral form, along the model's own probability flow, in "
        "the last part of the training of one molecule; null: 0.05 where fokker_planck_weight is above 0 and the "
        "training frames are known better than held-out ones by 5%; 0: not",
    )
    flow_begin: float = Field(0.6, gt=0, lt=1, description="part of the training after which it begins")


class ExpertRecipe(Section):
    """One expert of a mixture over diffusion time; null takes the value of the section in brackets."""

    t_max: float = Field(
        gt=0, le=1, description="end of the expert's interval, which begins where the one before it ends"
    )
    conservative: bool = Field(True, description="an energy, whose gradient is the score; false: a score of its own")
    model: ModelRecipe | None = Field(None, description="the network, as in `model` [model]")
    fokker_planck_weight: float | None = Field(None, ge=0, description="alpha_FP [loss; 0 where not conservative]")
    anchor_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the variance of this energy less that of the next "
        "expert, at t_max: it hands basin weights down",
    )
    max_steps: int | None = Field(None, ge=1, description="stop this expert after so many steps [run]")
    max_minutes: float | None = Field(None, gt=0, description="stop this expert after so many minutes [run]")


class OptimizerRecipe(Section):
    """AdamW with warm-up, cosine decay, clipping and weight averaging."""

    batch_size: int = Field(
        512,
        ge=2,
        multiple_of=2,
        description="noisy frames in a step: half as many frames, each with its noise and the opposite",
    )
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate")
    warmup_steps: int = Field(200, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    gradient_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    outlier: float | None = Field(
        2.0,
        gt=1,
        description="a gradient of more than so many times the usual norm is scaled down to that; null: none is",
    )
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the exponential moving average of the weights")


class CalibrationRecipe(Section):
    """A last step of the training: the energy's last layer and series of dihedrals and angles, adjusted to the
    denoising loss at every noise level, to the model's own likelihoods, then to simulations.
    """

    denoising_fit: bool | None = Field(
        None,
        description="weights of series of dihedrals and angles at each of a few noise levels, by least squares on the "
        "denoising loss (kind internal); by default where rounds are by default",
    )
    likelihood_frames: int = Field(
        0,
        ge=0,
        description="frames over which the energy is fitted to the log likelihood by the probability-flow ODE; 0: not",
    )
    rounds: int | None = Field(
        None,
        ge=0,
        description="rounds of simulation in OpenMM and adjustment to the data; 0: none; by default 8 for one molecule "
        "of more than five beads and the kind internal, where training may take 2,000 steps and 2 minutes or more, "
        "else 0",
    )
    most_rounds: int | None = Field(
        None,
        ge=0,
        description="beyond `rounds` they go on up to so many, while one of the last four came nearer to the data; 0: "
        "no more than `rounds`; by default 24 where `rounds` is left open, else 0",
    )
    series: bool = Field(
        True,
        description="rounds also bring every dihedral of consecutive beads and every distance of two beads to its "
        "distribution in the data, by a Fourier series along each (kind internal); false: they move the last layer "
        "alone",
    )
    replicas: int = Field(256, ge=2, description="molecules simulated together, which start from frames of the data")
    shard_replicas: int | None = Field(
        None,
        ge=1,
        description="replicas that are simulated as one batch; all by default, or with run.workers or run.scheduler "
        "a sixteenth of them",
    )
    picoseconds: float | None = Field(
        None,
        gt=0,
        description="simulated time of each replica in a round; by default 60, or as long as the functions of a larger "
        "molecule need, up to 120",
    )
    timestep_fs: float | None = Field(
        None, gt=0, description="time step of the simulation; by default the longest that the bonds of the data allow"
    )
    rungs: int = Field(
        1, ge=1, description="temperatures of each replica, which exchange (fpforce-simulate --rungs); 1: none"
    )
    top_temperature_k: float | None = Field(
        None, gt=0, description="of the hottest rung; twice temperature_k by default"
    )


class RunRecipe(Section):
    """How long, where and how reproducibly."""

    max_steps: int = Field(20_000, ge=1, description="stop after so many steps; each expert, where there are several")
    max_minutes: float | None = Field(
        None, gt=0, description="stop after so many minutes, resumed time included; likewise"
    )
    checkpoint_minutes: float = Field(5.0, gt=0, description="time between checkpoints")
    log_every_steps: int = Field(50, ge=1, description="steps between entries of the logs")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of weights, batches and noise")
    accelerator: str = Field("auto", description="Lightning: auto, cpu, gpu")
    devices: int | list[int] | Literal["auto"] = Field(
        1,
        description="Lightning: how many, which, or auto for all; they share every batch, so that the training does "
        "not depend on their number",
    )
    strategy: str = Field("auto", description="Lightning: auto, ddp, ...")
    workers: int | None = Field(
        None,
        ge=1,
        description="processes of this machine among which rounds of calibration share their replicas (Dask)",
    )
    scheduler: str | None = Field(
        None, description="address of a Dask scheduler, or its scheduler.json, whose workers do that"
    )
    threads: int | None = Field(None, ge=1, description="CPU threads of torch; all cores by default")
    compile: bool | Literal["auto"] = Field(
        "auto",
        description="compile the training step, which takes some 10 s to a few minutes "
        "and makes it faster; auto: in long trainings on a CPU with a C++ compiler",
    )
    precision: Literal["32-true", "64-true"] = Field("32-true", description="lower precisions break the FP term")

    @model_validator(mode="after")
    def _one_of_both(self) -> "RunRecipe":
        if self.workers is not None and self.scheduler is not None:
            raise ValueError(
                f"workers = {self.workers} starts workers on this machine, and those of scheduler = {self.scheduler} "
                "are there already; give one of the two"
            )
        return self

    @property
    def where(self) -> Where:
        """Who simulates rounds of calibration."""
        return Where(self.workers, self.scheduler)


class Recipe(Section):
    """A training run. `output` receives model.ckpt, recipe.yaml and the logs."""

    data: DataRecipe
    temperature_k: float = Field(gt=0, description="temperature of the trajectory; it is baked into the force field")
    output: Path = Field(description="folder of the run")
    model: ModelRecipe = InternalRecipe()
    diffusion: DiffusionRecipe = DiffusionRecipe()
    experts: list[ExpertRecipe] = Field(
        [],
        description="experts, the one of the smallest t first; none: a single "
        "conservative one over all t up to diffusion.t_max",
    )
    loss: LossRecipe = LossRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()
    calibration: CalibrationRecipe = CalibrationRecipe()
    run: RunRecipe = RunRecipe()

    @field_validator("experts")
    @classmethod
    def _fit_together(cls, experts: list[ExpertRecipe], others: ValidationInfo) -> list[ExpertRecipe]:
        for number, expert in enumerate(experts):
            _check_expert(number, expert, experts)
        diffusion = others.data.get("diffusion")
        if experts and diffusion is not None:
            if diffusion.t_max not in (1.0, experts[-1].t_max):
                raise ValueError(
                    f"diffusion.t_max = {diffusion.t_max:g} is the end of a single expert, and contradicts the "
                    f"last expert's t_max = {experts[-1].t_max:g}; leave it out"
                )
            if not diffusion.evaluated_at < experts[0].t_max:
                raise ValueError(
                    f"diffusion.t_eval = {diffusion.evaluated_at:g} must be below experts.0.t_max = "
                    f"{experts[0].t_max:g}: the first expert becomes the force field"
                )
        return experts

    @model_validator(mode="after")
    def _transferable_where_molecules_are_many(self) -> "Recipe":
        models = [
            ("model", self.model),
            *((f"experts.{k}.model", e.model) for k, e in enumerate(self.experts) if e.model),
        ]
        if not self.data.molecules:
            for name, model in models:
                if isinstance(model, ChainRecipe):
                    raise ValueError(
                        f"{name}.kind = chain is for many molecules, which data.molecules gives; set it to internal"
                    )
            return self
        for name, model in models:
            if not isinstance(model, GraphTransformerRecipe | InternalRecipe | ChainRecipe):
                raise ValueError(
                    f"{name}.kind = {model.kind} is for one molecule, and data.molecules gives many; set it to "
                    "graph_transformer, to chain where they are disordered chains, or to internal where they differ in "
                    "their residue types alone"
                )
            if isinstance(model, InternalRecipe) and model.unseen:
                raise ValueError(
                    f"{name}.unseen = {model.unseen:g} is for one molecule, and data.molecules gives many; set it to 0"
                )
            if isinstance(model, InternalRecipe) and model.window:
                raise ValueError(
                    f"{name}.window = {model.window} is for one molecule, and data.molecules gives many; set it to 0"
                )
            if getattr(model, "wall", None) == PAIRS:
                raise ValueError(
                    f"{name}.wall = pairs has a distance for each pair of one molecule, and data.molecules gives many; "
                    "set it to true, for one of all beads of two names"
                )
            if getattr(model, "identity", False):
                raise ValueError(
                    f"{name}.identity = True gives every bead of one molecule an embedding of its own, and "
                    "data.molecules gives many molecules; set it to False"
                )
        for number, expert in enumerate(self.experts):
            if not expert.conservative:
                raise ValueError(
                    f"experts.{number}.conservative = False: transferable experts are energies; set it to True"
                )
        for name, none in (("denoising_fit", "false"), ("likelihood_frames", "0"), ("rounds", "0")):
            if getattr(self.calibration, name):
                raise ValueError(
                    f"calibration.{name} = {getattr(self.calibration, name)} adjusts the force field of one molecule, "
                    f"and data.molecules gives many; set it to {none}, and let fpforce-export --topology calibrate for "
                    "one"
                )
        return self

    @model_validator(mode="after")
    def _calibrated_as_an_energy(self) -> "Recipe":
        asked = {name: getattr(self.calibration, name) for name in ("denoising_fit", "likelihood_frames", "rounds")}
        for name, value in asked.items():
            if value and self.experts and not self.experts[0].conservative:
                raise ValueError(
                    f"calibration.{name} = {value} adjusts an energy, and experts.0.conservative = False leaves the "
                    f"force field without one; set it to True, or calibration.{name} to {False if value is True else 0}"
                )
        if 0 < asked["likelihood_frames"] < FEWEST_LIKELIHOODS:
            raise ValueError(
                f"calibration.likelihood_frames = {asked['likelihood_frames']} are too few to fit an energy to; give "
                f"{FEWEST_LIKELIHOODS} at least (1000 are usual), or 0 for none"
            )
        top_k = self.calibration.top_temperature_k
        if top_k is not None and not (self.calibration.rungs > 1 and top_k > self.temperature_k):
            raise ValueError(
                f"calibration.top_temperature_k = {top_k:g} is that of the hottest of calibration.rungs = "
                f"{self.calibration.rungs}; give 2 rungs or more, and a temperature above temperature_k = "
                f"{self.temperature_k:g}, or leave it out"
            )
        last = self.experts[-1].t_max if self.experts else self.diffusion.t_max
        if asked["likelihood_frames"] and last < 1.0:
            raise ValueError(
                f"calibration.likelihood_frames = {asked['likelihood_frames']} follows the model to t = 1, and it is "
                f"trained up to {last:g}; train up to 1, or set it to 0"
            )
        return self


def _check_expert(number: int, expert: ExpertRecipe, experts: list[ExpertRecipe]) -> None:
    """Raise ValueError, naming the entry, unless the expert fits the one before and the one after it."""
    here = f"experts.{number}"
    if number and expert.t_max <= experts[number - 1].t_max:
        raise ValueError(
            f"{here}.t_max = {expert.t_max:g} is not above experts.{number - 1}.t_max = "
            f"{experts[number - 1].t_max:g}: their intervals overlap; list experts by rising t_max"
        )
    if not expert.conservative:
        for name in ("fokker_planck_weight", "anchor_weight"):
            if getattr(expert, name):
                raise ValueError(
                    f"{here}.{name} = {getattr(expert, name):g} needs an energy, and {here} is not "
                    f"conservative; set it to 0, or {here}.conservative to true"
                )
    if expert.anchor_weight:
        if number + 1 == len(experts):
            raise ValueError(
                f"{here}.anchor_weight = {expert.anchor_weight:g} ties it to the next expert, and it is the last"
            )
        if not experts[number + 1].conservative:
            raise ValueError(
                f"{here}.anchor_weight = {expert.anchor_weight:g} ties its energy to that of the next expert; "
                f"experts.{number + 1} has none: make it conservative, or leave the weight out"
            )
