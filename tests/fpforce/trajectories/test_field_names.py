"""Names, elements and states of residues as users bring them: taken as they are meant, or refused with the place."""

import importlib.util
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.molecule.elements import correct_elements
from fpforce.molecule.mapping import map_beads
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


@pytest.mark.parametrize("frames", [1, 3])
def test_elements_that_a_file_states_stay_where_sites_have_none(tmp_path, frames):
    """As OpenMM writes the sites of TIP4P. Beads, too, have names of ions, and the carbon that the file gives them."""
    from fpforce.trajectories.topology_files import read_topology_file

    ligand = [("LIG", 1, name, symbol) for name, symbol in (("CO", "CO"), ("PT", "PT"), ("C1", "C"), ("N1", "N"))]
    beads = [("CO", 2, "CO", "C"), ("CD", 3, "CD", "C"), ("BAR", 4, "BAR", "C"), ("ZN", 5, "ZN", "")]
    water = [("HOH", 6, name, symbol) for name, symbol in (("O", "O"), ("H1", "H"), ("H2", "H"), ("M", ""))]
    lines = [
        f"HETATM{i + 1:5d}  {name:<3s} {residue:>3s} A{number:4d}    {i:8.3f}{0.0:8.3f}{0.0:8.3f}  1.00  0.00"
        f"          {symbol:>2s}"
        for i, (residue, number, name, symbol) in enumerate([*ligand, *beads, *water])
    ]
    (tmp_path / "given.pdb").write_text(frames * ("\n".join([*lines, "END"]) + "\n"))
    read = read_topology_file(tmp_path / "given.pdb")
    symbols = [atom.element.symbol for atom in read.topology.atoms]
    assert symbols == ["Co", "Pt", "C", "N", "C", "C", "C", "Zn", "O", "H", "H", "VS"] and read.guessed_elements


def test_calcium_stays_calcium(peptide, tmp_path):
    topology = peptide.topology.copy()
    topology.add_atom("CA", mdtraj.element.calcium, topology.add_residue("CA", topology.add_chain("I"), resSeq=99))
    xyz = np.concatenate([peptide.xyz, np.full((FRAMES, 1, 3), 5.0)], axis=1)
    frames = read_bead_frames(*files(tmp_path, mdtraj.Trajectory(xyz, topology)), beads="ca")
    assert len(frames.beads) == 10


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


def without_elements(lines):
    return "\n".join(line[:76] for line in lines if not line.startswith(("CONECT", "TER", "END"))) + "\nEND\n"


def test_drude_particles_and_lone_pairs_are_no_beads_and_are_listed(peptide, tmp_path):
    added, indices = [], []
    for line in pdb_lines(peptide[0]):
        if not line.startswith("ATOM"):
            continue
        name, own = line[12:16].strip(), len(set(indices))
        names = [name] + ([("D" + name)[:4]] if name[0] != "H" else []) + (["LPOA", "LPOB"] if name == "O" else [])
        added += [line[:12] + (line[12:16] if new == name else f"{new:<4}") + line[16:] for new in names]
        indices += [own] * len(names)
    (tmp_path / "given.pdb").write_text(without_elements(added))
    atoms = peptide.atom_slice(range(peptide.n_atoms))
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for number in range(len(indices)):
        topology.add_atom(f"X{number}", mdtraj.element.carbon, residue)
    mdtraj.Trajectory(atoms.xyz[:, indices], topology).save(str(tmp_path / "frames.xtc"))
    frames = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads="heavy")
    heavy = [atom for atom in peptide.topology.atoms if atom.element.symbol != "H"]
    assert [bead.element for bead in frames.beads.beads] == [atom.element.symbol for atom in heavy]
    assert sum(frames.report.sites.values()) == len(indices) - peptide.n_atoms
    assert "sites without mass in residues with beads" in str(frames.report) and " LPOA" in str(frames.report)


@pytest.mark.parametrize("name, wrong", [("DB1", "Db"), ("MT1", "Mt"), ("RG1", "Rg"), ("DS", "Ds")])
def test_no_element_beyond_americium_is_guessed(name, wrong):
    topology = mdtraj.Topology()
    residue = topology.add_residue("LIG", topology.add_chain())
    for other in ("C1", "C2", "O1"):
        topology.add_atom(other, mdtraj.element.get_by_symbol(other[0]), residue)
    topology.add_atom(name, mdtraj.element.get_by_symbol(wrong), residue)
    changed = correct_elements(topology, range(topology.n_atoms))
    assert changed == [(f"LIG0-{name}", wrong, "a site without mass")]
    assert topology.atom(3).element is mdtraj.element.virtual


