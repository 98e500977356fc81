"""What a transferable model refuses, each time naming the residue, and what it leaves out with a notice."""

from dataclasses import replace

import numpy as np
import pytest

from fpforce import load
from fpforce.foundation.errors import InputError


@pytest.fixture(scope="module")
def force_field(transferable_model):
    return load(transferable_model)


@pytest.fixture
def changed(unseen_pdb, tmp_path):
    """changed(function) -> PDB of VA whose list of ATOM lines went through the function."""

    def make(change):
        atoms = [line for line in unseen_pdb.read_text().splitlines() if line.startswith("ATOM")]
        path = tmp_path / "changed.pdb"
        path.write_text("\n".join([*change(atoms), "END", ""]))
        return path

    return make


def renamed(lines, old, new):
    return [line.replace(old, new) for line in lines]


def atom_line(serial, name, residue, chain, number, xyz, element, record="HETATM"):
    x, y, z = xyz
    return (
        f"{record:<6}{serial:5d} {name:<4} {residue:>3} {chain}{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00  "
        f"        {element:>2}"
    )


def test_unknown_residue_type_is_named_with_those_known(force_field, changed):
    for other in ("TRP", "MSE", "DAL"):
        with pytest.raises(
            InputError, match=f"residue {other}2 is of a type .* not trained with; it knows ALA, SER, VAL"
        ):
            force_field.bind(changed(lambda atoms, other=other: renamed(atoms, "VAL", other)))


def test_missing_bead_is_named(force_field, changed):
    with pytest.raises(InputError, match="residue ALA3 lacks the bead CB; the model knows ALA with C, CA, CB, N, O"):
        force_field.bind(changed(lambda atoms: [line for line in atoms if not (" CB " in line and "ALA" in line)]))


def test_residue_without_any_bead_is_not_passed_over(force_field, changed):
    extra = atom_line(11, "C1", "LIG", "A", 4, (9, 9, 9), "C")
    with pytest.raises(InputError, match="residue LIG4 is of a type"):
        force_field.bind(changed(lambda atoms: [*atoms, extra]))


def test_unknown_bead_is_named(transferable_model, peptide, tmp_path):
    force_field = load(transferable_model)
    knowledge = force_field.metadata["transferable"]["knowledge"]
    odd = replace(
        force_field,
        metadata=force_field.metadata
        | {
            "transferable": force_field.metadata["transferable"]
            | {"knowledge": knowledge | {"choice": "name N CA CB C O OXT"}}
        },
    )
    frames = peptide("VA")
    frames.beads.write_pdb(tmp_path / "a.pdb", frames.positions_nm[0])
    lines = [line for line in (tmp_path / "a.pdb").read_text().splitlines() if line.startswith("ATOM")]
    lines.append(atom_line(11, "OXT", "ALA", "A", 3, (5, 5, 5), "O", "ATOM"))
    (tmp_path / "a.pdb").write_text("\n".join([*lines, "END", ""]))
    with pytest.raises(InputError, match="residue ALA3 has the bead OXT; the model knows ALA with"):
        odd.bind(tmp_path / "a.pdb")


def test_several_chains_are_refused(force_field, changed):
    def two(atoms):
        return [
            *atoms,
            "TER",
            *(line[:21] + "B" + line[22:30] + f"{float(line[30:38]) + 30:8.3f}" + line[38:] for line in atoms),
        ]

    with pytest.raises(InputError, match=r"has 2 chains \(VAL2 to ALA3, VAL2 to ALA3\)"):
        force_field.bind(changed(two))


@pytest.mark.parametrize("number", [5, 1])
def test_gap_in_the_numbering_and_residues_out_of_order_are_refused(force_field, changed, number):
    with pytest.raises(
        InputError, match=f"residue VAL2 is followed by ALA{number}: residues are missing or out of order"
    ):
        force_field.bind(changed(lambda atoms: renamed(atoms, "ALA A   3", f"ALA A   {number}")))


def test_mirrored_frame_is_refused(force_field, unseen_pdb, peptide, tmp_path):
    frames = peptide("VA")
    frames.beads.write_pdb(tmp_path / "mirrored.pdb", frames.positions_nm[0] * [1, 1, -1])
    with pytest.raises(InputError, match="VAL2 is a D amino acid"):
        force_field.bind(tmp_path / "mirrored.pdb")


def test_residues_that_are_not_bonded_are_refused(force_field, changed):
    # A bond CA-CA instead of C-N, by CONECT: the topology lists bonds, but other ones than the training's.
    import mdtraj

    topology = mdtraj.load_topology(str(changed(lambda atoms: atoms)))
    bonds = [bond for bond in topology._bonds if {bond[0].name, bond[1].name} != {"C", "N"}]
    topology._bonds = bonds
    topology.add_bond(topology.atom(1), topology.atom(6))
    with pytest.raises(InputError, match="beads VAL2-CA and ALA3-CA are bonded, and in the molecules .* they are not"):
        force_field.bind(topology)


def test_water_and_ions_are_left_out_with_a_notice(force_field, changed, caplog):
    solvent = [
        atom_line(11, "O", "HOH", "W", 1, (20, 0, 0), "O"),
        atom_line(12, "O", "HOH", "W", 2, (25, 0, 0), "O"),
        atom_line(13, "NA", "NA", "I", 1, (0, 20, 0), "Na"),
    ]
    bound = force_field.bind(changed(lambda atoms: [*atoms, "TER", *solvent]))
    assert len(bound.beads) == 10 and "water and ions are left out (2 HOH, 1 NA)" in caplog.text


