"""Examples with exact answers: their recipes are read, their structures fold, their sequences are those of the seed."""

import importlib.util
import json
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.reference.models import build_model
from fpforce.reference.models.truth import energies_and_forces
from fpforce.training.data.molecule_files import find_molecules
from fpforce.training.recipe.read import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
NATIVE = EXAMPLES / "structure_based" / "native"
LENGTHS = {"cln025": 10, "trp_cage": 20, "bba": 28, "villin": 35, "bpti": 58, "dhfr": 159}


def script(name):
    path = EXAMPLES / "disordered" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"disordered_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("system", ["structure_based", "dimer", "disordered", "hexadecane", "hairpin"])
def test_recipes_are_read(system):
    recipe = load_recipe(EXAMPLES / system / "recipe.yaml")
    assert recipe.data.molecules or (recipe.data.forces and recipe.data.constraints == "none")


@pytest.mark.parametrize("name, residues", LENGTHS.items())
def test_native_structure_is_where_no_force_acts_but_repulsion(name, residues):
    model = build_model("structure-based", NATIVE / f"{name}.pdb")
    energies, forces = energies_and_forces(model.system, model.native_nm[None])
    assert len(model.beads) == residues
    assert energies[0] == pytest.approx(-1.2 * len(model.contacts.pairs), rel=1e-3)
    assert np.abs(forces).max() < 1.0  # kJ/mol/nm; a bond 0.001 nm too long pulls with 24


def test_coiled_coil_is_the_one_that_its_script_builds():
    """A helix has 0.38 nm from CA to CA; residues a and d, of which d is leucine, face each other across the axis."""
    spec = importlib.util.spec_from_file_location("dimer_generate", EXAMPLES / "dimer" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = build_model("structure-based", EXAMPLES / "dimer" / "native.pdb")
    fos, jun = np.split(model.native_nm, 2)
    built = np.concatenate([module.helix(14, 0.0), module.helix(14, np.pi)])
    np.testing.assert_allclose(model.native_nm, built - built.mean(axis=0), atol=2e-4)
    assert np.linalg.norm(np.diff(fos, axis=0), axis=1) == pytest.approx(np.full(13, 0.378), abs=1e-3)
    across = np.linalg.norm(fos - jun, axis=1)
    assert set(np.argsort(across)[:4]) == {0, 3, 7, 10}
    assert {model.beads.beads[k].residue for k in (3, 10, 17, 24)} == {"LEU"}
    assert {bead.chain for bead in model.beads.beads} == {"A", "B"}
    assert not [pair for pair in model.beads.bonds if pair == (13, 14)]


def test_bpti_has_its_three_disulfides_as_bonds():
    assert build_model("structure-based", NATIVE / "bpti.pdb").parameters["links"] == [[4, 54], [13, 37], [29, 50]]


def test_sequences_are_those_of_the_seed_and_none_is_in_both_sets():
    drawn = script("sequences").draw()
    assert json.loads((EXAMPLES / "disordered" / "sequences.json").read_text()) == drawn
    train, unseen = (list(drawn[group].values()) for group in ("train", "unseen"))
    assert len(train) == 60 and len(unseen) == 20 and len({*train, *unseen}) == 80
    assert all(20 <= len(sequence) <= 60 for sequence in train + unseen)
    assert set("".join(train)) == set("".join(unseen)) == set("ACDEFGHIKLMNPQRSTVWY")


def test_generated_sequences_are_molecules_that_a_training_finds(tmp_path):
    script("generate").generate(tmp_path, ["train12", "unseen05"], frames={"train": 3, "unseen": 4})
    (one,) = find_molecules([tmp_path / "train"])
    (other,) = find_molecules([tmp_path / "unseen"])
    assert one.name == "train12" and [path.name for path in other.trajectories] == [
        "unseen05.xtc",
        "unseen05_again.xtc",
    ]
    frames = mdtraj.load(str(one.trajectories[0]), top=str(one.topology))
    assert frames.n_frames == 3
    assert np.load(tmp_path / "train" / "train12_forces.npz")["forces"].shape == frames.xyz.shape
    assert not (tmp_path / "work" / "train12").exists()
