"""evaluate: files in, the consistency report out (`report.html`, self-contained, `report.json` and `support.npz`).

In: a model, reference trajectories, simulations by fpforce-simulate, optionally the training trajectories and iid
samples. The figures come from `assess`, the dict from `summarise`, the pictures from `figures`.
Longer than other files, since every input of an evaluation is checked and named here.
"""

import base64
import contextlib
import io
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.analysis import figures, protein_figures, support_figures
from fpforce.analysis.assessment import Assessment, assess
from fpforce.analysis.comparison import FEWEST_FRAMES
from fpforce.analysis.criteria import Thresholds
from fpforce.analysis.divergences import BINS_PER_AXIS
from fpforce.analysis.folding import FoldedStructure
from fpforce.analysis.frame_source import FrameSource
from fpforce.analysis.independence import refuse_same_files, shared_frame_warnings, trained_on_warnings
from fpforce.analysis.inputs import (
    listed,
    named_by_start,
    open_iid,
    open_simulation_of,
    open_trajectories,
    refuse_repeated,
    refuse_trained_on,
)
from fpforce.analysis.plane_assessment import PlaneAssessment
from fpforce.analysis.protein import ProteinAssessment
from fpforce.analysis.report_json import summarise
from fpforce.analysis.run_facts import RunFacts, further_options, simulation_facts, training_facts
from fpforce.analysis.settings import AssessmentSettings
from fpforce.analysis.support import SupportAssessment, SupportSource
from fpforce.analysis.weighted_frames import drawn_by_weight
from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.load import AnyForceField
from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.locking import Lock
from fpforce.trajectories.files import matching_files

logger = logging.getLogger("fpforce")

# One file, or several.
Paths = str | Path | Sequence[str | Path]

HTML_NAME, JSON_NAME, SUPPORT_NAME = "report.html", "report.json", "support.npz"


@dataclass(frozen=True)
class Report:
    """What an evaluation found and where it wrote it; `figures` is the content of report.json."""

    assessment: Assessment
    figures: dict
    html_path: Path
    json_path: Path


