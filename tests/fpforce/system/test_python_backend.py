"""The backend `python`: one copy of a model in a process, and a network made anew where torch has no TorchScript."""

import io
import pickle
import warnings
import zipfile

import numpy as np
import openmm
import pytest
import torch

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.system.backends import python
from fpforce.system.backends.python import Model, TorchEnergy


@pytest.fixture(scope="module")
def field(small_model):
    return fpforce.load(small_model)


def energy_and_forces(system, positions_nm):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions_nm)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


@pytest.fixture
def without_torchscript(monkeypatch):
    """torch as it will be one day; what was loaded before is forgotten."""
    monkeypatch.delattr(torch.jit, "load")
    monkeypatch.setattr(Model, "_here", type(Model._here)())


def test_network_made_anew_has_the_programs_energies(any_field, without_torchscript, monkeypatch):
    field = any_field
    frames = (field.positions_nm + np.random.default_rng(5).normal(scale=0.01, size=(3, 5, 3))).reshape(-1, 3)
    anew = fpforce.make_system(field, backend="python", replicas=3)
    energy, forces = energy_and_forces(anew, frames)
    through_xml = energy_and_forces(openmm.XmlSerializer.clone(anew), frames)
    monkeypatch.undo()
    expected_energy, expected = energy_and_forces(fpforce.make_system(field, backend="python", replicas=3), frames)
    assert energy == through_xml[0] == pytest.approx(expected_energy, abs=1e-3)
    np.testing.assert_allclose(forces, expected, atol=5e-2)


def test_nobody_is_told_that_torchscript_is_deprecated(field, recwarn):
    warnings.simplefilter("always")
    energy_and_forces(fpforce.make_system(field, backend="python"), field.positions_nm)
    assert not [str(found.message) for found in recwarn if "torch.jit" in str(found.message)]


def test_program_of_others_says_that_it_needs_torchscript(chiral_chain, without_torchscript):
    with pytest.raises(InputError, match="its network cannot be made anew .*install an older torch"):
        fpforce.make_system(chiral_chain, backend="python")


def test_openmm_without_pythonforce_is_named(field, monkeypatch):
    monkeypatch.setattr(python, "version", lambda name: "8.4.0")
    assert "openmm 8.4.0 has no PythonForce" in python.unavailable(field)


def test_forces_and_their_copies_share_one_model(field):
    first, second = (
        TorchEnergy(Model.of(field.description(), field.weights_bytes(), field.model_bytes()), slice(0, 5))
        for _ in range(2)
    )
    assert first.model is second.model
    assert pickle.loads(pickle.dumps(first)).model is first.model
    assert first.model.program() is second.model.program()
    assert Model.of(field.description(), field.weights_bytes(), None) is not first.model


def test_a_force_holds_the_model_without_what_only_model_pt_needs(field):
    with zipfile.ZipFile(io.BytesIO(field.model_bytes())) as archive:
        whole = sum(entry.file_size for entry in archive.infolist())
    xml = openmm.XmlSerializer.serialize(fpforce.make_system(field, backend="python"))
    assert len(xml) < 1.6 * whole  # base64 of it is 4/3
