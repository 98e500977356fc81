"""fpforce-simulate as a process: exit statuses, one-line errors, and what a signal leaves behind."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import fpforce
from fpforce.commands import simulate as command
from fpforce.simulation.settings import SimulationSettings
from fpforce.simulation.simulate import read_simulation
from fpforce.system import backends

SIMULATE = [sys.executable, "-c", "from fpforce.commands.simulate import main; main()"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def run(*arguments):
    return subprocess.run([*SIMULATE, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT)


def start(*arguments):
    return subprocess.Popen(
        [*SIMULATE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def wait_for(condition, process, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def checkpointed_steps(output, field) -> int:
    try:
        return read_simulation(output, field.beads).metadata["steps"]
    except fpforce.InputError:
        return 0


OPTIONS = {
    "steps": ("7", 7),
    "max_minutes": ("1.5", 1.5),
    "replicas": ("3", 3),
    "timestep_fs": ("1.25", 1.25),
    "friction_per_ps": ("4", 4.0),
    "temperature_k": ("310", 310.0),
    "override_temperature": (None, True),
    "override_not_conservative": (None, True),
    "rungs": ("4", 4),
    "top_temperature_k": ("700", 700.0),
    "report_interval_ps": ("0.25", 0.25),
    "topology": ("a.pdb", Path("a.pdb")),
    "start": ("b.xtc:3", "b.xtc:3"),
    "start_topology": ("b.pdb", Path("b.pdb")),
    "seed": ("9", 9),
    "platform": ("CPU", "CPU"),
    "backend": ("python", "python"),
    "threads": ("2", 2),
    "minimise": (None, True),
    "per_replica": (None, True),
    "checkpoint_minutes": ("8", 8.0),
    "workers": ("2", 2),
    "scheduler": ("tcp://host:8786", "tcp://host:8786"),
    "shard_replicas": ("16", 16),
    "resume": (None, True),
    "overwrite": (None, True),
}


class Called(Exception):
    pass


@pytest.fixture
def called(monkeypatch):
    """simulate that only keeps what it was called with."""
    calls = []

    def simulate(model, output, settings, **_):
        calls.append((model, output, settings))
        raise Called

    monkeypatch.setattr("fpforce.simulation.simulate.simulate", simulate)
    return calls


def test_every_field_of_the_settings_is_an_option_of_the_command(called):
    """Table OPTIONS names all of them; the values differ from the defaults."""
    arguments = [
        word
        for name, (text, _) in OPTIONS.items()
        for word in ("--" + name.replace("_", "-"), *([] if text is None else [text]))
    ]
    with pytest.raises(Called):
        command.main(["model.pt", "-o", "out.xtc", *arguments])
    expected = SimulationSettings(**{name: value for name, (_, value) in OPTIONS.items()})
    assert called == [(Path("model.pt"), Path("out.xtc"), expected)]
    fields = {field.name: field.default for field in dataclasses.fields(SimulationSettings)}
    assert OPTIONS.keys() == fields.keys()
    assert not any(value == fields[name] for name, (_, value) in OPTIONS.items())


def test_options_left_out_have_the_defaults_of_the_settings(called):
    with pytest.raises(Called):
        command.main(["model.pt", "-o", "out.xtc", "--steps", "7", "--friction", "2"])
    assert called[0][2] == SimulationSettings(steps=7, friction_per_ps=2.0)


@pytest.fixture(scope="module")
def field(chiral_chain):
    return fpforce.load(chiral_chain)


def test_help_needs_no_engine():
    done = run("--help")
    assert (
        done.returncode == 0
        and "--friction-per-ps" in done.stdout
        and "3 done, but replicas failed" in " ".join(done.stdout.split())
    )
    code = (
        "import sys; from fpforce.commands.simulate import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('openmm', 'torch', 'mdtraj', 'numpy') if name in sys.modules])"
    )
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert imported.stdout.splitlines()[-1] == "[]"


def test_finished_run_prints_its_speed_and_exits_with_zero(field, tmp_path):
    done = run(
        field.path,
        "--output",
        tmp_path / "out.dcd",
        "--steps",
        500,
        "--replicas",
        2,
        "--friction",
        2,
        "--report-interval-ps",
        0.1,
        "--log",
        tmp_path / "log.txt",
    )
    assert done.returncode == 0, done.stderr
    assert "20 frames, 500 steps" in done.stdout and "ns/day over 2 replicas" in done.stdout
    assert "backend torchforce" in done.stderr and "platform Reference" in (tmp_path / "log.txt").read_text()
    metadata = read_simulation(tmp_path / "out.dcd", field.beads).metadata
    assert metadata["friction_per_ps"] == 2.0 and metadata["replicas"] == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--temperature-k", 350), "--override-temperature"),
        (("--replicas", 0), "replicas is 0"),
        (("--start", "absent.pdb"), "absent.pdb does not exist"),
        (("--log", "nowhere/log.txt"), "log file nowhere/log.txt cannot be written"),
        (("--platform", "Abacus"), "'Abacus' is not available"),
        (("--output", "/dev/null/out.xtc"), "/dev/null is a file"),
    ],
)
def test_wrong_input_is_one_line_and_exit_status_two(field, tmp_path, arguments, message):
    done = run(field.path, "--output", tmp_path / "out.xtc", "--steps", 500, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_failed_replicas_give_exit_status_three(fragile_dimer, tmp_path):
    done = run(fragile_dimer, "--output", tmp_path / "out.xtc", "--steps", 3000, "--replicas", 12, "--friction", 5)
    assert done.returncode == 3, done.stderr
    assert "of 12 replicas failed" in done.stdout and "is frozen, the others go on" in done.stderr


@pytest.mark.parametrize("backend", backends.names())
def test_interrupt_leaves_everything_complete_and_exits_with_130(small_model, tmp_path, backend):
    field = fpforce.load(small_model)  # a model that every backend computes
    output = tmp_path / "out.xtc"
    process = start(
        field.path,
        "--output",
        output,
        "--steps",
        10_000_000,
        "--replicas",
        4,
        "--report-interval-ps",
        0.1,
        "--backend",
        backend,
    )
    wait_for(lambda: output.exists() and output.stat().st_size > 0, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("interrupted: stopped at step") and "--resume" in errors
    frames = read_simulation(output, field.beads)
    assert len(frames.positions_nm) == frames.metadata["steps"] // 50 > 0
    assert len(mdtraj.load(str(output), top=f"{output}.pdb")) == 4 * len(frames.positions_nm)


@pytest.mark.parametrize("extension", ["xtc", "dcd"])
def test_killed_run_is_readable_and_resumes_without_duplicate_or_missing_frames(field, tmp_path, extension):
    output = tmp_path / f"out.{extension}"
    options = ("--replicas", 2, "--report-interval-ps", 0.1, "--seed", 5, "--checkpoint-minutes", 0.01)
    process = start(field.path, "--output", output, "--steps", 10_000_000, *options)
    wait_for(lambda: checkpointed_steps(output, field) > 0, process)
    time.sleep(1.2)
    process.kill()
    process.communicate()
    killed = read_simulation(output, field.beads)
    assert np.isfinite(killed.positions_nm).all() and len(killed.positions_nm) > 0
    steps = 50 * len(killed.positions_nm) + 1000
    resumed = run(field.path, "--output", output, "--steps", steps, *options, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    frames = read_simulation(output, field.beads)
    assert len(frames.positions_nm) == steps // 50
    np.testing.assert_array_equal(frames.positions_nm[: len(killed.positions_nm)], killed.positions_nm)
    loaded = mdtraj.load(str(output), top=f"{output}.pdb")
    assert len(loaded) == 2 * steps // 50
    if extension == "xtc":
        np.testing.assert_allclose(loaded.time, np.repeat(0.1 * np.arange(1, steps // 50 + 1), 2), rtol=1e-5)