def evaluate(
    force_field: AnyForceField,
    reference: Paths,
    simulation: Paths,
    *,
    topology: str | Path | None = None,
    training: Paths | None = None,
    iid: str | Path | None = None,
    output: str | Path,
    discard: float = 0.5,
    seed: int = 0,
    overwrite: bool = False,
    plane: str = "auto",
    tica_lag: int = 10,
    folded: str | Path | None = None,
    floor: str = "auto",
    note: str | None = None,
    training_weights: Paths | None = None,
) -> Report:
    """Judge simulations of a force field against reference trajectories and write the report.

    Args:
        force_field: ForceField, TransferableForceField, or path of a model.pt.
        reference: path or paths of held-out trajectories, each an independent run of the same ensemble.
        simulation: path or paths written by fpforce-simulate, one for each start frame; convergence needs two.
        topology: topology file of the reference and training trajectories (atoms or beads); None where they bring
            their own or hold the beads. A transferable force field is bound to it.
        training: path or paths of the training trajectories.
        iid: samples of the beads, .npz / .npy in nm or a trajectory; with the log densities that fpforce-sample wrote
            beside them (--log-likelihood) they are reweighted to the force field, too.
        output: folder for report.html, report.json, and support.npz with the distance from the support of the frames
            that were measured.
        discard: fraction of the simulated time left out at the start of each replica.
        seed: of thinnings and bootstraps.
        overwrite: replace an existing report.
        plane: "auto" (phi/psi where the beads define it, else TICA), "phi-psi" or "tica".
        tica_lag: of TICA and of the Markov models, in frames of the reference and of the simulation.
        folded: path of a PDB of a protein's folded structure, which makes folded and unfolded the basins of the TICA
            plane.
        floor: what a distance means something beside: "trajectories" of the reference against each other, or the
            "training" set against the reference, sharper where slow trajectories disagree; "auto" takes the first where
            the reference has several.
        note: a sentence on the reference, shown in the report.
        training_weights: path or paths with how much each training frame counts, one for each training trajectory
            (fpforce.trajectories.weights).

    Arrays (.npy, .npz) are taken in nm. Raises InputError for anything unreadable, for a simulation of another model,
    for a reference that is another one or a training trajectory under another name, and for an existing report without
    `overwrite`. Frames that these share, and a reference that the model was trained on, are warned of in the log, the
    report and report.json (`provenance.warnings`).
    """
    options = further_options(evaluate, locals())
    from fpforce.forcefield.force_field import ForceField
    from fpforce.forcefield.load import loaded
    from fpforce.forcefield.transferable.bound import BoundForceField

    output = Path(output)
    html_path, json_path = _free_outputs(output, overwrite)
    refuse_repeated("reference", matching_files(reference))
    refuse_repeated("simulation", listed(simulation))
    refuse_trained_on(matching_files(reference), matching_files(training) if training else [])
    force_field = loaded(force_field)
    if not isinstance(force_field, ForceField) or isinstance(force_field, BoundForceField):
        force_field = force_field.bound(topology)
    structure = None if folded is None else FoldedStructure.read(folded, force_field.beads)
    held_out, reference_files = open_trajectories(reference, topology, force_field.beads)
    refuse_same_files(reference_files)
    warnings = trained_on_warnings(str(force_field.path), force_field.metadata.get("training") or {}, reference_files)
    steps = {file["time_step_ps"] for file in reference_files}
    simulations, records = zip(*(open_simulation_of(path, force_field) for path in listed(simulation)), strict=True)
    step_ps = steps.pop() if len(steps) == 1 else None
    facts = RunFacts(
        model=str(force_field.path),
        temperature_k=force_field.temperature_k,
        reference=tuple(file["path"] for file in reference_files),
        reference_time_step_ps=step_ps,
        trained_on=tuple(map(str, matching_files(training))) if training else (),
        topology=None if topology is None else str(topology),
        iid=None if iid is None else str(iid),
        report=str(output),
        options=options,
        bound=isinstance(force_field, BoundForceField),
        training=training_facts(force_field.metadata.get("training", {})),
        simulations=simulation_facts(listed(simulation), records),
    )
    settings = AssessmentSettings(
        discard=discard,
        seed=seed,
        tica_lag_frames=tica_lag,
        plane=plane,
        folded=structure,
        reference_time_step_ps=step_ps,
        wall=force_field.wall,
        floor=floor,
        support=SupportSource.of(force_field, held_out),
        noise_nm=force_field.noise_nm,
        facts=facts,
    )
    trained_on: Sequence[FrameSource] | None = None
    training_files: list[dict[str, Any]] = []
    if training:
        trained_on, training_files = open_trajectories(training, topology, force_field.beads)
        refuse_same_files(reference_files, training_files)
        warnings += shared_frame_warnings(held_out, reference_files, trained_on, training_files)
        if training_weights:
            trained_on, weights = drawn_by_weight(trained_on, listed(training_weights))
            training_files = [file | {"weights": weights} for file in training_files]
        elif (force_field.metadata.get("training") or {}).get("weights"):
            logger.warning(
                "%s was trained on frames with weights, and the training set is judged without: give training_weights "
                "(--training-weights)",
                force_field.path,
            )
    elif training_weights:
        raise InputError("training_weights are given without training trajectories: give these too")
    else:
        warnings += shared_frame_warnings(held_out, reference_files)
    for text in warnings:
        logger.warning("%s", text)
    sampled, log_weights = open_iid(iid, force_field) if iid else (None, None)
    assessment = assess(
        force_field.beads,
        held_out,
        named_by_start(simulations),
        training=trained_on,
        iid=sampled,
        iid_log_weights=log_weights,
        settings=settings,
    )
    assert settings.support is not None
    summary = summarise(
        assessment,
        no_support=settings.support.no_meter,
        training_record=force_field.metadata.get("training", {}),
        simulation_records=records,
        provenance=_provenance(force_field, reference_files, training_files, listed(simulation), records, iid, seed)
        | {"note": note, "warnings": warnings},
    )
    html = _render(assessment, summary, force_field, seed)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"folder {output} cannot be made: {error.strerror}; give another --output") from error
    with contextlib.closing(Lock(output / "lock", output)):  # or the two could be of different evaluations
        _free_outputs(output, overwrite)  # again: another one may have come and gone
        _replace(html_path, html)
        _replace(json_path, json.dumps(summary, indent=1, allow_nan=False))
        _replace_support(output / SUPPORT_NAME, assessment.support)
    return Report(assessment, summary, html_path, json_path)


def _free_outputs(output: Path, overwrite: bool) -> tuple[Path, Path]:
    if output.exists() and not output.is_dir():
        raise InputError(f"output {output} is a file; give a folder for {HTML_NAME} and {JSON_NAME}")
    paths = output / HTML_NAME, output / JSON_NAME
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(f"{path} already exists; give another --output, or --overwrite to replace it")
    return paths


