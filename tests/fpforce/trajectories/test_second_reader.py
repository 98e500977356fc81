"""Formats that mdtraj does not know, read by MDAnalysis: the same frames, and the same checks behind them."""

import mdtraj
import numpy as np
import pytest
from openmm import app

from fpforce.foundation.errors import InputError
from fpforce.reference.peptide import build_peptide
from fpforce.trajectories import second_reader
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.topology_files import read_topology

MDAnalysis = pytest.importorskip("MDAnalysis")
FRAMES, EDGE_NM = 12, 3.0


@pytest.fixture(scope="module")
def peptide():
    """ACE-L-K-A-NME in a cubic box, split by it."""
    topology, positions = build_peptide("LKA", app.ForceField("amber99sbildn.xml"), 1)
    noise = np.random.default_rng(1).normal(size=(FRAMES, *positions.shape))
    xyz = (positions + 0.003 * noise + [0.2, 2.9, 1.5]) % EDGE_NM
    box = dict(unitcell_lengths=np.full((FRAMES, 3), EDGE_NM), unitcell_angles=np.full((FRAMES, 3), 90.0))
    return mdtraj.Trajectory(xyz, mdtraj.Topology.from_openmm(topology), time=2.0 * np.arange(FRAMES), **box)


@pytest.fixture
def given(peptide, tmp_path):
    peptide[0].save(str(tmp_path / "given.pdb"))
    peptide.save(str(tmp_path / "frames.xtc"))
    return tmp_path / "given.pdb"


def write_gromos(path, trajectory):
    """A GROMOS .trc, in nm and ps."""
    lines = ["TITLE", "frames", "END"]
    for number, frame in enumerate(trajectory.xyz):
        lines += ["TIMESTEP", f"{number:15d}{trajectory.time[number]:20.9f}", "END", "POSITIONRED"]
        for atom, place in enumerate(frame, start=1):
            lines.append("".join(f"{value:15.9f}" for value in place))
            if atom % 10 == 0:
                lines.append(f"#{atom:10d}")
        lines += ["END", "GENBOX", "    1", "".join(f"{EDGE_NM:15.9f}" for _ in range(3))]
        lines += ["".join(f"{90:15.9f}" for _ in range(3)), *["".join(f"{0:15.9f}" for _ in range(3))] * 2, "END"]
    path.write_text("\n".join(lines) + "\n")


def test_gromos_trajectory_has_the_frames_of_the_xtc(peptide, given, tmp_path):
    write_gromos(tmp_path / "frames.trc", peptide)
    ours = read_bead_frames(tmp_path / "frames.trc", given, beads="backbone")
    theirs = read_bead_frames(tmp_path / "frames.xtc", given, beads="backbone")
    away, right = (one.positions_nm - one.positions_nm[:, :1] for one in (ours, theirs))
    np.testing.assert_allclose(away, right, atol=2.1e-3)
    assert ours.time_step_ps == pytest.approx(2.0)
    assert ours.report.files[0].box_nm == pytest.approx((EDGE_NM,) * 3, abs=1e-4)


def test_stride_and_other_numbers_of_atoms_are_as_with_mdtraj(peptide, given, tmp_path):
    write_gromos(tmp_path / "frames.trc", peptide)
    assert len(read_bead_frames(tmp_path / "frames.trc", given, beads="ca", stride=5)) == 3
    fewer = peptide.atom_slice(range(10))
    fewer[0].save(str(tmp_path / "fewer.pdb"))
    with pytest.raises(InputError, match="frames.trc"):
        read_bead_frames(tmp_path / "frames.trc", tmp_path / "fewer.pdb", beads="all")


def test_checks_are_the_same(peptide, given, tmp_path):
    damaged = mdtraj.Trajectory(peptide.xyz.copy(), peptide.topology, time=peptide.time)
    damaged.xyz[7, 20] += 0.6
    write_gromos(tmp_path / "frames.trc", damaged)
    with pytest.raises(InputError, match=r"frames.trc: in frame 7 \(counted from 0\) the bond"):
        read_bead_frames(tmp_path / "frames.trc", given, beads="backbone")


