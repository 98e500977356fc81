"""Inputs as users bring them, each the smallest of its kind: taken as they are meant, or refused with the place."""

import logging
import struct
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app

from fpforce.foundation.errors import InputError
from fpforce.molecule.mapping import map_beads
from fpforce.reference.peptide import build_peptide
from fpforce.trajectories.bead_frames import read_bead_frames

SEQUENCE = "GADKEYRCHA"
FRAMES = 12


def built(sequence, seed=1, capped=True):
    """A peptide with hydrogens, in frames that differ by 0.003 nm in every coordinate."""
    topology, positions = build_peptide(sequence, app.ForceField("amber99sbildn.xml"), seed)
    noise = np.random.default_rng(seed).normal(size=(FRAMES, *positions.shape))
    return mdtraj.Trajectory(positions + 0.003 * noise, mdtraj.Topology.from_openmm(topology))


@pytest.fixture(scope="module")
def peptide():
    return built(SEQUENCE)


def renamed(trajectory, number, name):
    """The trajectory with another name for the residue `number`, and without bonds, as names must give them."""
    topology = trajectory.topology.copy()
    topology._bonds = []
    topology.residue(number).name = name
    return mdtraj.Trajectory(trajectory.xyz, topology)


def files(folder, trajectory, topology_name="given.pdb"):
    trajectory.save(str(folder / "frames.xtc"))
    trajectory[0].save(str(folder / topology_name))
    return folder / "frames.xtc", folder / topology_name


def residues_of(frames):
    return [bead.residue_index for bead in frames.beads.beads]


# Names of states and ends in AMBER, CHARMM, GROMACS and GROMOS, of modified residues, and one that nobody knows.
@pytest.mark.parametrize(
    "number, name",
    [
        (3, "ASH"),
        (3, "ASPH"),
        (4, "LYSH"),
        (4, "LSN"),
        (4, "LYN"),
        (5, "GLUH"),
        (5, "GLH"),
        (6, "TYM"),
        (6, "NTYR"),
        (6, "PTR"),
        (7, "ARN"),
        (8, "CYS2"),
        (8, "CYM"),
        (9, "HISE"),
        (9, "CHIP"),
        (1, "CGLY"),
        (6, "X1Z"),
    ],
)
@pytest.mark.parametrize("preset, each", [("ca", 1), ("backbone", 3)])
def test_amino_acid_is_what_has_its_atoms_whatever_its_name(peptide, tmp_path, number, name, preset, each):
    trajectory, topology = files(tmp_path, renamed(peptide, number, name), "given.gro")
    frames = read_bead_frames(trajectory, topology, beads=preset)
    assert residues_of(frames) == [r for r in range(1, 11) for _ in range(each)]
    assert frames.beads.bonds == tuple((i, i + 1) for i in range(10 * each - 1))


@pytest.mark.parametrize("name", ["LYSH", "X1Z"])
def test_residue_without_a_template_has_its_bonds_by_distance(peptide, tmp_path, name):
    trajectory, topology = files(tmp_path, renamed(peptide, 4, name), "given.gro")
    frames = read_bead_frames(trajectory, topology, beads="all")
    right = {tuple(sorted((a.index, b.index))) for a, b in peptide.topology.bonds}
    assert set(frames.beads.bonds) == right


def test_names_give_the_chain_of_a_topology_alone(peptide):
    table = map_beads(renamed(peptide, 4, "LYSH").topology, "ca")
    assert table.bonds == tuple((i, i + 1) for i in range(9))


