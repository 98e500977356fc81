"""Bytes that nobody vouches for: whatever is wrong with them is a ValueError."""

import json
import random
import zipfile

import numpy as np
import pytest

from fpforce.foundation.foreign_files import numpy_file, read_json, refuse_damaged_zip
from fpforce.training.recipe.yaml_text import read_yaml


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_damage_anywhere_in_an_array_file_is_a_value_error_or_reads(tmp_path, suffix):
    path, chance = tmp_path / f"a{suffix}", random.Random(1)
    if suffix == ".npy":
        np.save(path, np.arange(30.0))
    else:
        np.savez_compressed(path, a=np.arange(30.0), b=np.zeros(3))
    whole, refused = path.read_bytes(), 0
    for _ in range(300):
        data = bytearray(whole)
        data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(bytes(data[: chance.choice((len(data), chance.randrange(len(data))))]))
        try:
            with numpy_file(path) as content:
                _ = content if suffix == ".npy" else dict(content)
        except ValueError:
            refused += 1
        except OSError as error:
            assert error.errno is None
    assert refused > 100


@pytest.mark.parametrize("text", ["[1, 2]", "3", '{"a": ', "\x00", "[" * 100_000, '"a"'])
def test_json_that_holds_no_mapping_is_a_value_error(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        read_json(path)


def test_a_mapping_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": [1]}))
    assert read_json(tmp_path / "a.json") == {"a": [1]}


def test_a_flipped_bit_in_an_archive_is_found(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", b"weights" * 100)
    refuse_damaged_zip(path)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError):
        refuse_damaged_zip(path)


@pytest.mark.parametrize(
    "text", ["a: !!python/name:os.system", "a: [1", "&a [*a]", "2001-99-99", "? {a: b}\n: 1", "a: 1\na: 2"]
)
def test_yaml_that_is_no_plain_mapping_is_a_value_error(text):
    with pytest.raises(ValueError):
        read_yaml(text)


def test_yaml_aliases_within_reason_are_values():
    assert read_yaml("a: &x [1, 5e-4]\nb: *x") == {"a": [1, 5e-4], "b": [1, 5e-4]}