def test_topology_keeps_names_residues_numbers_and_elements(peptide, given, tmp_path):
    universe = MDAnalysis.Universe(str(given))
    with MDAnalysis.Writer(str(tmp_path / "given.pqr"), n_atoms=peptide.n_atoms) as writer:
        universe.add_TopologyAttr("charges", np.zeros(peptide.n_atoms))
        universe.add_TopologyAttr("radii", np.ones(peptide.n_atoms))
        writer.write(universe.atoms)
    ours = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pqr", beads="heavy").beads
    theirs = read_bead_frames(tmp_path / "frames.xtc", given, beads="heavy").beads
    assert [str(bead) for bead in ours.beads] == [str(bead) for bead in theirs.beads]
    assert [bead.element for bead in ours.beads] == [bead.element for bead in theirs.beads]
    assert ours.bonds == theirs.bonds


def test_without_mdanalysis_the_message_says_what_to_install(given, tmp_path, monkeypatch):
    (tmp_path / "frames.tng").write_bytes(b"x" * 100)
    monkeypatch.setattr(second_reader, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'fpforce\[mdanalysis\]'"):
        read_bead_frames(tmp_path / "frames.tng", given, beads="ca")
    (tmp_path / "given.tpr").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"pip install 'fpforce\[mdanalysis\]'"):
        read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.tpr", beads="ca")


@pytest.mark.parametrize("suffix", [".crd", ".cor", ".pqr", ".CRD"])
def test_file_with_atoms_and_places_is_read_alone(tmp_path, suffix):
    """.crd that begins with a star is CHARMM's, and no ASCII trajectory of AMBER."""
    given = tmp_path / "whole.pdb"
    topology, positions = build_peptide("LKA", app.ForceField("amber99sbildn.xml"), 1)
    mdtraj.Trajectory(positions, mdtraj.Topology.from_openmm(topology)).save(str(given))
    universe = MDAnalysis.Universe(str(given), to_guess=("elements", "types", "masses", "bonds"))
    universe.add_TopologyAttr("charges", np.zeros(len(universe.atoms)))
    written = tmp_path / f"frame{suffix.lower().replace('.cor', '.crd')}"
    universe.atoms.write(str(written))
    written.rename(tmp_path / f"frame{suffix}")
    ours = read_bead_frames(tmp_path / f"frame{suffix}", beads="backbone")
    theirs = read_bead_frames(given, beads="backbone")
    assert [str(bead) for bead in ours.beads.beads] == [str(bead) for bead in theirs.beads.beads]
    assert ours.beads.bonds == theirs.beads.bonds
    i, j = ours.beads.bonds[3]
    lengths = [np.linalg.norm(one.positions_nm[0, i] - one.positions_nm[0, j]) for one in (ours, theirs)]
    assert lengths[0] == pytest.approx(lengths[1], abs=2e-3)


@pytest.mark.parametrize(
    "name, mass_da, symbol",
    [
        ("CA", 12.011, "C"),
        ("CB", 14.027, "C"),  # a united atom
        ("CB", 15.035, "C"),
        ("N", 14.007, "N"),
        ("HA", 3.024, "H"),  # mass repartitioning
        ("CB", 5.963, "C"),
        ("NA", 22.990, "Na"),
        ("FE", 55.845, "Fe"),
        ("2", 15.999, "O"),
        ("2", 14.027, None),
        ("BB", 72.0, None),
        ("SC1", 54.0, None),
        ("SC1", 36.0, None),
        ("SG", 33.068, "S"),
    ],
)
def test_element_follows_from_name_and_mass(name, mass_da, symbol):
    found = second_reader.element_of("", mass_da, name)
    assert (None if found is None else found.symbol) == symbol


MARTINI_ITP = """[ moleculetype ]
Protein 1
[ atoms ]
1 P2 1 ALA BB 1 0.0 54.0
2 P2 2 LYS BB 2 0.0 54.0
3 C3 2 LYS SC1 3 0.0 36.0
[ bonds ]
1 2 1 0.35 4000
[ constraints ]
2 3 1 0.33
"""