def test_all_atoms_of_a_capped_peptide_are_mapped(force_field, tmp_path):
    import mdtraj
    from openmm import app

    from fpforce.reference.peptide import build_peptide

    topology, positions_nm = build_peptide("VA", app.ForceField("amber99sbildn.xml"), 1, capped=True)
    path = tmp_path / "capped.pdb"
    with path.open("w") as file:
        app.PDBFile.writeFile(topology, positions_nm * 10.0, file)
    bound = force_field.bind(path)
    assert bound.molecule.split()[0].startswith("VAL") and len(bound.beads) == 10
    frame = mdtraj.load(str(path))
    chosen = [frame.topology.atom(bead.atoms[0]).name for bead in bound.beads.beads]
    assert chosen == list(bound.beads.names) and not {"ACE", "NME"} & {bead.residue for bead in bound.beads.beads}
    np.testing.assert_allclose(
        bound.positions_nm, frame.xyz[0, [bead.atoms[0] for bead in bound.beads.beads]], atol=1e-6
    )
    frame.save(str(tmp_path / "capped.gro"))
    np.testing.assert_allclose(force_field.bind(tmp_path / "capped.gro").positions_nm, bound.positions_nm, atol=1e-3)


@pytest.mark.parametrize(
    "kept, capped, ends",
    [(slice(0, 9), True, None), (slice(0, 2), False, "VAL1 and ALA2"), (slice(0, 1), False, "VAL1")],
)
def test_ends_without_caps_are_warned_of(force_field, caplog, kept, capped, ends, choice):
    import mdtraj
    from openmm import app

    from fpforce.reference.peptide import build_peptide

    topology, _ = build_peptide("VA", app.ForceField("amber99sbildn.xml"), 1, capped=capped)
    whole = mdtraj.Topology.from_openmm(topology)
    whole = whole.subset([atom.index for residue in list(whole.residues)[kept] for atom in residue.atoms])
    force_field.bind(whole)
    assert (f"no end group at {ends}, and" in caplog.text) if ends else not caplog.text
    caplog.clear()
    force_field.bind(whole.subset(whole.select(choice)))
    assert not caplog.text


def test_unusual_protonation_and_disulfides_are_warned_of(force_field, caplog, tmp_path):
    """Names of residues do not show them; that the model knows A and V is beside the point."""
    import mdtraj
    from openmm import app

    from fpforce.forcefield.transferable.recognise import _named_states, _say_which_states_are_unusual
    from fpforce.reference.peptide import build_peptide

    usual = mdtraj.Topology.from_openmm(
        build_peptide("HDEKCY", app.ForceField("amber99sbildn.xml"), 1, capped=False)[0]
    )

    def say(topology, named=()):
        caplog.clear()
        _say_which_states_are_unusual(topology, topology.select("name CA"), "this.pdb", dict(named))
        return caplog.text

    assert not say(usual) and not say(usual.subset(usual.select("not element H")))
    protonated = usual.copy()
    for number, name in ((0, "HD1"), (0, "HE2"), (1, "HD2"), (2, "HE2")):
        if name not in [atom.name for atom in protonated.residue(number).atoms]:
            protonated.add_atom(name, mdtraj.element.hydrogen, protonated.residue(number))
    assert "HIS1 is doubly protonated, ASP2 is protonated, GLU3 is protonated, which the beads do not show" in say(
        protonated
    )
    without = usual.subset(
        [a.index for a in usual.atoms if (a.residue.name, a.name) not in (("LYS", "HZ1"), ("CYS", "HG"), ("TYR", "HH"))]
    )
    assert (
        "LYS4 is neutral, CYS5 is without the hydrogen of its sulfur, as in a disulfide, TYR6 is deprotonated"
        in say(without)
    )
    pdb = tmp_path / "named.pdb"
    pdb.write_text(
        "".join(
            f"ATOM  {k:5d}  CA  {name} A{k:4d}    {0.0:8.3f}{0.0:8.3f}{0.0:8.3f}\n"
            for k, name in enumerate(("HIP", "ASP", "GLU", "HIE", "CYX"), 1)
        )
    )
    named = _named_states(pdb)
    assert named == {1: "HIP1 is doubly protonated", 5: "CYX5 is in a disulfide"} and not _named_states(usual)
    assert "this.pdb: HIP1 is doubly protonated, CYX5 is in a disulfide, ASP2 is protonated, GLU3" in say(
        protonated, named
    )


def test_topology_without_coordinates_binds_but_cannot_start_a_simulation(force_field, unseen_pdb):
    import mdtraj

    from fpforce.simulation.start_frame import read_start_frame

    bound = force_field.bind(mdtraj.load_topology(str(unseen_pdb)))
    with pytest.raises(InputError, match="no coordinates to start from; give a frame"):
        read_start_frame(bound)
    np.testing.assert_allclose(read_start_frame(bound, str(unseen_pdb))[0].mean(0), 0.0, atol=1e-6)


def test_what_is_no_topology_is_refused(force_field, tmp_path):
    for wrong, message in ((tmp_path / "none.pdb", "does not exist"), (3.0, "give an openmm or mdtraj Topology")):
        with pytest.raises(InputError, match=message):
            force_field.bind(wrong)
