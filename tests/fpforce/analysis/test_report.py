"""evaluate and fpforce-evaluate: files in, report.html and report.json out, one clear line for wrong input.

Longer than other files, since all its tests share one report.
"""

import base64
import copy
import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import fpforce
from fpforce.analysis import evaluate
from fpforce.analysis.figures import training_curves
from fpforce.analysis.observables import dihedrals
from fpforce.analysis.report import _render
from fpforce.commands.evaluate import _show
from fpforce.foundation.errors import InputError
from fpforce.simulation.files import SimulationFiles

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"
TOPOLOGY = EXAMPLE / "alanine_dipeptide.pdb"
TIMES, REPLICAS = 150, 32
TRAINING = {
    "steps": 1200,
    "seconds": 345.6,
    "device": "cpu",
    "checkpoint_sha256": 64 * "a",
    "curves": {"step": [0, 100, 200], "denoising": [3.0, 2.0, 1.5], "fokker_planck": [0.1, -0.01, 0.02]},
    "fokker_planck_residual": {"t": [1e-5, 1e-3, 0.1, 1.0], "residual": [0.3, 0.2, 0.05, 0.01]},
}


def write_simulation(folder, name, field, positions_nm, start_nm, failed):
    files = SimulationFiles(folder / f"{name}.xtc", field.beads, REPLICAS, per_replica=False)
    files.start(start_nm)
    for k, frame in enumerate(positions_nm):
        files.append(frame, 0.5 * k, 250 * k)
    metadata = {
        "replicas": REPLICAS,
        "trajectories": [f"{name}.xtc"],
        "saved_times": len(positions_nm),
        "failed": failed,
        "frame_interval_ps": 0.5,
        "steps": 250 * len(positions_nm),
        "steps_per_second": 1000.0,
        "ns_per_day": 5529.6,
        "backend": "torchforce",
        "platform": "Reference",
        "model_sha256": field.sha256,
        "start": {"positions_nm": start_nm.tolist()},
    }
    files.save({}, metadata)
    files.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, model_writer, modules):
    """A model.pt, two simulations made of real frames (one replica failed), and iid samples: name -> path."""
    folder = tmp_path_factory.mktemp("evaluate")
    train = fpforce.read_bead_frames(EXAMPLE / "train.xtc", TOPOLOGY, beads="backbone5")
    starts = {name: mdtraj.load(str(EXAMPLE / f"start_{name}.pdb")).xyz[0] for name in ("negative", "positive")}
    model = model_writer(
        folder / "model.pt", modules(5, 20000.0, 0.15), train.beads, starts["negative"].astype(float), training=TRAINING
    )
    field = fpforce.load(model)
    order = np.random.default_rng(0).permutation(len(train.positions_nm))
    size = TIMES * REPLICAS
    for k, (name, start) in enumerate(starts.items()):
        frames = train.positions_nm[order[k * size : (k + 1) * size]].reshape(TIMES, REPLICAS, 5, 3)
        failed = {"5": {"step": 30000, "frame": 120, "reason": "bond"}} if name == "positive" else {}
        write_simulation(folder, name, field, frames, start, failed)
    np.savez(folder / "iid.npz", positions=train.positions_nm[order[2 * size :]])
    return {"folder": folder, "model": model, "iid": folder / "iid.npz"} | {n: folder / f"{n}.xtc" for n in starts}


@pytest.fixture(scope="module")
def report(inputs):
    return evaluate(
        inputs["model"],
        EXAMPLE / "reference.xtc",
        [inputs["negative"], inputs["positive"]],
        topology=TOPOLOGY,
        training=EXAMPLE / "train.xtc",
        iid=inputs["iid"],
        output=inputs["folder"] / "report",
    )


def at(record, dotted):
    for key in dotted.split("."):
        record = record[key]
    return record


@pytest.mark.parametrize(
    "name",
    [
        "js",
        "js_floor",
        "pmf_error",
        "pmf_error_floor",
        "excess_js",
        "excess_pmf_error",
        "js_floor_range95",
        "excess_js_range95",
        "frames",
        "bond_w1_nm.max",
        "angle_w1_rad.max",
        "free_energy_kt.value",
        "free_energy_kt.standard_error",
        "effective_frames.basin",
    ],
)
def test_json_has_the_figures_of_the_simulation(report, name):
    content = json.loads(report.json_path.read_text())
    assert np.all(np.isfinite(at(content, f"simulation.{name}")))