@pytest.mark.parametrize("topology", ["protein.itp", "system.top"])
def test_beads_of_martini_have_the_bonds_and_masses_of_their_itp(tmp_path, topology):
    """`beads: all` of a GRO has no bonds; GROMACS' own files have them. P2 is a type of bead, no phosphorus."""
    pytest.importorskip("MDAnalysis")
    (tmp_path / "protein.itp").write_text(MARTINI_ITP)
    water = "[ moleculetype ]\nW 1\n[ atoms ]\n1 W 1 W W 1 0.0 72.0\n"
    system = "[ system ]\ntest\n[ molecules ]\nProtein 1\nW 2\n"
    (tmp_path / "system.top").write_text(f'; of the whole system\n#include "protein.itp"\n{water}{system}')
    places = np.array([[1.0, 1.0, 1.0], [1.35, 1.0, 1.0], [1.35, 1.33, 1.0], [2.0, 3.0, 2.0], [3.0, 1.0, 2.0]])
    places = places if topology == "system.top" else places[:3]
    np.save(tmp_path / "x.npy", places + 0.01 * np.random.default_rng(0).normal(size=(20, len(places), 3)))
    frames = read_bead_frames(tmp_path / "x.npy", tmp_path / topology, beads="all", length_unit="nm")
    assert frames.beads.labels == ("ALA1-BB", "LYS2-BB", "LYS2-SC1")
    assert frames.beads.bonds == ((0, 1), (1, 2)) and frames.beads.masses_da.tolist() == [54.0, 54.0, 36.0]
    assert not frames.report.warnings


def test_topology_of_gromacs_without_what_it_includes_says_which_file_is_missing(tmp_path):
    pytest.importorskip("MDAnalysis")
    (tmp_path / "system.top").write_text('#include "martini_v3.itp"\n[ system ]\ntest\n[ molecules ]\nProtein 1\n')
    np.save(tmp_path / "x.npy", np.zeros((20, 3, 3)))
    with pytest.raises(InputError, match="martini_v3.itp; give it with the files that it includes beside it, or the"):
        read_bead_frames(tmp_path / "x.npy", tmp_path / "system.top", beads="all", length_unit="nm")


def write_lammps(folder, masses, count=10):
    """A bead-spring polymer in LJ units, 0.97 from bead to bead, of types with these masses in turn: data and dump."""
    rng = np.random.default_rng(0)
    steps = [[0.9, 0.4 * (-1) ** i, 0.1] for i in range(count - 1)]
    places = np.concatenate([np.zeros((1, 3)), np.cumsum(0.97 * np.array(steps) / np.linalg.norm(steps[0]), axis=0)])
    kinds = [i % len(masses) + 1 for i in range(count)]
    data = ["LAMMPS data file", "", f"{count} atoms", f"{count - 1} bonds", f"{len(masses)} atom types", "1 bond types"]
    data += ["", "-20 20 xlo xhi", "-20 20 ylo yhi", "-20 20 zlo zhi", "", "Masses", ""]
    data += [f"{kind} {mass}" for kind, mass in enumerate(masses, start=1)] + ["", "Atoms # bond", ""]
    data += [f"{i + 1} 1 {kinds[i]} {' '.join(f'{x:.4f}' for x in places[i])}" for i in range(count)]
    data += ["", "Bonds", ""] + [f"{i + 1} 1 {i + 1} {i + 2}" for i in range(count - 1)]
    (folder / "polymer.data").write_text("\n".join(data) + "\n")
    dump = []
    for step in range(20):
        dump += ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(count), "ITEM: BOX BOUNDS pp pp pp"]
        dump += ["-20 20"] * 3 + ["ITEM: ATOMS id mol type xu yu zu"]
        moved = places + 0.03 * rng.normal(size=places.shape)
        dump += [f"{i + 1} 1 {kinds[i]} {' '.join(f'{x:.4f}' for x in moved[i])}" for i in range(count)]
    (folder / "polymer.lammpstrj").write_text("\n".join(dump) + "\n")
    return folder / "polymer.lammpstrj", folder / "polymer.data"


