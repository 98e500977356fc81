"""Langevin steps per second of every backend on the same frozen models, side by side, as ratios; and what limits them.

python benchmarks/speed/langevin_speed.py [--rounds 7] [--seconds 0.4] [--only TABLE ...] [--quick]. Models come from
frozen_models.py. Backends alternate in rounds on one thread, and the median is taken, so that a noisy machine burdens
all alike; times are of the processor, but for those of two threads. The time of the force alone is that of a step less
that of a step of the same particles without any force. Its arithmetic rate counts the multiply-adds of the matrix
products only, and is compared with numpy's and torch's matrix products of the same shape. Writes
docs/results/langevin_speed.json and .md; with --only the other tables stay as they were measured.
"""

import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import openmm  # noqa: E402
import torch  # noqa: E402

import fpforce  # noqa: E402
from fpforce.system import backends  # noqa: E402
from fpforce.system.platforms import make_context  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options  # noqa: E402
from workbench.frozen_models import frozen_model  # noqa: E402
from workbench.hardware import describe_hardware  # noqa: E402

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    """One line of the table: a model, a number of replicas, and the least ratio of native to torchforce that is
    wanted.
    """

    kind: str
    beads: int
    width: int
    layers: int
    replicas: int
    wanted: float | None

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.width} wide, {self.layers} layers, {self.beads} beads"

    @property
    def multiply_adds(self) -> float:
        """Of the matrix products, forwards and backwards, for all replicas: dense layers, and attention's over
        pairs.
        """
        w = self.width
        if self.kind == "internal":
            features = self.beads * (self.beads - 1) // 2 + 4 * max(self.beads - 3, 0)
            return self.replicas * 2.0 * w * (features + (self.layers - 1) * w)
        n, heads, edge, geometric = self.beads, w // 16, 48, 32
        layer = 16 * w**2 + 4 * w * edge + n * (6 * w + heads * (4 * edge + 2 * geometric))
        # The first layer's queries, keys and values are constant, and of its logits all but the geometric features'
        # part.
        first = 10 * w**2 + 2 * w * edge + n * (2 * w + heads * (2 * edge + 3 * geometric))
        return float(self.replicas * n * (first + (self.layers - 1) * layer + 2 * w**2))


CASES = (
    Case("internal", 5, 128, 3, 1, 40),
    Case("internal", 5, 128, 3, 64, 2),
    Case("internal", 5, 128, 3, 256, None),
    Case("graph_transformer", 10, 64, 2, 1, 8),
    Case("graph_transformer", 28, 128, 3, 1, 1.5),
    Case("graph_transformer", 28, 128, 3, 16, None),
)

INSTRUCTION_SETS = ("x86-64-v4", "x86-64-v3", "portable")

