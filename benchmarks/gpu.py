"""The native force on a GPU: whether it is right there, and how long a Langevin step takes beside the other backends'.

python benchmarks/gpu.py [--platform CUDA] [--precision mixed] [--rounds 5] [--seconds 1.0]. For the first machine with
a GPU: needs the extra `cuda13` there. First energies and forces of every model and number of replicas are compared with
the host's in float64, and the script stops if they are wrong. Then backends take turns, and medians of the time of a
step are compared with TorchForce's, PythonForce's and that of a System of the same particles without a force. Writes
docs/results/gpu.md.

--quick tries the script itself anywhere, on OpenCL by pocl (FPFORCE_DEVICE=kernel has the kernels used there) or on
Reference: two small cases, a moment each, and nothing is written.
"""

import argparse
import logging
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
from frozen_models import frozen_model
from hardware import describe_hardware

import fpforce
from fpforce import backends
from fpforce.plugin import FPForce

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "gpu.md"
TOLERANCE = 1e-5  # of energies, and of forces over their root mean square
TIMESTEP_PS, FRICTION_PER_PS = 0.002, 1.0


@dataclass(frozen=True)
class Model:
    kind: str
    beads: int
    width: int
    layers: int

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.width} wide, {self.layers} layers, {self.beads} beads"

    def load(self):
        return fpforce.load(frozen_model(self.kind, self.beads, width=self.width, layers=self.layers))


MODELS = (
    Model("internal", 5, 128, 3),
    Model("internal", 28, 128, 3),
    Model("graph_transformer", 10, 64, 2),
    Model("graph_transformer", 28, 128, 3),
)
REPLICAS = (1, 64, 1000)
# The least ratio of a step of TorchForce to one of the native force that is wanted, and the most of that to an empty
# System's.
WANTED_OVER_TORCH = {1: 5.0, 64: 3.0, 1000: 3.0}
WANTED_OVER_EMPTY = 3.0


@dataclass(frozen=True)
class Device:
    platform: str
    precision: str

    def context(self, system, integrator) -> openmm.Context:
        properties = {} if self.platform in ("Reference", "CPU") else {"Precision": self.precision}
        return openmm.Context(system, integrator, openmm.Platform.getPlatformByName(self.platform), properties)

    def describe(self) -> str:
        system = openmm.System()
        system.addParticle(1.0)
        context = self.context(system, openmm.VerletIntegrator(0.001))
        platform = context.getPlatform()
        named = (
            platform.getPropertyValue(context, "DeviceName")
            if "DeviceName" in platform.getPropertyNames()
            else "the host"
        )
        return f"{self.platform}, {self.precision} precision, on {named}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", help="of OpenMM; the default is the first of CUDA, HIP and OpenCL that is there")
    parser.add_argument("--precision", default="mixed", choices=["single", "mixed", "double"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="try the script: small, short, and nothing is written")
    chosen = parser.parse_args()
    logging.getLogger("fpforce").setLevel(logging.ERROR)
    device = Device(chosen.platform or first_platform(or_reference=chosen.quick), chosen.precision)
    models, replicas = (MODELS[:1], (1, 8)) if chosen.quick else (MODELS, REPLICAS)
    rounds, seconds = (1, 0.05) if chosen.quick else (chosen.rounds, chosen.seconds)
    correct, correctness = check(device, models, replicas)
    print(correctness, flush=True)
    if not correct:
        sys.exit("the forces are wrong; no time is measured")
    times = measure(device, models, replicas, rounds, seconds)
    print(times)
    if not chosen.quick:
        where = f"{device.describe()}; {describe_hardware()}; OpenMM {openmm.version.short_version}"
        header = f"{where}; medians of {rounds} rounds."
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text("\n\n".join([header, correctness, times]) + "\n")


def first_platform(or_reference: bool) -> str:
    """The first GPU platform that makes a Context."""
    for name in ("CUDA", "HIP", "OpenCL"):
        system = openmm.System()
        system.addParticle(1.0)
        try:
            openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(name))
            return name
        except openmm.OpenMMException as error:
            print(f"{name}: {error}", file=sys.stderr)
    if or_reference:
        return "Reference"
    sys.exit("no GPU platform works here")


