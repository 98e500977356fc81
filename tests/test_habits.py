"""What the Makefile, .ci/run and CONTRIBUTING.md say of each other is true."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PARTS = re.compile(r"test-(native|openmm)-")  # parts of a target, which help need not list


def targets():
    """All targets that the Makefile declares as no files."""
    text = re.sub(r"\$\([^)]*\)", "", (ROOT / "Makefile").read_text())
    names = {name for line in re.findall(r"^\.PHONY: *(.*)$", text, re.MULTILINE) for name in line.split()}
    return {name for name in names if not PARTS.match(name)}


def listed():
    """What `make help` lists."""
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {line.split()[1]: line.split(None, 2)[2] for line in done.stdout.splitlines()}


def test_help_lists_every_target_with_what_it_does():
    assert listed().keys() == targets() and len(targets()) > 10


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", ".ci/run", ".github/ISSUE_TEMPLATE/bug_report.yml", "README.md"])
def test_targets_that_are_named_exist(page):
    named = set(re.findall(r"(?:`|step \w+ |^    )make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named <= targets()


def test_paths_that_contributing_names_exist():
    named = set(
        re.findall(
            r"`((?:benchmarks|fpforce|training|plugin|tests|docs|\.ci|\.github)/[\w./-]*)`",
            (ROOT / "CONTRIBUTING.md").read_text(),
        )
    )
    missing = {path for path in named if not (ROOT / path).exists()}
    assert named and not missing


def test_host_runs_the_same_check_on_every_supported_python_and_nothing_else():
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert supported == ">=3.11,<3.15"
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]


def test_check_goes_on_after_a_failed_step_and_fails(tmp_path):
    """.ci/run with two steps in place of its own."""
    script = (ROOT / ".ci" / "run").read_text()
    steps = "steps() {\n    step bad false\n    step good echo '==== 3 passed in 1.00s ===='\n}\n"
    changed = re.sub(r"^steps\(\) \{\n.*?^\}\n", lambda _: steps, script, flags=re.DOTALL | re.MULTILINE)
    assert changed != script
    (tmp_path / ".ci").mkdir()
    path = tmp_path / ".ci" / "run"
    path.write_text(changed)
    environment = {name: value for name, value in os.environ.items() if name != "ONLY"}
    done = subprocess.run(["bash", path], capture_output=True, text=True, env=environment)
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and lines[-1] == "==== 3 passed in 1.00s ===="
    assert lines[-3].split()[:2] == ["bad", "FAILED"] and lines[-2].split()[:2] == ["good", "ok"]


def test_hooks_call_tools_of_the_extra_dev():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^\w-]", requirement)[0] for requirement in project["optional-dependencies"]["dev"]}
    tools = {Path(hook["entry"].split()[0]).name.replace("lint-imports", "import-linter") for hook in hooks}
    assert tools <= needed