QUICK_CASES = (
    Case("internal", 5, 16, 2, 1, None),
    Case("graph_transformer", 5, 16, 1, 2, None),
    Case("internal", 5, 16, 2, 4, None),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement")
    parser.add_argument("--only", nargs="*", choices=TABLES, metavar="TABLE", help=f"these of {', '.join(TABLES)}")
    chosen = options.parse(parser, rounds=1, seconds=0.005)
    chosen.cases = QUICK_CASES if chosen.quick else CASES
    torch.set_num_threads(1)
    path = chosen.results / "langevin_speed.json"
    tables = json.loads(path.read_text())["tables"] if chosen.only and path.exists() else {}
    for name in chosen.only or TABLES:
        tables[name] = TABLES[name](chosen)
        print(tables[name], flush=True)
    path.write_text(json.dumps({"tables": tables}, indent=1))
    (chosen.results / "langevin_speed.md").write_text(page(tables))


def page(tables: dict[str, str]) -> str:
    """The tables that were measured, one below the other."""
    head = (
        f"One thread, LangevinMiddleIntegrator of 2 fs, Reference platform; medians over rounds; {describe_hardware()}."
    )
    return "\n\n".join([head, *(tables[name] for name in TABLES if name in tables)]) + "\n"


def _backends(chosen) -> str:
    lines = [
        "| model | replicas | native, steps/s | torchforce | python | native / torchforce | wanted |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in chosen.cases:
        force_field = _model(case, chosen.runs)
        rates = _rates({name: _stepper(force_field, name, case.replicas) for name in backends.names()}, chosen)
        wanted = f">= {case.wanted:g}" if case.wanted else ""
        lines.append(
            f"| {case.name} | {case.replicas} | {rates['native']:.0f} | {rates['torchforce']:.0f} | "
            f"{rates['python']:.0f} | {rates['native'] / rates['torchforce']:.1f} | {wanted} |"
        )
    return "\n".join(lines)


def _limits(chosen) -> str:
    """The native force's own time and rate, beside matrix products of its shapes and, for one molecule, a bare loop."""
    lines = [
        "| model | replicas | force, us | products, GFLOP/s | numpy | torch | of the faster | bare loop, us |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in chosen.cases:
        force_field = _model(case, chosen.runs)
        rates = _rates(
            {
                "native": _stepper(force_field, "native", case.replicas),
                "empty": _stepper(force_field, None, case.replicas),
            },
            chosen,
        )
        seconds = 1 / rates["native"] - 1 / rates["empty"]
        rows = case.replicas if case.kind == "internal" else case.replicas * case.beads
        products = _matrix_products(rows, case.width, chosen)
        rate = 2e-9 * case.multiply_adds / seconds
        loop = f"{1e6 * _bare_loop(case, chosen):.1f}" if case.kind == "internal" and case.replicas == 1 else ""
        lines.append(
            f"| {case.name} | {case.replicas} | {1e6 * seconds:.1f} | {rate:.0f} | {products['numpy']:.0f} | "
            f"{products['torch']:.0f} | {rate / max(products.values()):.2f} | {loop} |"
        )
    return "\n".join(lines)


def _instruction_sets(chosen) -> str:
    """The second table's rates with each instruction set that the native force may take."""
    lines = [
        "| model | replicas | instruction set | force, us | products, GFLOP/s | of the faster |",
        "|---|---|---|---|---|---|",
    ]
    for case in chosen.cases:
        if case.kind != "internal" or case.replicas == 1:
            continue
        force_field = _model(case, chosen.runs)
        faster = max(_matrix_products(case.replicas, case.width, chosen).values())
        work = {"empty": _stepper(force_field, None, case.replicas)}
        for name in INSTRUCTION_SETS:
            os.environ["FPFORCE_ISA"] = name
            try:
                work[name] = _stepper(force_field, "native", case.replicas)
            except (openmm.OpenMMException, fpforce.InputError):
                continue  # this processor has it not
            finally:
                del os.environ["FPFORCE_ISA"]
        rates = _rates(work, chosen)
        for name in [each for each in rates if each != "empty"]:
            seconds = 1 / rates[name] - 1 / rates["empty"]
            rate = 2e-9 * case.multiply_adds / seconds
            lines.append(
                f"| {case.name} | {case.replicas} | {name} | {1e6 * seconds:.1f} | {rate:.0f} | {rate / faster:.2f} |"
            )
    return "\n".join(lines)


def _threads(chosen) -> str:
    case = chosen.cases[2]
    force_field = _model(case, chosen.runs)
    rates = _rates(
        {
            1: _stepper(force_field, "native", case.replicas, 1),
            2: _stepper(force_field, "native", case.replicas, 2),
            "empty": _stepper(force_field, None, case.replicas),
        },
        chosen,
        time.perf_counter,
    )
    times = {threads: 1 / rates[threads] - 1 / rates["empty"] for threads in (1, 2)}
    return (
        f"{case.name}, {case.replicas} replicas: the force takes {1e6 * times[1]:.0f} us on one thread, "
        f"{1e6 * times[2]:.0f} us on two: {times[1] / times[2]:.2f} times as fast (wanted: >= 1.7)."
    )


def _model(case: Case, runs: Path):
    return fpforce.load(frozen_model(runs, case.kind, case.beads, width=case.width, layers=case.layers))


def _stepper(force_field, backend: str | None, replicas: int, threads: int = 1):
    """A function of a number of Langevin steps; backend None leaves the force out."""
    system = fpforce.make_system(force_field, backend=backend or "native", replicas=replicas, threads=threads)
    if backend is None:
        system.removeForce(0)
    context, _ = make_context(
        system, lambda: openmm.LangevinMiddleIntegrator(force_field.temperature_k, 1.0, 0.002), "auto"
    )
    context.setPositions([tuple(p) for _ in range(replicas) for p in force_field.positions_nm])
    context.setVelocitiesToTemperature(force_field.temperature_k, 1)
    context.getIntegrator().step(10)

    def steps(count):
        context.getIntegrator().step(count)

    return steps


def _rates(work: dict, chosen, clock=time.process_time) -> dict:
    """Units of work per second of each function of a number of units: medians over rounds in which all take turns."""
    counts = {name: _count(do, chosen.seconds, clock) for name, do in work.items()}
    rates = {name: [] for name in work}
    for _ in range(chosen.rounds):
        for name, do in work.items():
            began = clock()
            do(counts[name])
            rates[name].append(counts[name] / (clock() - began))
    return {name: statistics.median(values) for name, values in rates.items()}


def _count(do, seconds: float, clock) -> int:
    """How many units take about so long."""
    count = 1
    while True:
        began = clock()
        do(count)
        taken = clock() - began
        if taken > 0.1 * seconds:
            return max(1, round(count * seconds / taken))
        count *= 4


def _matrix_products(rows: int, width: int, chosen) -> dict[str, float]:
    """GFLOP/s of (rows x width) (width x width) in float32 on one thread."""
    a, b, c = torch.randn(rows, width), torch.randn(width, width), torch.empty(rows, width)
    x, y, z = a.numpy(), b.numpy(), c.numpy()

    def with_torch(count):
        for _ in range(count):
            torch.mm(a, b, out=c)

    def with_numpy(count):
        for _ in range(count):
            np.dot(x, y, out=z)

    rates = _rates({"numpy": with_numpy, "torch": with_torch}, chosen)
    return {name: 2e-9 * rows * width * width * rate for name, rate in rates.items()}


def _bare_loop(case: Case, chosen) -> float:
    """Seconds for the layers of one molecule as plain C++ loops; nan without a compiler."""
    compiler = next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)
    if compiler is None:
        return float("nan")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "bare_loop.so"
        subprocess.run(
            [
                compiler,
                "-O3",
                "-march=native",
                "-ffast-math",
                "-shared",
                "-fPIC",
                "-o",
                library,
                HERE / "bare_loop.cpp",
            ],
            check=True,
        )
        function = ctypes.CDLL(str(library)).bare_loop
        inputs = case.beads * (case.beads - 1) // 2 + 4 * (case.beads - 3)
        features = (ctypes.c_float * inputs)(*([0.5] * inputs))
        return (
            1
            / _rates({"loop": lambda count: function(inputs, case.width, case.layers, count, features)}, chosen)["loop"]
        )


TABLES = {"backends": _backends, "limits": _limits, "instruction sets": _instruction_sets, "threads": _threads}


if __name__ == "__main__":
    main()
