"""The force fields that come with the package: each loads, computes, simulates and is what its card says; what one does
not know is refused by name.
"""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm
import pytest

import fpforce
from fpforce.commands import info, simulate
from fpforce.commands.model_argument import model_file
from fpforce.shipped.chains import CHAINS
from fpforce.shipped.pretrained import card, names, path_of

# A sequence, none of them in the training data of its model.
SEQUENCES = {"capped_peptide": "NN", "disordered": "MEEKLRQNYWGPSTDAFHIVC"}


def molecule(name):
    """The force field of one molecule."""
    chain = card(name).chain
    return fpforce.pretrained(name) if chain is None else fpforce.pretrained(name, SEQUENCES[chain])


@pytest.fixture(scope="module")
def molecules():
    return {name: molecule(name) for name in names()}


def test_those_of_the_issue_are_there():
    assert {"alanine_dipeptide", "dipeptides"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_card_is_of_the_file_beside_it(name):
    found, force_field = card(name), fpforce.pretrained(name)
    content = path_of(name).read_bytes()
    assert found.name == name and found.sha256 == hashlib.sha256(content).hexdigest() == force_field.sha256
    training = force_field.metadata["training"]
    for figure, value in {
        "steps": training["steps"],
        "seconds": training["seconds"],
        "data_sha256": training["data_sha256"],
        "temperature_k": force_field.temperature_k,
        "model": force_field.kind,
        "megabytes": len(content) / 1e6,
    }.items():
        assert found.figures[figure] == value, figure
    assert len(content) < 5e6
    for part in ("**Data.**", "**Made**", "**Figures**", "**Limits.**"):
        assert part in found.text
    assert f"{training['steps']:,} steps" in found.text and not re.search(r"\b(nan|None)\b", found.text)


@pytest.mark.parametrize("name", names())
def test_card_of_a_model_of_many_molecules_lists_what_it_knows(name):
    force_field = fpforce.pretrained(name)
    if card(name).chain is None:
        assert isinstance(force_field, fpforce.ForceField)
        return
    transferable = force_field.metadata["transferable"]
    assert card(name).figures["residues"] == list(transferable["knowledge"]["residues"])
    assert card(name).figures["trained_on"] == len(transferable["trained_on"])
    assert SEQUENCES[card(name).chain] not in transferable["trained_on"]


@pytest.mark.parametrize("name", names())
def test_force_is_minus_energy_gradient(name, molecules):
    """By central differences along the force and along random directions, on the Reference platform."""
    force_field = molecules[name]
    system = fpforce.make_system(force_field, backend="native")
    platform = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(1e-3), platform)

    def energy(positions_nm):
        context.setPositions(positions_nm)
        return context.getState(energy=True).getPotentialEnergy()._value

    start = force_field.positions_nm
    context.setPositions(start)
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    rng, step_nm, size = np.random.default_rng(0), 1e-3, np.linalg.norm(forces)
    for direction in (forces, *rng.standard_normal((4, *start.shape))):
        direction = direction / np.linalg.norm(direction)
        # Fourth order; the network computes in single precision, so that steps cannot be small.
        near = energy(start + step_nm * direction) - energy(start - step_nm * direction)
        far = energy(start + 2 * step_nm * direction) - energy(start - 2 * step_nm * direction)
        slope = (8 * near - far) / (12 * step_nm)
        assert slope == pytest.approx(-(forces * direction).sum(), abs=3e-4 * size)


@pytest.mark.parametrize("name", names())
def test_short_simulation_stays_whole(name, molecules, tmp_path):
    settings = fpforce.SimulationSettings(
        steps=300, replicas=2, timestep_fs=card(name).timestep_fs, report_interval_ps=0.2, seed=1
    )
    result = fpforce.simulate(molecules[name], tmp_path / "out.xtc", settings)
    frames = fpforce.read_simulation(result.output, molecules[name].beads).positions_nm
    assert not result.failed and np.isfinite(frames).all() and len(frames) > 1
    assert np.abs(frames[-1] - frames[0]).max() > 1e-3