def test_residue_numbers_of_five_digits_in_a_pdb_are_kept(peptide, tmp_path):
    peptide.save(str(tmp_path / "frames.xtc"))
    lines = []
    for line in pdb_lines(peptide[0]):
        number = 9994 + int(line[22:26]) if line.startswith("ATOM") else 0
        if number:
            lines.append(line[:22] + (f"{number} " if number < 10_000 else f"{number}") + line[27:])
    (tmp_path / "given.pdb").write_text("\n".join(lines) + "\nEND\n")
    frames = read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.pdb", beads="ca")
    first = 9994 + next(residue.resSeq for residue in peptide.topology.residues if residue.name == "GLY")
    assert first < 10_000 < first + len(SEQUENCE)
    assert [bead.residue_number for bead in frames.beads.beads] == [*range(first, first + len(SEQUENCE))]


def test_names_of_chains_that_are_longer_than_a_letter_are_kept(peptide, tmp_path):
    topology = peptide.topology.copy()
    topology.chain(0).chain_id = "PROB"
    peptide.save(str(tmp_path / "frames.xtc"))
    frames = read_bead_frames(tmp_path / "frames.xtc", topology, beads="ca")
    assert {bead.chain for bead in frames.beads.beads} == {"PROB"}
    assert "chain PROB" in str(frames.report) and not frames.report.chains_in_file


def test_segments_name_the_chains_of_a_psf(tmp_path):
    count, names = 4, ("PROA", "PROB")
    lines = ["PSF", "", "       1 !NTITLE", " REMARKS", "", f"{2 * count:8d} !NATOM"]
    for number, name in enumerate(name for name in names for _ in range(count)):
        atom = f"{number + 1:8d} {name:4s} {number % count + 1:<4d} LEU  CA   CT1 "
        lines.append(atom + "   0.000000       12.0110           0")
    pairs = [(i + 1, i + 2) for start in (0, count) for i in range(start, start + count - 1)]
    lines += ["", f"{len(pairs):8d} !NBOND: bonds"]
    lines += ["".join(f"{i:8d}{j:8d}" for i, j in pairs[k : k + 4]) for k in range(0, len(pairs), 4)]
    for empty in ("NTHETA: angles", "NPHI: dihedrals", "NIMPHI: impropers", "NDON: donors", "NACC: acceptors"):
        lines += ["", f"{0:8d} !{empty}", ""]
    (tmp_path / "given.psf").write_text("\n".join(lines) + "\n")
    xyz = np.array([[[0.38 * i, 0.05 * (i % 2), 0.5 * k] for k in (0, 1) for i in range(count)]] * 3)
    np.save(tmp_path / "frames.npy", xyz)
    frames = read_bead_frames(
        tmp_path / "frames.npy", tmp_path / "given.psf", beads="ca", several_chains=True, length_unit="nm"
    )
    assert tuple(dict.fromkeys(bead.chain for bead in frames.beads.beads)) == names
    assert "chain PROB" in str(frames.report)


def test_chains_of_one_name_get_letters_and_are_shown_as_in_the_file(tmp_path):
    beads = ca_beads(8)
    both = beads.join(beads)
    for chain in both.chains:
        chain.chain_id = "PROB"
    xyz = np.array([[[0.38 * i, 0.05 * (i % 2), 0.5 * k] for k in (0, 1) for i in range(8)]] * 3)
    mdtraj.Trajectory(xyz, both).save(str(tmp_path / "frames.xtc"))
    frames = read_bead_frames(tmp_path / "frames.xtc", both, beads="ca", several_chains=True)
    assert list(dict.fromkeys(bead.chain for bead in frames.beads.beads)) == ["A", "B"]
    assert frames.report.chains_in_file == {"A": "PROB", "B": "PROB"}
    assert "(chain PROB in the file)" in str(frames.report)


@pytest.mark.parametrize("last, first", [(9_999, 0), (9_999, 1), (99_999, 0), (99_999, 1)])
def test_numbers_that_begin_anew_where_columns_are_full_are_one_chain(tmp_path, last, first):
    beads = ca_beads(6)
    for residue in beads.residues:
        residue.resSeq = last - 2 + residue.index if residue.index < 3 else first + residue.index - 3
    xyz = np.array([[[0.38 * i, 0.05 * (i % 2), 0.0] for i in range(6)]] * 3)
    mdtraj.Trajectory(xyz, beads).save(str(tmp_path / "frames.xtc"))
    assert map_beads(beads, "ca").bonds == tuple((i, i + 1) for i in range(5))
    mdtraj.Trajectory(xyz[:1], beads).save(str(tmp_path / "given.gro"))
    assert len(read_bead_frames(tmp_path / "frames.xtc", tmp_path / "given.gro", beads="ca").beads.bonds) == 5
