"""Beads chosen from real topologies: what they are, how they are bonded, and how they are found again."""

import json
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.mapping import list_beads, map_beads

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"
BACKBONE5 = [("ACE", "C"), ("ALA", "N"), ("ALA", "CA"), ("ALA", "C"), ("NME", "N")]


def test_backbone5_is_c_n_ca_c_n_between_the_caps(dipeptide):
    table = map_beads(dipeptide.topology, "backbone5")
    assert [(bead.residue, bead.name) for bead in table.beads] == BACKBONE5
    assert table.bonds == ((0, 1), (1, 2), (2, 3), (3, 4))
    assert table.angles == ((0, 1, 2), (1, 2, 3), (2, 3, 4))
    assert table.phi_psi == [{"residue": "ALA2", "phi": (0, 1, 2, 3), "psi": (1, 2, 3, 4)}]
    # Standard atomic weights of C and N.
    np.testing.assert_allclose(table.masses_da, [12.011, 14.007, 12.011, 12.011, 14.007], atol=1e-3)


def test_backbone5_of_a_longer_peptide_names_backbone_as_the_remedy(peptide):
    with pytest.raises(InputError, match="4 amino acids: use 'backbone'"):
        map_beads(peptide.topology, "backbone5")


def test_backbone_is_n_ca_c_of_every_amino_acid_in_one_chain(peptide):
    table = map_beads(peptide.topology, "backbone")
    assert table.names == ("N", "CA", "C") * 4
    assert table.bonds == tuple((i, i + 1) for i in range(11))
    # The first residue has no C before it, the last no N after it.
    assert [torsion["residue"] for torsion in table.phi_psi] == ["GLY3", "PRO4"]
    across = table.phi_psi_across_peptide_bonds
    assert [torsion["residue"] for torsion in across] == ["ALA2-GLY3", "GLY3-PRO4", "PRO4-TYR5"]
    # psi of the first residue, N-CA-C-N, and phi of the second, C-N-CA-C.
    assert (across[0]["psi"], across[0]["phi"]) == ((0, 1, 2, 3), (2, 3, 4, 5))


def test_ca_beads_form_the_chain(peptide):
    table = map_beads(peptide.topology, "ca")
    assert table.names == ("CA",) * 4
    assert table.bonds == ((0, 1), (1, 2), (2, 3))
    assert {bead.element for bead in table.beads} == {"C"}


def test_heavy_and_all_keep_the_bonds_of_the_molecule(peptide, bond_set):
    table = map_beads(peptide.topology, "all")
    assert set(table.bonds) == bond_set(peptide.topology)
    heavy = peptide.atom_slice(peptide.topology.select("element != H")).topology
    assert set(map_beads(peptide.topology, "heavy").bonds) == bond_set(heavy)


def test_presets_leave_water_and_ions_out(dipeptide):
    topology = dipeptide.topology.copy()
    chain = topology.add_chain("W")
    water = topology.add_residue("HOH", chain)
    for name, symbol in (("O", "O"), ("H1", "H"), ("H2", "H")):
        topology.add_atom(name, mdtraj.element.get_by_symbol(symbol), water)
    for name, symbol in (("CA", "Ca"), ("CL", "Cl"), ("NA", "Na")):
        topology.add_atom(name, mdtraj.element.get_by_symbol(symbol), topology.add_residue(name, chain))
    for preset, count in (("heavy", 10), ("all", 10), ("backbone5", 5), ("backbone", 3)):
        assert len(map_beads(topology, preset)) == count


@pytest.mark.parametrize("name", ["TIP5", "T4P", "SPCE", "X"])
def test_water_is_what_has_its_atoms_whatever_its_name(dipeptide, name):
    topology = dipeptide.topology.copy()
    water = topology.add_residue(name, topology.add_chain("W"))
    for atom, symbol in (("OW", "O"), ("HW1", "H"), ("HW2", "H"), ("LP1", "VS"), ("LP2", "VS")):
        topology.add_atom(atom, mdtraj.element.get_by_symbol(symbol), water)
    for preset, count in (("heavy", 10), ("all", 10)):
        assert len(map_beads(topology, preset)) == count


def test_selection_without_direct_bonds_is_bonded_along_the_chain(peptide):
    table = map_beads(peptide.topology, "name CA or name CB")
    labels = [str(bead) for bead in table.beads]
    bonds = {frozenset((labels[i], labels[j])) for i, j in table.bonds}
    side_chains = [("ALA2-CA", "ALA2-CB"), ("PRO4-CA", "PRO4-CB"), ("TYR5-CA", "TYR5-CB")]
    chain = [("ALA2-CA", "GLY3-CA"), ("GLY3-CA", "PRO4-CA"), ("PRO4-CA", "TYR5-CA")]
    assert bonds == set(map(frozenset, side_chains + chain))