@pytest.mark.parametrize("width_nm", [0.1, 0.3, 0.35])
@pytest.mark.parametrize("preset", ["ca", "backbone", "heavy"])
def test_box_that_cannot_hold_a_bond_twice_is_ignored(peptide, tmp_path, caplog, width_nm, preset):
    whole = read_bead_frames(*files(tmp_path, peptide), beads=preset).positions_nm
    peptide.unitcell_lengths = np.full((FRAMES, 3), width_nm)
    peptide.unitcell_angles = np.full((FRAMES, 3), 90.0)
    try:
        trajectory, topology = files(tmp_path, peptide)
    finally:
        peptide.unitcell_vectors = None
    with caplog.at_level(logging.WARNING, "fpforce"):
        frames = read_bead_frames(trajectory, topology, beads=preset)
    np.testing.assert_array_equal(frames.positions_nm, whole)
    assert f"its box is {width_nm:g} nm wide, too narrow to hold a bond" in caplog.text


@pytest.mark.parametrize("part", [0.92, 1.0, 1.28])
def test_box_of_beads_is_judged_by_the_bonds_of_beads(tmp_path, caplog, part):
    strand = np.cumsum(np.full((FRAMES, 6, 3), 0.22), axis=1)  # 0.381 nm apart
    topology = ca_beads(6)
    frames = mdtraj.Trajectory(strand, topology, unitcell_lengths=np.full((FRAMES, 3), 0.762 * part),
                               unitcell_angles=np.full((FRAMES, 3), 90.0))  # fmt: skip
    found = read_bead_frames(*files(tmp_path, frames), beads="all")
    np.testing.assert_allclose(found.positions_nm, strand, atol=2e-3)
    assert "too narrow to hold a bond of typically 0.381 nm twice" in caplog.text


@pytest.mark.parametrize("only_ca", [True, False])
def test_wrapped_molecule_is_made_whole_in_the_frames_that_have_a_box(peptide, tmp_path, only_ca):
    molecule = peptide.atom_slice(peptide.topology.select("name CA")) if only_ca else peptide
    edges = np.full((FRAMES, 3), 2.0)
    xyz = (molecule.xyz + [0.9, 0.3, 1.9]) % 2.0
    edges[4], xyz[4] = 0.0, molecule.xyz[4]
    wrapped = mdtraj.Trajectory(xyz, molecule.topology)
    with mdtraj.formats.XTCTrajectoryFile(str(tmp_path / "frames.xtc"), "w") as file:
        file.write(wrapped.xyz, box=np.einsum("fi,ij->fij", edges, np.eye(3)).astype(np.float32))
    molecule[0].save(str(tmp_path / "given.pdb"))
    found = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads="ca").positions_nm
    right = peptide.xyz[:, peptide.topology.select("name CA")]
    np.testing.assert_allclose(found - found[:, :1], right - right[:, :1], atol=2.1e-3)


def ca_beads(count, chain=None, topology=None):
    topology = topology or mdtraj.Topology()
    chain = chain or topology.add_chain()
    for number in range(count):
        residue = topology.add_residue("ALA", chain, resSeq=number + 1)
        topology.add_atom("CA", mdtraj.element.carbon, residue)
    return topology


def damaged(trajectory, which, change):
    xyz = trajectory.xyz.copy()
    xyz[which] = change(xyz[which])
    return mdtraj.Trajectory(xyz, trajectory.topology)


@pytest.mark.parametrize("preset", ["ca", "backbone", "all"])
@pytest.mark.parametrize(
    "which, change, message",
    [
        (slice(4, 6), lambda xyz: 0.0 * xyz, r"in frame 4 \(counted from 0\) the bond .* is 0 nm long, .*2 of 12"),
        (slice(6, 12), lambda xyz: 10.0 * xyz, r"6 of 12 frames are in another unit .*angstrom.*in frame 6 "),
        (slice(7, 8), lambda xyz: xyz * [1, 1, 0], r"in frame 7 \(counted from 0\) all atoms have one z"),
        (slice(3, 4), lambda xyz: 0.1 * xyz, r"1 of 12 frames are in another unit .*in frame 3 "),
    ],
    ids=["zero", "angstrom", "flat", "tenth"],
)
def test_frames_that_are_damaged_are_named(peptide, tmp_path, preset, which, change, message):
    trajectory, topology = files(tmp_path, damaged(peptide, which, change))
    peptide[0].save(str(topology))
    with pytest.raises(InputError, match=message):
        read_bead_frames(trajectory, topology, beads=preset)


