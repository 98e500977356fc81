"""`internal` models of many molecules, which share a layout: rows of a batch, residue types, order of beads, other
layouts.
"""

import shutil
from dataclasses import replace

import mdtraj
import numpy as np
import openmm
import pytest
import torch

from fpforce import SimulationSettings, load, make_system, simulate
from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.forcefield.transferable.recognise import recognise
from fpforce.foundation.errors import InputError
from fpforce.simulation.start_frame import read_start_frame
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.modelfile.write import write_transferable
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.train import train


def read_knowledge(model) -> Knowledge:
    return Knowledge.from_dict(load(model).metadata["transferable"]["knowledge"])


def energy(system, positions_nm) -> float:
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_nm)
    return context.getState(energy=True).getPotentialEnergy()._value


def test_rows_of_a_batch_have_the_energies_of_their_molecules(peptide, dipeptide_recipe, tmp_path, choice):
    molecules = MoleculeSet.of({name: peptide(name) for name in ("AV", "SA", "VS")}, choice, one_layout=True)
    recipe = dipeptide_recipe(tmp_path)
    module = ExpertTraining(recipe, plan_experts(recipe), molecules)
    module.begin(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    module.double()
    batches = module._batches.value
    chosen = torch.cat([end - count + torch.arange(5) for end, count in zip(batches.ends, batches.counts, strict=True)])
    x, t = molecules.frames[chosen].double(), torch.linspace(1e-4, 0.9, 15, dtype=torch.float64)
    together = module.expert.of(batches.rows_of(chosen))
    for k, one in enumerate(molecules.molecules.values()):
        alone, part = module.expert.bind(one.beads), slice(5 * k, 5 * k + 5)
        torch.testing.assert_close(together(x, t)[part], alone(x[part], t[part]), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(together.score(x, t)[part], alone.score(x[part], t[part]), rtol=1e-8, atol=1e-8)


def test_energy_depends_on_every_residue_type(dipeptide_checkpoint, peptide, peptide_beads):
    checkpoint = read_checkpoint(dipeptide_checkpoint)
    shared, x, t = checkpoint.model(), torch.from_numpy(peptide("VA", 3).positions_nm), torch.tensor([1e-3])
    x = (x - x.mean(1, keepdim=True)) / checkpoint.record.scale_nm
    of = {sequence: shared.bind(peptide_beads(sequence)).network(x, t) for sequence in ("VA", "VS", "AA")}
    assert min((of["VA"] - of[other]).abs().min() for other in ("VS", "AA")) > 1e-3


def test_all_atoms_are_put_in_order_and_beads_in_another_order_refused(dipeptide_model, unseen_pdb, peptide, tmp_path):
    r, lines = (
        peptide("VA").positions_nm[0],
        [line for line in unseen_pdb.read_text().splitlines() if line.startswith("ATOM")],
    )
    order = [0, 1, 3, 4, 2, 5, 6, 8, 9, 7]  # N, CA, C, O, CB, as in PDB files
    (tmp_path / "beads.pdb").write_text("\n".join([*(lines[k] for k in order), "END", ""]))
    with pytest.raises(
        InputError, match=r"its residues have the beads N CA C O CB \| N CA C O CB, and the model \(kind internal\)"
    ):
        make_system(dipeptide_model, tmp_path / "beads.pdb")
    hydrogens = [lines[0][:12] + " H  " + lines[0][16:76] + " H", lines[5][:12] + " H  " + lines[5][16:76] + " H"]
    (tmp_path / "atoms.pdb").write_text(
        "\n".join(
            [*(lines[k] for k in order[:5]), hydrogens[0], *(lines[k] for k in order[5:]), hydrogens[1], "END", ""]
        )
    )
    bound = load(dipeptide_model).bind(tmp_path / "atoms.pdb")
    assert bound.beads.names == ("N", "CA", "CB", "C", "O") * 2
    np.testing.assert_allclose(bound.positions_nm, r, atol=1e-4)
    expected = energy(make_system(dipeptide_model, unseen_pdb, backend="native"), r)
    assert energy(make_system(bound, backend="native"), r) == pytest.approx(expected, rel=1e-6)


def test_molecules_of_another_layout_are_refused_in_training_and_binding(
    dipeptide_model, dipeptide_recipe, peptide, peptide_folder, tmp_path
):
    with pytest.raises(
        InputError, match=r"molecule ASV: its residues have the beads (N CA CB C O \| ){2}N CA CB C O, and the model"
    ):
        train(dipeptide_recipe(tmp_path, data__molecules=[peptide_folder]), show_progress=False)
    peptide("ASV").beads.write_pdb(tmp_path / "ASV.pdb", peptide("ASV").positions_nm[0])
    with pytest.raises(InputError, match="which differ in their residue types alone"):
        load(dipeptide_model).bind(tmp_path / "ASV.pdb")


def test_bound_force_field_takes_its_topology_again_and_no_other(dipeptide_model, unseen_pdb, peptide, tmp_path):
    def with_a_hydrogen(pdb):
        lines = [line for line in pdb.read_text().splitlines() if line.startswith("ATOM")]
        path = tmp_path / f"atoms_of_{pdb.name}"
        path.write_text("\n".join([lines[0], lines[0][:12] + " H  " + lines[0][16:76] + " H", *lines[1:], "END", ""]))
        return path

    field = load(dipeptide_model)
    bound = field.bind(unseen_pdb)
    assert (field.metadata["format_version"], bound.metadata["format_version"]) == (
        4,
        3,
    )  # as any internal model from here on
    for topology in (unseen_pdb, with_a_hydrogen(unseen_pdb), mdtraj.load(str(unseen_pdb))):
        assert make_system(bound, topology).getNumParticles() == 10
    assert make_system(bound, bound.replicated_topology(3), replicas=3).getNumParticles() == 30
    settings = SimulationSettings(steps=20, replicas=2, timestep_fs=0.1, report_interval_ps=0.001, topology=unseen_pdb)
    assert simulate(bound, tmp_path / "again.xtc", settings).steps == 20
    peptide("AV").beads.write_pdb(tmp_path / "AV.pdb", peptide("AV").positions_nm[0])
    with pytest.raises(InputError, match="atoms_of_AV.pdb is ALA2 VAL3 .* is bound to VAL2 ALA3"):
        make_system(bound, with_a_hydrogen(tmp_path / "AV.pdb"))


def test_residue_type_that_was_never_at_its_place_is_told(dipeptide_model, unseen_pdb, caplog):
    knowledge = read_knowledge(dipeptide_model)
    assert knowledge.types_at == (("ALA", "SER", "VAL"), ("ALA", "SER", "VAL"))
    known = replace(knowledge, types_at=(("ALA", "SER"), knowledge.types_at[1]))
    recognise(unseen_pdb, knowledge)
    assert "is a guess" not in caplog.text
    recognise(unseen_pdb, known)
    assert "has a residue of the type of VAL2 at its place" in caplog.text


def test_training_goes_on_from_an_earlier_one(dipeptide_recipe, dipeptide_checkpoint, tmp_path):
    path = train(dipeptide_recipe(tmp_path, run__max_steps=3), init=dipeptide_checkpoint, show_progress=False)
    before, after = read_checkpoint(dipeptide_checkpoint), read_checkpoint(path)
    assert after.record.initial and torch.equal(
        before.weights["0.network.coordinates.volumes"], after.weights["0.network.coordinates.volumes"]
    )
    assert not torch.equal(before.weights["0.network.types.weight"], after.weights["0.network.types.weight"])


def test_places_of_further_training_are_known_too(peptide, choice):
    first = MoleculeSet.of({name: peptide(name) for name in ("AV", "AS")}, choice, one_layout=True)
    assert first.knowledge.new_places(peptide("VA").beads) == ["VAL2", "ALA3"]
    later = MoleculeSet.of(
        {"VA": peptide("VA")}, choice, scale_nm=first.scale_nm, knowledge=first.knowledge, one_layout=True
    )
    assert later.knowledge.new_places(peptide("VA").beads) == [] and later.knowledge.new_places(
        peptide("SV").beads
    ) == ["SER2"]


def test_bound_force_field_is_of_the_file_as_it_was(
    dipeptide_checkpoint, dipeptide_model, unseen_pdb, peptide, tmp_path
):
    path, r = tmp_path / "model.pt", peptide("VA").positions_nm[0]
    shutil.copy(dipeptide_model, path)
    field = load(path)
    bound, expected = field.bind(unseen_pdb), energy(make_system(dipeptide_model, unseen_pdb, backend="native"), r)
    write_transferable(read_checkpoint(dipeptide_checkpoint), path, 1e-3, overwrite=True)  # another energy
    for backend in ("native", "python"):
        assert energy(make_system(bound, backend=backend), r) == pytest.approx(expected, rel=1e-5)
    assert bound.sha256 == load(dipeptide_model).sha256
    with pytest.raises(InputError, match="has been replaced since it was loaded"):
        field.bind(unseen_pdb)


def test_start_frames_may_list_the_beads_in_another_order(dipeptide_model, unseen_pdb, tmp_path):
    lines = [line for line in unseen_pdb.read_text().splitlines() if line.startswith("ATOM")]
    (tmp_path / "other.pdb").write_text("\n".join([*(lines[k] for k in (0, 1, 3, 4, 2, 5, 6, 8, 9, 7)), "END", ""]))
    bound = load(dipeptide_model).bind(unseen_pdb)
    np.testing.assert_allclose(
        read_start_frame(bound, tmp_path / "other.pdb")[0], read_start_frame(bound, unseen_pdb)[0], atol=1e-6
    )


def test_training_from_a_model_of_another_kind_is_refused(dipeptide_recipe, transferable_checkpoint, tmp_path):
    with pytest.raises(InputError, match="was trained with no model of kind internal"):
        train(dipeptide_recipe(tmp_path), init=transferable_checkpoint, show_progress=False)


def test_model_learns_what_tells_residues_apart(dipeptide_recipe, peptide, tmp_path):
    # In the data the torsions of V are shifted from those of A by 0.2 rad: a model that has learned the residue types
    # prefers for V the frames of V. Energies of the same frames bound as either molecule, at small noise.
    recipe = dipeptide_recipe(
        tmp_path, run__max_steps=400, model__width=48, optimizer__batch_size=96, optimizer__learning_rate=2e-3
    )
    checkpoint = read_checkpoint(train(recipe, show_progress=False))
    shared, t = checkpoint.model(), torch.tensor([0.02])
    preferred = {}
    for sequence in ("AV", "VS"):
        x = torch.from_numpy(peptide(sequence, 200, seed=50).positions_nm)
        x = (x - x.mean(1, keepdim=True)) / checkpoint.record.scale_nm
        preferred[sequence] = [float(shared.bind(peptide(other).beads)(x, t).detach().mean()) for other in ("AV", "VS")]
    # The sum over both kinds of frames is free of the unknown constants of the two molecules.
    assert preferred["AV"][0] + preferred["VS"][1] < preferred["AV"][1] + preferred["VS"][0] - 0.5
