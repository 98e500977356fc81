"""A training step of the graph transformer: as it was when every feature of an edge was made, and as it is; and what it
costs from 35 to 300 beads with a cutoff.

python benchmarks/speed/graph_step.py [--rounds 5] [--batch 128] [--compiled 35] [--quick]. The recipe's default network
with the Fokker-Planck term on an eighth of the batch, on CA beads of the structure-based proteins, shaken by 0.02 nm.
Both versions have the same weights and the same draws, and take turns in every round; the processor's own time is
measured, which other programs disturb less than the clock, and ratios are medians over the rounds. `Earlier` is the
code of the time, kept here alone: 48 features of every edge in one array, the whole batch at once, and a backward pass
that ends in the positions. The second table counts the edges, too. What is done is kept in runs/graph_step. Writes
docs/results/graph_step.json and .md.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fpforce.training.data.dataset import TrainingSet
from fpforce.training.diffusion import alpha, sigma_squared
from fpforce.training.loop.compiled_step import CompiledStep
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.loop.step_gradient import PlainStep, in_parts, parts_of
from fpforce.training.models.edges import Edges, FrameEdges, one_hot
from fpforce.training.models.graph_transformer import EdgeAttention, edge_softmax
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import parse_recipe
from fpforce.trajectories.bead_frames import read_bead_frames

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.places import EXAMPLES
from workbench.processor_time import measured

NATIVE = {10: "cln025", 20: "trp_cage", 35: "villin", 58: "bpti", 159: "dhfr"}
CUTOFF_NM = 1.0
SPACING_NM = 0.51  # a residue of 110 Da at 1.35 g/cm^3 has a cube of this edge


class EarlierEdges(FrameEdges):
    """All 48 features (batch, n, n, 48) in one array."""

    def forward(self, x: Tensor, t: Tensor, molecule) -> Edges:
        batch, beads = x.shape[:2]
        signal, noise = alpha(t)[:, None, None], sigma_squared(t)[:, None, None]
        blur = self.smooth_length**2 + self.noise_length**2 * noise
        axes = self.axes(x, noise, molecule.frames)
        flat = axes.flatten(1, 2)
        square = (x[:, None] - x[:, :, None]).square().sum(-1)
        along = torch.matmul(x, flat.transpose(1, 2)).view(batch, beads, beads, 3).transpose(1, 2)
        own = along - along.diagonal(dim1=1, dim2=2).transpose(1, 2)[:, :, None]
        own = own * torch.rsqrt(square + blur)[..., None]
        mutual = torch.matmul(flat, flat.transpose(1, 2)).view(batch, beads, 3, beads, 3).transpose(2, 3).flatten(3)
        distance = torch.sqrt(square + self.smooth_length**2)
        spread = signal.square() * self.radial_width.square() + 2.0 * noise
        away = distance[..., None] - (signal * self.centres)[:, :, None]
        radial = torch.exp(away.square() * (-0.5 / spread)[..., None])
        deviation = distance - signal * molecule.distance_mean
        deviation = deviation * torch.rsqrt(signal.square() * molecule.distance_variance + 2.0 * noise)
        tables = (molecule.separation, self.separations), (molecule.bond_distance, self.bond_distances)
        place = torch.cat([one_hot(table, count, x) for table, count in tables], -1).expand(batch, beads, beads, 16)
        features = torch.cat([radial, deviation[..., None], own, -own.transpose(1, 2), mutual, place], -1)
        return Edges(features, None, None, None, None)


class EarlierAttention(EdgeAttention):
    """Attention over them."""

    def forward(self, h: Tensor, edges: Edges, envelope: Tensor | None, index: Tensor | None = None) -> Tensor:
        batch, beads = h.shape[:2]
        q, k, v = self.qkv(h).view(batch, beads, 3, self.heads, self.size).unbind(2)
        logits = torch.einsum("bihd,bjhd->bihj", q, k)
        weighed = torch.einsum("bihd,hdk->bihk", q, self.key_edges)
        logits = logits + torch.einsum("bihk,bijk->bihj", weighed, edges.features)
        weights = edge_softmax(logits * self.size**-0.5, envelope)
        seen = torch.einsum("bihj,bijk->bihk", weights, edges.features)
        values = torch.einsum("bihj,bjhd->bihd", weights, v)
        return self.out((values + torch.einsum("bihk,hdk->bihd", seen, self.value_edges)).flatten(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--beads", type=int, nargs="*", default=[10, 35, 58], help="of the comparison")
    parser.add_argument("--compiled", type=int, nargs="*", default=[35], help="beads to compare compiled steps at, too")
    parser.add_argument("--sizes", type=int, nargs="*", default=[35, 70, 150, 300], help="beads with a cutoff")
    chosen = options.parse(parser, rounds=1, batch=16, beads=[10], compiled=[], sizes=[10, 20])
    torch.set_num_threads(1)
    (chosen.runs / "graph_step").mkdir(exist_ok=True)
    both = [kept("both", beads, chosen, compare) for beads in chosen.beads]
    sizes = [kept("sizes", beads, chosen, grown) for beads in chosen.sizes]
    result = {"hardware": describe_hardware(), "rounds": chosen.rounds, "both": both, "sizes": sizes}
    (chosen.results / "graph_step.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "graph_step.md").write_text(table(result))
    print(table(result))


def kept(part: str, beads: int, chosen, make) -> dict:
    """The row of a part, made unless it is there with the same settings."""
    path = chosen.runs / "graph_step" / f"{part}_{beads}.json"
    settings = {"rounds": chosen.rounds, "batch": chosen.batch, "compiled": beads in chosen.compiled}
    if not path.exists() or json.loads(path.read_text())["settings"] != settings:
        path.write_text(json.dumps({"settings": settings, **make(beads, chosen)}))
    return json.loads(path.read_text())


def compare(beads: int, chosen) -> dict:
    """Milliseconds of a step of both versions by round, and how far their gradients are apart."""
    frames = shaken(native(NATIVE[beads]))
    now, earlier = (training_of(frames, chosen.batch) for _ in range(2))
    network = earlier.expert.network.core
    network.edges.__class__ = EarlierEdges
    for layer in network.layers:
        layer.attention.__class__ = EarlierAttention
    draws = now.draw(0)
    parts = parts_of(now, draws)
    steps = {"earlier": lambda: earlier.weighted(earlier(draws)), "now": step_of(PlainStep(now), draws, parts)}
    gradients = [gradient_of(module, steps[name]) for module, name in ((earlier, "earlier"), (now, "now"))]
    compile_seconds = {}
    if beads in chosen.compiled:
        for name, module, count in (("earlier", earlier, 1), ("now", now, parts)):
            began = time.monotonic()
            compiled = CompiledStep(module, draws.share(0, count))
            compile_seconds[name] = time.monotonic() - began
            steps[f"{name}, compiled"] = step_of(compiled, draws, count)
    ms = measured({name: lambda step=step: step().backward() for name, step in steps.items()}, chosen.rounds)
    return {
        "beads": beads,
        "rows": rows_of(draws),
        "parts": parts,
        "ms": ms,
        "compile_seconds": compile_seconds,
        "gradient_difference": float((gradients[1] - gradients[0]).norm() / gradients[0].norm()),
    }


def grown(beads: int, chosen) -> dict:
    """Milliseconds of a step with a cutoff at a batch of some 4500 beads, and its edges."""
    batch = max(16, 16 * round(4500 / beads / 16))
    training = training_of(shaken(globule(beads)), batch, cutoff_nm=CUTOFF_NM)
    draws, network = training.draw(0), training.expert.network
    parts = parts_of(training, draws)
    around = network.core.surroundings(draws.noised.x, draws.noised.t, network.molecule(), None)
    step = step_of(PlainStep(training), draws, parts)
    return {
        "beads": beads,
        "rows": rows_of(draws),
        "parts": parts,
        "neighbours": around.edges.features.shape[3],
        "radius": around.index is not None,
        "ms": measured({"now": lambda: step().backward()}, chosen.rounds)["now"],
    }


def training_of(frames, batch: int, **model) -> ExpertTraining:
    """A training whose last layer, zero at first, is nudged, so that all weights have a gradient."""
    recipe = parse_recipe(
        {
            "data": {"trajectories": ["unused"], "topology": "unused", "beads": "ca"},
            "temperature_k": 300,
            "output": "unused",
            "optimizer": {"batch_size": batch},
            "model": {"kind": "graph_transformer", **model},
            "loss": {"fokker_planck_evenness": 0, "flow_weight": 0},
        }
    )
    training = ExpertTraining(recipe, plan_experts(recipe), TrainingSet.of(frames))
    training.begin(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in sorted(training.named_parameters()):
            scale = 0.1 if name.endswith("core.out.weight") else weight.shape[-1] ** -0.5
            weight.copy_(scale * torch.randn(weight.shape, generator=generator))
    return training


def native(name: str) -> tuple[Path, np.ndarray]:
    """A topology, and its positions in nm."""
    path = EXAMPLES / "structure_based" / "native" / f"{name}.pdb"
    lines = [line for line in path.read_text().splitlines() if line.startswith("ATOM")]
    return path, 0.1 * np.array([[float(line[k : k + 8]) for k in (30, 38, 46)] for line in lines])


def globule(beads: int) -> tuple[Path, np.ndarray]:
    """A chain through a cube at the density of a protein's CA beads, to and fro, row by row, with a topology."""
    edge, sites, row = int(np.ceil(np.cbrt(beads))), [], 0
    for k in range(edge):
        for j in range(edge) if k % 2 == 0 else reversed(range(edge)):
            sites += [(i, j, k) for i in (range(edge) if row % 2 == 0 else reversed(range(edge)))]
            row += 1
    path = Path(tempfile.mkdtemp()) / "chain.pdb"
    path.write_text(
        "\n".join(
            f"ATOM  {i + 1:5d}  BB  ALA A{i + 1:4d}    {0:8.3f}{0:8.3f}{5.1 * i:8.3f}  1.00  0.00           C"
            for i in range(beads)
        )
        + "".join(f"\nCONECT{i:5d}{i + 1:5d}" for i in range(1, beads))
        + "\nEND\n"
    )
    return path, SPACING_NM * np.array(sites[:beads], dtype=float)