def _provenance(
    force_field: ForceField,
    reference: list[dict[str, Any]],
    training: list[dict[str, Any]],
    simulations: Sequence[str | Path],
    records: Sequence[dict[str, Any]],
    iid: str | Path | None,
    seed: int,
) -> dict[str, Any]:
    from fpforce import __version__
    from fpforce.simulation.exchange import accepted_swaps

    metadata = force_field.metadata
    return {
        "model": {
            "path": str(force_field.path),
            "sha256": force_field.sha256,
            "kind": force_field.kind,
            "molecule": force_field.molecule,
            "temperature_k": force_field.temperature_k,
            "fpforce_version": metadata.get("fpforce_version"),
        },
        "reference": reference,
        "training": training,
        "simulations": [str(path) for path in simulations],
        "exchanges": [
            {"ladder_k": record["ladder_k"], "accepted_swaps": accepted_swaps(record)}
            if record.get("ladder_k")
            else None
            for record in records
        ],
        "iid": None if iid is None else str(iid),
        "seed": seed,
        "fpforce_version": __version__,
    }


def _render(assessment: Assessment, summary: dict[str, Any], force_field: ForceField, seed: int) -> str:
    """The HTML page as text."""
    import jinja2

    rng = np.random.default_rng(seed)
    planes = [
        {
            "name": plane.plane.name,
            "basins": plane.plane.basin_names,
            "lag_frames": getattr(plane.plane, "lag_frames", None),
            "peptide_bond": getattr(plane.plane, "peptide_bond", None),
            "maps": _data_uri(figures.free_energy_maps(plane)),
            "profiles": _data_uri(figures.free_energy_profiles(plane, rng)),
            "history": _history(plane, assessment.discard),
            "result": plane,
        }
        for plane in assessment.planes
    ]
    pictures: dict[str, Any] = dict.fromkeys(("bonds", "angles", "residual", "curves", "support"))
    if assessment.support is not None:
        pictures["support"] = _data_uri(support_figures.support_picture(assessment.support))
    if assessment.bonds:
        pictures["bonds"] = _data_uri(figures.geometry_histograms(assessment.bonds, "length", "pm", scale=1000.0))
    if assessment.angles:
        degrees = figures.geometry_histograms(assessment.angles, "angle", "°", scale=180.0 / np.pi)
        pictures["angles"] = _data_uri(degrees)
    if assessment.protein is not None:
        pictures |= _protein_pictures(assessment.protein)
    if assessment.interfaces:
        pictures["interfaces"] = [_data_uri(protein_figures.interface_maps(one)) for one in assessment.interfaces]
    training = force_field.metadata.get("training", {})
    residual, curves = training.get("fokker_planck_residual") or {}, training.get("curves") or {}
    if residual.get("t"):
        pictures["residual"] = _data_uri(figures.fokker_planck_residual(residual))
    if figures.has_training_curves(curves):
        pictures["curves"] = _data_uri(figures.training_curves(curves))
    strict = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    strict.loader = jinja2.FunctionLoader(lambda name: (resources.files("fpforce.analysis") / name).read_text("utf-8"))
    template = strict.get_template("report.html.j2")
    return template.render(
        a=assessment,
        s=summary,
        planes=planes,
        pictures=pictures,
        colours=figures.COLOURS,
        infinity=math.inf,
        fewest_frames=FEWEST_FRAMES,
        finest=BINS_PER_AXIS,
        excess_js=Thresholds().excess_js,
    )


def _protein_pictures(protein: ProteinAssessment) -> dict[str, str | None]:
    kinetics = protein.kinetics
    return {
        "contacts": _data_uri(protein_figures.contact_maps(protein)),
        "folded": None if protein.folded is None else _data_uri(protein_figures.folded_distances(protein)),
        "time_scales": _data_uri(protein_figures.time_scales(kinetics))
        if kinetics and kinetics.has_time_scales
        else None,
    }


def _history(plane: PlaneAssessment, discard: float) -> str | None:
    """The population picture, or None where no set of frames leaves one and the same basin."""
    visited = {population.value for population in plane.populations.values()}
    visited |= {mean for series in plane.series for mean in series.mean[~np.isnan(series.mean)]}
    return None if visited in ({0.0}, {1.0}) else _data_uri(figures.population_history(plane, discard))


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _replace_support(path: Path, support: SupportAssessment | None) -> None:
    """Distances frame by frame, an array `NAME/saved_time`, `NAME/replica` and `NAME/distance` for each simulation."""
    if support is None:
        path.unlink(missing_ok=True)
        return
    arrays: dict[str, Any] = {
        f"{one.name}/{name}": values for one in support.simulations for name, values in one.measured.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    _replace(path, buffer.getvalue())


def _replace(path: Path, content: str | bytes) -> None:
    try:
        with replacing(path) as unfinished:
            if isinstance(content, bytes):
                unfinished.write_bytes(content)
            else:
                unfinished.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"report {path} cannot be written: {error.strerror}; free space or give another --output"
        ) from error