def test_json_has_speed_training_reference_iid_and_verdict(report):
    content = json.loads(report.json_path.read_text())
    assert content["training"]["seconds"] == 345.6 and content["training"]["steps"] == 1200
    assert content["speed"]["steps_per_second"] == 1000.0 and content["speed"]["backend"] == "torchforce"
    assert content["speed"]["replica_steps"] == 2 * 250 * TIMES * REPLICAS
    assert content["training"]["js"] > 0 and content["iid"]["js_floor"] > 0
    # Both are frames of the training set drawn without overlap: apart by no more than independent samples are.
    assert abs(content["self_consistency"]["excess_js"]) < 4 * content["self_consistency"]["excess_js_standard_error"]
    assert content["reference"]["free_energy_kt"]["value"] == pytest.approx(3.81, abs=0.01)
    for check in content["verdict"]["checks"].values():
        assert {"value", "threshold", "pass"} <= set(check)


def test_json_values_are_those_of_the_assessment(report):
    assert report.figures["simulation"]["js"] == report.assessment.divergences["simulation"].js.value
    assert report.figures["comparison"]["frames"] == report.assessment.frames_compared
    assert set(report.figures["simulation"]["bond_w1_nm"]["each"]) == {bond.name for bond in report.assessment.bonds}


def test_a_failed_replica_is_counted_in_the_files_and_fails_the_verdict(report):
    simulation = report.figures["simulation"]
    assert simulation["failed_replicas"] == 1
    # the second half of both simulations, less the frozen replica from saved time 120 on
    assert simulation["frames"] == 2 * REPLICAS * TIMES // 2 - (TIMES - 120)
    assert report.figures["verdict"]["status"] in ("fail", "not converged")


