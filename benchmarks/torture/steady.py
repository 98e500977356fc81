"""Memory that does not grow, and use from threads and processes.

python benchmarks/torture/steady.py [--quick] [--steps 300000] [--systems 1000] [--frames 10000]. Steps of a simulation,
calls of make_system and saved frames: each runs in a fork, which reads its resident memory after a tenth of the work
and at the end; growth above 20 MB, or above 5% where more is used, is a fault. make_system and simulate then run from
several threads, under fork and under spawn, and within an OpenMM program that has a System of its own; results must be
those of a single call. From threads that holds on the CPU platform; on Reference all contexts of a process draw from
one stream of random numbers, which is OpenMM's, and what must hold is that forces are right and no frame is lost.
Status 1 where anything is wrong. Writes docs/results/steady.json and .md.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
import numpy as np
from workbench import options
from workbench.forked import run_forked
from workbench.hardware import describe_hardware
from workbench.tiny import tiny_model

ALLOWED_MB, ALLOWED_PART = 20.0, 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300_000, help="of a simulation of 8 replicas")
    parser.add_argument("--systems", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=10_000, help="saved times of a simulation")
    chosen = options.parse(parser, steps=2000, systems=20, frames=200)
    model = tiny_model(chosen.runs)
    rows: dict[str, dict[str, Any]] = {}
    for name, count, work in (
        ("steps", chosen.steps, stepping),
        ("make_system calls", chosen.systems, making),
        ("saved frames", chosen.frames, saving),
    ):
        rows[name] = growth(work, model, count)
    for name, check in (
        ("threads, CPU", in_threads),
        ("threads, Reference", in_threads_on_reference),
        ("fork", forked),
        ("spawn", spawned),
        ("beside another", beside_another),
    ):
        rows[name] = tried(check, model)
    result = {"hardware": describe_hardware(), "rows": rows}
    (chosen.results / "steady.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "steady.md").write_text(table(result))
    print(table(result))
    if any(row["wrong"] for row in rows.values()):
        sys.exit(1)


def growth(work: Callable[[Path, int], Iterator[int]], model: Path, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"

        def do() -> None:
            first = None
            for done in work(model, count):
                if first is None and done >= count // 10:
                    first = resident_mb()
            found.write_text(json.dumps([first, resident_mb()]))

        ended = run_forked(do, longest_s=1800.0)
        if ended.status:
            return {"count": count, "wrong": ended.said[-300:]}
        first, last = json.loads(found.read_text())
    grown = last - first
    wrong = f"grew by {grown:.0f} MB" if grown > max(ALLOWED_MB, ALLOWED_PART * first) else ""
    return {"count": count, "first_mb": round(first, 1), "last_mb": round(last, 1), "wrong": wrong}


def resident_mb() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return float(line.split()[1]) / 1024.0


def stepping(model: Path, count: int) -> Iterator[int]:
    import openmm

    import fpforce

    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field, replicas=8, threads=1)
    integrator = openmm.LangevinMiddleIntegrator(force_field.temperature_k, 1.0, 0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.tile(force_field.positions_nm, (8, 1)))
    for done in range(0, count, 500):
        integrator.step(500)
        context.getState(positions=True, energy=True)
        yield done


def making(model: Path, count: int) -> Iterator[int]:
    import openmm

    import fpforce

    for done in range(count):
        force_field = fpforce.load(model)
        system = fpforce.make_system(force_field, replicas=4, threads=1)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(np.tile(force_field.positions_nm, (4, 1)))
        context.getState(forces=True)
        yield done


def saving(model: Path, count: int) -> Iterator[int]:
    """Saved times in ten parts, each of which a resumed simulation adds, in this process."""
    from fpforce.simulation.simulate import SimulationSettings, simulate

    with tempfile.TemporaryDirectory() as folder:
        for part in range(1, 11):
            steps = 2 * (count * part // 10)
            settings = SimulationSettings(
                steps=steps, replicas=2, report_interval_ps=0.004, threads=1, resume=part > 1, platform="Reference"
            )
            simulate(model, Path(folder) / "s.xtc", settings)
            yield count * part // 10


def tried(check: Callable[[Path], str], model: Path) -> dict[str, Any]:
    """In a fork, whose crash is a fault of the row alone."""

    def do() -> None:
        wrong = check(model)
        if wrong:
            raise RuntimeError(wrong)

    ended = run_forked(do, longest_s=600.0)
    return {"count": 4, "wrong": "" if ended.status == 0 else f"status {ended.status}: {ended.said[-400:]}"}


def simulated(model: str, platform: str = "Reference") -> bytes:
    """Bytes of a short trajectory, the same for every call."""
    from fpforce.simulation.simulate import SimulationSettings, simulate

    with tempfile.TemporaryDirectory() as folder:
        settings = SimulationSettings(steps=40, replicas=2, report_interval_ps=0.02, threads=1, platform=platform)
        simulate(model, Path(folder) / "s.xtc", settings)
        return (Path(folder) / "s.xtc").read_bytes()


def in_threads(model: Path) -> str:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(simulated, [str(model)] * 4, ["CPU"] * 4))
    return "" if found == {simulated(str(model), "CPU")} else "threads gave other trajectories"


def in_threads_on_reference(model: Path) -> str:
    """Without noise, by VerletIntegrator, the trajectory of a single call; with it all frames, and each finite."""
    with ThreadPoolExecutor(4) as pool:
        moved = set(pool.map(without_noise, [model] * 4))
        lengths = list(pool.map(finite_frames, [model] * 4))
    if moved != {without_noise(model)}:
        return "threads gave other forces"
    return "" if lengths == [finite_frames(model)] * 4 else f"threads saved {lengths} finite frames"


def without_noise(model: Path) -> bytes:
    import openmm

    import fpforce

    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field, replicas=2, threads=1)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.tile(force_field.positions_nm, (2, 1)))
    context.getIntegrator().step(200)
    return context.getState(positions=True).getPositions(asNumpy=True)._value.tobytes()


def finite_frames(model: Path) -> int:
    import fpforce
    from fpforce.simulation.read import read_simulation
    from fpforce.simulation.simulate import SimulationSettings, simulate

    with tempfile.TemporaryDirectory() as folder:
        settings = SimulationSettings(steps=400, replicas=2, report_interval_ps=0.02, threads=1, platform="Reference")
        result = simulate(model, Path(folder) / "s.xtc", settings)
        assert not result.failed, result
        frames = read_simulation(Path(folder) / "s.xtc", fpforce.load(model).beads).positions_nm
        return int(np.isfinite(frames).all(axis=(1, 2, 3)).sum())


def forked(model: Path) -> str:
    return _in_processes(model, "fork")


def spawned(model: Path) -> str:
    return _in_processes(model, "spawn")


def _in_processes(model: Path, how: str) -> str:
    wanted = simulated(str(model))  # before the fork, so that what a library keeps is forked too
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(how)) as pool:
        found = set(pool.map(simulated, [str(model)] * 4))
    return "" if found == {wanted} else f"processes by {how} gave other trajectories"


def beside_another(model: Path) -> str:
    """While another Context of the same process lives, between two of its steps."""
    import openmm

    wanted = simulated(str(model))
    system = openmm.System()
    system.addParticle(1.0)
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.zeros((1, 3)))
    context.setVelocities(np.ones((1, 3)))
    integrator.step(10)
    found = simulated(str(model))
    integrator.step(10)
    moved = context.getState(positions=True).getPositions(asNumpy=True)._value
    return "" if found == wanted and np.allclose(moved, 0.02) else "one disturbed the other"


def table(result: dict[str, Any]) -> str:
    lines = [
        f"One thread, Reference platform; {result['hardware']}. Memory: resident, after a tenth of the work and at "
        "its end.",
        "",
        "| what | count | after a tenth, MB | at the end, MB | faults |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        sizes = f"{row.get('first_mb', '')} | {row.get('last_mb', '')}"
        lines.append(f"| {name} | {row['count']:,} | {sizes} | {row['wrong'] or 'none'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
