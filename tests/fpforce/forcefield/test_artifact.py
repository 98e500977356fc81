"""model.pt is read without torch, and every wrong file is named for what it is."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import fpforce
from fpforce.forcefield.artifact import FORMAT_VERSION, describe_file
from fpforce.foundation.errors import InputError


def fresh_python(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        fpforce.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def checkpoint(tmp_path):
    import torch

    torch.save({"state_dict": {"weight": torch.ones(3)}, "pytorch-lightning_version": "2.6"}, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


@pytest.fixture
def plain_torchscript(tmp_path, modules):
    import torch

    torch.jit.script(modules(2, 1.0, 1.0)).save(str(tmp_path / "plain.pt"))
    return tmp_path / "plain.pt"


def test_reading_a_force_field_imports_neither_torch_nor_openmm_nor_mdtraj(dimer):
    code = (
        "import sys, fpforce; field = fpforce.load(sys.argv[1]); field.weights(); field.masses_da; field.sha256; "
        "print([name for name in ('torch', 'openmm', 'mdtraj') if name in sys.modules])"
    )
    done = fresh_python(code, dimer)
    assert done.stdout.strip() == "[]", done.stderr


def test_info_command_imports_no_torch(dimer):
    code = (
        "import sys, fpforce.commands.info as info\n"
        "try: info.main([sys.argv[1]])\n"
        "except SystemExit as done: assert not done.code\n"
        "print('torch' in sys.modules)"
    )
    done = fresh_python(code, dimer)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert "300 K" in done.stdout and "ALA1-CA 12 Da" in done.stdout


def test_archive_round_trip_keeps_metadata_weights_and_beads(dimer):
    field = fpforce.load(dimer)
    assert field.kind == "internal" and field.temperature_k == 300.0 and field.t_eval == 1e-5
    assert field.beads.names == ("CA", "N") and list(field.masses_da) == [12.0, 14.0]
    np.testing.assert_array_equal(field.positions_nm, [[0, 0, 0], [0.15, 0, 0]])
    np.testing.assert_array_equal(field.weights()["stiffness"], np.array([1, 2], np.float32))
    assert field.topology_pdb() == "END\n" and field.metadata["fpforce_version"] == fpforce.__version__
    np.testing.assert_allclose(field.bonds_nm["max"], [0.2])


def test_archive_entries_lie_under_the_same_stem_whatever_the_file_is_called(dimer):
    with zipfile.ZipFile(dimer) as archive:
        assert {"archive/extra/fpforce.json", "archive/extra/fpforce.safetensors", "archive/extra/topology.pdb"} <= set(
            archive.namelist()
        )


def test_exported_program_is_torchscript_with_the_energies_method(dimer):
    import torch

    program = torch.jit.load(str(dimer))
    positions = torch.tensor([[0.0, 0, 0], [0.16, 0, 0], [5.0, 0, 0], [5.15, 0, 0]], dtype=torch.float64)
    # U = 1/2 k (d - d0)^2 with k = 5000, d0 = 0.15; the first molecule is stretched by 0.01 nm.
    np.testing.assert_allclose(program.energies(positions).numpy(), [0.25, 0.0], atol=1e-5)
    assert abs(program(positions).item() - 0.25) < 1e-5


def test_what_is_no_path_is_named():
    assert "model file is None" in refusal(None)


def test_missing_file_is_named(tmp_path):
    assert "does not exist" in refusal(tmp_path / "absent.pt")


def test_folder_in_place_of_file_is_named(tmp_path):
    assert "folder" in refusal(tmp_path)


def test_training_checkpoint_is_recognised_with_the_export_command(checkpoint):
    assert describe_file(checkpoint) == "checkpoint"
    message = refusal(checkpoint)
    assert "training checkpoint" in message and f"fpforce-export {checkpoint}" in message


def test_plain_torchscript_is_recognised(plain_torchscript):
    assert describe_file(plain_torchscript) == "torchscript"
    assert "without fpforce metadata" in refusal(plain_torchscript)


def test_model_is_described_as_model(dimer):
    assert describe_file(dimer) == "model"


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_truncated_file_is_recognised(dimer, tmp_path, kept):
    data = dimer.read_bytes()
    path = tmp_path / "model.pt"
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    assert "truncated" in refusal(path)


def test_damage_anywhere_in_the_archives_structure_is_refused_in_words(dimer, tmp_path):
    data, path, rng = dimer.read_bytes(), tmp_path / "model.pt", np.random.default_rng(1)
    directory = int.from_bytes(data[data.rfind(b"PK\5\6") + 16 :][:4], "little")
    with zipfile.ZipFile(dimer) as archive:
        headers = [entry.header_offset for entry in archive.infolist() if "/extra/fpforce" in entry.filename]
    refused = 0
    for place in [*rng.integers(directory, len(data), 300), *(rng.choice(headers, 100) + rng.integers(0, 60, 100))]:
        damaged = bytearray(data)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            fpforce.load(path).weights_bytes()
        except InputError as error:
            refused += "model.pt" in str(error)
    assert refused > 100


def test_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "model.pt").write_text("ATOM      1  CA  ALA")
    assert "not a force field file" in refusal(tmp_path / "model.pt")


def test_newer_format_version_asks_for_an_upgrade(tmp_path, model_writer, modules, dimer):
    beads = fpforce.load(dimer).beads
    path = model_writer(
        tmp_path / "model.pt", modules(2, 1.0, 1.0), beads, np.eye(3)[:2], format_version=FORMAT_VERSION + 1
    )
    assert "upgrade fpforce" in refusal(path)


@pytest.mark.parametrize("changed", ["beads", "temperature_k", "start_positions_nm"])
def test_damaged_metadata_is_refused(dimer, tmp_path, changed):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(dimer) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("fpforce.json"):
                metadata = json.loads(data)
                del metadata[changed]
                data = json.dumps(metadata).encode()
            target.writestr(name, data)
    assert f"lacks '{changed}'" in refusal(path)


def test_failed_export_leaves_the_old_file(dimer, tmp_path, monkeypatch, model_writer, modules):
    import os

    path = tmp_path / "model.pt"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        model_writer(path, modules(2, 1.0, 1.0), fpforce.load(dimer).beads, np.eye(3)[:2])
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