def test_bead_on_top_of_its_neighbour_in_a_frame_is_named(peptide, tmp_path):
    carbons = peptide.topology.select("name CA")
    xyz = peptide.xyz.copy()
    xyz[5, carbons[3]] = xyz[5, carbons[4]] + 0.01
    trajectory, topology = files(tmp_path, mdtraj.Trajectory(xyz, peptide.topology))
    with pytest.raises(InputError, match=r"in frame 5 .* the bond LYS5-CA - GLU6-CA is 0.0173 nm long"):
        read_bead_frames(trajectory, topology, beads="ca")


def without_residues(trajectory, numbers):
    kept = [atom.index for atom in trajectory.topology.atoms if atom.residue.index not in numbers]
    return trajectory.atom_slice(kept)


@pytest.mark.parametrize("preset", ["ca", "backbone", "heavy"])
@pytest.mark.parametrize("suffix", [".pdb", ".gro"])
def test_gap_is_no_bond_even_where_its_ends_are_near(tmp_path, preset, suffix):
    trajectory = built("AGAGAGAA", seed=3)
    cut = without_residues(trajectory, {4, 5})
    left = [atom.index for atom in cut.topology.atoms if atom.residue.index <= 3]
    right = [atom.index for atom in cut.topology.atoms if atom.residue.index > 3]
    carbon, nitrogen = (cut.topology.select(f"name {name} and resid {r}")[0] for name, r in (("C", 3), ("N", 4)))
    # The ends of the gap are brought to 0.4 nm, in the direction that keeps the two parts farthest apart.
    joined = cut.xyz[:, right] + cut.xyz[:, [carbon]] - cut.xyz[:, [nitrogen]]
    ways = np.random.default_rng(0).normal(size=(100, 3))
    ways *= 0.4 / np.linalg.norm(ways, axis=1, keepdims=True)

    def nearest(way):
        return np.linalg.norm(cut.xyz[0, left, None] - joined[0] - way, axis=-1).min()

    moved = cut.xyz.copy()
    moved[:, right] = joined + max(ways, key=nearest)
    trajectory, topology = files(tmp_path, mdtraj.Trajectory(moved, cut.topology), f"given{suffix}")
    with pytest.raises(InputError, match=r"residue GLY7 follows ALA4 .* C and N are 0.4 nm apart"):
        read_bead_frames(trajectory, topology, beads=preset)


@pytest.mark.parametrize("preset", ["ca", "backbone"])
def test_two_molecules_in_one_chain_are_not_joined(tmp_path, preset):
    first, second = built("AGA"), built("GAG")
    topology = first.topology.copy()
    chain = topology.chain(0)
    for residue in second.topology.residues:
        copied = topology.add_residue(residue.name, chain, resSeq=residue.resSeq + 5)
        for atom in residue.atoms:
            topology.add_atom(atom.name, atom.element, copied)
    topology._bonds = []
    xyz = np.concatenate([first.xyz, second.xyz + [0.0, 0.9, 0.0]], axis=1)
    both = mdtraj.Trajectory(xyz, topology)
    bare = both.atom_slice([a.index for a in topology.atoms if a.residue.name not in ("ACE", "NME")])
    with pytest.raises(InputError, match=r"residue GLY7 follows ALA4 in the topology, but C and N are"):
        read_bead_frames(*files(tmp_path, bare, "given.gro"), beads=preset)


