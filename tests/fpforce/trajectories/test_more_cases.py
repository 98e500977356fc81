"""Inputs as users bring them, of kinds that files of MDAnalysis' own tests showed: names, numbers, chains, formats."""

import bz2
import gzip
import lzma
import shutil

import mdtraj
import numpy as np
import pytest
from openmm import app

from fpforce.foundation.errors import InputError
from fpforce.reference.peptide import build_peptide
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.files import read_atoms

FRAMES = 11


def built(sequence, seed=1):
    """A capped peptide with hydrogens, in frames that differ by 0.003 nm in every coordinate."""
    topology, positions = build_peptide(sequence, app.ForceField("amber99sbildn.xml"), seed)
    noise = np.random.default_rng(seed).normal(size=(FRAMES, *positions.shape))
    return mdtraj.Trajectory(positions + 0.003 * noise, mdtraj.Topology.from_openmm(topology))


@pytest.fixture(scope="module")
def peptide():
    return built("GADKEYRCHA")


@pytest.fixture(scope="module")
def dimer(peptide):
    """Two peptides side by side, in one chain without a name and without bonds, as a GRO lists them."""
    other = built("AVLSEKG", 2)
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for part in (peptide.topology, other.topology):
        for old in part.residues:
            residue = topology.add_residue(old.name, chain, resSeq=old.resSeq)
            for atom in old.atoms:
                topology.add_atom(atom.name, atom.element, residue)
    centred = [one.xyz - one.xyz.mean(axis=1, keepdims=True) for one in (peptide, other)]
    return mdtraj.Trajectory(np.concatenate([centred[0], centred[1] + [0.9, 0.3, 0.0]], axis=1), topology)


def boxed(trajectory, lengths, angles=(90.0, 90.0, 90.0)):
    """Every atom by itself in a box."""
    box = dict(unitcell_lengths=np.tile(lengths, (FRAMES, 1)), unitcell_angles=np.tile(angles, (FRAMES, 1)))
    found = mdtraj.Trajectory(trajectory.xyz, trajectory.topology, **box)
    parts = np.einsum("fad,fde->fae", found.xyz + 0.7, np.linalg.inv(found.unitcell_vectors))
    found.xyz = np.einsum("fae,fed->fad", parts - np.floor(parts), found.unitcell_vectors).astype(np.float32)
    return found


def pdb_lines(trajectory, folder):
    trajectory[0].save(str(folder / "plain.pdb"))
    lines = (folder / "plain.pdb").read_text().splitlines()
    return [line for line in lines if not line.startswith("CONECT")]


def written(folder, trajectory, lines=None):
    """frames.xtc and given.pdb."""
    trajectory.save(str(folder / "frames.xtc"))
    (folder / "given.pdb").write_text("\n".join(lines or pdb_lines(trajectory, folder)) + "\n")
    return folder / "frames.xtc", folder / "given.pdb"


@pytest.mark.parametrize(
    "lengths, angles", [((5.0, 5.0, 5.0), (90.0, 90.0, 90.0)), ((6.0, 6.0, 6.0), (60.0, 60.0, 90.0))]
)
@pytest.mark.parametrize("only_ca", [False, True])
def test_two_molecules_of_a_file_without_chain_names_are_two_chains(dimer, tmp_path, lengths, angles, only_ca):
    ca = [atom.index for atom in dimer.topology.atoms if atom.name == "CA"]
    whole = dimer.xyz[:, ca]
    wrapped = boxed(dimer.atom_slice(ca) if only_ca else dimer, lengths, angles)
    wrapped.save(str(tmp_path / "frames.xtc"))
    wrapped[0].save(str(tmp_path / "given.gro"))
    with pytest.raises(InputError, match=r"chain [AB].*chain [AB].*data.several_chains = true"):
        read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.gro", beads="ca")
    frames = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.gro", beads="ca", several_chains=True)
    assert "".join(bead.chain for bead in frames.beads.beads) == 10 * "A" + 7 * "B"
    assert set(frames.beads.bonds) == {(i, i + 1) for i in range(16)} - {(9, 10)}
    i, j = np.triu_indices(17, 1)
    found, right = (np.linalg.norm(x[:, i] - x[:, j], axis=-1) for x in (frames.positions_nm, whole))
    np.testing.assert_allclose(found, right, atol=4e-3)
    assert not any("no torsion or bond" in text for text in frames.report.warnings)


