"""evaluate: files in, the consistency report out (`report.html`, self-contained, and `report.json`).

In: a model, reference trajectories, simulations by fpforce-simulate, optionally the training trajectories and iid
samples. The figures come from `assess`, the dict from `summarise`, the pictures from `figures`.
"""

import base64
import json
import logging
import math
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from fpforce.analysis import figures
from fpforce.analysis.assessment import Assessment, AssessmentSettings, ReplicaFrames, assess
from fpforce.analysis.comparison import FEWEST_FRAMES
from fpforce.analysis.summary import summarise
from fpforce.errors import InputError

logger = logging.getLogger("fpforce")

HTML_NAME, JSON_NAME = "report.html", "report.json"


@dataclass(frozen=True)
class Report:
    """What an evaluation found and where it wrote it; `figures` is the content of report.json."""

    assessment: Assessment
    figures: dict
    html_path: Path
    json_path: Path


def evaluate(force_field, reference, simulation, *, topology=None, training=None, iid=None, output, discard=0.5, seed=0,
             overwrite=False):
    """Judge simulations of a force field against reference trajectories and write the report.

    Args:
        force_field: ForceField or path of a model.pt.
        reference: path or paths of held-out trajectories, each an independent run of the same ensemble.
        simulation: path or paths written by fpforce-simulate, one for each start frame; convergence needs two.
        topology: topology file of the reference and training trajectories (atoms or beads); None where they bring
            their own or hold the beads.
        training: path or paths of the training trajectories.
        iid: samples of the beads, .npz / .npy in nm or a trajectory; with the log densities that fpforce-sample wrote beside
            them (--log-likelihood) they are reweighted to the force field, too.
        output: folder for report.html and report.json.
        discard: fraction of the simulated time left out at the start of each replica.
        seed: of thinnings and bootstraps.
        overwrite: replace an existing report.

    Arrays (.npy, .npz) are taken in nm. Raises InputError for anything unreadable, for a simulation of another model,
    and for an existing report without `overwrite`.
    """
    from fpforce.artifact import ForceField, load

    output = Path(output)
    html_path, json_path = _free_outputs(output, overwrite)
    settings = AssessmentSettings(discard=discard, seed=seed)
    _refuse_repeated("reference", _listed(reference))
    _refuse_repeated("simulation", _listed(simulation))
    if not isinstance(force_field, ForceField):
        force_field = load(force_field)
    reference, reference_files = _read_trajectories(reference, topology, force_field.beads)
    training, training_files = _read_trajectories(training, topology, force_field.beads) if training else (None, [])
    simulations, records = zip(*(_read_simulation(path, force_field) for path in _listed(simulation)), strict=True)
    sampled, log_weights = _read_iid(iid, force_field) if iid else (None, None)
    assessment = assess(
        force_field.beads, reference, _named_by_start(simulations), training=training, iid=sampled,
        iid_log_weights=log_weights, settings=settings,
    )  # fmt: skip
    summary = summarise(
        assessment,
        training_record=force_field.metadata.get("training", {}),
        simulation_records=records,
        provenance=_provenance(force_field, reference_files, training_files, _listed(simulation), iid, seed),
    )
    html = _render(assessment, summary, force_field, seed)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"folder {output} cannot be made: {error.strerror}; give another --output") from error
    _replace(html_path, html)
    _replace(json_path, json.dumps(summary, indent=1, allow_nan=False))
    return Report(assessment, summary, html_path, json_path)


def _free_outputs(output, overwrite):
    if output.exists() and not output.is_dir():
        raise InputError(f"output {output} is a file; give a folder for {HTML_NAME} and {JSON_NAME}")
    paths = output / HTML_NAME, output / JSON_NAME
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(f"{path} already exists; give another --output, or --overwrite to replace it")
    return paths


def _refuse_repeated(kind, paths):
    """The same file twice would count as two independent trajectories."""
    resolved = [Path(path).resolve() for path in paths]
    for path in paths:
        if resolved.count(Path(path).resolve()) > 1:
            raise InputError(f"{kind} {path} is given twice; give each trajectory once")


def _listed(paths):
    return [paths] if isinstance(paths, (str, Path)) else list(paths)


def _read_trajectories(paths, topology, table):
    """One array per file, and what they are: [{"path", "sha256", "frames"}]."""
    from fpforce.trajectory import read_bead_frames
    from fpforce.trajectory_files import is_array

    arrays, described = [], []
    for path in map(Path, _listed(paths)):
        frames = read_bead_frames(path, topology, table=table, length_unit="nm" if is_array(path) else None)
        arrays.append(frames.positions_nm)
        described.append({"path": str(path), "sha256": frames.sha256, "frames": len(frames.positions_nm)})
    return arrays, described


def _read_simulation(path, force_field):
    """(ReplicaFrames, its metadata); the simulation must be of this very model."""
    from fpforce.simulation import read_simulation

    frames = read_simulation(path, force_field.beads)
    simulated_with = frames.metadata.get("model_sha256")
    if simulated_with != force_field.sha256:
        raise InputError(
            f"simulation {path} was made with another model (sha256 {str(simulated_with)[:12]}) than "
            f"{force_field.path} ({force_field.sha256[:12]}); give the model that it was made with, or simulate again"
        )
    start = frames.metadata.get("start", {}).get("positions_nm")
    simulation = ReplicaFrames(
        positions_nm=frames.positions_nm,
        valid=frames.valid,
        name=Path(path).stem,
        time_step_ps=frames.metadata.get("frame_interval_ps"),
        failed_replicas=len(frames.failed),
        start_nm=None if start is None else np.asarray(start),
    )
    return simulation, frames.metadata