def shaken(molecule: tuple[Path, np.ndarray], frames: int = 200):
    """Bead frames of a molecule, every bead displaced by 0.02 nm along each axis."""
    topology, positions = molecule
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shaken.npy"
        noise = generator.normal(scale=0.02, size=(frames, *positions.shape))
        np.save(path, (positions + noise).astype(np.float32))
        beads = "name BB" if topology.name == "chain.pdb" else "ca"
        return read_bead_frames([path], topology, beads=beads, length_unit="nm")


def step_of(step, draws, parts: int):
    """A function without arguments: the loss of a step, ready to be differentiated."""
    whole = in_parts(step, parts)
    return lambda: whole(draws)[1]


def gradient_of(module: ExpertTraining, step) -> Tensor:
    module.zero_grad()
    step().backward()
    return torch.cat(
        [weight.grad.flatten() for _, weight in sorted(module.named_parameters()) if weight.grad is not None]
    )


def rows_of(draws) -> int:
    """Frames that the network sees in a step."""
    return len(draws.noised.x) + len(draws.perturbed.points)


def table(result: dict) -> str:
    lines = [
        f"One thread, no cutoff, medians of {result['rounds']} rounds, milliseconds of the processor for a step; "
        f"{result['hardware']}.",
        "",
        "| beads | frames of a step | parts | earlier | now | times as fast | earlier, compiled | now, compiled "
        "| times as fast | gradients differ by |",
        "|" + "---|" * 10,
    ]
    for row in result["both"]:
        ms = row["ms"]
        cells = [f"{row['beads']}", f"{row['rows']}", f"{row['parts']}", *_pair(ms, "earlier", "now")]
        compiled = _pair(ms, "earlier, compiled", "now, compiled") if row["compile_seconds"] else ["", "", ""]
        lines.append(f"| {' | '.join([*cells, *compiled])} | {row['gradient_difference']:.0e} |")
    for row in result["both"]:
        if row["compile_seconds"]:
            earlier, now = (row["compile_seconds"][name] for name in ("earlier", "now"))
            lines += ["", f"Compiling took {earlier:.0f} and {now:.0f} s at {row['beads']} beads."]
    lines += [
        "",
        f"With a cutoff of {CUTOFF_NM:g} nm, not compiled, at the density of a protein:",
        "",
        "| beads | edges of a bead that are computed | frames of a step | parts | ms a frame | microseconds a bead |",
        "|" + "---|" * 6,
    ]
    for row in result["sizes"]:
        ms = statistics.median(row["ms"]) / row["rows"]
        kind = f"{row['neighbours']} ({'radius' if row['radius'] else 'dense'})"
        lines.append(
            f"| {row['beads']} | {kind} | {row['rows']} | {row['parts']} | {ms:.2f} | {1e3 * ms / row['beads']:.0f} |"
        )
    beads = np.log([row["beads"] for row in result["sizes"]])
    times = np.log([statistics.median(row["ms"]) / row["rows"] for row in result["sizes"]])
    lines += ["", f"The time of a frame grows as the beads to the power {np.polyfit(beads, times, 1)[0]:.2f}."]
    return "\n".join(lines) + "\n"


def _pair(ms: dict, before: str, after: str) -> list[str]:
    ratio = statistics.median(a / b for a, b in zip(ms[before], ms[after], strict=True))
    return [f"{statistics.median(ms[before]):.0f}", f"{statistics.median(ms[after]):.0f}", f"{ratio:.2f}"]


if __name__ == "__main__":
    main()
