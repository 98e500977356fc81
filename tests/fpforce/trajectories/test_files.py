"""Damaged trajectory files are refused whole, and the C libraries that read them stay silent."""

import gzip
import os
import shutil
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.quiet import native_output_silenced

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"
PDB = EXAMPLE / "alanine_dipeptide.pdb"


@pytest.fixture(scope="module")
def heavy():
    """Two hundred frames of the example's ten heavy atoms."""
    return mdtraj.load(str(EXAMPLE / "train.xtc"), top=str(PDB))[:200]


def saved(trajectory, path):
    trajectory.save(str(path))
    return path


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".trr", ".pdb", ".npy"])
def test_truncated_file_is_refused_not_read_in_part(heavy, tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    if suffix == ".npy":
        np.save(path, heavy.xyz)
    else:
        saved(heavy, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 + 50])  # inside a frame: whole frames alone are a good file
    with pytest.raises(InputError, match=f"cut{suffix}.*truncated"):
        read_bead_frames(path, PDB, length_unit="nm" if suffix == ".npy" else None)


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".trr"])
def test_native_readers_print_nothing_themselves(heavy, tmp_path, suffix, capfd):
    path = saved(heavy, tmp_path / f"cut{suffix}")
    path.write_bytes(path.read_bytes()[:-50])
    capfd.readouterr()
    with pytest.raises(InputError, match="truncated"):
        read_bead_frames(path, PDB)
    assert capfd.readouterr() == ("", "")


def test_silence_ends_with_its_block_even_after_an_error(capfd):
    with pytest.raises(ValueError), native_output_silenced():
        os.write(2, b"lost")
        raise ValueError
    os.write(1, b"kept")
    assert capfd.readouterr() == ("kept", "")


@pytest.mark.parametrize("suffix", [".xtc", ".trr"])
@pytest.mark.parametrize("stride", [1, 3])
def test_file_cut_anywhere_within_its_last_frame_is_truncated(heavy, tmp_path, suffix, stride):
    content = saved(heavy[:7], tmp_path / f"whole{suffix}").read_bytes()
    with mdtraj.open(str(tmp_path / f"whole{suffix}")) as file:
        last = int(file.offsets[-1])
    path = tmp_path / f"cut{suffix}"
    for length in range(last + 4, len(content), 9):  # fewer than 4 bytes are no frame's beginning to the readers
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="truncated"):
            read_bead_frames(path, PDB, stride=stride)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("on_disk", [True, False])
def test_h5_without_a_topology_is_refused(tmp_path, given, on_disk):
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    topology.add_atom("CA", mdtraj.element.carbon, residue)
    topology.add_atom("CB", mdtraj.element.carbon, residue)
    xyz = np.float32([[[0, 0, 0], [0.15, 0, 0]]] * 2)
    mdtraj.Trajectory(xyz[0], topology).save(str(tmp_path / "given.pdb"))
    with mdtraj.formats.HDF5TrajectoryFile(str(tmp_path / "bare.h5"), "w") as file:
        file.write(xyz)
    with pytest.raises(InputError, match=r"bare\.h5 has no topology inside.*write it with"):
        read_bead_frames(
            tmp_path / "bare.h5", tmp_path / "given.pdb" if given else None, on_disk=tmp_path if on_disk else None
        )


@pytest.mark.parametrize("folder", ["set[1]", "a*[b]", "[x]/y[0-9]"])
def test_patterns_find_files_in_folders_with_brackets(tmp_path, folder):
    from fpforce.trajectories.files import matching_files

    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "a.xtc").touch()
    for pattern in (f"{folder}/*.xtc", f"*/{folder.partition('/')[2]}/*.xtc", f"{folder}/[ab].xtc"):
        assert matching_files(tmp_path / pattern) == [tmp_path / folder / "a.xtc"]


