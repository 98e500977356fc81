"""Reading trajectories: right frames in nm from good files, a named reason from bad ones."""

import shutil
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpforce.foundation.errors import InputError
from fpforce.molecule.chirality import dihedral
from fpforce.molecule.mapping import map_beads
from fpforce.molecule.periodic import make_whole
from fpforce.trajectories.bead_frames import read_bead_frames

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"
PDB = EXAMPLE / "alanine_dipeptide.pdb"
BACKBONE_LIST = [
    {"name": n, "residue": r}
    for n, r in zip(["C", "N", "CA", "C", "N"], ["ACE", "ALA", "ALA", "ALA", "NME"], strict=False)
]


@pytest.fixture(scope="module")
def heavy():
    """Two hundred frames of the example's ten heavy atoms."""
    return mdtraj.load(str(EXAMPLE / "train.xtc"), top=str(PDB))[:200]


@pytest.fixture(scope="module")
def beads(heavy):
    return heavy.xyz[:, [1, 3, 4, 6, 8]]


def saved(trajectory, path):
    trajectory.save(str(path))
    return path


def with_xyz(trajectory, xyz):
    return mdtraj.Trajectory(xyz.astype(np.float32), trajectory.topology, time=trajectory.time)


@pytest.mark.parametrize(
    "suffix, atol", [(".xtc", 1e-6), (".dcd", 1e-6), (".trr", 1e-6), (".nc", 1e-6), (".pdb", 1e-4)]
)
@pytest.mark.filterwarnings("ignore:.*netCDF4")
def test_every_format_gives_the_same_beads_in_nm(heavy, beads, tmp_path, suffix, atol):
    path = saved(heavy, tmp_path / f"frames{suffix}")
    frames = read_bead_frames(path, PDB, beads="backbone5")
    assert frames.positions_nm.dtype == np.float32
    np.testing.assert_allclose(frames.positions_nm, beads, atol=atol)


def test_several_files_stay_apart_and_stride_counts_in_each(heavy, tmp_path):
    paths = [saved(heavy[:101], tmp_path / "a.xtc"), saved(heavy[101:], tmp_path / "b.xtc")]
    frames = read_bead_frames(paths, PDB, beads="backbone5", stride=10)
    assert frames.lengths == (11, 10)
    assert [len(part) for part in frames.split()] == [11, 10]
    assert frames.time_step_ps == pytest.approx(20.0)
    assert frames.sources == tuple(map(str, paths))
    np.testing.assert_array_equal(frames.split()[1][0], heavy.xyz[101, [1, 3, 4, 6, 8]])


