"""Bonds of molecules as users bring them: gaps, branches, rings, links; taken as they are meant, or refused."""

import importlib.util
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app

from fpforce.foundation.errors import InputError
from fpforce.reference.peptide import build_peptide
from fpforce.trajectories.bead_frames import read_bead_frames

spec = importlib.util.spec_from_file_location("field_inputs", Path(__file__).with_name("field_inputs.py"))
field_inputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(field_inputs)
SEQUENCE, FRAMES = field_inputs.SEQUENCE, field_inputs.FRAMES
built, renamed, files = field_inputs.built, field_inputs.renamed, field_inputs.files
residues_of, ca_beads, pdb_lines = field_inputs.residues_of, field_inputs.ca_beads, field_inputs.pdb_lines


@pytest.fixture(scope="module")
def peptide():
    return built(SEQUENCE)


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