def test_residues_out_of_order_are_bonded_as_their_atoms_are(peptide, tmp_path):
    order = [0, 1, 2, 5, 4, 3, 6, 7, 8, 9, 10, 11]
    topology, atoms = mdtraj.Topology(), []
    chain = topology.add_chain("A")
    for number in order:
        residue = peptide.topology.residue(number)
        copied = topology.add_residue(residue.name, chain, resSeq=residue.resSeq)
        for atom in residue.atoms:
            topology.add_atom(atom.name, atom.element, copied)
            atoms.append(atom.index)
    shuffled = mdtraj.Trajectory(peptide.xyz[:, atoms], topology)
    table = read_bead_frames(*files(tmp_path, shuffled, "given.gro"), beads="ca").beads
    numbers = [bead.residue_number for bead in table.beads]
    bonds = {frozenset((numbers[i], numbers[j])) for i, j in table.bonds}
    assert bonds == {frozenset((i, i + 1)) for i in range(2, 11)}


def test_gap_in_a_file_of_ca_alone_is_refused(tmp_path):
    strand = np.cumsum(np.full((FRAMES, 6, 3), 0.22), axis=1)
    strand[:, 3:] += 0.12  # 0.59 nm where a residue is missing
    trajectory, topology = files(tmp_path, mdtraj.Trajectory(strand, ca_beads(6)))
    with pytest.raises(InputError, match=r"the bond ALA3-CA - ALA4-CA is typically 0.589 nm .*residues are missing"):
        read_bead_frames(trajectory, topology, beads="ca")


STAR_BONDS = ((0, 1), (0, 3), (0, 5), (1, 2), (3, 4), (5, 6))


def star():
    """A core with three arms of two residues each; a residue is one bead, and all but the core have a linker to it."""
    topology = mdtraj.Topology()
    chain, beads = topology.add_chain(), []
    for number in range(7):
        residue = topology.add_residue("MOL", chain, resSeq=number + 1)
        beads.append(topology.add_atom(f"B{number}", mdtraj.element.carbon, residue))
        for inner in [i for i, j in STAR_BONDS if j == number]:
            linker = topology.add_atom("L", mdtraj.element.carbon, residue)
            topology.add_bond(beads[inner], linker)
            topology.add_bond(linker, beads[number])
    return topology


def test_branched_molecule_keeps_the_bonds_of_its_graph(tmp_path):
    places = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 2, 0], [0, 0, 1], [0, 0, 2]]) * 0.4
    topology = star()
    inner = {j: i for i, j in STAR_BONDS}
    numbers = [atom.residue.index for atom in topology.atoms]
    sites = [
        places[number] if atom.name != "L" else (places[number] + places[inner[number]]) / 2
        for atom, number in zip(topology.atoms, numbers, strict=True)
    ]
    xyz = np.array(sites) + 0.01 * np.random.default_rng(0).normal(size=(FRAMES, len(sites), 3))
    trajectory = mdtraj.Trajectory(xyz, topology)
    frames = read_bead_frames(*files(tmp_path, trajectory), beads="not name L")
    assert frames.beads.bonds == STAR_BONDS


def ring_of_glycines(count):
    """Cyclic polyglycine: N, CA, C, O in a planar ring of bonds of backbone lengths."""
    topology = mdtraj.Topology()
    chain = topology.add_chain("A")
    step = np.cumsum([0.0] + [0.146, 0.152, 0.133] * count)
    radius = step[-1] / (2 * np.pi)
    points = []
    for number in range(count):
        residue = topology.add_residue("GLY", chain, resSeq=number + 1)
        for place, name in enumerate(("N", "CA", "C")):
            topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
            angle = 2 * np.pi * step[3 * number + place] / step[-1]
            points.append([radius * np.cos(angle), radius * np.sin(angle), 0.0])
    xyz = np.array(points) + 0.003 * np.random.default_rng(0).normal(size=(FRAMES, 3 * count, 3))
    return mdtraj.Trajectory(xyz, topology)


