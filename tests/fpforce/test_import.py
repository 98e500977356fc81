"""What is loaded when: `import fpforce` and the commands' help stay light, a model is described without torch."""

import subprocess
import sys

import pytest

ENGINES = ("openmm", "mdtraj", "torch", "pytorch_lightning", "pydantic", "matplotlib")


def loaded_after(code):
    """The heavy packages that a fresh Python has loaded after running `code`."""
    program = f"import sys\n{code}\nprint([name for name in {ENGINES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_importing_the_package_loads_no_engine():
    assert loaded_after("import fpforce; dir(fpforce); fpforce.__version__") == "[]"


@pytest.mark.parametrize("command", ["train", "export", "sample", "simulate", "evaluate", "info", "map"])
def test_help_of_a_command_loads_no_engine(command):
    code = (
        f"from fpforce.commands.{command} import main\ntry: main(['--help'])\nexcept SystemExit as stop: assert "
        f"stop.code == 0"
    )
    assert loaded_after(code) == "[]"


def test_public_names_all_resolve():
    assert loaded_after("import fpforce\nfor name in fpforce.__all__: getattr(fpforce, name)").startswith("[")


def test_unknown_name_is_an_attribute_error():
    import fpforce

    with pytest.raises(AttributeError, match="no attribute 'make_sytem'"):
        fpforce.make_sytem  # noqa: B018


def test_runtime_package_never_imports_the_training_package():
    code = (
        "import fpforce\nfor name in fpforce.__all__: getattr(fpforce, name)\n"
        "assert not [name for name in sys.modules if name.startswith('fpforce.training')]"
    )
    loaded_after(code)