@pytest.mark.parametrize("name", names())
def test_no_torch_is_needed(name):
    chain = card(name).chain
    given = [name] if chain is None else [name, SEQUENCES[chain]]
    code = (
        "import sys\nsys.modules['torch'] = sys.modules['fpforce.training'] = None\nimport fpforce\n"
        f"force_field = fpforce.pretrained(*{given})\n"
        "print(fpforce.make_system(force_field, backend='native').getNumParticles() == len(force_field.beads))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_unknown_name_is_refused_with_what_there_is():
    with pytest.raises(fpforce.InputError, match="no pretrained model is called 'proteins'; there are .*dipeptides"):
        fpforce.pretrained("proteins")
    with pytest.raises(fpforce.InputError, match="there are "):
        fpforce.pretrained("../shipped/dipeptides")


def test_residue_that_a_model_does_not_know_is_named_with_those_that_it_knows(tmp_path):
    with pytest.raises(fpforce.InputError, match="sequence WG: residue GLY3 is of a type .* it knows ALA, .*VAL"):
        fpforce.pretrained("dipeptides", "WG")
    CHAINS["capped_peptide"]("PA").frame(0).save_pdb(str(tmp_path / "pa.pdb"))
    with pytest.raises(fpforce.InputError, match="pa.pdb: residue PRO2 is of a type .* it knows ALA, .*VAL"):
        fpforce.pretrained("dipeptides").bind(tmp_path / "pa.pdb")


@pytest.mark.parametrize("chain", CHAINS)
def test_chain_has_the_residues_of_its_sequence_and_starts_without_a_clash(chain):
    """No two atoms nearer than a bond to hydrogen; the same residues with coordinates as without."""
    molecule = CHAINS[chain](SEQUENCES[chain])
    frame = molecule.frame(seed=3)
    residues = [residue.code for residue in molecule.topology.residues if residue.code]
    assert "".join(residues) == SEQUENCES[chain] and frame.topology == molecule.topology
    pairs = np.linalg.norm(frame.xyz[0][:, None] - frame.xyz[0], axis=-1)[np.triu_indices(frame.n_atoms, 1)]
    assert 0.09 < pairs.min() < 0.4


def test_sequence_of_another_length_is_refused():
    with pytest.raises(fpforce.InputError, match="sequence WKA: "):
        fpforce.pretrained("dipeptides", "WKA")


@pytest.mark.parametrize("sequence", ["WX", "wk", ""])
def test_letter_that_is_no_amino_acid_is_refused(sequence):
    with pytest.raises(fpforce.InputError, match="is no amino acid; give one-letter codes"):
        fpforce.pretrained("dipeptides", sequence)


def test_sequence_for_a_model_of_one_molecule_is_refused():
    with pytest.raises(fpforce.InputError, match="alanine_dipeptide is the force field of one molecule already"):
        fpforce.pretrained("alanine_dipeptide", "A")


def test_start_of_a_sequence_follows_from_the_seed(molecules):
    again = molecule("dipeptides")
    np.testing.assert_array_equal(again.positions_nm, molecules["dipeptides"].positions_nm)
    other = fpforce.pretrained("dipeptides", SEQUENCES["capped_peptide"], seed=1)
    assert not np.allclose(other.positions_nm, again.positions_nm)
    assert again.metadata["bound_to"] == "sequence NN" and again.molecule == "ASN2 ASN3"


def run(command, *arguments):
    """Exit status of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        command.main([*map(str, arguments)])
    return ended.value.code


def test_info_lists_them_and_shows_cards(capsys):
    assert run(info) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed[:-1]] == [f"pretrained:{name}" for name in names()]
    assert run(info, "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == names()
    assert run(info, "pretrained:dipeptides", "--card") == 0
    assert capsys.readouterr().out == card("dipeptides").text
    assert run(info, "pretrained:dipeptides", "--card", "--json") == 0
    assert json.loads(capsys.readouterr().out) == card("dipeptides").facts()
    assert run(info, "pretrained:dipeptides") == 0
    assert card("dipeptides").sha256 in capsys.readouterr().out


def test_command_simulates_a_sequence(tmp_path, capsys):
    output = tmp_path / "out.xtc"
    given = ["pretrained:dipeptides", "-o", output, "--sequence", "NN", "--report-interval-ps", 0.02]
    assert run(simulate, *given, "--steps", 20) == 0
    assert json.loads((tmp_path / "out.xtc.json").read_text())["molecule"] == "ASN2 ASN3"
    assert run(simulate, *given, "--steps", 40, "--resume") == 0
    frames = fpforce.read_simulation(output, molecule("dipeptides").beads)
    assert len(frames.positions_nm) == 4 and frames.metadata["start"]["source"] == "sequence NN"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["pretrained:proteins"], "no pretrained model is called 'proteins'; there are "),
        (["pretrained:dipeptides"], "is of many molecules: say which, by --sequence or --topology FILE.pdb"),
        (["pretrained:dipeptides", "--sequence", "NN", "--topology", "nn.pdb"], "both name a molecule; give one"),
        (["other.pt", "--sequence", "NN"], "--sequence NN is for a pretrained:NAME; give other.pt its molecule by"),
        (["pretrained:alanine_dipeptide", "--sequence", "A"], "leave the sequence out"),
    ],
)
def test_command_refuses_what_is_not_clear(given, message, tmp_path, capsys):
    assert run(simulate, *given, "--steps", 10, "-o", tmp_path / "out.xtc") == 2
    assert message in capsys.readouterr().err


def test_info_refuses_options_that_have_no_model(capsys):
    assert run(info, "--card") == 2 and "--card is of one model" in capsys.readouterr().err
    assert run(info, path_of("dipeptides"), "--card") == 2 and "has no card" in capsys.readouterr().err
    assert run(info, "pretrained:dipeptides", "--card", "--topology", "a.pdb") == 2
    assert "--card and --topology a.pdb exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("seed", [-1, 1.5, "x", True])
def test_seed_that_is_none_is_refused_before_coordinates_are_made(seed):
    with pytest.raises(fpforce.InputError, match="give a whole number of 0 or more"):
        fpforce.pretrained("dipeptides", "NN", seed=seed)


def test_a_name_where_a_file_is_meant_is_told_what_to_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fpforce.InputError, match="give pretrained:dipeptides"):
        model_file(Path("dipeptides"))
    with pytest.raises(fpforce.InputError, match=r"in Python it is fpforce.pretrained\('dipeptides'\)"):
        fpforce.load("pretrained:dipeptides")
    Path("dipeptides").touch()
    assert model_file(Path("dipeptides")) == Path("dipeptides")
