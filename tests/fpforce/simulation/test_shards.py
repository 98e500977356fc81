"""Simulations in shards: the same frames whoever simulates them and whatever is lost meanwhile, read as one."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

import fpforce
from fpforce.analysis.inputs import open_simulation_of
from fpforce.foundation.errors import InputError
from fpforce.simulation.shards import cut
from fpforce.simulation.simulate import SimulationSettings, read_simulation, simulate

# On the native backend, whose steps are the same to the last bit after a restart, too.
SETTINGS = SimulationSettings(
    steps=20_000, replicas=5, shard_replicas=2, seed=7, backend="native", platform="Reference"
)
SIMULATE = [sys.executable, "-c", "from fpforce.commands.simulate import main; main()"]


def wait_for(condition, seconds=300.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def field(small_model):
    return fpforce.load(small_model)


@pytest.fixture(scope="module")
def whole(field, tmp_path_factory):
    """The frames that this process makes, shard by shard."""
    output = tmp_path_factory.mktemp("whole") / "out.xtc"
    result = simulate(field, output, SETTINGS)
    assert (result.steps, result.saved_times, result.frames) == (20_000, 80, 400)
    assert [path.name for path in result.trajectories] == ["0.xtc", "1.xtc", "2.xtc"]
    return read_simulation(output, field.beads).positions_nm


def require_same_frames(output, field, whole):
    np.testing.assert_array_equal(read_simulation(output, field.beads).positions_nm, whole)


def test_shards_hold_all_replicas_and_whole_ladders_once():
    shards = cut(Path("a/out.xtc"), 11, 4)
    assert [(shard.first, shard.replicas) for shard in shards] == [(0, 4), (4, 4), (8, 3)]
    assert [str(shard.output) for shard in shards] == [f"a/out.xtc.shards/{k}.xtc" for k in range(3)]


def test_replicas_differ_within_a_shard_and_between_shards(whole):
    assert whole.shape == (80, 5, 5, 3)
    last = whole[-1].reshape(5, -1)
    distances = np.linalg.norm(last[:, None] - last[None], axis=-1)
    assert distances[~np.eye(5, dtype=bool)].min() > 1e-2


@pytest.mark.parametrize("workers", [1, 2])
def test_frames_are_the_same_whatever_the_number_of_workers(field, whole, tmp_path, workers):
    told = []
    output = tmp_path / "out.xtc"
    result = simulate(
        field, output, replace(SETTINGS, workers=workers), show_progress=lambda step, failed: told.append(step)
    )
    assert (result.steps, result.frames, result.failed) == (20_000, 400, {}) and result.backend == "native"
    assert told == sorted(told) and told[-1] == 20_000  # of all shards together
    require_same_frames(output, field, whole)


def test_lost_machine_costs_what_came_after_its_checkpoint_and_no_frame_differs(field, tmp_path):
    """kill -9 of a worker and its simulation, once that has a checkpoint; another one takes over."""
    settings = replace(SETTINGS, steps=60_000, replicas=4)
    simulate(field, tmp_path / "whole.xtc", settings)
    output, checkpointed = tmp_path / "out.xtc", []
    sidecars = [output.parent / "out.xtc.shards" / f"{k}.xtc.json" for k in range(2)]

    def steps():
        return [json.loads(path.read_text())["steps"] if path.exists() else 0 for path in sidecars]

    def kill():
        wait_for(lambda: max(steps()) > 0)
        below = psutil.Process().children(recursive=True)
        simulation = next(each for each in below if "fpforce.distributed.child" in each.cmdline())
        for process in (simulation.parent(), simulation):
            process.kill()
        wait_for(lambda: checkpointed.append(steps()) or checkpointed[-1] == [60_000, 60_000])

    killer = threading.Thread(target=kill)
    killer.start()
    simulate(field, output, replace(settings, workers=2, checkpoint_minutes=1e-3))
    killer.join()
    assert min(checkpointed[0]) < 60_000 and (np.diff(checkpointed, axis=0) >= 0).all()  # nothing began anew
    require_same_frames(output, field, read_simulation(tmp_path / "whole.xtc", field.beads).positions_nm)


def test_killed_scheduler_is_made_up_for_by_resume_with_any_number_of_workers(small_model, field, whole, tmp_path):
    """kill -9 of fpforce-simulate --workers 2, in which the scheduler is; then without Dask."""
    output = tmp_path / "out.xtc"
    options = "--steps 20000 --replicas 5 --shard-replicas 2 --seed 7 --backend native --platform Reference"
    process = subprocess.Popen([*SIMULATE, str(small_model), "-o", str(output), *options.split(), "--workers", "2"])
    wait_for(lambda: (output.parent / "out.xtc.shards" / "0.xtc.checkpoint").exists())
    process.kill()
    process.wait()
    result = simulate(field, output, replace(SETTINGS, shard_replicas=None, resume=True))
    assert result.steps == 20_000
    require_same_frames(output, field, whole)


def test_ctrl_c_stops_all_shards_with_a_checkpoint(small_model, field, whole, tmp_path):
    """On a terminal it reaches the workers, too, which leave it to the command."""
    output = tmp_path / "out.xtc"
    options = "--steps 20000000 --replicas 5 --shard-replicas 2 --seed 7 --backend native --platform Reference "
    options += "--checkpoint-minutes 0.01"
    process = subprocess.Popen(
        [*SIMULATE, str(small_model), "-o", str(output), *options.split(), "--workers", "1"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    first = output.parent / "out.xtc.shards" / "0.xtc.json"
    wait_for(lambda: first.exists() and json.loads(first.read_text())["saved_times"])
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130
    said = process.stderr.read()
    assert "stopped with 0 of 3 shards" in said and "Traceback" not in said, said
    frames = read_simulation(output, field.beads)
    assert frames.positions_nm.shape[1] == 2  # the others have none yet
    behind = frames.metadata["shards"]
    assert len(behind) == 3 and json.loads((tmp_path / "out.xtc.json").read_text())["replicas"] == 5


def test_evaluation_reads_shards_as_one_simulation(field, whole, tmp_path):
    output = tmp_path / "out.xtc"
    simulate(field, output, SETTINGS)
    simulation, metadata = open_simulation_of(output, field)
    source, found = simulation.source(len(field.beads)), np.full_like(whole, np.nan)
    shards = set()
    for piece in source.pieces():
        found[piece.times, piece.replicas] = piece.positions_nm
        shards.add(piece.replicas.start)
        assert piece.valid.all()
    np.testing.assert_array_equal(found, whole)
    assert shards == {0, 2, 4}, "a shard after the other"
    assert simulation.name == "out" and simulation.time_step_ps == 0.5 and (source.ends == 80).all()
    assert metadata["replicas"] == 5 and simulation.start_nm.shape == (5, 3)


def test_shard_that_is_behind_counts_as_far_as_it_came(field, whole, tmp_path, caplog):
    output = tmp_path / "out.xtc"
    simulate(field, output, SETTINGS)
    part = output.parent / "out.xtc.shards" / "1.xtc"
    shorter = json.loads((part.parent / "1.xtc.json").read_text()) | {"saved_times": 30}
    (part.parent / "1.xtc.json").write_text(json.dumps(shorter))
    frames = read_simulation(output, field.beads)
    assert "3 of its 3 shards have frames, from 30 to 80 saved times" in caplog.text
    assert frames.valid.sum(axis=0).tolist() == [80, 80, 30, 30, 80]
    np.testing.assert_array_equal(frames.positions_nm[frames.valid], whole[frames.valid])


def test_failed_replicas_are_counted_over_all_shards(fragile_dimer, tmp_path):
    field = fpforce.load(fragile_dimer)
    settings = SimulationSettings(steps=1500, replicas=12, report_interval_ps=0.1, friction_per_ps=5.0, seed=3)
    output, told = tmp_path / "out.xtc", []
    result = simulate(
        field, output, replace(settings, shard_replicas=5), show_progress=lambda step, failed: told.append(failed)
    )
    frames = read_simulation(output, field.beads)
    assert 0 < len(result.failed) < 12 and result.failed == frames.failed and told[-1] == len(result.failed)
    assert sorted(result.failed) == np.flatnonzero(~frames.valid[-1]).tolist()
    assert max(result.failed) >= 5, "none beyond the first shard: the test shows nothing"


def test_ladders_stay_whole_and_their_swaps_are_counted_over_all_shards(field, tmp_path):
    settings = replace(SETTINGS, steps=2_000, replicas=3, rungs=2, top_temperature_k=330.0)
    result = simulate(field, tmp_path / "out.xtc", settings)
    swaps = read_simulation(tmp_path / "out.xtc", field.beads).metadata["swaps"]
    assert swaps["attempts"] == [3 * 4] and len(result.accepted_swaps) == 1  # at every other of 8 saved times


def test_shards_and_one_piece_are_not_mixed_up(field, tmp_path):
    short = replace(SETTINGS, steps=500)
    pieces, shards = tmp_path / "piece.xtc", tmp_path / "shards.xtc"
    simulate(field, pieces, replace(short, shard_replicas=None))
    simulate(field, shards, short)
    with pytest.raises(InputError, match="was simulated in one piece; leave --workers"):
        simulate(field, pieces, replace(short, resume=True, workers=2))
    with pytest.raises(InputError, match="shard_replicas is 3, the run to continue has 2"):
        simulate(field, shards, replace(short, resume=True, shard_replicas=3))
    with pytest.raises(InputError, match="already exists"):
        simulate(field, shards, replace(short, shard_replicas=None))
    simulate(field, shards, replace(short, shard_replicas=None, overwrite=True))
    assert not (tmp_path / "shards.xtc.shards").exists() and read_simulation(shards, field.beads).valid.all()
    simulate(field, pieces, replace(short, overwrite=True))
    assert not pieces.exists() and read_simulation(pieces, field.beads).positions_nm.shape == (2, 5, 5, 3)