def test_residues_that_are_missing_are_not_taken_for_the_end_of_a_molecule(peptide, tmp_path):
    kept = [atom.index for atom in peptide.topology.atoms if atom.residue.index not in (4, 5)]
    trajectory, topology = written(tmp_path, peptide.atom_slice(kept))
    with pytest.raises(InputError, match="residues are missing"):
        read_bead_frames(trajectory, topology, beads="ca", several_chains=True)


def martini(names):
    """Beads of residues in a GRO: BB in a line, 0.35 nm apart, side chains beside them."""
    topology, places = mdtraj.Topology(), []
    chain = topology.add_chain()
    for number, (name, beads) in enumerate(names):
        residue = topology.add_residue(name, chain, resSeq=number + 1)
        for place in range(beads):
            topology.add_atom("BB" if place == 0 else f"SC{place}", None, residue)
            places.append([0.33 * number, 0.1 * (number % 2) + 0.32 * place, 0.08 * (place % 2)])
    noise = 0.01 * np.random.default_rng(0).normal(size=(FRAMES, len(places), 3))
    return mdtraj.Trajectory(np.array(places) + noise + 1.0, topology)


def write_gro(path, trajectory):
    lines = ["beads", str(trajectory.n_atoms)]
    for atom, place in zip(trajectory.topology.atoms, trajectory.xyz[0], strict=True):
        residue = atom.residue
        numbers = "".join(f"{value:8.3f}" for value in place)
        lines.append(f"{residue.resSeq:5d}{residue.name:<5s}{atom.name:>5s}{atom.index + 1:5d}{numbers}")
    path.write_text("\n".join([*lines, "   5.00000   5.00000   5.00000"]) + "\n")


def test_beads_of_martini_are_no_boron_and_weigh_what_four_waters_do(tmp_path):
    trajectory = martini([("ALA", 1), ("TRP", 5), ("LYS", 3), ("GLY", 1), ("LEU", 2)])
    trajectory.save(str(tmp_path / "frames.xtc"))
    write_gro(tmp_path / "given.gro", trajectory)
    frames = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.gro", beads="name BB")
    assert frames.beads.masses_da.tolist() == 5 * [72.0]
    assert [bead.element for bead in frames.beads.beads] == 5 * [None]
    assert frames.beads.bonds == tuple((i, i + 1) for i in range(4))
    assert any("5 particles are beads and no atoms" in text for text in frames.report.warnings)
    assert not frames.report.corrected_elements
    with pytest.raises(InputError, match="beads of Martini, whose backbone is `name BB`"):
        read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.gro", beads="ca")


def test_atoms_with_names_of_beads_stay_atoms(tmp_path):
    """A residue whose atoms are called like beads of Martini, but are as near as atoms."""
    trajectory = martini([("LIG", 5)])
    trajectory.xyz[:, :, 1] = 1.0 + 0.15 * np.arange(5)
    trajectory.save(str(tmp_path / "frames.xtc"))
    write_gro(tmp_path / "given.gro", trajectory)
    frames = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.gro", beads="all")
    assert max(frames.beads.masses_da) < 40.0


def with_number(line, number):
    return line[:22] + number + line[27:]


def test_insertion_codes_keep_residues_apart_in_every_file(tmp_path):
    peptide = built("GGGGAG", 3)
    codes = {3: "   2A", 4: "   2B", 5: "   2C"}
    lines = [
        with_number(line, codes.get(int(line[22:26]), line[22:27])) if line.startswith("ATOM") else line
        for line in pdb_lines(peptide, tmp_path)
    ]
    trajectory, topology = written(tmp_path, peptide, lines)
    frames = read_bead_frames(trajectory, topology, beads="ca")
    assert [bead.residue_number for bead in frames.beads.beads] == [1, 2, 3, 4, 5, 6]
    assert any("insertion codes" in text for text in frames.report.warnings)
    frames.beads.write_pdb(tmp_path / "beads.pdb", frames.positions_nm)
    again = read_bead_frames(tmp_path / "beads.pdb", beads="ca")
    assert again.beads.labels == frames.beads.labels and again.beads.bonds == frames.beads.bonds