def test_a_pattern_stands_for_all_that_it_matches(tmp_path):
    from fpforce.trajectories.files import matching_files

    for name in ("b.xtc", "a.xtc", "odd[1].xtc"):
        (tmp_path / name).touch()
    assert matching_files(tmp_path / "?.xtc") == [tmp_path / "a.xtc", tmp_path / "b.xtc"]
    literal = [
        tmp_path / "odd[1].xtc",
        tmp_path / "absent.xtc",
    ]  # what exists is no pattern, and what is missing is named later
    assert matching_files(literal) == literal
    with pytest.raises(InputError, match=r"no file matches .*c\*\.xtc"):
        matching_files([tmp_path / "a.xtc", tmp_path / "c*.xtc"])


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".trr", ".nc", ".npy"])
@pytest.mark.parametrize(
    "name",
    [lambda suffix: f"größe{suffix}", lambda suffix: f"F{suffix.upper()}", lambda suffix: "frames"],
    ids=["non-ascii", "upper-case", "no extension"],
)
@pytest.mark.filterwarnings("ignore:.*netCDF4")
def test_file_is_read_whatever_its_name(heavy, tmp_path, suffix, name):
    plain = tmp_path / f"plain{suffix}"
    np.save(plain, heavy.xyz) if suffix == ".npy" else saved(heavy, plain)
    unit = "nm" if suffix == ".npy" else None
    right = read_bead_frames(plain, PDB, length_unit=unit)
    folder = tmp_path / "Ordner ü"
    folder.mkdir()
    path = plain.rename(folder / name(suffix))
    topology = folder / "TOPOLOGIE_é.PDB"
    topology.write_bytes(PDB.read_bytes())
    found = read_bead_frames(path, topology, length_unit=unit)
    np.testing.assert_array_equal(found.positions_nm, right.positions_nm)
    assert found.time_step_ps == right.time_step_ps and found.sources == (str(path),)


@pytest.mark.filterwarnings("ignore:.*netCDF4")
def test_content_tells_the_format_where_the_extension_misleads(heavy, tmp_path):
    right = saved(heavy, tmp_path / "right.nc")
    shutil.copy(right, tmp_path / "wrong.mdcrd")
    found = read_bead_frames(tmp_path / "wrong.mdcrd", PDB)
    np.testing.assert_array_equal(found.positions_nm, read_bead_frames(right, PDB).positions_nm)


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".trr"])
@pytest.mark.parametrize("stride", [1, 3])
def test_complete_frames_of_a_killed_run_are_taken_when_asked_for(heavy, tmp_path, suffix, stride, caplog):
    path = saved(heavy[:22], tmp_path / f"killed{suffix}")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="readable_frames = true"):
        read_bead_frames(path, PDB, stride=stride)
    frames = read_bead_frames(path, PDB, stride=stride, readable_frames=True)
    np.testing.assert_allclose(frames.positions_nm, heavy.xyz[:21:stride], atol=1e-6)
    assert f"{path} ends within a frame" in caplog.text


@pytest.mark.parametrize("columns", ["xs ys zs", "xsu ysu zsu"])
def test_scaled_columns_of_a_lammps_dump_are_refused_by_name(heavy, tmp_path, columns):
    lines = ["ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", "10", "ITEM: BOX BOUNDS pp pp pp", *["0 50"] * 3]
    lines.append(f"ITEM: ATOMS id type {columns}")
    lines += [f"{i + 1} 1 " + " ".join(f"{x / 5:.6f}" for x in heavy.xyz[0, i]) for i in range(10)]
    (tmp_path / "dump.lammpstrj").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=rf"scaled coordinates \({columns}\).*write x y z"):
        read_bead_frames(tmp_path / "dump.lammpstrj", PDB)


def test_unknown_format_is_named_in_one_line(heavy, tmp_path):
    (tmp_path / "notes.md").write_text("no trajectory\n")
    with pytest.raises(InputError, match="notes.md has extension '.md', and neither this nor the content tells"):
        read_bead_frames(tmp_path / "notes.md", PDB)
    with pytest.raises(InputError, match="topology .*notes.md has extension '.md', and neither this nor the content"):
        read_bead_frames(EXAMPLE / "train.xtc", tmp_path / "notes.md")


@pytest.mark.parametrize(
    "name", ["a.dump", "a.lammps", "dump.500000", "a.lammpsdump", "A.LAMMPSTRJ", "dump", "a.dump.gz"]
)
def test_lammps_dump_is_known_by_its_content(heavy, tmp_path, name):
    box = dict(unitcell_lengths=np.full((len(heavy), 3), 6.0), unitcell_angles=np.full((len(heavy), 3), 90.0))
    right = saved(mdtraj.Trajectory(heavy.xyz, heavy.topology, **box), tmp_path / "right.lammpstrj")
    content = right.read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found = read_bead_frames(tmp_path / name, PDB)
    np.testing.assert_array_equal(found.positions_nm, read_bead_frames(right, PDB).positions_nm)


