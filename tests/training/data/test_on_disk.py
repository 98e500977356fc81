"""Training data on the disk: the same frames as in memory, in pieces, gone on with, and checked."""

import json
from dataclasses import replace

import mdtraj
import numpy as np
import pytest
import torch

from fpforce.foundation.errors import InputError
from fpforce.training.data import mapped_data, on_disk
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.held_out import held_out
from fpforce.training.data.read import read_training_set
from fpforce.training.losses.time_sampling import TimeSampler
from fpforce.training.train import train
from fpforce.trajectories import checked, frame_store
from fpforce.trajectories.bead_frames import read_bead_frames


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(checked, "_BYTES_AT_ONCE", 10_000)
    monkeypatch.setattr(frame_store, "_BYTES_BETWEEN_RECORDS", 8_000)


@pytest.fixture
def data(small_recipe, tmp_path):
    return small_recipe(tmp_path / "run", "data.stride=20", "data.on_disk=true").data


def in_memory(data):
    return read_bead_frames(data.trajectories, data.topology, beads=data.beads, stride=data.stride)


def test_the_store_holds_the_frames_that_are_read_into_memory(data, tmp_path, small_pieces):
    mapped = mapped_data.map_to_disk(data, tmp_path / "frames")
    store, some = mapped.store, mapped.some
    wanted = in_memory(data).positions_nm
    assert len(store) == len(wanted) > 100
    np.testing.assert_array_equal(store.take(np.arange(len(store))), wanted)
    np.testing.assert_array_equal(np.load(tmp_path / "frames" / "frames_1.npy"), wanted)
    assert some.report is not None and some.beads == in_memory(data).beads


@pytest.mark.parametrize("suffix", [".dcd", ".h5", ".trr", ".npy"])
def test_formats_are_read_in_pieces_to_the_same_frames(suffix, data, tmp_path, small_pieces):
    trajectory = mdtraj.load(str(data.trajectories[0]), top=str(data.topology))[:300]
    path = tmp_path / f"frames{suffix}"
    if suffix == ".npy":
        np.save(path, trajectory.xyz)
    else:
        trajectory.save(str(path))
    own = data.model_copy(
        update={"trajectories": [path], "stride": 3, "length_unit": "nm" if suffix == ".npy" else None}
    )
    store = mapped_data.map_to_disk(own, tmp_path / "frames").store
    wanted = read_bead_frames(path, data.topology, beads=data.beads, stride=3, length_unit=own.length_unit)
    np.testing.assert_array_equal(store.take(np.arange(len(store))), wanted.positions_nm)