def test_hydrogens_after_everything_else_belong_to_their_residues(peptide, tmp_path):
    heavy = [atom.index for atom in peptide.topology.atoms if atom.element.symbol != "H"]
    hydrogens = [atom.index for atom in peptide.topology.atoms if atom.element.symbol == "H"]
    lines = [line for line in pdb_lines(peptide, tmp_path) if line.startswith("ATOM")]
    written(tmp_path, mdtraj.Trajectory(peptide.xyz[:, heavy + hydrogens], None), [lines[i] for i in heavy + hydrogens])
    frames = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads="all")
    assert len(frames.report.residues) == 12 and not frames.report.links
    place = {old: new for new, old in enumerate(heavy + hydrogens)}
    right = {tuple(sorted((place[a.index], place[b.index]))) for a, b in peptide.topology.bonds}
    assert set(frames.beads.bonds) == right


def test_one_residue_of_the_wrong_hand_is_no_mirrored_trajectory(peptide, tmp_path):
    wrong = mdtraj.Trajectory(peptide.xyz.copy(), peptide.topology)
    atoms = {atom.name: atom.index for atom in peptide.topology.residue(5).atoms}
    centre = wrong.xyz[:, atoms["CA"]]
    across = np.cross(wrong.xyz[:, atoms["N"]] - centre, wrong.xyz[:, atoms["C"]] - centre)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    side = [index for name, index in atoms.items() if name not in ("N", "H", "CA", "C", "O")]
    step = wrong.xyz[:, side] - centre[:, None]
    wrong.xyz[:, side] -= 2.0 * np.einsum("fad,fd->fa", step, across)[:, :, None] * across[:, None]
    trajectory, topology = written(tmp_path, wrong)
    with pytest.raises(InputError, match="GLU6 is a D amino acid in 11 of 11 frames.*the rest of the 9 residues is L"):
        read_bead_frames(trajectory, topology, beads="ca")


@pytest.mark.parametrize("opener, suffix", [(gzip.open, ".gz"), (bz2.open, ".bz2"), (lzma.open, ".xz")])
@pytest.mark.parametrize("name", ["frames.xtc", "frames.dcd", "given.gro"])
def test_packed_files_are_read_as_what_they_hold(peptide, tmp_path, opener, suffix, name):
    peptide.save(str(tmp_path / "frames.xtc"))
    peptide.save(str(tmp_path / "frames.dcd"))
    peptide[0].save(str(tmp_path / "given.gro"))
    with open(tmp_path / name, "rb") as plain, opener(tmp_path / (name + suffix), "wb") as packed:
        shutil.copyfileobj(plain, packed)
    given = [tmp_path / (name + suffix if one == name else one) for one in ("frames.xtc", "given.gro")]
    if name == "frames.dcd":
        given[0] = tmp_path / (name + suffix)
    frames = read_bead_frames(*given, beads="ca")
    assert len(frames) == FRAMES and len(frames.beads) == 10