def _named_by_start(simulations):
    """The simulations, numbered where file names repeat."""
    names = [s.name for s in simulations]
    if len(set(names)) == len(names):
        return list(simulations)
    return [ReplicaFrames(**(vars(s) | {"name": f"{s.name} {k + 1}"})) for k, s in enumerate(simulations)]


def _read_iid(path, force_field):
    """Finite sampled frames (frames, n, 3) in nm, for a sample, unlike a trajectory, may hold outliers; and their log weights
    (frames,), or None."""
    from fpforce.trajectory_files import existing_file, is_array, read_array, read_atoms

    path = existing_file(path, "iid sample")
    _refuse_samples_of_another_model(path, force_field)
    if is_array(path):
        positions = read_array(path, "nm", 1)
    else:
        positions, _ = read_atoms(path, force_field.beads.to_mdtraj(), range(len(force_field.beads)), 1)
    finite, log_weights = np.isfinite(positions).all(axis=(1, 2)), _read_log_weights(path, force_field, len(positions))
    return positions[finite], None if log_weights is None else log_weights[finite]


def _read_log_weights(path, force_field, frames):
    """ln of exp(-U/kT)/q (frames,) from the files that fpforce-sample wrote beside samples at the force field's t, or None."""
    record, densities = path.with_name(path.name + ".json"), path.with_name(path.name + ".npz")
    if not (record.is_file() and densities.is_file()):
        return None
    drawn, metadata = json.loads(record.read_text()), force_field.metadata
    calibrated = bool((metadata.get("training") or {}).get("calibration"))
    if drawn.get("t_end") != metadata.get("t_eval") or drawn.get("calibrated", False) != calibrated:
        logger.warning("%s is not reweighted: its densities are at t = %s, %s, the force field is at t = %s, %s", path,
                       drawn.get("t_end"), _calibrated(drawn.get("calibrated", False)), metadata.get("t_eval"), _calibrated(calibrated))
        return None
    with np.load(densities) as arrays:
        if not {"energy_kt", "log_density"} <= set(arrays.files):
            return None
        log_weights = -arrays["energy_kt"] - arrays["log_density"]
    if log_weights.shape != (frames,):
        raise InputError(
            f"{densities} has densities of {len(log_weights)} samples, {path} holds {frames}; repeat fpforce-sample"
        )
    return log_weights


def _calibrated(flag):
    return "calibrated" if flag else "not calibrated"


def _refuse_samples_of_another_model(path, force_field):
    """fpforce-sample leaves a record of the checkpoint beside its samples; samples of other origin have none."""
    record = path.with_name(path.name + ".json")
    drawn_from = json.loads(record.read_text()).get("checkpoint_sha256") if record.is_file() else None
    exported_from = force_field.metadata.get("training", {}).get("checkpoint_sha256")
    if drawn_from and exported_from and drawn_from != exported_from:
        raise InputError(
            f"iid samples {path} were drawn from another checkpoint (sha256 {drawn_from[:12]}) than {force_field.path} was "
            f"exported from ({exported_from[:12]}); repeat fpforce-sample or fpforce-export"
        )


def _provenance(force_field, reference, training, simulations, iid, seed):
    from fpforce import __version__

    metadata = force_field.metadata
    return {
        "model": {"path": str(force_field.path), "sha256": force_field.sha256, "kind": force_field.kind,
                  "temperature_k": force_field.temperature_k, "fpforce_version": metadata.get("fpforce_version")},
        "reference": reference,
        "training": training,
        "simulations": [str(path) for path in simulations],
        "iid": None if iid is None else str(iid),
        "seed": seed,
        "fpforce_version": __version__,
    }  # fmt: skip


def _render(assessment, summary, force_field, seed):
    """The HTML page as text."""
    import jinja2

    rng = np.random.default_rng(seed)
    planes = [
        {
            "name": plane.plane.name,
            "basins": plane.plane.basin_names,
            "maps": _data_uri(figures.free_energy_maps(plane)),
            "profiles": _data_uri(figures.free_energy_profiles(plane, rng)),
            "history": _history(plane, assessment.discard),
            "result": plane,
        }
        for plane in assessment.planes
    ]
    pictures = dict.fromkeys(("bonds", "angles", "residual", "curves"))
    if assessment.bonds:
        pictures["bonds"] = _data_uri(figures.geometry_histograms(assessment.bonds, "length", "pm", scale=1000.0))
    if assessment.angles:
        degrees = figures.geometry_histograms(assessment.angles, "angle", "°", scale=180.0 / np.pi)
        pictures["angles"] = _data_uri(degrees)
    training = force_field.metadata.get("training", {})
    residual, curves = training.get("fokker_planck_residual") or {}, training.get("curves") or {}
    if residual.get("t"):
        pictures["residual"] = _data_uri(figures.fokker_planck_residual(residual))
    if figures.has_training_curves(curves):
        pictures["curves"] = _data_uri(figures.training_curves(curves))
    strict = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = strict.from_string((resources.files("fpforce.analysis") / "report.html.j2").read_text("utf-8"))
    return template.render(a=assessment, s=summary, planes=planes, pictures=pictures, colours=figures.COLOURS,
                           infinity=math.inf, fewest_frames=FEWEST_FRAMES)  # fmt: skip


def _history(plane, discard):
    """The population picture, or None where no set of frames leaves one and the same basin."""
    visited = {population.value for population in plane.populations.values()}
    visited |= {mean for series in plane.series for mean in series.mean[~np.isnan(series.mean)]}
    return None if visited in ({0.0}, {1.0}) else _data_uri(figures.population_history(plane, discard))


def _data_uri(svg):
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _replace(path, text):
    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        raise InputError(
            f"report {path} cannot be written: {error.strerror}; free space or give another --output"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
