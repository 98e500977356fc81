"""Which openmm the native plugin is built against, asked by scikit-build-core while it builds a wheel.

In:  the environment that fpforce is being installed into, and the setting `preferred` of pyproject.toml.
Out: the build's requirement of one openmm, and the wheel's requirement of that openmm's minor version.

A plugin works with one minor version of OpenMM. The build runs in an environment of its own, where pip would otherwise
put the newest openmm whatever the user has. So the build takes the release that is installed already; where there is
none, `preferred`, which the torch backends' wheels fit too. The wheel then requires that minor version, so that pip
cannot put another beside it.
"""

import sysconfig
from importlib.metadata import PackageNotFoundError, distributions, version


def get_requires_for_dynamic_metadata(settings):
    """What pip has to put into the environment of the build."""
    return [f"openmm=={_installed(settings) or settings['preferred']}"]


def dynamic_metadata(settings, project):
    """The wheel's dependencies beyond those of pyproject.toml: the minor version of the openmm that this build sees."""
    try:
        release = version("openmm")
    except (
        PackageNotFoundError
    ):  # built without isolation and without openmm: without the plugin, as build.json then says
        return {"dependencies": []}
    return {"dependencies": [f"openmm=={_minor(release)}.*"]}


def dynamic_wheel(settings):
    """A source distribution leaves the choice open."""
    return {"dependencies": True}


def _installed(settings) -> str | None:
    """The release in the environment of this Python, which an isolated build has taken off its import path."""
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    releases = {found.version for found in distributions(name="openmm", path=folders)}
    supported = [release for release in releases if _minor(release) in settings["minor-versions"]]
    return supported[0] if supported else None


def _minor(release: str) -> str:
    return ".".join(release.split(".")[:2])