def test_ring_is_one_closed_bond_graph(peptide):
    table = map_beads(peptide.topology, "resname TYR and name CG CD1 CE1 CZ CE2 CD2")
    assert len(table.bonds) == 6
    assert len(table.angles) == 6


def test_group_sits_at_its_centre_of_mass(dipeptide):
    groups = {"left": "resname ACE", "middle": ["CA", "CB"], "right": [6, 7, 8]}
    table = map_beads(dipeptide.topology, groups)
    positions = table.positions(dipeptide.xyz, dipeptide.topology)
    ace = dipeptide.topology.select("resname ACE")
    masses = np.array([12.011, 12.011, 15.999])
    expected = (masses[:, None] * dipeptide.xyz[0, ace]).sum(0) / masses.sum()
    np.testing.assert_allclose(positions[0, 0], expected, atol=1e-5)
    np.testing.assert_allclose(positions[0, 1], dipeptide.xyz[0, 4:6].mean(0), atol=1e-6)
    np.testing.assert_allclose(table.masses_da, [40.021, 24.022, 42.017], atol=2e-3)
    assert table.bonds == ((0, 1), (1, 2))
    assert [bead.element for bead in table.beads] == [None, None, None]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.integers(0, 2**31))
def test_centre_of_mass_mapping_commutes_with_moving_the_molecule(shift, seed):
    source = mdtraj.load(str(EXAMPLE / "alanine_dipeptide.pdb"))
    table = map_beads(source.topology, {"left": "resname ACE", "right": "resname ALA NME"})
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    moved = source.xyz.astype(np.float64) @ rotation.T + shift
    beads = table.positions(source.xyz.astype(np.float64), source.topology) @ rotation.T + shift
    np.testing.assert_allclose(table.positions(moved, source.topology), beads, atol=1e-12)


@pytest.mark.parametrize("choice", ["backbone5", "heavy", {"a": "resname ACE", "b": "resname ALA NME"}], ids=str)
def test_table_survives_json(dipeptide, choice):
    table = map_beads(dipeptide.topology, choice)
    assert BeadTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table


def test_match_tells_source_from_beads_and_names_the_first_mismatch(dipeptide, peptide):
    table = map_beads(dipeptide.topology, "backbone5")
    assert table.match(dipeptide.topology) == "source"
    assert table.match(table.to_mdtraj()) == "beads"
    with pytest.raises(InputError, match="atom 1 of the topology is ACE CH3, but bead ACE1-C is made from ACE C"):
        table.match(peptide.topology)
    with pytest.raises(InputError, match="atom 0 of the topology is ALA N, but bead 0 is ACE C"):
        table.match(dipeptide.topology.subset([3, 4, 5, 6, 7]))
    with pytest.raises(InputError, match="has 6 atoms, but bead ALA2-C is made from atom 6"):
        table.match(dipeptide.topology.subset(range(6)))


def test_beads_in_another_order_than_their_atoms_are_mapped_from_the_atoms(dipeptide):
    backbone = dipeptide.atom_slice([1, 3, 4, 6, 8])
    table = map_beads(backbone.topology, [4, 3, 2, 1, 0])
    assert table.match(backbone.topology) == "source"
    np.testing.assert_array_equal(table.positions(backbone.xyz, backbone.topology), backbone.xyz[:, ::-1])


@pytest.mark.parametrize(
    "choice, message",
    [
        ("name ZZ", "selects none of the 10 atoms"),
        ("nam CA", "neither a preset"),
        ("backbon", "neither a preset"),
        ("ca", "gives 1 bead"),
        ([], "chooses nothing"),
        ([0, 99], "99 is no atom index of a topology with 10 atoms"),
        ({"a": [0, 1], "b": [1, 2]}, "is in two beads"),
        ({"a": "resname XXX", "b": [1]}, "'a' has no atoms"),
        ({"a": ["C"], "b": ["CA"]}, "3 atoms are named 'C'"),
        ({"a": ["QQ"], "b": ["CA"]}, "0 atoms are named 'QQ'"),
        ({"a": "resname ACE", "b": None}, "bead 'b' = None names no atoms"),
        ({"a": "resname ACE", "b": 2.5}, "bead 'b' = 2.5 names no atoms"),
        ({"a": "resname ACE", "b": 99}, "99 is no atom index"),
        ({"a": "resname ACE", "b": True}, "True is no atom index"),
    ],
    ids=str,
)
def test_unusable_choice_of_beads_is_refused(dipeptide, choice, message):
    with pytest.raises(InputError, match=message):
        map_beads(dipeptide.topology, choice)


def test_beads_of_two_molecules_in_one_chain_are_refused(dipeptide):
    topology = dipeptide.topology.copy()
    chain = next(topology.chains)
    for _ in range(2):
        residue = topology.add_residue("LIG", chain)
        first, second = (topology.add_atom(f"C{k}", mdtraj.element.carbon, residue) for k in range(2))
        topology.add_bond(first, second)
    with pytest.raises(InputError, match="not connected by bonds"):
        map_beads(topology, "all")