@pytest.mark.parametrize("listed", [True, False], ids=["CONECT", "distance"])
def test_ring_of_residues_is_closed(tmp_path, listed):
    ring = ring_of_glycines(6)
    trajectory, topology = files(tmp_path, ring)
    if listed:
        topology.write_text(topology.read_text().replace("END\n", "CONECT    1   18\nEND\n"))
    assert set(read_bead_frames(trajectory, topology, beads="ca").beads.bonds) == {
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)
    }  # fmt: skip
    assert (0, 17) in read_bead_frames(trajectory, topology, beads="backbone").beads.bonds


def closed(sequence, names, length_nm, seed):
    """A capped peptide, topology and positions, in which the two atoms of a name are drawn together by a spring."""
    topology, positions = build_peptide(sequence, app.ForceField("amber99sbildn.xml"), seed)
    system = app.ForceField("amber99sbildn.xml").createSystem(topology)
    for number in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(number), openmm.NonbondedForce):
            system.removeForce(number)
    spring = openmm.HarmonicBondForce()
    spring.addBond(*(atom.index for atom in topology.atoms() if atom.name == names), length_nm, 1e6)
    system.addForce(spring)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context)
    positions = context.getState(getPositions=True).getPositions(asNumpy=True)._value
    return mdtraj.Topology.from_openmm(topology), np.asarray(positions)


@pytest.fixture(scope="module")
def disulfide():
    """ACE-C-G-G-C-NME whose sulfurs are a bond's length apart, without their hydrogens."""
    topology, positions = closed("CGGC", "SG", 0.204, 2)
    noise = np.random.default_rng(1).normal(size=(FRAMES, *positions.shape))
    trajectory = mdtraj.Trajectory(positions + 0.003 * noise, topology)
    return trajectory.atom_slice([atom.index for atom in topology.atoms if atom.name != "HG"])


@pytest.mark.parametrize("how", ["CONECT", "SSBOND", "distance", "CYX"])
@pytest.mark.parametrize("preset", ["ca", "backbone"])
def test_disulfide_is_a_link_between_beads(disulfide, tmp_path, how, preset):
    lines = pdb_lines(disulfide[0])
    serial = {line[6:11]: line for line in lines if line.startswith("ATOM") and line[12:16].strip() == "SG"}
    lines = [line for line in lines if not line.startswith("CONECT")]
    if how == "CONECT":
        first, second = serial
        lines.insert(-1, f"CONECT{first}{second}")
    if how == "SSBOND":
        lines.insert(0, f"{'SSBOND   1 CYS A    2    CYS A    5':<59}  1555   1555  2.04")
    if how == "CYX":
        lines = [line.replace("CYS", "CYX") if line.startswith("ATOM") else line for line in lines]
    (tmp_path / "given.pdb").write_text("\n".join(lines) + "\n")
    disulfide.save(str(tmp_path / "frames.xtc"))
    bonds = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads=preset, allow_d_residues=True)
    bonds = bonds.beads.bonds
    assert ((0, 3) if preset == "ca" else (1, 10)) in bonds


def pdb_lines(frame):
    """The frame as PDB text with the chain A, columns filled."""
    import io
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        frame.save_pdb(str(Path(folder, "frame.pdb")))
        text = Path(folder, "frame.pdb").read_text()
    return [line for line in io.StringIO(text).read().splitlines() if line.strip()]