def check(device: Device, models, replicas) -> tuple[bool, str]:
    """(whether all is within TOLERANCE, a table): the native force on the device against the host's in float64."""
    lines = [
        "| model | replicas | computed by | energy, relative error | force, error over root mean square |",
        "|---|---|---|---|---|",
    ]
    correct = True
    for model in models:
        force_field = model.load()
        for count in replicas:
            system = fpforce.make_system(force_field, backend="native", replicas=count)
            force = FPForce.cast(system.getForce(0))
            context = device.context(system, openmm.VerletIntegrator(0.001))
            context.setPositions(frames_nm(force_field, count))
            where = force.getEvaluationInContext(context)
            energy, forces, positions_nm = evaluate(context)
            force.setPrecision(FPForce.Double)
            host = openmm.Context(
                system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
            )
            host.setPositions(positions_nm)
            expected_energy, expected, _ = evaluate(host)
            energy_error = abs(energy - expected_energy) / max(abs(expected_energy), count)
            force_error = np.abs(forces - expected).max() / np.sqrt(np.square(expected).mean())
            correct &= bool(energy_error < TOLERANCE and force_error < TOLERANCE)
            lines.append(f"| {model.name} | {count} | {where} | {energy_error:.1e} | {force_error:.1e} |")
    return correct, "\n".join(lines)


def frames_nm(force_field, count: int) -> np.ndarray:
    """(count * beads, 3): the start frame, perturbed by 0.005 nm."""
    start = np.tile(np.asarray(force_field.positions_nm), (count, 1))
    return start + np.random.default_rng(0).normal(scale=0.005, size=start.shape)


def evaluate(context):
    state = context.getState(energy=True, forces=True, positions=True)
    return (
        state.getPotentialEnergy()._value,
        state.getForces(asNumpy=True)._value,
        state.getPositions(asNumpy=True)._value,
    )


def measure(device: Device, models, replicas, rounds: int, seconds: float) -> str:
    """A table of the time of a Langevin step with every backend that can compute the model here, and with none."""
    lines = [
        "| model | replicas | native, us/step | torchforce | python | no force | torchforce / native (wanted) "
        "| native / no force (wanted) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in models:
        force_field = model.load()
        for count in replicas:
            steppers = {
                name: made
                for name in (*backends.names(), "no force")
                if (made := stepper(device, force_field, name, count))
            }
            times = step_times(steppers, rounds, seconds)

            def shown(name, times=times):
                return f"{1e6 * times[name]:.0f}" if name in times else "-"

            def ratio(over, under, times=times):
                return f"{times[over] / times[under]:.2f}" if over in times and under in times else "-"

            over_torch = WANTED_OVER_TORCH.get(count)
            lines.append(
                f"| {model.name} | {count} | {shown('native')} | {shown('torchforce')} | {shown('python')} "
                f"| {shown('no force')} | "
                f"{ratio('torchforce', 'native')} ({f'>= {over_torch:g}' if over_torch else '-'}) | "
                f"{ratio('native', 'no force')} ({f'<= {WANTED_OVER_EMPTY:g}' if model.kind == 'internal' else '-'}) |"
            )
    return "\n".join(lines)


def stepper(device: Device, force_field, backend: str, count: int):
    """A function that takes a number of steps and waits for the device, or None where this backend cannot be had."""
    try:
        system = fpforce.make_system(
            force_field, backend="native" if backend == "no force" else backend, replicas=count
        )
        if backend == "no force":
            system.removeForce(0)
        integrator = openmm.LangevinMiddleIntegrator(force_field.temperature_k, FRICTION_PER_PS, TIMESTEP_PS)
        context = device.context(system, integrator)
    except (openmm.OpenMMException, fpforce.InputError) as error:
        print(f"{backend}, {count} replicas: {error}", file=sys.stderr)
        return None
    context.setPositions(np.tile(np.asarray(force_field.positions_nm), (count, 1)))
    context.setVelocitiesToTemperature(force_field.temperature_k, 1)

    def steps(number: int) -> None:
        integrator.step(number)
        context.getState(energy=backend != "no force", positions=True)

    steps(20)  # what is compiled or cached at the first step
    return steps


def step_times(steppers: dict, rounds: int, seconds: float) -> dict[str, float]:
    """Seconds of a step: medians over rounds in which all take turns."""
    counts, times = {}, {name: [] for name in steppers}
    for name, steps in steppers.items():
        number, taken = 10, 0.0
        while taken < 0.1 * seconds:
            number *= 2
            began = time.perf_counter()
            steps(number)
            taken = time.perf_counter() - began
        counts[name] = max(10, round(number * seconds / taken))
    for _ in range(rounds):
        for name, steps in steppers.items():
            began = time.perf_counter()
            steps(counts[name])
            times[name].append((time.perf_counter() - began) / counts[name])
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    main()
