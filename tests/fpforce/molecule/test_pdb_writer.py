"""What a PDB of beads keeps of them, and what its columns cannot hold."""

import io
import resource
from dataclasses import replace

import mdtraj
import numpy as np
import pytest
from openmm import app
from openmm.app.internal.pdbstructure import _parse_atom_index

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable
from fpforce.molecule.mapping import list_beads, map_beads

LONG_NAMES = ("head1", "head2", "tail", "head10")


@pytest.mark.parametrize("choice", ["ca", "backbone", "heavy", "all"])
def test_pdb_gives_the_same_beads_back_and_ca_stays_carbon(peptide, choice, bond_set, tmp_path):
    table = map_beads(peptide.topology, choice)
    positions = table.positions(peptide.xyz, peptide.topology)
    table.write_pdb(tmp_path / "beads.pdb", positions)

    read = mdtraj.load(str(tmp_path / "beads.pdb"))
    assert table.match(read.topology) == "beads"
    np.testing.assert_allclose(read.xyz, positions, atol=1e-4)
    assert bond_set(read.topology) == set(table.bonds)
    assert map_beads(read.topology, "all").bonds == table.bonds

    opened = app.PDBFile(str(tmp_path / "beads.pdb")).topology
    symbols = [bead.element for bead in table.beads]
    for topology in (read.topology, table.to_mdtraj()):
        assert [atom.element.symbol for atom in topology.atoms] == symbols
    for topology in (opened, table.to_openmm()):
        assert [atom.element.symbol for atom in topology.atoms()] == symbols
        assert bond_set(topology) == set(table.bonds)


def test_names_longer_than_pdb_columns_survive_the_file(tmp_path):
    records = [{"name": name, "residue": "POPC", "residue_number": 1, "mass_da": 50.0} for name in LONG_NAMES]
    records += [{"name": "HEADGROUP", "residue": "LYSH", "residue_number": 2, "mass_da": 50.0}]
    table = list_beads(records)
    positions = np.arange(15).reshape(1, 5, 3) * 0.2
    table.write_pdb(tmp_path / "beads.pdb", positions)
    read = mdtraj.load(str(tmp_path / "beads.pdb"))
    assert table.match(read.topology) == "beads"
    assert [atom.residue.name for atom in read.topology.atoms] == ["POPC"] * 4 + ["LYSH"]
    np.testing.assert_allclose(read.xyz, positions, atol=1e-4)
    opened = app.PDBFile(str(tmp_path / "beads.pdb")).topology
    assert opened.getNumAtoms() == 5
    other = list_beads([record | {"name": record["name"][::-1]} for record in records])
    with pytest.raises(InputError, match="must list the beads in this order"):
        other.match(read.topology)


def test_pdb_holds_one_model_per_frame(dipeptide):
    table = map_beads(dipeptide.topology, "backbone5")
    positions = table.positions(dipeptide.xyz, dipeptide.topology)
    text = io.StringIO()
    table.write_pdb(text, np.concatenate([positions, positions + 0.1]))
    assert text.getvalue().count("MODEL") == 2
    with pytest.raises(InputError, match="do not fit 5 beads"):
        table.write_pdb(io.StringIO(), positions[:, :4])
    with pytest.raises(InputError, match="not finite, or so far apart"):
        table.write_pdb(io.StringIO(), positions * 1e4)
    with pytest.raises(InputError, match="not finite, or so far apart"):
        table.write_pdb(io.StringIO(), positions * np.nan)


@pytest.mark.parametrize("place_nm", [-99.9, 999.8])
def test_a_frame_within_the_columns_stays_where_it_is(dipeptide, place_nm, tmp_path):
    table = map_beads(dipeptide.topology, "backbone5")
    positions = table.positions(dipeptide.xyz, dipeptide.topology).astype(np.float64)
    positions += place_nm - (positions.min() if place_nm < 0 else positions.max())
    table.write_pdb(tmp_path / "beads.pdb", positions)
    np.testing.assert_allclose(mdtraj.load(str(tmp_path / "beads.pdb")).xyz, positions, atol=1e-4)


