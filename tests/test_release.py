"""What a release refuses, in a small repository; the files that it builds are looked through by `make dist`."""

import importlib.util
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def script(name):
    """The module .ci/NAME.py."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    """A clean work tree that is ready to be 1.2.3."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3\n\n- Something.\n\n## 1.2.2\n\n- Before.\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "all")
    return tmp_path


def test_clean_tree_that_names_its_version_can_be_released(repository):
    release = script("release")
    assert release.faults(repository, "1.2.3") == []
    assert release.section(repository / "CHANGELOG.md", "1.2.3") == "- Something."


def test_uncommitted_change_is_refused(repository):
    (repository / "new.py").write_text("")
    assert any("not committed" in fault for fault in script("release").faults(repository, "1.2.3"))


@pytest.mark.parametrize("version", ["1.2.4", "1.2.2"])
def test_other_version_than_that_of_pyproject_is_refused(repository, version):
    faults = script("release").faults(repository, version)
    assert any(f"write {version} there" in fault for fault in faults)
    assert any("nothing under" in fault for fault in faults) == (version == "1.2.4")


def test_unreleased_changes_are_refused(repository):
    changelog = repository / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## 1.2.3", "## Unreleased\n\n- New.\n\n## 1.2.3"))
    git(repository, "commit", "-a", "-m", "new")
    (fault,) = script("release").faults(repository, "1.2.3")
    assert "Unreleased" in fault


def test_version_that_was_tagged_before_and_words_are_refused(repository):
    git(repository, "tag", "v1.2.3")
    assert any("v1.2.3 is there already" in fault for fault in script("release").faults(repository, "1.2.3"))
    assert any("three numbers" in fault for fault in script("release").faults(repository, "next"))


def test_dry_run_builds_and_a_release_tags_too(repository, monkeypatch):
    """With a build that writes one file."""
    (repository / ".ci").mkdir()
    (repository / ".ci" / "distributions.py").write_text(
        "import os, sys; os.makedirs(sys.argv[1], exist_ok=True); open(f'{sys.argv[1]}/built', 'w').close()"
    )
    (repository / ".gitignore").write_text("dist/\n")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "build")
    for name, value in (("user.name", "a"), ("user.email", "a@b.c")):
        git(repository, "config", name, value)
    release = script("release")
    monkeypatch.setattr(release, "ROOT", repository)

    def tags():
        return subprocess.run(["git", "tag", "-n9"], cwd=repository, capture_output=True, text=True, check=True).stdout

    monkeypatch.setattr("sys.argv", ["release.py", "1.2.3", "--dry-run"])
    release.main()
    assert (repository / "dist" / "built").exists() and tags() == ""
    monkeypatch.setattr("sys.argv", ["release.py", "1.2.3"])
    release.main()
    assert tags().startswith("v1.2.3") and "- Something." in tags()
    with pytest.raises(SystemExit, match="v1.2.3 is there already"):
        release.main()


def test_wheel_takes_everything_in_fpforce_but_the_link_to_training():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["scikit-build"]
    taken = tool["wheel"]["force-include"]
    there = {f"fpforce/{path.name}" for path in (ROOT / "fpforce").iterdir() if path.name != "__pycache__"}
    assert {source for source in taken if source.startswith("fpforce/")} == there - {"fpforce/training"}
    assert taken["training"] == "fpforce/training" and (ROOT / "fpforce" / "training").is_symlink()


def test_version_of_the_package_is_in_pyproject_alone():
    import fpforce

    assert script("distributions").version() == fpforce.__version__
    assert f'"{fpforce.__version__}"' not in (ROOT / "fpforce" / "__init__.py").read_text()


def test_file_that_is_twice_in_a_distribution_or_missing_is_found(tmp_path):
    distributions = script("distributions")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for name in ("training/train.py", "fpforce/training/train.py", "pyproject.toml", "pyproject.toml"):
            archive.add(ROOT / "pyproject.toml", f"fpforce-1/{name}")
    faults = distributions.faults_of_sdist(tmp_path / "x.tar.gz")
    assert "x.tar.gz: pyproject.toml is there 2 times" in faults
    assert "x.tar.gz: fpforce/training/train.py, which training/ holds already" in faults
    assert "x.tar.gz: fpforce/analysis/report.html.j2 is missing" in faults
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("fpforce/__init__.py", "")
    faults = distributions.faults_of_wheel(tmp_path / "x.whl")
    for name in (
        "fpforce/training/train.py",
        "fpforce/analysis/report.html.j2",
        "fpforce/plugin/force.py",
        "libFPForce.so",
    ):
        assert f"x.whl: {name} is missing" in faults
    assert not any("fpforce/__init__.py" in fault for fault in faults)