def test_hydrogens_after_all_heavy_atoms_are_bonded_to_their_own(peptide, tmp_path):
    heavy = [a.index for a in peptide.topology.atoms if a.element.symbol != "H"]
    hydrogens = [a.index for a in peptide.topology.atoms if a.element.symbol == "H"]
    topology = mdtraj.Topology()
    chain = topology.add_chain("A")
    for atoms in (heavy, hydrogens):
        last = None
        for atom in map(peptide.topology.atom, atoms):
            if last is None or last[0] != atom.residue.index:
                last = atom.residue.index, topology.add_residue(atom.residue.name, chain, resSeq=atom.residue.resSeq)
            topology.add_atom(atom.name, atom.element, last[1])
    apart = mdtraj.Trajectory(peptide.xyz[:, heavy + hydrogens], topology)
    frames = read_bead_frames(*files(tmp_path, apart), beads="name CA HA")
    names = [f"{bead.name}{bead.residue_number}" for bead in frames.beads.beads]
    bonds = {frozenset((names[i], names[j])) for i, j in frames.beads.bonds}
    chain = {frozenset((f"CA{i}", f"CA{i + 1}")) for i in range(2, 11)}
    assert bonds == chain | {frozenset((f"CA{i}", f"HA{i}")) for i in range(3, 12)}  # glycine has HA2 and HA3


def test_left_justified_names_without_elements_are_carbon_and_hydrogen(peptide, tmp_path):
    lines = []
    for line in pdb_lines(peptide[0]):
        if line.startswith("ATOM"):
            line = f"{line[:12]}{line[12:16].strip():<4}{line[16:76].rstrip()}"
        lines.append(line)
    (tmp_path / "given.pdb").write_text("\n".join(line for line in lines if not line.startswith("CONECT")) + "\n")
    peptide.save(str(tmp_path / "frames.xtc"))
    for preset in ("ca", "heavy", "all"):
        right = map_beads(peptide.topology, preset)
        table = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads=preset).beads
        assert [bead.element for bead in table.beads] == [bead.element for bead in right.beads]
        np.testing.assert_allclose(table.masses_da, right.masses_da)


def test_ca_alone_without_elements_is_carbon(tmp_path):
    strand = np.cumsum(np.full((FRAMES, 4, 3), 0.22), axis=1)
    lines = [
        f"ATOM  {i + 1:5d} CA   ALA A{i + 1:4d}    " + "".join(f"{10 * x:8.3f}" for x in strand[0, i]) for i in range(4)
    ]
    (tmp_path / "given.pdb").write_text("\n".join([*lines, "END"]) + "\n")
    np.save(tmp_path / "frames.npy", strand)
    table = read_bead_frames(tmp_path / "frames.npy", tmp_path / "given.pdb", beads="ca", length_unit="nm").beads
    assert {bead.element for bead in table.beads} == {"C"}


def test_ligand_without_elements_has_chlorine_and_bromine(tmp_path):
    from fpforce.trajectories.topology_files import read_topology_file

    names = ["C1", "C2", "CL1", "BR1", "H1", "1HB"]
    lines = [f"HETATM{i + 1:5d} {name:<4s} LIG A   1    {i:8.3f}{0.0:8.3f}{0.0:8.3f}" for i, name in enumerate(names)]
    (tmp_path / "ligand.pdb").write_text("\n".join([*lines, "END"]) + "\n")
    read = read_topology_file(tmp_path / "ligand.pdb")
    assert [atom.element.symbol for atom in read.topology.atoms] == ["C", "C", "Cl", "Br", "H", "H"]
    assert read.guessed_elements


@pytest.mark.parametrize(
    "columns, symbols",
    [(("FE", "ZN", "SE", "CO", "CA"), ("Fe", "Zn", "Se", "C", "C")), (("FE", "CO", "CA"), ("Fe", "Co", "C"))],
    ids=["no elements in the file", "elements in the file"],
)
def test_metals_of_cofactors_stay_metals(tmp_path, columns, symbols):
    from fpforce.trajectories.topology_files import read_topology_file

    stated = {"FE": "FE", "CO": "CO", "CA": "CA"} if len(columns) == 3 else {}
    atoms = [*columns, "C1", "C2"]
    lines = [
        f"HETATM{i + 1:5d} {name:<4s} HEM A   1    {i:8.3f}{0.0:8.3f}{0.0:8.3f}  1.00  0.00          "
        f"{stated.get(name, 'C') if stated else '':>2s}"
        f"{stated.get(name, '' if not stated else 'C'):>2s}"
        for i, name in enumerate(atoms)
    ]
    (tmp_path / "cofactor.pdb").write_text("\n".join([*lines, "END"]) + "\n")
    read = read_topology_file(tmp_path / "cofactor.pdb")
    assert tuple(atom.element.symbol for atom in read.topology.atoms)[: len(columns)] == symbols


