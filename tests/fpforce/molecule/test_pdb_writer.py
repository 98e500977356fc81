"""What a PDB of beads keeps of them, and what its columns cannot hold."""

import io
import resource

import mdtraj
import numpy as np
import pytest
from openmm import app

from fpforce.foundation.errors import InputError
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
    with pytest.raises(InputError, match="beyond 999 nm"):
        table.write_pdb(io.StringIO(), positions + 1e4)


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
