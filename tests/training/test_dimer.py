"""A dimer, the whole way in small: two chains without a bond between them, from wrapped frames to a report.

The trainings are short: what the figures say is bounded, and not that they pass.
"""

import importlib.util
import json
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from openmm import app

import fpforce
from fpforce.simulation.simulate import SimulationSettings, simulate
from fpforce.training.export import export
from fpforce.training.recipe.read import load_recipe
from fpforce.training.sample import sample
from fpforce.training.sampling.sampler import SampleSettings
from fpforce.training.train import train
from fpforce.trajectories.bead_frames import read_bead_frames

here = Path(__file__).parents[1] / "fpforce" / "trajectories" / "dimers.py"
spec = importlib.util.spec_from_file_location("dimers", here)
dimers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dimers)
BEADS = dimers.BEADS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train.xtc and reference.xtc, every bead wrapped by itself into the box, dimer.pdb and a recipe."""
    folder = tmp_path_factory.mktemp("dimer")
    xyz = dimers.simulated_dimer(frames=1200)
    mdtraj.Trajectory(xyz[:1], dimers.dimer_topology()).save(str(folder / "dimer.pdb"))
    dimers.wrapped(xyz[:800], 4.2, [1.0, 0.1, 3.9]).save(str(folder / "train.xtc"))
    dimers.wrapped(xyz[800:], 4.2, [0.2, 0.1, 0.3]).save(str(folder / "reference.xtc"))
    (folder / "recipe.yaml").write_text(
        "data: {trajectories: train.xtc, topology: dimer.pdb, beads: ca, several_chains: true}\n"
        "temperature_k: 300\noutput: out\nmodel: {width: 32, layers: 2}\n"
        "optimizer: {batch_size: 64, warmup_steps: 10}\n"
        "run: {max_steps: 60, threads: 1, accelerator: cpu, compile: false}\n"
    )
    return folder


def test_chains_keep_names_of_several_letters_from_an_mmcif_to_all_that_is_written(folder, tmp_path):
    structure = mdtraj.load(str(folder / "dimer.pdb"))
    topology = structure.topology.to_openmm()
    for chain, name in zip(topology.chains(), ("AAA", "AAB"), strict=True):
        chain.id = name
    with open(tmp_path / "dimer.cif", "w") as file:
        app.PDBxFile.writeFile(topology, structure.openmm_positions(0), file, keepIds=True)
    names = ["AAA"] * BEADS + ["AAB"] * BEADS
    recipe = load_recipe(
        folder / "recipe.yaml",
        [
            f"output={tmp_path / 'out'}",
            f"data.topology={tmp_path / 'dimer.cif'}",
            "model.chiral=false",
            "run.max_steps=5",
        ],
    )
    export(train(recipe, show_progress=False), tmp_path / "model.pt")
    field = fpforce.load(tmp_path / "model.pt")
    assert [bead.chain for bead in field.beads.beads] == names
    assert [chain.id for chain in field.topology.chains()] == ["AAA", "AAB"]
    simulate(field, tmp_path / "out.xtc", SimulationSettings(steps=200, replicas=2, report_interval_ps=0.1, seed=0))
    sample(tmp_path / "out" / "model.ckpt", tmp_path / "iid.xtc", SampleSettings(samples=8, steps=20, seed=0))
    for output in ("out.xtc", "iid.xtc"):
        for end, expected in ((".cif", ["AAA", "AAB"]), (".pdb", ["A", "B"])):
            read = read_bead_frames(tmp_path / output, tmp_path / f"{output}{end}", beads="ca", several_chains=True)
            assert list(dict.fromkeys(bead.chain for bead in read.beads.beads)) == expected
            assert read.beads.bonds == field.beads.bonds
            assert field.beads.match(read.beads.to_mdtraj()) == "beads"
    for end in ("", ".pdb", ".json", ".checkpoint"):
        (tmp_path / f"out.xtc{end}").unlink(missing_ok=True)
    with pytest.raises(fpforce.InputError, match=r"out\.xtc\.cif already exists"):
        simulate(field, tmp_path / "out.xtc", SimulationSettings(steps=200, report_interval_ps=0.1, seed=0))


@pytest.mark.parametrize("model", ["internal", pytest.param("graph_transformer", marks=pytest.mark.long)])
def test_dimer_is_learned_and_judged_by_the_contacts_of_its_chains(folder, tmp_path, model):
    recipe = load_recipe(
        folder / "recipe.yaml", [f"output={tmp_path / 'out'}", f"model.kind={model}", "model.wall=true"]
    )
    checkpoint = train(recipe, show_progress=False)
    export(checkpoint, tmp_path / "model.pt")
    field = fpforce.load(tmp_path / "model.pt")
    assert (BEADS - 1, BEADS) not in field.beads.bonds
    assert [bead.chain for bead in field.beads.beads] == ["A"] * BEADS + ["B"] * BEADS
    simulations = []
    for seed in (0, 1):
        simulations.append(tmp_path / f"from_{seed}.xtc")
        settings = SimulationSettings(steps=1500, replicas=4, report_interval_ps=0.1, seed=seed)
        simulate(field, simulations[-1], settings)
    report = fpforce.evaluate(
        field, folder / "reference.xtc", simulations, topology=folder / "dimer.pdb", output=tmp_path / "report"
    )
    record = json.loads((tmp_path / "report" / "report.json").read_text())
    (interface,) = record["interfaces"]
    assert interface["chains"] == ["A", "B"]
    assert interface["apart"]["reference"] == 0.0
    assert interface["apart"]["simulation"] < 0.5
    reference = np.array(interface["maps"]["reference"])
    assert reference.shape == (BEADS, BEADS)
    assert np.diag(reference).mean() > 0.5  # facing beads are held together
    assert interface["contacts"]["reference"] == pytest.approx(reference.sum(), rel=1e-3)
    assert 0.3 < interface["contacts"]["simulation"] / interface["contacts"]["reference"] < 3.0
    html = (tmp_path / "report" / "report.html").read_text()
    assert "Chains A and B" in html and "Contacts between two chains" in html
    assert report is not None
