"""Chignolin's and BBA's recipes are read, the folded start is folded, and the generator joins runs from both starts."""

import json
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.analysis.folding import FoldedStructure
from fpforce.analysis.observables import dihedrals
from fpforce.beads import map_beads
from fpforce.chirality import d_residues
from fpforce.training.recipe import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
CHIGNOLIN = EXAMPLES / "chignolin"


@pytest.fixture
def scripts(monkeypatch):
    """(fold, generate), the example's modules."""
    monkeypatch.syspath_prepend(str(CHIGNOLIN))
    import fold
    import generate

    yield fold, generate
    for name in ("fold", "generate"):
        del sys.modules[name]


@pytest.mark.parametrize("path", [*CHIGNOLIN.rglob("*.yaml"), EXAMPLES / "bba" / "recipe.yaml"], ids=lambda path: path.stem)
def test_recipes_are_read_and_ask_for_a_wall(path):
    recipe = load_recipe(path)
    assert recipe.model.wall and recipe.data.beads == "ca"
    files = ["train.xtc", "run3.xtc"] if "bba" in str(path.parent) else [f"train{run}.xtc" for run in range(1, 5)]
    assert [Path(name).name for name in recipe.data.trajectories] == files
    assert {Path(name).parent.name for name in recipe.data.trajectories} == {"data"}
    denoising_alone = path.stem in ("diffusion", "two_for_one", "mixture")
    assert (recipe.loss.fokker_planck_weight == 0.0) == denoising_alone
    assert len(recipe.experts) == (3 if path.stem in ("mixture", "both") or "bba" in str(path.parent) else 0)


def test_the_folded_start_is_the_hairpin_that_is_published(scripts):
    fold, _ = scripts
    frame = mdtraj.load(str(CHIGNOLIN / "folded.pdb"))
    assert "".join(residue.code for residue in frame.topology.residues) == fold.SEQUENCE
    assert not d_residues(frame.xyz, frame.topology)
    atoms = [{atom.name: atom.index for atom in residue.atoms} for residue in frame.topology.residues]
    distances = [np.linalg.norm(frame.xyz[0, atoms[n - 1]["N"]] - frame.xyz[0, atoms[o - 1]["O"]]) for n, o in fold.HYDROGEN_BONDS]
    assert max(distances) < fold.BROKEN_NO_NM and sorted(distances)[-2] < 0.30  # Asp3 O has two hydrogens, one of them nearer
    # the turn: residues 4, 5 and 6 right-handed, Gly7 left-handed
    torsions = [(atoms[k - 2]["C"], atoms[k - 1]["N"], atoms[k - 1]["CA"], atoms[k - 1]["C"]) for k in (4, 5, 6, 7)]
    phi = dihedrals(frame.xyz, torsions)[0]
    assert max(phi[:3]) < 0.0 < phi[3]
    beads = map_beads(frame.topology, "ca")
    positions_nm = beads.positions(frame.xyz, frame.topology)
    folded = FoldedStructure.read(CHIGNOLIN / "folded.pdb", beads)
    assert len(folded.contacts) >= 10 and folded.contact_fraction(positions_nm)[0] == 1.0 and folded.rmsd_nm(positions_nm)[0] < 1e-4


def test_folding_of_the_runs_is_compared(scripts, tmp_path):
    _, generate = scripts
    output = tmp_path / "data"
    output.mkdir()
    frame = mdtraj.load(str(CHIGNOLIN / "folded.pdb"))
    frame.save_pdb(str(output / "data.pdb"))
    unfolded = 1.35 * frame.xyz  # no contact is within 1.2 times its length, and bonds are within what is read
    for name, part in (("train.xtc", 0.8), ("reference.xtc", 0.7)):
        xyz = np.repeat(unfolded, 100, axis=0)
        xyz[: round(100 * part)] = frame.xyz
        mdtraj.Trajectory(xyz, frame.topology).save_xtc(str(output / name))
    folding = generate.judge_folding(output, 2)
    assert [run["started"] for run in folding["runs"].values()] == ["folded", "extended"]
    assert [run["population"] for run in folding["runs"].values()] == [0.8, 0.7]
    # ln(0.8/0.2) - ln(0.7/0.3) = 0.54 kT
    assert folding["agreement"]["largest_kt"] == pytest.approx(0.539, abs=1e-3) and folding["agreement"]["reached"] is False
    assert generate.report_folding(folding) == 1
    assert json.loads(json.dumps(folding)) == folding
    # the first half of run 1 trains, of run 2 is held out
    assert generate.divide(output, 2) == {"train1.xtc": 1.0, "reference1.xtc": 0.6, "train2.xtc": 0.4, "reference2.xtc": 1.0}
    assert sorted(path.name for path in output.glob("*.xtc")) == ["reference1.xtc", "reference2.xtc", "train1.xtc", "train2.xtc"]
    assert len(mdtraj.load(str(output / "train2.xtc"), top=str(output / "data.pdb"))) == 50