def test_sha256_tells_contents_not_names(heavy, tmp_path):
    first = saved(heavy[:10], tmp_path / "a.xtc")
    second = shutil.copy(first, tmp_path / "b.xtc")
    third = saved(heavy[10:20], tmp_path / "c.xtc")
    hashes = [read_bead_frames(path, PDB).sha256 for path in (first, second, third)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("unit, factor", [("nm", 1.0), ("angstrom", 10.0)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_bare_array_is_read_in_its_declared_unit(beads, tmp_path, unit, factor, suffix):
    path = tmp_path / f"frames{suffix}"
    if suffix == ".npy":
        np.save(path, beads * factor)
    else:
        np.savez(path, positions=beads * factor, forces=beads)
    frames = read_bead_frames(path, beads=BACKBONE_LIST, length_unit=unit)
    np.testing.assert_allclose(frames.positions_nm, beads, rtol=1e-6)
    assert frames.beads.phi_psi == [{"residue": "ALA2", "phi": (0, 1, 2, 3), "psi": (1, 2, 3, 4)}]


def test_array_of_atoms_is_mapped_by_its_topology(heavy, beads, tmp_path):
    np.save(tmp_path / "atoms.npy", heavy.xyz)
    frames = read_bead_frames(tmp_path / "atoms.npy", PDB, beads="backbone5", length_unit="nm")
    np.testing.assert_array_equal(frames.positions_nm, beads)


def test_table_of_a_model_reads_its_atoms_and_its_beads_alike(heavy, beads, tmp_path):
    table = map_beads(heavy.topology, "backbone5")
    atoms = saved(heavy, tmp_path / "atoms.xtc")
    own = saved(mdtraj.Trajectory(beads, table.to_mdtraj()), tmp_path / "beads.dcd")
    table.write_pdb(tmp_path / "beads.pdb", beads[0])
    for path, topology in [(atoms, PDB), (own, tmp_path / "beads.pdb"), (own, None)]:
        frames = read_bead_frames(path, topology, table=table)
        np.testing.assert_allclose(frames.positions_nm, beads, atol=1e-6)
        assert frames.beads == table


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.tuples(st.floats(2.0, 4.0), st.floats(2.0, 4.0), st.floats(2.0, 4.0)),
    st.tuples(st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.floats(-0.9, 0.9)),
)
def test_molecule_wrapped_atom_by_atom_is_made_whole_wherever_it_lies(shift, edges, tilts):
    source = mdtraj.load(str(EXAMPLE / "train.xtc"), top=str(PDB))[:5]
    box = np.diag(edges) + np.array([[0, 0, 0], [tilts[0], 0, 0], [tilts[1], tilts[2], 0]])
    moved = source.xyz.astype(np.float64) + np.array(shift)
    wrapped = (moved @ np.linalg.inv(box) % 1.0) @ box
    whole = make_whole(wrapped.copy(), np.repeat(box[None], 5, axis=0), source.topology)
    i, j = np.triu_indices(10, 1)
    distances = np.linalg.norm(moved[:, i] - moved[:, j], axis=2)
    np.testing.assert_allclose(np.linalg.norm(whole[:, i] - whole[:, j], axis=2), distances, atol=1e-9)


def test_wrapped_file_among_water_gives_the_beads_of_the_whole_molecule(heavy, beads, tmp_path):
    topology = heavy.topology.copy()
    chain = topology.add_chain("W")
    for _ in range(3):
        topology.add_atom("O", mdtraj.element.oxygen, topology.add_residue("HOH", chain))
    water = np.random.default_rng(0).uniform(0, 2, size=(200, 3, 3))
    xyz = np.concatenate([(heavy.xyz + [0.1, 1.9, 0.0]) % 2.0, water], axis=1)
    system = mdtraj.Trajectory(
        xyz.astype(np.float32),
        topology,
        unitcell_lengths=np.full((200, 3), 2.0),
        unitcell_angles=np.full((200, 3), 90.0),
    )
    path = saved(system, tmp_path / "wrapped.xtc")
    system[0].save_pdb(str(tmp_path / "system.pdb"))
    frames = read_bead_frames(path, tmp_path / "system.pdb", beads="backbone5")
    relative = frames.positions_nm - frames.positions_nm[:, :1]
    np.testing.assert_allclose(relative, beads - beads[:, :1], atol=2.1e-3)


def test_phi_of_an_ideal_torsion_has_the_iupac_sign():
    # Looking along the axis, the far bond turned clockwise by 60 degrees from the near one is +60.
    angle = np.radians(60.0)
    points = np.array([[[1, 0, 0], [0, 0, 0], [0, 0, 1], [np.cos(angle), np.sin(angle), 1]]])
    assert dihedral(points, (0, 1, 2, 3))[0] == pytest.approx(angle)
    assert dihedral(points * [1, -1, 1], (0, 1, 2, 3))[0] == pytest.approx(-angle)


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(InputError, match="trajectory .*no.xtc does not exist"):
        read_bead_frames(tmp_path / "no.xtc", PDB)
    (tmp_path / "empty.xtc").touch()
    with pytest.raises(InputError, match="empty.xtc is empty"):
        read_bead_frames(tmp_path / "empty.xtc", PDB)
    with pytest.raises(InputError, match="topology .*no.pdb does not exist"):
        read_bead_frames(EXAMPLE / "train.xtc", tmp_path / "no.pdb")
    with pytest.raises(InputError, match="no trajectory is given"):
        read_bead_frames([], PDB)


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".npy"])
def test_topology_with_another_atom_count_is_refused_with_both_counts(heavy, tmp_path, suffix):
    path = tmp_path / f"nine{suffix}"
    nine = heavy.atom_slice(range(9))
    np.save(path, nine.xyz) if suffix == ".npy" else saved(nine, path)
    with pytest.raises(InputError, match=r"nine.* holds 9 .*10"):
        read_bead_frames(path, PDB, length_unit="nm" if suffix == ".npy" else None)


