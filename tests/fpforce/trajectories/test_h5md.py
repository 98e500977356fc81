"""H5MD as programs write it: packed by HDF5, with integers, with what its reader does not take."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.trajectories.bead_frames import read_bead_frames

pytest.importorskip("MDAnalysis")
h5py = pytest.importorskip("h5py")
spec = importlib.util.spec_from_file_location("field_inputs", Path(__file__).with_name("field_inputs.py"))
field_inputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(field_inputs)
FRAMES, EDGE_NM = field_inputs.FRAMES, 3.0
NOT_REGISTERED = 32001  # the number of blosc, which HDF5 does not bring


@pytest.fixture(scope="module")
def peptide():
    return field_inputs.built("LKA")


def write(path, values, unit="nm", edges=None, attributes=None, **how):
    """Positions (frames, atoms, 3) as H5MD 1.1; edges (frames, 3), of a box, with how the positions are stored."""
    times = np.arange(len(values))
    with h5py.File(path, "w") as file:
        file.create_group("h5md").attrs["version"] = [1, 1]
        group = file.create_group("particles/all")
        box = group.create_group("box")
        box.attrs["dimension"], box.attrs["boundary"] = 3, ["periodic"] * 3
        chunks = (4, *values.shape[1:]) if how else None
        written = {"position": group.create_dataset("position/value", data=values, chunks=chunks, **how)}
        if edges is not None:
            written["box/edges"] = group.create_dataset("box/edges/value", data=edges)
        for name, data in written.items():
            data.attrs.update({"unit": unit} if unit else {})
            group[f"{name}/step"] = times
            group[f"{name}/time"] = 2.0 * times
            group[f"{name}/time"].attrs["unit"] = "ps"
        written["position"].attrs.update(attributes or {})
    return path


def distances(frames):
    return np.linalg.norm(frames.positions_nm[:, :, None] - frames.positions_nm[:, None], axis=-1)


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf"},
        {"scaleoffset": 4},  # to 1e-4 nm
        {"dtype": "f8"},
        {"dtype": ">f4"},
        {"dtype": "i4", "unit": "pm"},
        {"dtype": "i2", "unit": "pm", "scaleoffset": 0},
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_positions_are_the_same_however_they_are_packed(peptide, tmp_path, how, wrapped):
    peptide[0].save(str(tmp_path / "given.pdb"))
    how = dict(how)
    per_nm = 1000.0 if how.get("unit") == "pm" else 1.0
    xyz = (peptide.xyz + [0.2, 2.9, 1.5]) % EDGE_NM if wrapped else peptide.xyz
    values = (np.round(per_nm * xyz) if per_nm > 1.0 else xyz).astype(how.pop("dtype", "f4"))
    edges = np.full((FRAMES, 3), per_nm * EDGE_NM) if wrapped else None
    path = write(tmp_path / "frames.h5md", values, edges=edges, **how)
    np.save(tmp_path / "exact.npy", peptide.xyz)
    exact = read_bead_frames(tmp_path / "exact.npy", tmp_path / "given.pdb", beads="heavy", length_unit="nm")
    found = read_bead_frames(path, tmp_path / "given.pdb", beads="heavy")
    np.testing.assert_allclose(distances(found), distances(exact), atol=2e-3)
    assert found.time_step_ps is None and not found.report.warnings


def refused(tmp_path, peptide, change=None, **how):
    peptide[0].save(str(tmp_path / "given.pdb"))
    path = write(tmp_path / "frames.h5md", how.pop("values", peptide.xyz), **how)
    if change:
        with h5py.File(path, "r+") as file:
            change(file["particles/all"])
    with pytest.raises(InputError) as caught:
        read_bead_frames(path, tmp_path / "given.pdb", beads="heavy")
    return str(caught.value)


@pytest.mark.parametrize("attributes", [{"scale_factor": 1e-3}, {"scale_factor": 1e-3, "add_offset": 1.0}])
def test_integers_with_a_factor_of_their_own_are_refused_by_name(peptide, tmp_path, attributes):
    values = np.round(1e3 * peptide.xyz).astype("i4")
    text = refused(tmp_path, peptide, values=values, attributes=attributes)
    assert "position/value is to be multiplied or shifted by its attribute scale_factor" in text
    assert "write the values themselves" in text


@pytest.mark.parametrize(
    "unit, words",
    [(None, "has no attribute `unit`: set it to nm, pm or Angstrom"), ("bohr", "in 'bohr', a unit that is not read")],
)
def test_units_that_are_not_read_are_refused_with_those_that_are(peptide, tmp_path, unit, words):
    text = refused(tmp_path, peptide, unit=unit)
    assert words in text and "damaged" not in text


def test_filter_that_is_not_installed_is_named(peptide, tmp_path):
    def packed_by_another(group):
        del group["position/value"]
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((4, *peptide.xyz.shape[1:]))
        how.set_filter(NOT_REGISTERED, h5py.h5z.FLAG_OPTIONAL, (0,))
        space = h5py.h5s.create_simple(peptide.xyz.shape)
        data = h5py.Dataset(h5py.h5d.create(group["position"].id, b"value", h5py.h5t.IEEE_F32LE, space, how))
        data.attrs["unit"] = "nm"

    text = refused(tmp_path, peptide, packed_by_another)
    assert f"position/value is packed by HDF5 filter {NOT_REGISTERED}" in text and "h5repack" in text


def test_steps_by_an_interval_and_one_box_for_all_frames_are_refused_by_name(peptide, tmp_path):
    def by_an_interval(group):
        del group["position/step"]
        group["position/step"] = 100

    def one_box(group):
        group["box/edges"] = np.full(3, EDGE_NM)

    assert "position/step stands for all frames by one interval" in refused(tmp_path, peptide, by_an_interval)
    assert "box/edges is one box for all frames" in refused(tmp_path, peptide, one_box)


def test_box_in_another_unit_than_positions_is_refused(peptide, tmp_path):
    """MDAnalysis takes it to be in that of positions: a box of 30 nm, of which nothing would be made whole."""

    def in_angstrom(group):
        group["box/edges/value"].attrs["unit"] = "Angstrom"

    text = refused(tmp_path, peptide, in_angstrom, edges=np.full((FRAMES, 3), 10.0 * EDGE_NM))
    assert "box/edges is in 'Angstrom' and positions in 'nm'" in text


def test_file_without_positions_is_refused(peptide, tmp_path):
    def of_velocities(group):
        group.move("position", "velocity")

    assert "has no positions of particles" in refused(tmp_path, peptide, of_velocities)


def test_box_in_the_unit_of_positions_by_another_name_is_read(peptide, tmp_path):
    peptide[0].save(str(tmp_path / "given.pdb"))
    xyz = 10.0 * ((peptide.xyz + [0.2, 2.9, 1.5]) % EDGE_NM)
    path = write(tmp_path / "frames.h5md", xyz, "Angstrom", np.full((FRAMES, 3), 10.0 * EDGE_NM), {"scale_factor": 1.0})
    with h5py.File(path, "r+") as file:
        file["particles/all/box/edges/value"].attrs["unit"] = "A"
    assert read_bead_frames(path, tmp_path / "given.pdb", beads="heavy").report.files[0].box_nm[0] == pytest.approx(3.0)


def test_unit_of_fixed_length_and_a_missing_box_are_refused_by_name(peptide, tmp_path):
    """As programs in C write them; both were called damage."""

    def of_fixed_length(group):
        group["position/time"].attrs["unit"] = np.bytes_("ps")

    def without_box(group):
        del group["box"]

    text = refused(tmp_path, peptide, of_fixed_length)
    assert "position/time has its unit as text of fixed length" in text and ".attrs['unit'] = 'ps'" in text
    assert "particles/all/box with its attribute `dimension`, which H5MD demands, is missing" in refused(
        tmp_path, peptide, without_box
    )


@pytest.mark.parametrize("count", [FRAMES // 4, 10 * FRAMES])
def test_boxes_of_other_frames_than_positions_are_refused(peptide, tmp_path, count):
    """MDAnalysis takes the k-th of both for one frame: of more boxes the wrong ones, of fewer none."""
    text = refused(tmp_path, peptide, edges=np.full((count, 3), EDGE_NM))
    assert f"box/edges/value holds {count} frames and /particles/all/position/value {FRAMES}" in text


def test_particles_that_change_places_are_refused(peptide, tmp_path):
    """As ESPResSo writes them, whose processors exchange particles."""
    ids = np.tile(np.arange(peptide.n_atoms), (FRAMES, 1))

    def of_one_order(group):
        group["id/value"] = ids

    def of_several(group):
        of_one_order(group)
        group["id/value"][FRAMES // 2 :, :2] = [1, 0]

    text = refused(tmp_path, peptide, of_several)
    assert f"id/value particles stand in another order in frame {FRAMES // 2} (counted from 0)" in text
    path = write(tmp_path / "frames.h5md", peptide.xyz)
    with h5py.File(path, "r+") as file:
        of_one_order(file["particles/all"])
    assert len(read_bead_frames(path, tmp_path / "given.pdb", beads="heavy")) == FRAMES