def test_calcium_stays_calcium(peptide, tmp_path):
    topology = peptide.topology.copy()
    topology.add_atom("CA", mdtraj.element.calcium, topology.add_residue("CA", topology.add_chain("I"), resSeq=99))
    xyz = np.concatenate([peptide.xyz, np.full((FRAMES, 1, 3), 5.0)], axis=1)
    frames = read_bead_frames(*files(tmp_path, mdtraj.Trajectory(xyz, topology)), beads="ca")
    assert len(frames.beads) == 10


def trr_frame(number, atoms, positions=None, velocities=None):
    """A frame of a .trr in single precision, as GROMACS writes it."""
    blocks = [None if block is None else np.asarray(block, ">f4").tobytes() for block in (positions, velocities)]
    sizes = [0, 0, 36, 0, 0, 0, 0, *(len(block or b"") for block in blocks), 0]
    head = struct.pack(">3i", 1993, 13, 12) + b"GMX_trn_file" + struct.pack(">13i", *sizes, atoms, number, 0)
    box = np.zeros((3, 3), ">f4").tobytes()
    return head + struct.pack(">2f", 0.1 * number, 0.0) + box + b"".join(block or b"" for block in blocks)


@pytest.mark.parametrize("stride", [1, 2])
def test_trr_frames_without_positions_are_passed_over(peptide, tmp_path, caplog, stride):
    atoms = peptide.n_atoms
    content = b"".join(
        trr_frame(i, atoms, peptide.xyz[i // 10] if i % 10 == 0 else None, np.zeros((atoms, 3))) for i in range(95)
    )
    (tmp_path / "mixed.trr").write_bytes(content)
    peptide[0].save(str(tmp_path / "given.pdb"))
    frames = read_bead_frames(tmp_path / "mixed.trr", tmp_path / "given.pdb", beads="ca", stride=stride)
    carbons = peptide.topology.select("name CA")
    np.testing.assert_allclose(frames.positions_nm, peptide.xyz[:10:stride, carbons], atol=1e-6)
    assert frames.time_step_ps == pytest.approx(1.0 * stride)
    assert "85 frames have velocities or forces and no positions" in caplog.text


def test_file_that_is_given_twice_is_noticed(peptide, tmp_path, caplog):
    trajectory, topology = files(tmp_path, peptide)
    frames = read_bead_frames([trajectory, trajectory], topology, beads="ca")
    assert len(frames) == 2 * FRAMES
    assert f"{FRAMES} frames of {trajectory} (all of them) are in {trajectory} too" in caplog.text


@pytest.mark.parametrize("turned", [False, True], ids=["identical", "rigid"])
def test_frames_in_which_nothing_moves_are_refused_for_training(peptide, tmp_path, turned):
    from fpforce.trajectories.frame_checks import check_motion

    xyz = np.repeat(peptide.xyz[:1], FRAMES, axis=0)
    if turned:
        angles = np.linspace(0.0, 3.0, FRAMES)
        turn = np.array([[[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]] for a in angles])
        xyz = np.einsum("fad,fde->fae", xyz, turn)
    trajectory, topology = files(tmp_path, mdtraj.Trajectory(xyz, peptide.topology))
    frames = read_bead_frames(trajectory, topology, beads="ca")
    with pytest.raises(InputError, match="no distance between beads varies by more than .*alike, or the molecule is"):
        check_motion(frames)
    trajectory, topology = files(tmp_path, peptide)
    check_motion(read_bead_frames(trajectory, topology, beads="ca"))


def test_bonds_of_the_report_have_their_sources_and_lengths(disulfide, tmp_path):
    report = read_bead_frames(*files(tmp_path, disulfide), beads="ca", allow_d_residues=True).report
    assert [(bond.first, bond.second) for bond in report.links] == [("CYS2-CA", "CYS5-CA")]
    assert {bond.source for bond in report.bonds} == {"names", "link"}
    for bond in report.bonds:
        assert bond.shortest_nm < bond.typical_nm < bond.longest_nm


def test_group_over_two_molecules_is_refused(peptide, tmp_path):
    two = peptide.topology.join(peptide.topology)
    xyz = np.concatenate([peptide.xyz, peptide.xyz + 3.0], axis=1)
    with pytest.raises(InputError, match="bead 'head' has .* which no bonds connect: they are of two molecules"):
        read_bead_frames(
            *files(tmp_path, mdtraj.Trajectory(xyz, two)), beads={"head": "resSeq 1 2", "tail": "resid 3 4"}
        )


def test_frame_of_water_that_is_not_finite_costs_no_link(tmp_path):
    """A disulfide that is known by its distance alone, in frames of which one has a water without a place."""
    topology, positions = closed("CGGC", "SG", 0.204, 2)
    xyz = np.repeat(np.asarray(positions, dtype=np.float32)[None], 5, axis=0)
    hydrogens = topology.select("name HG")
    kept = np.setdiff1d(np.arange(topology.n_atoms), hydrogens)
    topology, xyz = topology.subset(kept), xyz[:, kept]
    residue = topology.add_residue("HOH", topology.add_chain("W"))
    for name in ("O", "H1", "H2"):
        topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
    xyz = np.concatenate([xyz, np.full((5, 3, 3), 9.0, np.float32)], axis=1)
    _, given = files(tmp_path, mdtraj.Trajectory(xyz, topology))
    bonds = []
    for name in ("clean", "damaged"):
        if name == "damaged":
            xyz[2, -1] = np.nan  # the middle one of the frames by which bonds are found
        path = tmp_path / f"{name}.dcd"
        mdtraj.Trajectory(xyz, topology).save_dcd(str(path))
        bonds.append(read_bead_frames(path, given, beads="ca").beads.bonds)
    assert (0, 3) in bonds[0] and bonds[0] == bonds[1]


def pdb_of(names, path):
    """A PDB of residues of these names, N, CA and C each."""
    lines, serial = [], 0
    for number, name in enumerate(names, start=1):
        for k, atom in enumerate(("N", "CA", "C")):
            serial += 1
            x = 3.8 * number + 1.3 * k
            lines.append(
                f"ATOM  {serial:5d}  {atom:<3s} {name:<4s}A{number:4d}    {x:8.3f}{k % 2:8.3f}{0:8.3f}  1.00  0.00"
                f"          {atom[0]:>2s}"
            )
    path.write_text("\n".join([*lines, "END"]) + "\n")


@pytest.mark.parametrize("row", ["HIS", "CYS", "NME"])
def test_names_of_one_type_are_those_of_the_documentation(row, tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "many-molecules.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith(f"| {row} |"))
    names = line.split("|")[2].replace(" ", "").split(",")
    pdb_of(names, tmp_path / "given.pdb")
    assert {residue.name for residue in mdtraj.load(str(tmp_path / "given.pdb")).topology.residues} == {row}


@pytest.mark.parametrize("number, name, amino_acid", [(4, "LYSH", "LYS"), (8, "CYS2", "CYS")])
def test_states_are_types_of_their_own_and_listed(peptide, tmp_path, number, name, amino_acid):
    report = read_bead_frames(*files(tmp_path, renamed(peptide, number, name), "given.gro"), beads="ca").report
    assert report.states == ((name, amino_acid),)
    assert f"{name}: of {amino_acid}, and a type of its own" in str(report)