def test_ion_selected_by_its_name_is_named_as_the_loose_bead(peptide):
    topology = peptide.topology.copy()
    topology.add_atom("CA", mdtraj.element.calcium, topology.add_residue("CA", topology.add_chain("I"), resSeq=9))
    with pytest.raises(InputError, match="bead CA9-CA .chain .*not connected by bonds: .*`and protein`"):
        map_beads(topology, "name CA")
    assert len(map_beads(topology, "name CA and protein")) == 4
    with pytest.raises(InputError, match="CA9-CA .*not connected by bonds"):
        map_beads(topology, [4, topology.n_atoms - 1])


def test_chains_are_one_molecule_only_where_a_bond_joins_them():
    topology, sulphurs = mdtraj.Topology(), []
    for name in "AB":
        residue = topology.add_residue("CYS", topology.add_chain(name), resSeq=1)
        carbon = topology.add_atom("CB", mdtraj.element.carbon, residue)
        sulphurs.append(topology.add_atom("SG", mdtraj.element.sulfur, residue))
        topology.add_bond(carbon, sulphurs[-1])
    with pytest.raises(InputError, match="not connected by bonds"):
        map_beads(topology, "all")
    topology.add_bond(*sulphurs)
    assert map_beads(topology, "all").bonds == ((0, 1), (1, 3), (2, 3))


def test_name_that_begins_with_a_digit_needs_no_quotes(peptide):
    topology = peptide.topology.copy()
    topology.residue(2).name = "1Q5"
    for choice in ("name CA and resname ALA 1Q5", "name CA and resname ALA '1Q5'", "name CA and resid 1 2"):
        assert [bead.residue for bead in map_beads(topology, choice).beads] == ["ALA", "1Q5"]


def test_one_atom_index_is_a_group(dipeptide):
    assert map_beads(dipeptide.topology, {"a": "resname ACE", "b": 3}).beads[1].atoms == (3,)


def test_virtual_site_is_no_bead(dipeptide):
    topology = dipeptide.topology.copy()
    topology.add_atom("M", mdtraj.element.virtual, next(topology.residues))
    assert len(map_beads(topology, "all")) == 10
    with pytest.raises(InputError, match="has no mass"):
        map_beads(topology, [0, 10])


def test_bead_list_describes_what_the_topology_would(dipeptide):
    mapped = map_beads(dipeptide.topology, "backbone5")
    listed = list_beads([{"name": name, "residue": residue} for residue, name in BACKBONE5])
    assert (listed.names, listed.bonds, listed.phi_psi) == (mapped.names, mapped.bonds, mapped.phi_psi)
    np.testing.assert_allclose(listed.masses_da, mapped.masses_da)


@pytest.mark.parametrize(
    "records, message",
    [
        ([{"name": "CA"}], "give `name`, `residue`"),
        ([{"name": "CA", "residue": "ALA", "colour": 1}], "colour"),
        ([{"name": "B1", "residue": "LIG"}] * 2, "has no mass"),
        ([{"name": "CA", "residue": "ALA", "bonds": [7]}] * 2, "bond partner 7"),
        ([{"name": "CA", "residue": "ALA", "bonds": ["x"]}] * 2, "bond partner x"),
        ([{"name": "CA", "residue": "ALA", "chain": chain} for chain in "AB"], "not connected"),
        ([{"name": "CA", "residue": "ALA", "element": "Qq"}] * 2, "has no mass"),
        (
            [
                {"name": "CA", "residue": "ALA", "bonds": [1]},
                {"name": "CA", "residue": "ALA"},
                {"name": "CA", "residue": "ALA"},
            ],
            "not connected",
        ),
    ],
)
def test_unusable_bead_list_is_refused(records, message):
    with pytest.raises(InputError, match=message):
        list_beads(records)


@pytest.mark.parametrize("several_chains", [False, True])
def test_ion_in_the_chain_of_a_peptide_is_refused_with_what_makes_it_a_bead(peptide, several_chains):
    topology = peptide.topology.copy()
    zinc = topology.add_residue("ZN", topology.chain(0), resSeq=99)
    topology.add_atom("ZN", mdtraj.element.zinc, zinc)
    with pytest.raises(InputError, match="a TER before it or with a chain letter of its own") as refusal:
        map_beads(topology, "name CA or name ZN", several_chains)
    assert ("data.several_chains = true" in str(refusal.value)) != several_chains
    topology = peptide.topology.copy()
    topology.add_atom("ZN", mdtraj.element.zinc, topology.add_residue("ZN", topology.add_chain("Z"), resSeq=99))
    assert len(map_beads(topology, "name CA or name ZN", several_chains=True)) == 5