def test_damaged_packed_file_is_refused(peptide, tmp_path):
    peptide[0].save(str(tmp_path / "given.pdb"))
    (tmp_path / "frames.xtc.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match=r"frames.xtc.gz cannot be read"):
        read_bead_frames(tmp_path / "frames.xtc.gz", tmp_path / "given.pdb", beads="ca")


@pytest.mark.parametrize("suffix", [".rst7", ".ncrst", ".ent", ".xyz"])
def test_single_frames_of_every_format_are_read(peptide, tmp_path, suffix):
    peptide[0].save(str(tmp_path / "given.pdb"))
    if suffix == ".ent":
        shutil.copy(tmp_path / "given.pdb", tmp_path / "frame.ent")
    else:
        peptide[0].save(str(tmp_path / f"frame{suffix}"))
    frames = read_bead_frames(
        tmp_path / f"frame{suffix}", None if suffix == ".ent" else tmp_path / "given.pdb", beads="ca"
    )
    right = read_bead_frames(tmp_path / "given.pdb", beads="ca")
    away, theirs = (one.positions_nm - one.positions_nm[:, :1] for one in (frames, right))
    np.testing.assert_allclose(away, theirs, atol=2e-3)


@pytest.mark.parametrize("name", ["run.trj", "run.x", "run.crd"])
def test_ascii_trajectory_of_amber_is_known_by_its_lines(peptide, tmp_path, name):
    peptide[0].save(str(tmp_path / "given.pdb"))
    peptide.save(str(tmp_path / "run.mdcrd"))
    shutil.move(tmp_path / "run.mdcrd", tmp_path / name)
    assert len(read_bead_frames(tmp_path / name, tmp_path / "given.pdb", beads="ca")) == FRAMES


def test_stride_of_a_trr_takes_the_right_frames_of_some_atoms(peptide, tmp_path):
    """mdtraj writes beyond its memory where it reads some atoms of every so many-th frame of a .trr."""
    many = mdtraj.Trajectory(np.concatenate([peptide.xyz] * 5), peptide.topology)
    many.xyz += 0.001 * np.arange(many.n_frames)[:, None, None]
    many.save(str(tmp_path / "frames.trr"))
    atoms = [atom.index for atom in many.topology.residue(1).atoms]
    read = read_atoms(tmp_path / "frames.trr", many.topology, atoms, many.topology.subset(atoms), 3)
    np.testing.assert_allclose(read.xyz, many.xyz[::3][:, atoms], atol=1e-6)


def test_topology_given_as_a_trajectory_is_named(peptide, tmp_path):
    (tmp_path / "molecule.psf").write_text("PSF\n")
    with pytest.raises(InputError, match="molecule.psf has no coordinates: give it as the topology"):
        read_bead_frames(tmp_path / "molecule.psf", beads="ca")


def test_choice_that_finds_nothing_says_what_is_there(peptide, tmp_path):
    trajectory, topology = written(tmp_path, peptide)
    with pytest.raises(InputError, match=r"selects none of the 161 atoms: its residues are ACE, GLY, .*check names"):
        read_bead_frames(trajectory, topology, beads="resname XYZ")
    water = mdtraj.Topology()
    chain = water.add_chain()
    for number in range(2):
        residue = water.add_residue("HOH", chain, resSeq=number + 1)
        for name, symbol in (("O", "O"), ("H1", "H"), ("H2", "H")):
            water.add_atom(name, mdtraj.element.get_by_symbol(symbol), residue)
    mdtraj.Trajectory(np.random.default_rng(0).normal(size=(1, 6, 3)), water).save(str(tmp_path / "water.pdb"))
    with pytest.raises(InputError, match=r"all of its residues are water or ions \(2 HOH\)"):
        read_bead_frames(tmp_path / "water.pdb", beads="heavy")


def test_deuterium_is_hydrogen(peptide, tmp_path):
    lines = [
        line[:76] + " D" if line.startswith("ATOM") and line[76:78].strip() == "H" else line
        for line in pdb_lines(peptide, tmp_path)
    ]
    trajectory, topology = written(tmp_path, peptide, lines)
    assert len(read_bead_frames(trajectory, topology, beads="heavy").beads) == 84


def nucleotide(hydroxyl):
    """C2', its hydrogen, O2' and the hydrogen of this, in the names of CHARMM (`hydroxyl` is H2') or of the PDB."""
    topology = mdtraj.Topology()
    chain = topology.add_chain("A")
    names = [("C2'", "C"), ("H2''" if hydroxyl == "H2'" else "H2'", "H"), ("O2'", "O"), (hydroxyl, "H"), ("C1'", "C")]
    residue = topology.add_residue("U", chain, resSeq=1)
    for name, symbol in names:
        topology.add_atom(name, mdtraj.element.get_by_symbol(symbol), residue)
    places = [[0, 0, 0], [0.03, 0.1, 0], [-0.14, 0.0, 0.0], [-0.17, 0.09, 0.0], [0.07, -0.13, 0.0]]
    noise = 0.001 * np.random.default_rng(0).normal(size=(FRAMES, 5, 3))
    return mdtraj.Trajectory(np.array(places) + noise + 1.0, topology)


@pytest.mark.parametrize("hydroxyl", ["H2'", "HO2'"])
def test_hydrogens_of_nucleotides_are_bonded_as_they_lie_in_the_names_of_charmm_too(tmp_path, hydroxyl):
    trajectory, topology = written(tmp_path, nucleotide(hydroxyl))
    frames = read_bead_frames(trajectory, topology, beads="all")
    assert set(frames.beads.bonds) == {(0, 1), (0, 2), (2, 3), (0, 4)}
