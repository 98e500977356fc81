"""A run of reference data goes on exactly where it stopped, and refuses to go on as anything else."""

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.reference.peptide import build_peptide
from fpforce.reference.protocol import FORCE_FIELD, Protocol, load_force_field
from fpforce.reference.run import ReferenceRun

PROTOCOL = Protocol(temperatures_k=(300.0, 500.0), interval_ps=0.1)
IDENTITY = {"sequence": "A", "seed": 3, "discarded_frames": 2}
# C of ACE, N, CA, CB, C of alanine, in the order of the topology.
STORED_NAMES = ["C", "N", "CA", "CB", "C"]


@pytest.fixture(scope="module")
def peptide():
    return build_peptide("A", load_force_field(FORCE_FIELD), 3)


@pytest.fixture
def begin(peptide):
    """A run in a folder; closed at the end of the test."""
    begun = []

    def make(folder, resume=False, identity=IDENTITY, protocol=PROTOCOL, stored=None):
        topology, positions_nm = peptide
        system = protocol.make_system(topology)
        begun.append(
            ReferenceRun(folder, topology, system, positions_nm, protocol, identity, resume=resume, stored=stored)
        )
        return begun[-1]

    yield make
    for run in begun:
        run.close()


def stop_after(frames):
    left = iter(range(frames))
    return lambda: next(left, None) is not None


@pytest.fixture
def whole(begin, tmp_path):
    run = begin(tmp_path / "whole")
    run.run_to(30, 60.0, show_progress=False)
    return run.read_frames()


def test_discarded_frames_are_left_out(whole):
    assert whole.shape == (28, 22, 3)


def test_a_stopped_run_goes_on_to_the_same_frames(begin, whole, tmp_path):
    folder = tmp_path / "stopped"
    run = begin(folder)
    with pytest.raises(KeyboardInterrupt, match="holds 11 of 30 frames; go on with --resume"):
        run.run_to(30, 60.0, show_progress=False, keep_going=stop_after(11))
    run.close()
    resumed = begin(folder, resume=True)
    assert resumed.frames == 11
    resumed.run_to(30, 0.0, show_progress=False)
    np.testing.assert_array_equal(resumed.read_frames(), whole)


def test_a_part_that_a_kill_left_without_its_checkpoint_is_written_anew(begin, whole, tmp_path):
    folder = tmp_path / "killed"
    run = begin(folder)
    with pytest.raises(KeyboardInterrupt):
        run.run_to(30, 60.0, show_progress=False, keep_going=stop_after(11))
    before = (folder / "checkpoint.npz").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run.run_to(30, 60.0, show_progress=False, keep_going=stop_after(7))
    run.close()
    # As if the kill had come between the second part and its checkpoint, in the middle of writing that.
    (folder / "checkpoint.npz").write_bytes(before)
    (folder / "checkpoint.npz.part").write_bytes(before[:100])
    resumed = begin(folder, resume=True)
    resumed.run_to(30, 60.0, show_progress=False)
    np.testing.assert_array_equal(resumed.read_frames(), whole)


def test_only_the_chosen_atoms_are_stored(begin, whole, peptide, tmp_path):
    topology = mdtraj.Topology.from_openmm(peptide[0])
    stored = topology.select("(resname ACE and name C) or (resname ALA and name N CA CB C)")
    run = begin(tmp_path / "beads", stored=stored)
    run.run_to(30, 60.0, show_progress=False)
    assert [atom.name for atom in run.topology.atoms] == STORED_NAMES
    # XTC rounds to 0.001 nm, but leaves fewer than ten atoms as they are.
    np.testing.assert_allclose(run.read_frames(), whole[:, stored], atol=5.1e-4)


def test_a_folder_in_use_is_refused(begin, tmp_path):
    begin(tmp_path / "busy")
    with pytest.raises(InputError, match="is being written by another process"):
        begin(tmp_path / "busy", resume=True)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(identity=IDENTITY | {"seed": 4}), "was begun with seed = 3, not 4"),
        (dict(protocol=Protocol(temperatures_k=(300.0, 510.0), interval_ps=0.1)), "was begun with temperatures_k"),
        (dict(resume=False), "is not empty: go on with --resume"),
    ],
)
def test_a_run_does_not_go_on_as_another_one(begin, tmp_path, change, message):
    run = begin(tmp_path / "run")
    run.run_to(2, 60.0, show_progress=False)
    run.close()
    with pytest.raises(InputError, match=message):
        begin(tmp_path / "run", **({"resume": True} | change))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(timestep_fs=3.0), "is no multiple of timestep-fs 3"),
        (dict(timestep_fs=0.0), "is no multiple of timestep-fs 0"),
        (dict(hydrogen_mass_da=None), "unstable with light hydrogens"),
    ],
)
def test_protocol_refuses(options, message):
    with pytest.raises(InputError, match=message):
        Protocol(**options)


def test_heavy_hydrogens_keep_the_mass_of_the_molecule(peptide):
    natural, heavy = (Protocol(timestep_fs=2.0, hydrogen_mass_da=mass).make_system(peptide[0]) for mass in (None, 4.0))
    masses = [[s.getParticleMass(i)._value for i in range(s.getNumParticles())] for s in (natural, heavy)]
    assert sum(masses[0]) == pytest.approx(sum(masses[1]))
    hydrogens = [atom.index for atom in peptide[0].atoms() if atom.element.symbol == "H"]
    assert {masses[1][i] for i in hydrogens} == {4.0}