def test_a_making_that_is_interrupted_goes_on_to_the_same_frames(data, tmp_path, small_pieces, monkeypatch):
    """Stopped at every piece in turn; what was on the disk by then is not read again."""
    folder, wanted, came = tmp_path / "frames", in_memory(data).positions_nm, []
    read_chunks = checked.read_chunks

    def two_pieces(*arguments):
        came.append(arguments[5])
        for number, read in enumerate(read_chunks(*arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield read

    monkeypatch.setattr(checked, "read_chunks", two_pieces)
    for _ in range(1000):
        try:
            store = mapped_data.map_to_disk(data, folder).store
            break
        except KeyboardInterrupt:
            assert not json.loads((folder / "frames.json").read_text())["done"]
    np.testing.assert_array_equal(store.take(np.arange(len(store))), wanted)
    assert came == sorted(came) and len(set(came)) > 2


def test_several_files_are_mapped_at_once_to_the_same_frames(data, tmp_path, monkeypatch):
    trajectory = mdtraj.load(str(data.trajectories[0]), top=str(data.topology))[:900]
    for number in range(3):
        trajectory[300 * number : 300 * (number + 1)].save(str(tmp_path / f"{number}.xtc"))
    own = data.model_copy(update={"trajectories": [tmp_path / f"{k}.xtc" for k in range(3)], "stride": 2})
    wanted = mapped_data.map_to_disk(own, tmp_path / "one").store
    calls, call_in_child = [], mapped_data.call_in_child

    def watched(function, arguments, *others):
        calls.append(arguments["number"])
        return call_in_child(function, arguments, *others)

    monkeypatch.setattr(mapped_data, "call_in_child", watched)
    monkeypatch.setattr(mapped_data, "_BYTES_TO_SHARE_OUT", 0)
    monkeypatch.setattr(mapped_data.os, "cpu_count", lambda: 2)
    found = mapped_data.map_to_disk(own, tmp_path / "several").store
    assert sorted(calls) == [0, 1, 2]
    assert found.content == wanted.content and len(found) == 450
    np.testing.assert_array_equal(found.take(np.arange(450)), wanted.take(np.arange(450)))
    assert not list((tmp_path / "several").glob("*.lock")) and not list((tmp_path / "several").glob("frames_*.json"))
    trajectory.xyz[500, 3] = np.nan
    trajectory[300:600].save(str(tmp_path / "1.xtc"))
    with pytest.raises(InputError, match=r"1\.xtc"):
        mapped_data.map_to_disk(own, tmp_path / "several")


def test_a_finished_store_is_taken_as_it_is_and_made_anew_for_another_mapping(data, tmp_path, monkeypatch):
    folder = tmp_path / "frames"
    first = mapped_data.map_to_disk(data, folder).store
    other = mapped_data.map_to_disk(data.model_copy(update={"stride": 40}), folder).store
    assert len(other) == len(first) // 2 + len(first) % 2
    monkeypatch.setattr(checked, "read_chunks", None)  # nothing is read
    again = mapped_data.map_to_disk(data.model_copy(update={"stride": 40}), folder).store
    assert len(again) == len(other)


def test_damaged_frames_are_refused(data, tmp_path):
    folder = tmp_path / "frames"
    mapped_data.map_to_disk(data, folder)
    with open(folder / "frames_1.npy", "r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(InputError, match="not as it was written"):
        mapped_data.map_to_disk(data, folder)


def test_batches_are_those_of_the_frames_that_are_not_held_out(data, tmp_path):
    found = read_training_set(data, temperature_k=300.0, batch_size=32, frames_folder=tmp_path / "frames")
    assert isinstance(found, on_disk.OnDiskSet)
    frames = in_memory(data)
    kept = frames.positions_nm[~held_out(frames.lengths, data.held_out)]
    wanted = TrainingSet.of(replace(frames, positions_nm=kept, lengths=(len(kept),)))
    assert found.count == len(kept)
    assert found.scale_nm == pytest.approx(wanted.scale_nm, rel=1e-6)
    batches = found.batches(TimeSampler(0.1, 1.0, 1.0), 32, (0,), torch.ones(len(found.frames)), rotate=False)
    chosen = torch.tensor([5, 0, len(kept) - 1, 5, 17])
    torch.testing.assert_close(batches.drawn(chosen), wanted.frames[chosen], rtol=1e-5, atol=1e-6)
    numbers = torch.cat([batches.any_frames(torch.Generator().manual_seed(k)) for k in range(200)])
    assert 0 <= numbers.min() < 20 and len(kept) - 20 < numbers.max() < len(kept)
    assert len(found.held_out) == len(frames) - len(kept)


def test_statistics_in_memory_are_of_frames_spread_over_all(data, tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "SOME", 50)
    found = read_training_set(data, temperature_k=300.0, batch_size=32, frames_folder=tmp_path / "frames")
    assert len(found.frames) == 50 < found.count


def test_a_training_runs_and_goes_on_from_the_disk(small_recipe, tmp_path):
    recipe = small_recipe(
        tmp_path / "run", "data.stride=20", "data.on_disk=true", "run.max_steps=20", "run.compile=false"
    )
    checkpoint = train(recipe, show_progress=False)
    assert (tmp_path / "run" / "frames" / "frames.json").exists() and checkpoint.exists()
    longer = small_recipe(
        tmp_path / "run", "data.stride=20", "data.on_disk=true", "run.max_steps=30", "run.compile=false"
    )
    train(longer, resume=True, show_progress=False)


def test_forces_and_weights_are_those_of_frames_in_memory(tmp_path, small_recipe, alanine, small_pieces):
    """The same training set from the disk as in memory: forces of every frame, draws in proportion to the weights."""
    excerpt = alanine / "forces_excerpt.npz"
    frames = len(np.load(excerpt)["positions"])
    weights = np.exp(0.1 * np.random.default_rng(1).normal(size=frames))
    weights[::7] = 0.0
    np.save(tmp_path / "weights.npy", weights)
    data = small_recipe(
        tmp_path / "run",
        "data.stride=1",
        f"data.trajectories={excerpt}",
        "data.length_unit=nm",
        f"data.topology={alanine / 'forces_excerpt.pdb'}",
        f"data.forces={excerpt}",
        f"data.weights={tmp_path / 'weights.npy'}",
    ).data
    arguments = {"temperature_k": 300.0, "batch_size": 32}
    memory = read_training_set(data, **arguments)
    disk = read_training_set(data.model_copy(update={"on_disk": True}), frames_folder=tmp_path / "frames", **arguments)
    assert isinstance(disk, on_disk.OnDiskSet)
    assert disk.scale_nm == pytest.approx(memory.scale_nm, rel=1e-6)
    torch.testing.assert_close(disk.frames, memory.frames, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(disk.weights, memory.weights, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(disk.forces.values, memory.forces.values, rtol=1e-4, atol=1e-4)
    assert disk.weights_record == memory.weights_record
    assert disk.forces.record["virial_ratios"] == pytest.approx(memory.forces.record["virial_ratios"], rel=1e-6)
    assert disk.held_out.shape[1:] == memory.held_out.shape[1:]
    one, other = (
        found.batches(TimeSampler(0.1, 1.0, 1.0), 4096, (0,), torch.ones(len(found.frames)), rotate=False)
        for found in (memory, disk)
    )
    # the same shares of the weight are drawn, of frames without weight none: both sets give the same batch
    found, expected = other.batch(3)[0], one.batch(3)[0]
    torch.testing.assert_close(found.x, expected.x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.force, expected.force, rtol=1e-4, atol=1e-4)


def test_many_molecules_are_refused(small_recipe, tmp_path):
    with pytest.raises(InputError, match="on_disk"):
        small_recipe(tmp_path / "run", "data.on_disk=true", "data.readable_frames=true")