def test_trajectory_without_its_topology_says_what_to_give(tmp_path, beads):
    with pytest.raises(InputError, match="give a topology file"):
        read_bead_frames(EXAMPLE / "train.xtc")
    np.save(tmp_path / "bare.npy", beads)
    with pytest.raises(InputError, match="give a topology file, or `beads` as a list"):
        read_bead_frames(tmp_path / "bare.npy", length_unit="nm")


def test_empty_selection_is_refused():
    with pytest.raises(InputError, match="selects none"):
        read_bead_frames(EXAMPLE / "train.xtc", PDB, beads="resname TRP")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_frame_that_is_not_finite_is_named_by_file_and_index(heavy, tmp_path, value):
    xyz = heavy.xyz.copy()
    xyz[120, 3, 1] = value
    path = saved(with_xyz(heavy, xyz), tmp_path / "bad.dcd")
    for stride in (1, 10):
        with pytest.raises(InputError, match=r"bad.dcd: frame 120 \(counted from 0\)"):
            read_bead_frames(path, PDB, stride=stride)


@pytest.mark.parametrize(
    "factor, unit", [(10.0, "likely in angstrom"), (0.1, "likely in nm"), (400.0, "check the unit")]
)
@pytest.mark.parametrize("choice", ["backbone5", "all", {"left": "resname ACE", "right": "resname ALA NME"}], ids=str)
def test_wrong_unit_is_noticed_and_the_likely_one_named(heavy, tmp_path, factor, unit, choice):
    path = saved(with_xyz(heavy, heavy.xyz * factor), tmp_path / "scaled.trr")
    with pytest.raises(InputError, match=f"scaled.trr: bonds are typically .*{unit}"):
        read_bead_frames(path, PDB, beads=choice)


def test_wrongly_declared_unit_of_an_array_names_the_right_one(beads, tmp_path):
    np.save(tmp_path / "nm.npy", beads)
    np.save(tmp_path / "angstrom.npy", 10.0 * beads)
    with pytest.raises(InputError, match="give length_unit = 'nm'"):
        read_bead_frames(tmp_path / "nm.npy", beads=BACKBONE_LIST, length_unit="angstrom")
    with pytest.raises(InputError, match="give length_unit = 'angstrom'"):
        read_bead_frames(tmp_path / "angstrom.npy", beads=BACKBONE_LIST, length_unit="nm")


def test_array_needs_a_unit_and_a_format_with_a_unit_refuses_one(beads, tmp_path):
    np.save(tmp_path / "bare.npy", beads)
    with pytest.raises(InputError, match="bare array without a unit"):
        read_bead_frames(tmp_path / "bare.npy", beads=BACKBONE_LIST)
    with pytest.raises(InputError, match="'furlong' is unknown"):
        read_bead_frames(tmp_path / "bare.npy", beads=BACKBONE_LIST, length_unit="furlong")
    with pytest.raises(InputError, match="has its own"):
        read_bead_frames(EXAMPLE / "train.xtc", PDB, length_unit="nm")


@pytest.mark.parametrize(
    "content", [np.zeros((4, 5)), np.zeros((4, 5, 2)), np.zeros((4, 5, 3), int), np.zeros((0, 5, 3))]
)
def test_array_of_another_shape_is_refused(tmp_path, content):
    np.save(tmp_path / "odd.npy", content)
    with pytest.raises(InputError, match=r"must be floating-point \(frames, beads, 3\)"):
        read_bead_frames(tmp_path / "odd.npy", beads=BACKBONE_LIST, length_unit="nm")


def test_npz_with_two_candidate_arrays_is_refused(beads, tmp_path):
    np.savez(tmp_path / "two.npz", first=beads, second=beads)
    with pytest.raises(InputError, match=r"holds \['first', 'second'\]"):
        read_bead_frames(tmp_path / "two.npz", beads=BACKBONE_LIST, length_unit="nm")


