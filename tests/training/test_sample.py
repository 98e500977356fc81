"""fpforce-sample: files, seeds, interruption and resumption, and one clear line for what cannot be sampled."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import mdtraj
import numpy as np
import pytest
import torch

from fpforce.foundation.errors import InputError
from fpforce.foundation.locking import Lock
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.diffusion import alpha
from fpforce.training.sample import SampleSettings, sample
from fpforce.training.sampling.likelihood import log_likelihood
from fpforce.training.sampling.progress import SamplingProgress

SAMPLE = [sys.executable, "-c", "from fpforce.commands.sample import main; main()"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def settings(**changes):
    return SampleSettings(**{"samples": 48, "steps": 10, "batch_size": 16} | changes)


def read(path):
    return mdtraj.load(str(path), top=f"{path}.pdb").xyz


@pytest.mark.parametrize("suffix", ["xtc", "dcd", "h5"])
def test_samples_are_frames_of_the_beads_in_every_format(small_checkpoint, tmp_path, suffix):
    path = tmp_path / "new" / f"iid.{suffix}"
    result = sample(small_checkpoint, path, settings())
    xyz = read(path)
    assert xyz.shape == (48, 5, 3) and result.samples == 48 and result.non_finite == 0
    checkpoint = read_checkpoint(small_checkpoint)
    assert checkpoint.beads.match(mdtraj.load_topology(f"{path}.pdb")) == "beads"
    # Normalised coordinates have unit variance over the data: the scale is that of the molecule.
    assert 0.5 * checkpoint.record.scale_nm < xyz.std() < 2.0 * checkpoint.record.scale_nm
    record = json.loads((tmp_path / "new" / f"iid.{suffix}.json").read_text())
    assert record["checkpoint_sha256"] == checkpoint.sha256 and record["t_end"] == 1e-5 and record["samples"] == 48


def test_log_densities_of_samples_are_those_of_the_written_frames_per_cubic_nanometre(small_checkpoint, tmp_path):
    path = tmp_path / "iid.dcd"
    sample(small_checkpoint, path, settings(samples=16, steps=40, solver="ode", log_likelihood=True))
    stored, checkpoint = np.load(f"{path}.npz"), read_checkpoint(small_checkpoint)
    assert stored["log_density"].shape == stored["energy_kt"].shape == (16,)
    scale = checkpoint.record.scale_nm / float(alpha(torch.tensor(1e-5)))
    x = torch.tensor(read(path)) / scale
    back = log_likelihood(checkpoint.experts(), x, 1e-5, 40, torch.Generator()) - 12 * np.log(scale)
    # The way back starts from positions rounded to single precision: 1e-8 nm, of bonds 2e-3 nm wide.
    np.testing.assert_allclose(stored["log_density"], back.numpy(), atol=0.05)


def test_interrupted_run_keeps_its_batches_and_goes_on_to_the_same_samples(small_checkpoint, tmp_path):
    whole, parts = tmp_path / "whole.dcd", tmp_path / "parts.dcd"
    options = ["--samples", "240", "--steps", "60", "--batch-size", "20"]
    subprocess.run([*SAMPLE, small_checkpoint, *options, "-o", whole], check=True, env=ENVIRONMENT, capture_output=True)
    process = subprocess.Popen(
        [*SAMPLE, small_checkpoint, *options, "-o", parts],
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    record, deadline = tmp_path / "parts.dcd.json", time.monotonic() + 60
    while not record.exists() or json.loads(record.read_text())["samples"] == 0:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in errors, errors
    kept = json.loads(record.read_text())["samples"]
    assert 0 < kept < 240 and kept % 20 == 0 and len(read(parts)) == kept
    subprocess.run(
        [*SAMPLE, small_checkpoint, *options, "-o", parts, "--resume"], check=True, env=ENVIRONMENT, capture_output=True
    )
    np.testing.assert_array_equal(read(parts), read(whole))


def test_finished_run_can_be_made_longer(small_checkpoint, tmp_path):
    path = tmp_path / "iid.dcd"
    sample(small_checkpoint, path, settings(samples=16))
    first = read(path)
    sample(small_checkpoint, path, settings(samples=48, resume=True))
    assert len(read(path)) == 48
    np.testing.assert_array_equal(read(path)[:16], first)


@pytest.mark.parametrize("solver", ["multistep", "euler-maruyama", "ode"])
def test_run_that_ended_within_a_batch_goes_on_to_the_samples_of_one_that_did_not(small_checkpoint, tmp_path, solver):
    whole, parts = tmp_path / "whole.dcd", tmp_path / "parts.dcd"
    sample(small_checkpoint, whole, settings(samples=40, solver=solver))
    for count in (5, 20, 40):
        sample(small_checkpoint, parts, settings(samples=count, solver=solver, resume=parts.exists()))
        assert len(read(parts)) == count
    # Up to rounding (nm): a matrix product of fewer rows may sum in another order.
    np.testing.assert_allclose(read(parts), read(whole), atol=1e-4)


def test_asking_for_fewer_samples_than_there_are_is_refused_and_for_as_many_is_nothing_left_to_do(
    small_checkpoint, tmp_path, caplog
):
    path = tmp_path / "iid.dcd"
    sample(small_checkpoint, path, settings(samples=10))
    with pytest.raises(InputError, match="--samples 5 is less than the 10 .*iid.dcd holds already.*--overwrite"):
        sample(small_checkpoint, path, settings(samples=5, resume=True))
    with caplog.at_level("INFO", logger="fpforce"):
        assert sample(small_checkpoint, path, settings(samples=10, resume=True)).samples == 10
    assert "nothing left to do" in caplog.text and len(read(path)) == 10


@pytest.mark.parametrize(
    "batch, step, before, parts",
    [
        (0, 3, 0, ["within the first 16 samples", "none is kept", "--batch-size"]),
        (0, 10, 16, ["after 16 of 48 samples, which"]),  # in the last step of a batch
        (1, 3, 16, ["after 16 of 48 samples, which"]),
    ],
)
def test_interruption_says_what_is_kept_and_resuming_gives_the_rest(
    small_checkpoint, tmp_path, monkeypatch, batch, step, before, parts
):
    whole, path = tmp_path / "whole.dcd", tmp_path / "iid.dcd"
    sample(small_checkpoint, whole, settings())

    def interrupted(progress, drawn, done, count):
        if (drawn // 16, done) == (batch, step):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as stopped:
        patch.setattr(SamplingProgress, "update", interrupted)
        sample(small_checkpoint, path, settings())
    for part in [*parts, "--resume"]:
        assert part in str(stopped.value)
    assert json.loads((tmp_path / "iid.dcd.json").read_text())["samples"] == before
    sample(small_checkpoint, path, settings(resume=True))
    np.testing.assert_array_equal(read(path), read(whole))


def test_progress_shows_steps_within_a_batch(capsys, monkeypatch):
    clock = iter([0.0, 6.0, 20.0, 37.0])
    monkeypatch.setattr("fpforce.training.sampling.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    progress = SamplingProgress(samples=3000, drawn=0, steps=200, shown=True)
    for step in (10, 20, 60):
        progress.update(0, step, 1024)
    lines = capsys.readouterr().err.splitlines()
    # After 6 s a twentieth of 1,024 samples: 8.53/s, and 345.6 s for the other 2,948.8.
    assert lines[0] == "0 of 3000 samples, step 10 of 200 of the next 1024, 8.53 samples/s, 5.8 min left"
    assert len(lines) == 2 and "step 60 of 200" in lines[1]


@pytest.mark.parametrize(
    "changes, parts",
    [
        ({"solver": "magic"}, ["'magic'", "multistep"]),
        ({"samples": 0}, ["samples is 0"]),
        ({"steps": 0}, ["steps is 0"]),
        ({"log_likelihood": True}, ["--solver ode"]),
        ({"t_end": 1e-7}, ["1e-07", "cover (1e-05, 1]"]),
        ({"device": "abacus"}, ["'abacus'"]),
        ({"resume": True}, ["nothing to resume"]),
    ],
)
def test_what_cannot_be_sampled_is_named(small_checkpoint, tmp_path, changes, parts):
    with pytest.raises(InputError) as caught:
        sample(small_checkpoint, tmp_path / "iid.xtc", settings(**changes))
    for part in parts:
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_earlier_samples_are_not_replaced_unasked_nor_mixed_with_others(small_checkpoint, tmp_path):
    path = tmp_path / "iid.xtc"
    sample(small_checkpoint, path, settings(samples=16))
    with pytest.raises(InputError, match="already exists.*--overwrite.*--resume"):
        sample(small_checkpoint, path, settings())
    with pytest.raises(InputError, match="steps is 11, that of the run to go on with is 10"):
        sample(small_checkpoint, path, settings(steps=11, resume=True))
    sample(small_checkpoint, path, settings(samples=8, overwrite=True))
    assert len(read(path)) == 8


def test_output_that_another_process_writes_is_refused_and_left_alone(small_checkpoint, tmp_path):
    output = tmp_path / "iid.xtc"
    sample(small_checkpoint, output, SampleSettings(samples=4, steps=5))
    before, lock = output.read_bytes(), Lock(tmp_path / "iid.xtc.lock", output)
    for changes in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(InputError, match="iid.xtc is being written by another process"):
            sample(small_checkpoint, output, SampleSettings(samples=8, steps=5, **changes))
    assert output.read_bytes() == before
    lock.close()
    assert sample(small_checkpoint, output, SampleSettings(samples=8, steps=5, resume=True)).samples == 8
    assert not (tmp_path / "iid.xtc.lock").exists()


def test_samples_of_which_none_is_finite_are_an_error(small_checkpoint, tmp_path):
    content = torch.load(small_checkpoint, weights_only=True)
    content["state_dict"]["experts.0.network.out.weight"].fill_(torch.nan)
    torch.save(content, tmp_path / "damaged.ckpt")
    with pytest.raises(InputError, match="none of 8 samples is finite, and .*iid.xtc has no frame.*train further"):
        sample(tmp_path / "damaged.ckpt", tmp_path / "iid.xtc", SampleSettings(samples=8, steps=3))


def test_wrong_files_are_one_line(small_model, tmp_path):
    done = subprocess.run(
        [*SAMPLE, small_model, "-n", "8", "-o", tmp_path / "iid.xtc"], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "model.ckpt it came from" in done.stderr


def test_workers_draw_the_same_samples_into_the_same_file(small_checkpoint, tmp_path):
    """Two workers, then one more batch and a part of one by this process."""
    whole, shared = tmp_path / "whole.xtc", tmp_path / "shared.xtc"
    sample(small_checkpoint, whole, settings(samples=72))
    sample(small_checkpoint, shared, settings(samples=48, workers=2))
    assert shared.read_bytes() == whole.read_bytes()[: shared.stat().st_size]
    result = sample(small_checkpoint, shared, settings(samples=72, resume=True))
    assert result.samples == 72 and shared.read_bytes() == whole.read_bytes()
