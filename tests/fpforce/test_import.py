"""What is loaded when: `import fpforce` and the commands' help stay light, a model is described without torch; and the
public names are the same for Python and for type checkers.
"""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import fpforce

ENGINES = ("openmm", "mdtraj", "torch", "pytorch_lightning", "pydantic", "matplotlib")
COMMANDS_OF_TRAINING = [
    path.stem
    for path in sorted(Path(fpforce.__file__).parent.glob("commands/*.py"))
    if "from fpforce.training" in path.read_text()
]
OF_TRAINING = [name for name, home in fpforce._HOME_OF.items() if home.startswith("fpforce.training.")]


def loaded_after(code):
    """The heavy packages that a fresh Python has loaded after running `code`."""
    program = f"import sys\n{code}\nprint([name for name in {ENGINES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_importing_the_package_loads_no_engine():
    assert loaded_after("import fpforce; dir(fpforce); fpforce.__version__") == "[]"


def test_importing_the_package_loads_no_numpy_either():
    assert loaded_after("import fpforce; assert 'numpy' not in sys.modules") == "[]"


@pytest.mark.parametrize("command", ["fit", "train", "export", "sample", "simulate", "evaluate", "info", "map"])
def test_help_of_a_command_loads_no_engine(command):
    code = (
        f"from fpforce.commands.{command} import main\ntry: main(['--help'])\nexcept SystemExit as stop: assert "
        "stop.code == 0"
    )
    assert loaded_after(code) == "[]"


def test_public_names_all_resolve():
    assert loaded_after("import fpforce\nfor name in fpforce.__all__: getattr(fpforce, name)").startswith("[")


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'make_sytem'"):
        fpforce.make_sytem  # noqa: B018


def test_runtime_names_never_import_the_training_package():
    code = (
        f"import fpforce\nfor name in set(fpforce.__all__) - set({OF_TRAINING}): getattr(fpforce, name)\n"
        "assert not [name for name in sys.modules if name.startswith('fpforce.training')]"
    )
    loaded_after(code)


@pytest.mark.parametrize("name", OF_TRAINING)
def test_without_torch_the_names_of_training_say_which_extra_they_need(name):
    code = (
        "sys.modules['torch'] = sys.modules['pydantic'] = None\nimport fpforce\n"
        f"try: fpforce.{name}\nexcept fpforce.InputError as error: message = str(error)\n"
        f"assert message.startswith('fpforce.{name} needs ') and '`cpu` or `cuda13`' in message, message"
    )
    loaded_after(code)


@pytest.mark.parametrize("command", COMMANDS_OF_TRAINING)
def test_without_torch_the_commands_of_training_say_which_extra_they_need(command):
    arguments = {"export": ["model.ckpt", "model.pt"], "sample": ["model.ckpt", "-n", "5", "-o", "samples.xtc"]}
    code = (
        "sys.modules['torch'] = None\n"
        f"from fpforce.commands.{command} import main\nmain({arguments.get(command, ['recipe.yaml'])})"
    )
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: training needs torch; install fpforce with the extra `cpu`"), done.stderr


def test_type_checkers_see_the_names_that_are_loaded_lazily():
    """Every import under TYPE_CHECKING is an entry of the lazy table, from the same module, and the reverse."""
    tree = ast.parse(Path(fpforce.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert all(alias.name == alias.asname for node in block.body for alias in node.names), "not re-exported"
    assert seen == fpforce._HOME_OF and sorted(seen) == fpforce.__all__


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_a_type_checker_knows_the_signatures_of_the_public_names(tmp_path):
    source = tmp_path / "user.py"
    source.write_text(
        "import fpforce\n"
        "reveal_type(fpforce.make_system)\n"
        "reveal_type(fpforce.load('model.pt'))\n"
        "fpforce.SimulationSettings(steps='many')\n"
        "fpforce.make_sytem\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports", str(source)],
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert "replicas: int =" in lines[0] and "force_field:" in lines[0], done.stdout
    assert "ForceField" in lines[1] and "TransferableForceField" in lines[1], done.stdout
    assert "incompatible type" in lines[2] and 'has no attribute "make_sytem"' in lines[3], done.stdout