def wheel_with_plugin(folder, version, **other):
    """A small wheel as `pip wheel` makes it beside one OpenMM."""
    wheelfile = pytest.importorskip("wheel.wheelfile", reason="the extra `dev` is not installed")
    folder.mkdir()
    minor = ".".join(version.split(".")[:2])
    contents = {
        "fpforce/__init__.py": "",
        "fpforce/plugin/build.json": f'{{"openmm": ["{version}"]}}',
        f"OpenMM.libs/lib/fpforce/{minor}/libFPForce.so": f"for {version}",
        "OpenMM.libs/lib/plugins/libFPForcePlugin.so": f"loader of {version}",
        "fpforce-1.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-linux_x86_64\n",
        "fpforce-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: fpforce\nVersion: 1\n"
        f"Requires-Dist: openmm<8.7,>=8.3\nRequires-Dist: numpy\nRequires-Dist: openmm=={minor}.*\n",
    } | other
    with wheelfile.WheelFile(folder / "fpforce-1-py3-none-linux_x86_64.whl", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return folder / "fpforce-1-py3-none-linux_x86_64.whl"


@pytest.fixture
def wheels(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    pytest.importorskip("wheel", reason="the extra `dev` is not installed")
    return script("wheels")


def test_joined_wheel_has_every_plugin_and_goes_with_each_openmm(wheels, tmp_path):
    builds = [wheel_with_plugin(tmp_path / version, version) for version in ("8.4", "8.5.2", "8.6.1")]
    joined, versions = wheels.join(builds, tmp_path)
    with zipfile.ZipFile(joined) as archive:
        assert archive.testzip() is None
        for version in ("8.4", "8.5.2", "8.6.1"):
            minor = ".".join(version.split(".")[:2])
            name = f"OpenMM.libs/lib/fpforce/{minor}/libFPForce.so"
            assert archive.read(name).decode() == f"for {version}"
            assert name.encode() in archive.read("fpforce-1.dist-info/RECORD")
        metadata = archive.read("fpforce-1.dist-info/METADATA").decode()
        record = archive.read("fpforce/plugin/build.json").decode()
    assert [line for line in metadata.splitlines() if "Requires" in line] == [
        "Requires-Dist: openmm<8.7,>=8.3",
        "Requires-Dist: numpy",
    ]
    assert versions == ["8.4", "8.5.2", "8.6.1"] and record == '{"openmm": ["8.4", "8.5.2", "8.6.1"]}'


def test_wheels_of_other_sources_or_without_a_plugin_are_not_joined(wheels, tmp_path):
    first = wheel_with_plugin(tmp_path / "first", "8.5.2")
    other = wheel_with_plugin(tmp_path / "other", "8.6.1", **{"fpforce/__init__.py": "changed"})
    without = wheel_with_plugin(tmp_path / "none", "8.6.1", **{"fpforce/plugin/build.json": '{"missing": "no g++"}'})
    for wheel, message in ((other, "fpforce/__init__.py of .* build both anew"), (without, "has no plugin: no g..")):
        with pytest.raises(SystemExit, match=message):
            wheels.join([first, wheel], tmp_path)


def test_conda_recipe_requires_what_pyproject_does():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    recipe = yaml.safe_load((ROOT / "packaging" / "conda" / "recipe.yaml").read_text())
    renamed = {"matplotlib-base": "matplotlib", "pytables": "tables"}  # conda-forge's names
    run = [part.split() for part in recipe["requirements"]["run"] if part.split()[0] not in ("python", "${{")]
    assert {f"{renamed.get(name, name)}{least}" for name, least in run} == {
        dependency for dependency in project["dependencies"] if not dependency.startswith("openmm")
    }
    assert recipe["context"]["version"] == project["version"]
    minors = yaml.safe_load((ROOT / "packaging" / "conda" / "variants.yaml").read_text())["openmm"]
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dynamic-metadata"][0]["minor-versions"]
    assert set(minors) == set(supported) - {"8.3"}