def test_console_table_names_every_row_in_80_columns(report, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _show(report)
    lines = capsys.readouterr().out.splitlines()
    for name in ("simulation", "training", "iid", "simulation from iid"):
        assert any(re.match(rf" *{name} +[\d,]+ +0\.\d{{4}}", line) for line in lines), lines


def test_loss_that_the_training_left_out_has_no_panel():
    curves = {"step": [0, 1], "denoising": [2.0, 1.0], "fokker_planck": [0.0, 0.0]}
    without, with_it = (training_curves(drawn) for drawn in (curves, curves | {"fokker_planck": [0.0, -0.1]}))
    assert without.count('id="axes_') == 1 and with_it.count('id="axes_') == 2


def test_html_is_self_contained(report):
    html = report.html_path.read_text()
    assert "http://" not in html and "https://" not in html and "<script" not in html and "<link" not in html
    sources = re.findall(r'src="([^"]+)"', html)
    assert len(sources) == 7 and all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    for source in sources:
        assert b"</svg>" in base64.b64decode(source.split(",", 1)[1])


def test_html_shows_verdict_and_key_figures(report):
    html = report.html_path.read_text()
    assert f">{report.assessment.status}</span>" in html
    assert f"{report.figures['simulation']['excess_js']:.4f}" in html
    assert report.assessment.convergence_verdict in html


@pytest.mark.parametrize(
    "undone, words",
    [
        ({"undone": [2]}, "; 1 that made it far worse undone. Residual"),
        ({}, ". Residual"),
        (
            {"held_out": {"nats": 0.1661, "error": 0.0384}, "refused": False},
            "; held-out frames became more likely by 0.166 ± 0.038 nats each. Residual",
        ),
        (
            {"held_out": {"nats": -0.2, "error": 0.01}, "refused": True},
            "; held-out frames became less likely by 0.200 ± 0.010 nats each, so it was taken back. Residual",
        ),
    ],
    ids=["undone", "exported before there were any", "held out", "taken back"],
)
def test_html_tells_of_rounds_of_calibration_that_were_undone(report, inputs, undone, words):
    figures = copy.deepcopy(report.figures)
    figures["training"]["calibration"] = undone | {
        "likelihood": None,
        "rounds": 3,
        "replicas": 64,
        "seconds": 30.0,
        "relative_entropy": [0.03, 7.0, 0.02],
    }
    html = _render(report.assessment, figures, fpforce.load(inputs["model"]), 0)
    assert f"0.0300 nats in the first, 0.0200 in the last{words}" in html


def test_an_existing_report_is_refused_without_overwrite(inputs, report):
    before = report.html_path.read_bytes()
    with pytest.raises(InputError, match="already exists.*--overwrite"):
        evaluate(inputs["model"], "missing.xtc", inputs["negative"], output=report.html_path.parent)
    assert report.html_path.read_bytes() == before


def test_a_simulation_of_another_model_is_refused(inputs, model_writer, modules, tmp_path):
    field = fpforce.load(inputs["model"])
    other = model_writer(tmp_path / "other.pt", modules(5, 1.0, 0.15), field.beads, field.positions_nm)
    with pytest.raises(InputError, match="another model"):
        evaluate(other, EXAMPLE / "reference.xtc", inputs["negative"], topology=TOPOLOGY, output=tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_samples_of_another_checkpoint_are_refused(inputs, tmp_path):
    iid = tmp_path / "iid.npz"
    iid.write_bytes(inputs["iid"].read_bytes())
    iid.with_name("iid.npz.json").write_text(json.dumps({"checkpoint_sha256": 64 * "b"}))
    with pytest.raises(InputError, match="another checkpoint.*fpforce-sample"):
        evaluate(
            inputs["model"],
            EXAMPLE / "reference.xtc",
            inputs["negative"],
            topology=TOPOLOGY,
            iid=iid,
            output=tmp_path / "r",
        )


def test_samples_with_densities_are_reweighted_to_the_force_field(inputs, tmp_path):
    """Log weights of ln 3 in the phi > 0 basin raise its odds threefold; those of samples at another t are left
    alone.
    """
    iid = tmp_path / "iid.npz"
    iid.write_bytes(inputs["iid"].read_bytes())
    positions = np.load(iid)["positions"]
    table = fpforce.load(inputs["model"]).beads
    upper = dihedrals(positions, [table.phi_psi[0]["phi"]])[:, 0] > 0
    log_density = np.random.default_rng(1).normal(size=len(positions))
    np.savez(tmp_path / "iid.npz.npz", log_density=log_density, energy_kt=-log_density - np.log(3.0) * upper)
    found = {}
    for t_end in (fpforce.load(inputs["model"]).metadata["t_eval"], 0.02):
        iid.with_name("iid.npz.json").write_text(json.dumps({"t_end": t_end}))
        found[t_end] = evaluate(
            inputs["model"],
            EXAMPLE / "reference.xtc",
            [inputs["negative"], inputs["positive"]],
            topology=TOPOLOGY,
            iid=iid,
            output=tmp_path / f"report_{t_end}",
        )
    right, other = found.values()
    odds = 3.0 * upper.mean() / (1.0 - upper.mean())
    reweighted = right.figures["reweighted"]
    assert reweighted["population"]["value"] == pytest.approx(odds / (1.0 + odds), rel=1e-9)
    assert reweighted["free_energy_kt"]["value"] == pytest.approx(-np.log(odds), rel=1e-9)
    weights = np.where(upper, 3.0, 1.0)
    assert reweighted["effective_frames"]["all"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert "iid, reweighted" in right.html_path.read_text() and "reweighted" not in other.figures


def test_densities_of_other_samples_are_refused(inputs, tmp_path):
    iid, field = tmp_path / "iid.npz", fpforce.load(inputs["model"])
    iid.write_bytes(inputs["iid"].read_bytes())
    iid.with_name("iid.npz.json").write_text(json.dumps({"t_end": field.metadata["t_eval"]}))
    np.savez(tmp_path / "iid.npz.npz", log_density=np.zeros(7), energy_kt=np.zeros(7))
    with pytest.raises(InputError, match="densities of 7 samples"):
        evaluate(
            inputs["model"],
            EXAMPLE / "reference.xtc",
            inputs["negative"],
            topology=TOPOLOGY,
            iid=iid,
            output=tmp_path / "r",
        )


def test_a_molecule_of_three_beads_in_one_basin_has_a_report(inputs, model_writer, modules, tmp_path):
    field = fpforce.load(inputs["model"])
    table = fpforce.molecule.beads.BeadTable(field.beads.beads[1:4], ((0, 1), (1, 2)), "groups")
    frames = fpforce.read_bead_frames(EXAMPLE / "train.xtc", TOPOLOGY, beads="backbone5").positions_nm[:, 1:4]
    start_nm = frames[0].astype(float)
    small = fpforce.load(model_writer(tmp_path / "small.pt", modules(3, 20000.0, 0.15), table, start_nm))
    np.save(tmp_path / "reference.npy", frames[:4000])
    for k, name in enumerate(("one", "two")):
        positions = frames[4000 + 4800 * k : 8800 + 4800 * k].reshape(TIMES, REPLICAS, 3, 3)
        write_simulation(tmp_path, name, small, positions, start_nm, {})
    report = evaluate(
        small, tmp_path / "reference.npy", [tmp_path / "one.xtc", tmp_path / "two.xtc"], output=tmp_path / "report"
    )
    assert report.assessment.planes[0].plane.name == "TICA" and report.html_path.exists()
    assert np.isfinite(report.figures["simulation"]["js"])


def test_where_all_frames_are_in_one_basin_no_population_is_drawn(inputs, tmp_path):
    from fpforce.analysis.observables import dihedrals

    field = fpforce.load(inputs["model"])
    beads = fpforce.read_bead_frames(EXAMPLE / "train.xtc", TOPOLOGY, beads="backbone5")
    phi = dihedrals(beads.positions_nm, [beads.beads.phi_psi[0]["phi"]])[:, 0]
    frames = beads.positions_nm[phi < -0.1]
    np.save(tmp_path / "reference.npy", frames[:4000])
    for k, name in enumerate(("one", "two")):
        positions = frames[4000 + 4800 * k : 8800 + 4800 * k].reshape(TIMES, REPLICAS, 5, 3)
        write_simulation(tmp_path, name, field, positions, frames[k], {})
    outputs = [tmp_path / "one.xtc", tmp_path / "two.xtc"]
    done = run(
        field.path,
        "--reference",
        tmp_path / "reference.npy",
        "--simulation",
        outputs[0],
        "--simulation",
        outputs[1],
        "--output",
        tmp_path / "report",
    )
    assert done.returncode == 0, done.stderr
    assert "inf" not in done.stdout.replace("\n", " ").split("Verdict")[1] and "not judged" in done.stdout
    html = (tmp_path / "report" / "report.html").read_text()
    assert "All frames of all sets are in one basin" in html
    assert "inf " not in html and "nan" not in html.split("base64")[0]


def test_a_full_disk_names_the_report_and_leaves_no_half_of_it(inputs, tmp_path, monkeypatch):
    def write_half(path, text, **_):
        path.write_bytes(text[:100].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(InputError, match="report.html cannot be written: No space left"):
        evaluate(
            inputs["model"], EXAMPLE / "reference.xtc", inputs["negative"], topology=TOPOLOGY, output=tmp_path / "r"
        )
    assert list((tmp_path / "r").iterdir()) == []


def run(*arguments):
    command = [sys.executable, "-c", "from fpforce.commands.evaluate import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_command_prints_the_verdict_and_where_the_report_is(inputs, tmp_path):
    arguments = [inputs["model"], "--reference", EXAMPLE / "reference.xtc", "--topology", TOPOLOGY]
    done = run(*arguments, "--simulation", inputs["negative"], "--output", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "not judged" in done.stdout and "report.html" in done.stdout
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert content["simulation"]["converged"] is False and content["verdict"]["status"] == "not judged"


def test_wrong_input_is_one_line_with_exit_status_2(inputs, tmp_path):
    missing = tmp_path / "no.xtc"
    done = run(inputs["model"], "--reference", missing, "--simulation", inputs["negative"], "-o", tmp_path / "r")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "no.xtc" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()


def test_help_loads_no_engine():
    code = (
        "import sys; from fpforce.commands.evaluate import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'openmm', 'mdtraj', 'matplotlib', 'deeptime', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]"), done.stdout


def test_diagnosis_and_its_command_are_in_json_html_and_the_printed_summary(report, inputs, capsys):
    figures, html = json.loads(report.json_path.read_text()), report.html_path.read_text()
    (found,) = [one for one in figures["diagnosis"] if one["cause"] == "left the data"]
    assert "1 of " in found["text"] and "replicas broke" in found["text"]
    assert found["command"].startswith(f"fpforce-simulate {inputs['model']} -o ")
    _show(report)
    printed = capsys.readouterr().out
    for words in (found["cause"], found["command"].split(" && ")[0]):
        assert words in html.replace("Left the data", "left the data") and words in printed


def test_floor_at_the_chosen_bins_stands_beside_that_with_64(report):
    comparison = report.figures["comparison"]
    assert comparison["bins_per_axis"] in (64, 48, 32, 24, 16) and comparison["js_floor"] <= 0.03
    assert comparison["js_floor_at_64_bins"] >= comparison["js_floor"]
    distances = report.figures["distributions"]
    assert set(distances) == {"pair_distances", "radius_of_gyration", "end_to_end"}
    assert all(one["limit_nm"] > one["floor_nm"] > 0 and one["w1_nm"]["iid"] > 0 for one in distances.values())