@pytest.mark.parametrize("masses", [(1.0,), (1.0, 2.0), (1.0, 4.0), (72.0,)])
def test_particles_of_reduced_units_are_beads_and_no_hydrogens(tmp_path, masses):
    frames = read_bead_frames(*write_lammps(tmp_path, masses), beads="all")
    assert frames.beads.masses_da.tolist() == [masses[i % len(masses)] for i in range(10)]
    assert {bead.element for bead in frames.beads.beads} == {None}
    assert frames.beads.bonds == tuple((i, i + 1) for i in range(9))


def test_hydrogens_of_heavier_atoms_are_known_by_their_mass(tmp_path):
    table = read_bead_frames(*write_lammps(tmp_path, (12.011, 1.008)), beads="all").beads
    assert [bead.element for bead in table.beads] == ["C", "H"] * 5


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "frames"])
def test_h5md_is_known_by_its_content(given, tmp_path, name):
    pytest.importorskip("h5py")
    universe = MDAnalysis.Universe(str(given), str(tmp_path / "frames.xtc"))
    with MDAnalysis.Writer(str(tmp_path / "right.h5md"), len(universe.atoms)) as writer:
        for _ in universe.trajectory:
            writer.write(universe.atoms)
    writer.h5md_file.close()  # which MDAnalysis leaves to the garbage collector
    (tmp_path / name).write_bytes((tmp_path / "right.h5md").read_bytes())
    found, right = (read_bead_frames(tmp_path / one, given) for one in (name, "right.h5md"))
    np.testing.assert_array_equal(found.positions_nm, right.positions_nm)


def test_hdf5_of_mdtraj_is_still_read_by_it(peptide, given, tmp_path):
    peptide.save(str(tmp_path / "own.h5"))
    assert not second_reader.reads_trajectory(tmp_path / "own.h5")


@pytest.mark.parametrize("suffix", [".gro", ".crd"])
def test_ions_of_files_without_elements_are_what_their_names_say(tmp_path, suffix):
    """Readers take SOD, CLA, CAL and CU2 for S, C, C and C, LP1 for carbon."""
    topology, positions = build_peptide("LKA", app.ForceField("amber99sbildn.xml"), 1)
    both = mdtraj.Topology.from_openmm(topology)
    both._bonds = []
    others, chain = [("SOD", "SOD"), ("CLA", "CLA"), ("CU2", "CU"), ("CAL", "CAL")], both.add_chain()
    for number, (residue, atom) in enumerate(others, start=101):
        both.add_atom(atom, mdtraj.element.sodium, both.add_residue(residue, chain, resSeq=number))
    away = positions.mean(axis=0) + [[2.0 + k, 0.0, 0.0] for k in range(len(others))]
    mdtraj.Trajectory([np.concatenate([positions, away])], both).save(str(tmp_path / "given.pdb"))
    MDAnalysis.Universe(str(tmp_path / "given.pdb")).atoms.write(str(tmp_path / f"given{suffix}"))
    read = read_topology(tmp_path / f"given{suffix}")
    assert [residue.atom(0).element.symbol for residue in [*read.residues][-4:]] == ["Na", "Cl", "Cu", "Ca"]
    frames = read_bead_frames(tmp_path / "given.pdb", tmp_path / f"given{suffix}", beads="heavy")
    assert {"SOD": 1, "CLA": 1, "CU2": 1, "CAL": 1} in [left.residues for left in frames.report.left_out]
    assert not frames.report.warnings


def test_lone_pair_of_a_file_without_elements_has_no_mass(given, tmp_path):
    universe = MDAnalysis.Universe(str(given))
    universe.atoms[-1].name = "LP1"
    universe.atoms.write(str(tmp_path / "given.crd"))
    assert [*read_topology(tmp_path / "given.crd").atoms][-1].element is mdtraj.element.virtual