def test_xyz_without_an_extension_is_known_by_its_content(heavy, tmp_path):
    right = saved(heavy, tmp_path / "right.xyz")
    shutil.copy(right, tmp_path / "frames")
    found = read_bead_frames(tmp_path / "frames", PDB)
    np.testing.assert_array_equal(found.positions_nm, read_bead_frames(right, PDB).positions_nm)


def test_scaled_columns_are_refused_by_any_name(heavy, tmp_path):
    lines = ["ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", "10", "ITEM: BOX BOUNDS pp pp pp", *["0 50"] * 3]
    lines += ["ITEM: ATOMS id type xs ys zs", *(f"{i + 1} 1 0.1 0.{i} 0.3" for i in range(10))]
    (tmp_path / "dump.100").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="scaled coordinates"):
        read_bead_frames(tmp_path / "dump.100", PDB)


@pytest.mark.parametrize("name", ["given.pdb", "given.gro", "given.pdb.gz"])
def test_letter_in_another_encoding_is_read_over(heavy, tmp_path, name):
    title = {".pdb": b"TITLE     Gr\xf6\xdfe\n", ".gro": b"Gr\xf6\xdfe"}[Path(name.removesuffix(".gz")).suffix]
    saved(heavy[0], tmp_path / name.removesuffix(".gz"))
    content = (tmp_path / name.removesuffix(".gz")).read_bytes()
    content = title + (content[content.index(b"\n") :] if name.endswith(".gro") else content)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    path = saved(heavy, tmp_path / "frames.xtc")
    right = read_bead_frames(path, PDB, beads="heavy")
    found = read_bead_frames(path, tmp_path / name, beads="heavy")
    np.testing.assert_array_equal(found.positions_nm, right.positions_nm)


def test_text_trajectory_in_another_encoding_is_read(heavy, tmp_path):
    path = saved(heavy, tmp_path / "frames.xyz")
    lines = path.read_bytes().split(b"\n")
    lines[1] = b"Gr\xf6\xdfe"
    path.write_bytes(b"\n".join(lines))
    assert len(read_bead_frames(path, PDB)) == len(heavy)


def dump_of(trajectory, units=None, time=False, line="\n"):
    """A LAMMPS dump as `dump_modify units yes time yes` writes it: units once, the time of every frame."""
    lines = ["ITEM: UNITS", units] if units else []
    for number, frame in enumerate(trajectory.xyz):
        lines += ["ITEM: TIME", f"{2.5 * number}"] if time else []
        lines += ["ITEM: TIMESTEP", f"{number}", "ITEM: NUMBER OF ATOMS", f"{len(frame)}"]
        lines += ["ITEM: BOX BOUNDS pp pp pp", *["0 60"] * 3, "ITEM: ATOMS id type x y z"]
        lines += [f"{k + 1} 1 " + " ".join(f"{10 * x:.4f}" for x in place) for k, place in enumerate(frame)]
    return (line.join(lines) + line).encode()


@pytest.mark.parametrize("units, time", [("real", False), (None, True), ("metal", True)])
@pytest.mark.parametrize("name", ["a.lammpstrj", "a.dump", "a.dump.gz"])
def test_units_and_times_of_a_lammps_dump_are_read_over(heavy, tmp_path, units, time, name):
    (tmp_path / "right.lammpstrj").write_bytes(dump_of(heavy))
    content = dump_of(heavy, units, time)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found, right = (read_bead_frames(tmp_path / one, PDB) for one in (name, "right.lammpstrj"))
    np.testing.assert_array_equal(found.positions_nm, right.positions_nm)
    assert found.sources == (str(tmp_path / name),)


@pytest.mark.parametrize("units", ["lj", "nano", "si"])
def test_a_lammps_dump_in_other_lengths_is_refused_with_its_units(heavy, tmp_path, units):
    (tmp_path / "a.lammpstrj").write_bytes(dump_of(heavy, units, time=True))
    with pytest.raises(InputError, match=f"LAMMPS dump in units '{units}', whose lengths are not in angstrom") as told:
        read_bead_frames(tmp_path / "a.lammpstrj", PDB)
    assert "damaged" not in str(told.value) and "data.length_unit" in str(told.value)


def test_a_lammps_dump_with_times_that_is_cut_is_called_cut(heavy, tmp_path):
    (tmp_path / "a.lammpstrj").write_bytes(dump_of(heavy, "real", time=True)[:-60])
    with pytest.raises(InputError, match=f"ends within a frame, after {len(heavy) - 1} whole ones"):
        read_bead_frames(tmp_path / "a.lammpstrj", PDB)