def test_frame_with_a_torn_molecule_is_named(heavy, tmp_path):
    xyz = heavy.xyz.copy()
    xyz[77, 6:] += 1.5
    path = saved(with_xyz(heavy, xyz), tmp_path / "torn.xtc")
    with pytest.raises(InputError, match="torn.xtc: in frame 77 .* ALA2-CA - ALA2-C is"):
        read_bead_frames(path, PDB, beads="backbone5")


def test_topology_of_other_atoms_in_the_same_number_is_noticed(heavy, tmp_path):
    path = saved(heavy.atom_slice([0, 2, 5, 7, 9]), tmp_path / "other.xtc")
    heavy.atom_slice([1, 3, 4, 6, 8])[0].save_pdb(str(tmp_path / "backbone.pdb"))
    with pytest.raises(InputError, match="bond ACE1-C - ALA2-N is typically 0.2.* the topology lists other atoms"):
        read_bead_frames(path, tmp_path / "backbone.pdb")


def test_mirrored_trajectory_is_d_alanine_and_refused(heavy, tmp_path):
    path = saved(with_xyz(heavy, heavy.xyz * [1, 1, -1]), tmp_path / "mirrored.xtc")
    with pytest.raises(InputError, match="ALA2 is a D amino acid in 200 of 200 frames"):
        read_bead_frames(path, PDB, beads="backbone5")
    assert len(read_bead_frames(path, PDB, beads="backbone5", allow_d_residues=True)) == 200


def test_mirrored_file_among_right_ones_is_named(heavy, tmp_path):
    right = saved(heavy, tmp_path / "right.xtc")
    wrong = saved(with_xyz(heavy, -heavy.xyz), tmp_path / "wrong.xtc")
    with pytest.raises(InputError, match="wrong.xtc: ALA2 is a D"):
        read_bead_frames([right, wrong], PDB, beads="backbone5")


def test_handedness_is_seen_from_the_hydrogen_where_there_is_no_cb():
    from fpforce.molecule.chirality import d_residues

    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain(), resSeq=1)
    for name, symbol in (("N", "N"), ("CA", "C"), ("C", "C"), ("HA", "H")):
        topology.add_atom(name, mdtraj.element.get_by_symbol(symbol), residue)
    # CORN rule: seen from H (on +z) C, R and N follow each other clockwise; here C at 0, R at -120, N at +120 degrees.
    turn = np.radians(120.0)
    levo = np.array([[[np.cos(turn), np.sin(turn), -0.3], [0, 0, 0], [1, 0, -0.3], [0, 0, 1]]])
    assert d_residues(levo, topology) == []
    assert d_residues(levo * [1, -1, 1], topology) == [("ALA1", 1, 0)]


def test_mirrored_backbone_without_cb_is_refused_by_its_phi(beads, tmp_path, caplog):
    np.save(tmp_path / "mirrored.npy", -beads)
    with pytest.raises(InputError, match="mirrored.npy: phi of ALA2 is positive in .*allow_d_residues = true"):
        read_bead_frames(tmp_path / "mirrored.npy", beads=BACKBONE_LIST, length_unit="nm")
    read_bead_frames(tmp_path / "mirrored.npy", beads=BACKBONE_LIST, length_unit="nm", allow_d_residues=True)
    np.save(tmp_path / "right.npy", beads)
    table = read_bead_frames(tmp_path / "right.npy", beads=BACKBONE_LIST, length_unit="nm").beads
    assert not caplog.records
    # What a model itself produced is to be judged, not refused.
    assert len(read_bead_frames(tmp_path / "mirrored.npy", table=table, length_unit="nm")) == 200
    assert "phi of ALA2 is positive in" in caplog.text


def test_mostly_positive_phi_is_logged(beads, tmp_path, caplog):
    half = beads * np.where(np.arange(len(beads)) % 3 == 0, 1, -1)[:, None, None]
    np.save(tmp_path / "mixed.npy", half)
    read_bead_frames(tmp_path / "mixed.npy", beads=BACKBONE_LIST, length_unit="nm")
    assert "phi of ALA2 is positive in" in caplog.text
