"""Whatever fpforce writes, fpforce reads: random bead tables with odd names, through every format."""

import string
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.cif_writer import needs_cif, write_cif
from fpforce.molecule.mapping import list_beads
from fpforce.trajectories.bead_files import bead_records, write_bead_frames
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.topology_files import read_topology_file
from fpforce.trajectories.trajectory_writer import open_trajectory

LETTERS = string.ascii_letters + string.digits
BACKBONE = {"N", "CA", "C"}  # bonds between these have lengths of their own, which positions() does not give
NAMES = st.text(LETTERS + "'*", min_size=1, max_size=7).filter(
    lambda name: name[0] in string.ascii_letters and name not in BACKBONE
)
RESIDUES = st.text(LETTERS, min_size=1, max_size=5).filter(lambda name: name[0] in string.ascii_letters)
FORBIDDEN = {"HOH", "WAT", "SOL", "NA", "CL", "K", "ACE", "NME"}


@st.composite
def tables(draw):
    """A chain, a branch or a ring of 2 to 8 beads, in one residue or many."""
    count = draw(st.integers(2, 8))
    residues = draw(st.lists(RESIDUES.filter(lambda r: r.upper() not in FORBIDDEN), min_size=count, max_size=count))
    alone = draw(st.booleans())
    names = draw(st.lists(NAMES, min_size=count, max_size=count, unique=True))
    chain = draw(st.sampled_from(["A", "7", "AAA", "B-2", "PROA"]))
    parents = [draw(st.integers(0, i - 1)) for i in range(1, count)]
    records = [
        {
            "name": names[i],
            "residue": residues[0] if alone else residues[i],
            "residue_number": 1 if alone else i + 1,
            "chain": chain,
            "mass_da": draw(st.floats(1.0, 200.0)),
            "element": draw(st.sampled_from(["C", "N", "S", "Cl"])),
            "bonds": [parents[i - 1]] if i else [],
        }
        for i in range(count)
    ]
    return list_beads(records)


def positions(table, frames=3):
    """Bonded beads 0.3 to 0.4 nm apart, and no others near."""
    rng = np.random.default_rng(0)
    xyz = np.zeros((frames, len(table), 3))
    for i, j in sorted(table.bonds, key=max):
        step = np.array([0.31, 0.13 * (j % 3), 0.07 * j])
        xyz[:, j] = xyz[:, i] + 0.35 * step / np.linalg.norm(step)
    return xyz + 0.01 * rng.normal(size=xyz.shape)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_mmcif_keeps_every_name_number_and_bond(table):
    with tempfile.TemporaryDirectory() as folder:
        write_cif(table, Path(folder, "beads.cif"), positions(table)[0])
        read = read_topology_file(Path(folder, "beads.cif")).topology
        frames = read_bead_frames(Path(folder, "beads.cif"), table=table)
    assert [atom.name for atom in read.atoms] == [bead.name for bead in table.beads]
    for index, (atom, bead) in enumerate(zip(read.atoms, table.beads, strict=True)):
        assert atom.residue.name == bead.residue or table.is_called(index, atom.name, atom.residue.name)
    assert [atom.residue.resSeq for atom in read.atoms] == [bead.residue_number for bead in table.beads]
    assert [atom.residue.chain.chain_id for atom in read.atoms] == [bead.chain for bead in table.beads]
    assert {(min(a.index, b.index), max(a.index, b.index)) for a, b in read.bonds} >= set(table.bonds)
    np.testing.assert_allclose(frames.positions_nm, positions(table)[:1], atol=6e-6)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_pdb_is_recognised_as_the_table_it_was_written_from(table):
    with tempfile.TemporaryDirectory() as folder:
        table.write_pdb(Path(folder, "beads.pdb"), positions(table))
        frames = read_bead_frames(Path(folder, "beads.pdb"), table=table)
    np.testing.assert_allclose(frames.positions_nm, positions(table), atol=6e-5)


@pytest.mark.parametrize(
    ("residue", "names"),
    [
        ("HSD", ("CA", "SIDE")),
        ("HSP", ("CA", "beta2")),
        ("CYX", ("CA", "SG")),
        ("ILE", ("CA", "CD")),
        ("TIP3", ("B1", "B2")),
    ],
)
def test_names_that_readers_have_another_for_are_recognised(tmp_path, residue, names):
    """mdtraj and OpenMM read HSD as HIS, and atom CD of ILE as CD1; other beads are still told apart."""
    table = list_beads([{"name": name, "residue": residue, "mass_da": 12.0} for name in names])
    table.write_pdb(tmp_path / "beads.pdb", positions(table))
    write_cif(table, tmp_path / "beads.cif", positions(table)[0])
    for name in ("beads.pdb", "beads.cif"):
        assert table.match(read_topology_file(tmp_path / name).topology) == "beads"
        assert read_bead_frames(tmp_path / name, table=table).positions_nm.shape[1] == 2
    with pytest.raises(InputError, match="bead 0"):
        other = list_beads([{"name": name, "residue": "TRP", "mass_da": 12.0} for name in names])
        other.match(read_topology_file(tmp_path / "beads.pdb").topology)


@settings(max_examples=40, deadline=None)
@given(tables())
def test_records_and_dict_give_the_same_table(table):
    text = yaml.safe_dump({"beads": bead_records(table)})
    again = list_beads(yaml.safe_load(text)["beads"])
    assert [str(bead) for bead in again.beads] == [str(bead) for bead in table.beads]
    assert again.bonds == table.bonds
    np.testing.assert_array_equal(again.masses_da, table.masses_da)
    assert BeadTable.from_dict(table.to_dict()) == table


@pytest.mark.parametrize("suffix, atol", [(".xtc", 6e-4), (".dcd", 1e-6), (".h5", 1e-6)])
def test_trajectories_are_read_with_the_table(tmp_path, suffix, atol):
    table = list_beads([{"name": f"B{i}", "residue": "LONGNAME", "mass_da": 50.0} for i in range(5)])
    xyz = positions(table, frames=6)
    writer = open_trajectory(tmp_path / f"out{suffix}", table)
    writer.append(xyz[:4], 0.5 * np.arange(4), np.arange(4))
    writer.append(xyz[4:], 0.5 * np.arange(4, 6), np.arange(4, 6))
    writer.close()
    read = read_bead_frames(tmp_path / f"out{suffix}", table=table)
    np.testing.assert_allclose(read.positions_nm, xyz, atol=atol)


def test_mapped_beads_with_long_names_are_written_so_that_they_train_and_open(tmp_path):
    records = [{"name": name, "residue": "POPC", "mass_da": 50.0} for name in ("head1", "head2", "glycerol", "tail")]
    np.save(tmp_path / "x.npy", positions(list_beads(records), frames=4))
    frames = read_bead_frames(tmp_path / "x.npy", beads=records, length_unit="nm")
    assert needs_cif(frames.beads)
    folder = write_bead_frames(frames, tmp_path / "mapped")
    by_cif = read_bead_frames(folder / "beads.xtc", folder / "beads.cif", beads="all")
    assert [bead.name for bead in by_cif.beads.beads] == ["head1", "head2", "glycerol", "tail"]
    assert by_cif.beads.bonds == frames.beads.bonds
    exact = read_bead_frames(folder / "beads.npz", beads=bead_records(frames.beads), length_unit="nm")
    np.testing.assert_array_equal(exact.positions_nm, frames.positions_nm)
