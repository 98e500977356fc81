"""Names in recipes are as they are written, and numbers are what everybody reads."""

from pathlib import Path

import pytest

from fpforce.foundation.errors import InputError
from fpforce.molecule.mapping import list_beads
from fpforce.training.recipe.yaml_text import read_yaml

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize(
    "name", ["NO", "ON", "Y", "yes", "true", "1.0", "2e3", "~", "null", "010", "1:30", "1", "0x1F"]
)
def test_key_is_the_text_that_stands_there(name):
    assert read_yaml(f"beads:\n  {name}: resid 1\n") == {"beads": {name: "resid 1"}}
    assert read_yaml(f"{{{name}: resid 1}}") == {name: "resid 1"}


def test_names_of_atoms_that_yaml_takes_for_yes_and_no_are_text():
    assert read_yaml("[N, NO, ON, y, OFF]") == ["N", "NO", "ON", "y", "OFF"]
    assert read_yaml("[true, False, null, ~]") == [True, False, None, None]


@pytest.mark.parametrize("number", ["010", "1:30", "-1:30", "10:20:30.5", "0x1F", "0b11", "0_7"])
def test_number_that_may_be_read_as_another_is_refused_with_its_place(number):
    with pytest.raises(ValueError, match=f"{number} in line 2 may be read as one number or another.*in quotes"):
        read_yaml(f"a: 1\nb: {number}")
    assert read_yaml(f"b: '{number}'") == {"b": number}


@pytest.mark.parametrize("text, value", [("0", 0), ("-5", -5), ("10", 10), ("0.5", 0.5), (".5", 0.5), ("5e-4", 5e-4)])
def test_plain_numbers_are_numbers(text, value):
    assert read_yaml(f"a: {text}") == {"a": value}


def test_merged_keys_are_read():
    assert read_yaml("a: &x {1: 2}\nb: {<<: *x, NO: 1}") == {"a": {"1": 2}, "b": {"1": 2, "NO": 1}}


@pytest.mark.parametrize("name", [2000.0, None, True])
def test_name_in_a_record_that_is_no_text_is_refused(name):
    with pytest.raises(InputError, match=f"bead 0: name = {name} is no text: put the name in quotes"):
        list_beads([{"name": name, "residue": "ALA", "mass_da": 12.0}])


def test_digits_in_groups_are_a_number_as_ever():
    assert read_yaml("{steps: 10_000, rate: 1_0.5}") == {"steps": 10000, "rate": 10.5}


@pytest.mark.parametrize(
    "recipe", sorted(EXAMPLES.glob("*/*.yaml")) + sorted(EXAMPLES.glob("*/recipes/*.yaml")), ids=str
)
def test_recipes_of_the_examples_are_read(recipe):
    assert read_yaml(recipe.read_text())["data"]
