"""fpforce-sample: files, seeds, interruption and resumption, and one clear line for what cannot be sampled."""

import json
import os
import signal
import subprocess
import sys
import time

import mdtraj
import numpy as np
import pytest
import torch

from fpforce.errors import InputError
from fpforce.training.checkpoint import read_checkpoint
from fpforce.training.diffusion import alpha
from fpforce.training.iid import SampleSettings, sample
from fpforce.training.likelihood import log_likelihood

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
    process = subprocess.Popen([*SAMPLE, small_checkpoint, *options, "-o", parts], env=ENVIRONMENT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    record, deadline = tmp_path / "parts.dcd.json", time.monotonic() + 60
    while not record.exists() or json.loads(record.read_text())["samples"] == 0:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in errors, errors
    kept = json.loads(record.read_text())["samples"]
    assert 0 < kept < 240 and kept % 20 == 0 and len(read(parts)) == kept
    subprocess.run([*SAMPLE, small_checkpoint, *options, "-o", parts, "--resume"], check=True, env=ENVIRONMENT, capture_output=True)
    np.testing.assert_array_equal(read(parts), read(whole))


def test_finished_run_can_be_made_longer(small_checkpoint, tmp_path):
    path = tmp_path / "iid.dcd"
    sample(small_checkpoint, path, settings(samples=16))
    first = read(path)
    sample(small_checkpoint, path, settings(samples=48, resume=True))
    assert len(read(path)) == 48
    np.testing.assert_array_equal(read(path)[:16], first)


@pytest.mark.parametrize("changes, parts", [
    ({"solver": "magic"}, ["'magic'", "multistep"]),
    ({"samples": 0}, ["samples is 0"]),
    ({"steps": 0}, ["steps is 0"]),
    ({"log_likelihood": True}, ["--solver ode"]),
    ({"t_end": 1e-7}, ["1e-07", "cover (1e-05, 1]"]),
    ({"device": "abacus"}, ["'abacus'"]),
    ({"resume": True}, ["nothing to resume"]),
])
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


def test_wrong_files_are_one_line(small_model, tmp_path):
    done = subprocess.run([*SAMPLE, small_model, "-n", "8", "-o", tmp_path / "iid.xtc"], capture_output=True, text=True,
                          env=ENVIRONMENT)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "model.ckpt it came from" in done.stderr