@pytest.mark.parametrize("place_nm", [-100.0, -999.0, 1000.0])
def test_a_frame_beyond_the_columns_is_moved_to_the_origin(dipeptide, place_nm, tmp_path):
    table = map_beads(dipeptide.topology, "backbone5")
    near = table.positions(dipeptide.xyz, dipeptide.topology).astype(np.float64)
    table.write_pdb(tmp_path / "beads.pdb", np.concatenate([near + place_nm, near]))
    read = mdtraj.load(str(tmp_path / "beads.pdb")).xyz
    np.testing.assert_allclose(read[0], near[0] - near[0].mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(read[1], near[0], atol=1e-4)


def test_serial_numbers_that_five_digits_cannot_hold_go_on_as_openmm_counts():
    bead = Bead("CA", "ALA", 0, 1, "A", "C", 12.0, (0,), ("CA",))
    beads = tuple(replace(bead, residue_index=i, chain="A" if i < 99_990 else "B") for i in range(100_020))
    bonds = tuple((i, i + 1) for i in range(99_980, 100_019))
    text = io.StringIO()
    BeadTable(beads, bonds, "list").write_pdb(text, np.full((len(beads), 3), 0.1234))

    rows = text.getvalue().splitlines()
    numbered = [row for row in rows if row.startswith(("ATOM", "TER"))]
    assert [_parse_atom_index(row[6:11]) for row in numbered] == list(range(1, 100_023))  # the beads and two TER
    atoms = [row for row in numbered if row.startswith("ATOM")]
    assert {row[30:54] for row in atoms} == {"   1.234" * 3}
    bead_of = {_parse_atom_index(row[6:11]): i for i, row in enumerate(atoms)}
    found = set()
    for row in rows:
        if row.startswith("CONECT"):
            first, *others = (bead_of[_parse_atom_index(row[at : at + 5])] for at in range(6, len(row), 5))
            found |= {(min(first, other), max(first, other)) for other in others}
    assert found == set(bonds)


def test_more_beads_than_a_pdb_can_number_are_refused():
    bead = Bead("CA", "ALA", 0, 1, "A", "C", 12.0, (0,), ("CA",))
    table = BeadTable((bead,) * 493_216, (), "list")
    with pytest.raises(InputError, match="at most 493215 beads"):
        table.write_pdb(io.StringIO(), np.zeros((len(table), 3)))


def test_pdb_that_is_not_written_to_its_end_leaves_the_old_one(dipeptide, tmp_path):
    table = map_beads(dipeptide.topology, "backbone5")
    positions = table.positions(dipeptide.xyz, dipeptide.topology)
    path = tmp_path / "beads.pdb"
    table.write_pdb(path, positions)
    whole = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole), limits[1]))  # as a disk that is full from there on
    try:
        with pytest.raises(OSError):
            table.write_pdb(path, np.repeat(positions[:1], 50, axis=0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]


def test_chains_of_names_longer_than_a_letter_get_letters_that_no_other_has(tmp_path):
    chains = ("AAA", "A", "AAB", "C")
    records = [{"name": "CA", "residue": "GLY", "chain": chain} for chain in chains for _ in range(2)]
    table = list_beads(records, several_chains=True)
    table.write_structure(tmp_path / "beads.pdb", np.arange(24).reshape(8, 3) * 0.2)
    named = mdtraj.load(str(tmp_path / "beads.pdb")).topology
    assert [chain.chain_id for chain in named.chains] == ["B", "A", "D", "C"]
    assert [chain.id for chain in app.PDBFile(str(tmp_path / "beads.pdb")).topology.chains()] == ["B", "A", "D", "C"]
    assert [chain.chain_id for chain in mdtraj.load(str(tmp_path / "beads.cif")).topology.chains] == list(chains)
    short = list_beads([{"name": "CA", "residue": "GLY", "chain": "A"}] * 2)
    short.write_structure(tmp_path / "short.pdb", np.arange(6).reshape(2, 3) * 0.2)
    assert not (tmp_path / "short.cif").exists()
