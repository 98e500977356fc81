"""What a Context with the native force allocates beyond the same System without it, beside weights and activations.

python benchmarks/speed/memory.py [--quick]. Every figure comes from two fresh processes, one with FPForce in its
System and one without, each of which counts what malloc has handed out (mallinfo2, large blocks included) before the
Context exists and after 20 steps; the difference of the differences is the force's. One thread, Reference platform.
`weights` is the size of fpforce.safetensors; `activations` is counted apart from the plugin: what torch's autograd
keeps of one replica's energy in float32, each tensor once, parameters left out. Writes docs/results/memory.json and
.md.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware

STEPS = 20
ALLOWANCE_BYTES = 1e6


@dataclass(frozen=True)
class Case:
    """One model of the table and its numbers of replicas."""

    kind: str
    beads: int
    width: int
    layers: int
    replicas: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.width} wide, {self.layers} layers, {self.beads} beads"


CASES = (Case("internal", 5, 128, 3, (1, 64, 256, 1024)), Case("graph_transformer", 28, 128, 3, (1, 16, 64)))
QUICK_CASES = (Case("internal", 5, 16, 2, (1, 4)), Case("graph_transformer", 5, 16, 1, (1,)))


class MallInfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("MODEL", "REPLICAS", "with|without"), help="in this process")
    chosen = options.parse(parser)
    if chosen.one:
        model, replicas, kind = chosen.one
        print(json.dumps(measure_context(Path(model), int(replicas), kind == "with")))
        return
    from workbench.frozen_models import frozen_model

    rows = []
    for case in QUICK_CASES if chosen.quick else CASES:
        model = frozen_model(chosen.runs, case.kind, case.beads, width=case.width, layers=case.layers)
        weights, activations = model_bytes(model)
        for replicas in case.replicas:
            used = {kind: _in_a_fresh_process(model, replicas, kind) for kind in ("with", "without")}
            rows.append(
                {
                    "model": case.name,
                    "replicas": replicas,
                    "weights": weights,
                    "activations": activations,
                    "allowed": ALLOWANCE_BYTES + weights + replicas * activations,
                    "allocated": used["with"] - used["without"],
                }
            )
    result = {"hardware": describe_hardware(), "steps": STEPS, "rows": rows}
    (chosen.results / "memory.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "memory.md").write_text(_table(result))
    print(_table(result))


def measure_context(model: Path, replicas: int, with_force: bool) -> int:
    """Bytes that this process allocates for a Context of so many molecules and its first steps."""
    import numpy as np
    import openmm

    import fpforce

    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field, backend="native", replicas=replicas, threads=1)
    if not with_force:
        system.removeForce(0)
    positions = np.tile(force_field.positions_nm, (replicas, 1))
    integrator = openmm.LangevinMiddleIntegrator(force_field.temperature_k, 1.0, 0.002)
    platform = openmm.Platform.getPlatformByName("Reference")
    before = _allocated()
    context = openmm.Context(system, integrator, platform)
    context.setPositions(positions)
    integrator.step(STEPS)
    return _allocated() - before


def _allocated() -> int:
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = MallInfo
    info = library.mallinfo2()
    return info.uordblks + info.hblkhd


def model_bytes(model: Path) -> tuple[int, int]:
    """Bytes of the weights' file, and of what autograd keeps for one replica."""
    import torch

    import fpforce
    from fpforce.training.checkpoint.checkpoint import read_checkpoint

    force_field = fpforce.load(model)
    energy = read_checkpoint(model.with_name("model.ckpt")).model()
    positions = torch.tensor(force_field.positions_nm, dtype=torch.float32).unsqueeze(0).requires_grad_()
    constants = {tensor.untyped_storage().data_ptr() for tensor in (*energy.parameters(), *energy.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in constants:
            kept[storage.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        energy(positions, torch.full((1,), 1e-5))
    return len(force_field.weights_bytes()), sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _in_a_fresh_process(model: Path, replicas: int, kind: str) -> int:
    done = subprocess.run(
        [sys.executable, __file__, "--one", str(model), str(replicas), kind],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout)


def _table(result: dict) -> str:
    lines = [
        f"One thread, Reference platform, after {result['steps']} steps; {result['hardware']}. Sizes in kB of 1000 "
        "bytes.",
        "",
        "| model | replicas | weights | activations of one | allowed: 1 MB + weights + R x activations | allocated | "
        "within |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        sizes = " | ".join(f"{row[name] / 1e3:,.0f}" for name in ("weights", "activations", "allowed", "allocated"))
        within = "yes" if row["allocated"] < row["allowed"] else "no"
        lines.append(f"| {row['model']} | {row['replicas']} | {sizes} | {within} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
