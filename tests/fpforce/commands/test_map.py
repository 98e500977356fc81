"""fpforce-map: what it shows, what it writes, and its exit status."""

import logging

import mdtraj
import numpy as np
import pytest
import yaml
from openmm import app

from fpforce.commands.map import main as map_main
from fpforce.reference.peptide import build_peptide
from fpforce.trajectories.bead_frames import read_bead_frames


@pytest.fixture
def run(capsys):
    """run(*arguments) -> (exit status, stdout, stderr)."""
    logger = logging.getLogger("fpforce")
    handlers, level = logger.handlers[:], logger.level

    def call(*arguments):
        logger.handlers[:] = []
        with pytest.raises(SystemExit) as stop:
            map_main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out, captured.err

    yield call
    logger.handlers[:], logger.level = handlers, level


@pytest.fixture
def recipe(tmp_path):
    """A recipe on two files of a small peptide with water, an ion and a residue that a selection leaves out."""
    topology, positions = build_peptide("AGKA", app.ForceField("amber99sbildn.xml"), 1)
    topology = mdtraj.Topology.from_openmm(topology)
    chain = topology.add_chain("W")
    for name, atoms in (("HOH", ["O", "H1", "H2"]), ("HOH", ["O", "H1", "H2"]), ("NA", ["NA"])):
        residue = topology.add_residue(name, chain)
        for atom in atoms:
            topology.add_atom(atom, mdtraj.element.get_by_symbol({"NA": "Na"}.get(atom, atom[0])), residue)
    beside = np.arange(21).reshape(7, 3) * 0.3 + 3.0
    xyz = np.concatenate([positions, beside]) + 0.005 * np.random.default_rng(0).normal(size=(30, topology.n_atoms, 3))
    trajectory = mdtraj.Trajectory(xyz, topology)
    trajectory[:20].save(str(tmp_path / "a.xtc"))
    trajectory[17:].save(str(tmp_path / "b.xtc"))
    trajectory[0].save(str(tmp_path / "all.pdb"))
    content = {
        "data": {"trajectories": ["a.xtc", "b.xtc"], "topology": "all.pdb", "beads": "ca"},
        "temperature_k": 300,
        "output": str(tmp_path / "out"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "recipe.yaml"


def test_everything_that_is_left_out_is_listed_with_its_reason(run, recipe):
    status, out, _ = run(recipe)
    assert status == 0
    for line in ("left out      2 HOH: water", "left out      1 NA: ions", "left out      1 ACE, 1 NME: end groups"):
        assert line in out
    assert "beads         4, chosen by ca" in out
    assert "bonds         3 known from the names" in out


def test_frames_of_overlapping_restarts_are_noticed(run, recipe):
    _, out, err = run(recipe)
    message = f"3 frames of {recipe.parent / 'b.xtc'} are in {recipe.parent / 'a.xtc'} too"
    assert message in out and message in err
    status, _, err = run(recipe, "--strict")
    assert status == 2 and f"error: {message}" in err


def test_amino_acid_that_a_selection_leaves_out_inside_the_chain_is_a_warning(run, recipe):
    chosen = "data.beads=name CA and not resname LYS"
    status, _, err = run(recipe, chosen, f"data.trajectories=[{recipe.parent / 'a.xtc'}]", "--strict")
    assert status == 2 and "error: LYS4 is an amino acid without a bead, between residues that have some" in err


def test_what_cannot_be_right_has_status_2_and_one_line(run, recipe):
    status, out, err = run(recipe, "data.beads=name ZZ")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and "selects none" in err


@pytest.mark.parametrize("beads", ["ca", "backbone", {"left": "resid 1 2", "right": "resid 3 4"}], ids=str)
def test_what_it_writes_trains_as_it_is(run, recipe, tmp_path, beads):
    from fpforce.training.recipe.read import load_recipe

    content = yaml.safe_load(recipe.read_text())
    content["data"]["beads"] = beads
    recipe.write_text(yaml.safe_dump(content))
    status, _, _ = run(recipe, "--output", tmp_path / "mapped")
    assert status == 0
    original, written = (load_recipe(path).data for path in (recipe, tmp_path / "mapped" / "recipe.yaml"))
    first = read_bead_frames(original.trajectories, original.topology, beads=original.beads)
    second = read_bead_frames(written.trajectories, beads=written.beads, length_unit=written.length_unit)
    np.testing.assert_array_equal(first.positions_nm, second.positions_nm)
    assert first.lengths == second.lengths
    assert (first.beads.bonds, first.beads.labels) == (second.beads.bonds, second.beads.labels)
    np.testing.assert_array_equal(first.beads.masses_da, second.beads.masses_da)
    viewed = mdtraj.load(str(tmp_path / "mapped" / "beads_1.xtc"), top=str(tmp_path / "mapped" / "beads.pdb"))
    np.testing.assert_allclose(viewed.xyz, first.split()[0], atol=1e-3)
    assert (tmp_path / "mapped" / "mapping.png").read_bytes().startswith(b"\x89PNG")
    assert "beads " in (tmp_path / "mapped" / "mapping.txt").read_text()


def test_forces_are_written_with_the_frames_as_they_were_mapped(run, recipe, tmp_path):
    from fpforce.training.data.read import read_frames
    from fpforce.training.recipe.read import load_recipe

    atoms = mdtraj.load_topology(str(tmp_path / "all.pdb")).n_atoms
    forces = np.random.default_rng(0).normal(size=(20, atoms, 3))
    np.savez(tmp_path / "forces.npz", forces=forces)
    content = yaml.safe_load(recipe.read_text())
    content["data"] |= {
        "trajectories": "a.xtc",
        "forces": "forces.npz",
        "force_unit": "kcal/mol/nm",
        "force_map": "sum",
    }
    recipe.write_text(yaml.safe_dump(content))
    assert run(recipe, "--output", tmp_path / "mapped")[0] == 0
    ((_, first),), ((_, second),) = (
        read_frames(load_recipe(path).data) for path in (recipe, tmp_path / "mapped" / "recipe.yaml")
    )
    np.testing.assert_array_equal(first.forces.kj_per_mol_nm, second.forces.kj_per_mol_nm)


def test_output_never_takes_the_place_of_what_is_there(run, recipe, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    status, _, err = run(recipe, "--output", tmp_path)
    assert status == 2 and "is not empty; give a new folder" in err
    status, _, err = run(recipe, "--output", recipe)
    assert status == 2 and "is a file; give a folder" in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_output_in_any_alphabet_keeps_what_is_held_out(run, recipe, tmp_path):
    assert run(recipe, "data.held_out=0.3", "--output", tmp_path / "gr\u00fcn \u00df")[0] == 0
    written = yaml.safe_load((tmp_path / "gr\u00fcn \u00df" / "recipe.yaml").read_text(encoding="utf-8"))
    assert written["data"]["held_out"] == 0.3 and (tmp_path / "gr\u00fcn \u00df" / "beads_1.xtc").is_file()


def test_strict_writes_nothing_where_something_is_unusual(run, recipe, tmp_path):
    content = yaml.safe_load(recipe.read_text())
    content["data"]["trajectories"] = ["a.xtc", "a.xtc"]
    recipe.write_text(yaml.safe_dump(content))
    assert run(recipe, "--strict", "--output", tmp_path / "mapped")[0] == 2
    assert not (tmp_path / "mapped").exists()
