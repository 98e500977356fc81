"""Chignolin's and BBA's recipes are read, the folded start is folded, and the generator joins runs from both starts."""

import json
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from fpforce.analysis.folding import FoldedStructure
from fpforce.analysis.observables import dihedrals
from fpforce.molecule.chirality import d_residues
from fpforce.molecule.mapping import map_beads
from fpforce.training.recipe.read import load_recipe
from fpforce.trajectories.files import matching_files

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


@pytest.mark.parametrize(
    "path", [*CHIGNOLIN.rglob("*.yaml"), EXAMPLES / "bba" / "recipe.yaml"], ids=lambda path: path.stem
)
def test_recipes_are_read_and_ask_for_a_wall(path):
    recipe = load_recipe(path)
    assert recipe.model.wall and recipe.data.beads == "ca"
    data = path.parents[path.parent.name == "recipes"] / "data"
    files = ["train.xtc", "run3.xtc"] if "bba" in str(path.parent) else ["train/*.xtc"]
    assert recipe.data.trajectories == [data / name for name in files]
    assert matching_files(recipe.data.trajectories)  # they are here
    denoising_alone = path.stem in ("diffusion", "two_for_one", "mixture")
    assert (recipe.loss.fokker_planck_weight == 0.0) == denoising_alone
    assert len(recipe.experts) == (3 if path.stem in ("mixture", "both") or "bba" in str(path.parent) else 0)


def test_the_folded_start_is_the_hairpin_that_is_published(scripts):
    fold, _ = scripts
    frame = mdtraj.load(str(CHIGNOLIN / "folded.pdb"))
    assert "".join(residue.code for residue in frame.topology.residues) == fold.SEQUENCE
    assert not d_residues(frame.xyz, frame.topology)
    atoms = [{atom.name: atom.index for atom in residue.atoms} for residue in frame.topology.residues]
    distances = [
        np.linalg.norm(frame.xyz[0, atoms[n - 1]["N"]] - frame.xyz[0, atoms[o - 1]["O"]])
        for n, o in fold.HYDROGEN_BONDS
    ]
    assert (
        max(distances) < fold.BROKEN_NO_NM and sorted(distances)[-2] < 0.30
    )  # Asp3 O has two hydrogens, one of them nearer
    # the turn: residues 4, 5 and 6 right-handed, Gly7 left-handed
    torsions = [(atoms[k - 2]["C"], atoms[k - 1]["N"], atoms[k - 1]["CA"], atoms[k - 1]["C"]) for k in (4, 5, 6, 7)]
    phi = dihedrals(frame.xyz, torsions)[0]
    assert max(phi[:3]) < 0.0 < phi[3]
    beads = map_beads(frame.topology, "ca")
    positions_nm = beads.positions(frame.xyz, frame.topology)
    folded = FoldedStructure.read(CHIGNOLIN / "folded.pdb", beads)
    assert (
        len(folded.contacts) >= 10
        and folded.contact_fraction(positions_nm)[0] == 1.0
        and folded.rmsd_nm(positions_nm)[0] < 1e-4
    )


def test_folding_of_the_runs_is_compared(scripts, tmp_path):
    _, generate = scripts
    output = tmp_path / "data"
    output.mkdir()
    frame = mdtraj.load(str(CHIGNOLIN / "folded.pdb"))
    frame.save_pdb(str(output / "data.pdb"))
    unfolded = 1.25 * frame.xyz  # no contact is within 1.2 times its length, and bonds are within what is read
    for name, part in (("train.xtc", 0.8), ("reference.xtc", 0.7)):
        xyz = np.repeat(unfolded, 100, axis=0)
        xyz[: round(100 * part)] = frame.xyz
        mdtraj.Trajectory(xyz, frame.topology).save_xtc(str(output / name))
    folded = generate.folded_frames(output, 2)
    folding = generate.judge_folding(folded)
    assert [run["started"] for run in folding["runs"].values()] == ["folded", "extended"]
    assert [run["population"] for run in folding["runs"].values()] == [0.8, 0.7]
    # ln(0.8/0.2) - ln(0.7/0.3) = 0.54 kT
    assert (
        folding["agreement"]["largest_kt"] == pytest.approx(0.539, abs=1e-3)
        and folding["agreement"]["reached"] is False
    )
    assert generate.report_folding(folding) == 1
    assert json.loads(json.dumps(folding)) == folding
    # of 200 ps an interval, five frames are a block of 1 ns; run 1 begins with training, run 2 with a held-out block
    division = generate.divide(output, folded, 200.0)
    assert division == {"block_ns": 1.0, "folded_population": {"train": 0.75, "reference": 0.75}}
    blocks = {kind: sorted(path.name for path in (output / kind).glob("*.xtc")) for kind in ("train", "reference")}
    assert [len(names) for names in blocks.values()] == [20, 20] and not list(output.glob("*.xtc"))
    assert (
        "run1_1.xtc" in blocks["train"] and "run1_2.xtc" in blocks["reference"] and "run2_1.xtc" in blocks["reference"]
    )
    assert len(mdtraj.load(str(output / "train" / "run2_20.xtc"), top=str(output / "data.pdb"))) == 5
