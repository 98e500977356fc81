"""What a simulation is, as far as its force field and settings say: the record that its sidecar begins with, and what a
simulation that goes on must have in common with that.
"""

from pathlib import Path

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError
from fpforce.simulation.exchange import ladder_text
from fpforce.simulation.settings import SimulationSettings
from fpforce.system.add_force import require_energy

# What a resumed run must have in common with the run it continues.
_FIXED_ON_RESUME = (
    "model_sha256",
    "replicas",
    "timestep_fs",
    "friction_per_ps",
    "temperature_k",
    "ladder_k",
    "report_steps",
    "per_replica",
    "molecule",
    "beads",
)


def require_simulable(force_field: ForceField, settings: SimulationSettings) -> None:
    """Raise InputError for forces without an energy, where the settings need one."""
    if not settings.override_not_conservative:
        require_energy(force_field, "--override-not-conservative")
    if not force_field.conservative and settings.minimise:
        raise InputError(f"{force_field.path} has no energy to minimise; leave --minimise out")
    if not force_field.conservative and settings.rungs > 1:
        raise InputError(
            f"{force_field.path} has no energy, by which {settings.rungs} rungs would exchange; leave --rungs out"
        )


def temperature_of(force_field: ForceField, settings: SimulationSettings) -> float:
    """In K; InputError for another one than the model's, unless that is asked for."""
    temperature_k = settings.temperature_k or force_field.temperature_k
    if abs(temperature_k - force_field.temperature_k) > 1e-3 and not settings.override_temperature:
        raise InputError(
            f"temperature {temperature_k:g} K differs from the {force_field.temperature_k:g} K of "
            f"{force_field.path}, whose free energy holds at that temperature only; leave it out, or give "
            "--override-temperature"
        )
    return temperature_k


def describe(force_field: ForceField, settings: SimulationSettings, temperature_k: float) -> dict:
    """The part of the sidecar that is known before the first step."""
    return {
        "replicas": settings.replicas,
        "timestep_fs": settings.timestep_fs,
        "friction_per_ps": settings.friction_per_ps,
        "temperature_k": temperature_k,
        "ladder_k": settings.ladder_k(temperature_k),
        "report_steps": settings.report_steps,
        "frame_interval_ps": settings.report_steps * settings.timestep_fs / 1000.0,
        "per_replica": settings.per_replica,
        "seed": settings.seed,
        "model": str(force_field.path),
        "model_sha256": force_field.sha256,
        "molecule": force_field.molecule,
        "beads": list(force_field.beads.labels),
    }


def require_same_run(output: Path, stored: dict, wanted: dict) -> None:
    """Raise InputError where a simulation that is to go on (`stored`) was another one than what is `wanted`."""
    for name in _FIXED_ON_RESUME:
        if stored.get(name) != wanted[name] and not (
            name == "beads" and name not in stored
        ):  # runs from before it was recorded
            now, then = wanted[name], stored.get(name)
            if name == "ladder_k":
                name, now, then = "the ladder of --rungs and --top-temperature-k", ladder_text(now), ladder_text(then)
            raise InputError(
                f"cannot resume {output}: {name} is {now}, the run to continue has {then}; use the same "
                "settings, or --overwrite to start anew"
            )
