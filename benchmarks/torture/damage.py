"""What readers make of damaged files: an InputError, or a file that could still be read; no traceback, crash or hang.

python benchmarks/torture/damage.py [--quick] [--seconds 150] [--only ROW ...]. Every row damages one kind of file in
ways of benchmarks/workbench/mutations.py, as often as its seconds allow, and has it read in a child process that is
started again after a crash. Counted are inputs, refusals (InputError, or OpenMMException from the plugin), and what
must not be: other exceptions, crashes, inputs that take more than 10 s, and the child's memory above 1 GB over its
start. Cases that went wrong are kept in runs/damage, and the status is then 1. Writes docs/results/damage.json and .md.
Longer than other files, since every kind of file has its damage and its reader here.
"""

import argparse
import io
import json
import multiprocessing
import random
import resource
import signal
import sys
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.hardware import describe_hardware
from workbench.mutations import damaged_bytes, damaged_values
from workbench.places import ALANINE
from workbench.tiny import tiny_model

LONGEST_S, LARGEST_MB = 10.0, 1000.0
Damage = Callable[[random.Random], bytes]
Read = Callable[[Path], Any]


class TookTooLong(BaseException):
    """No Exception, which a reader could take for damage."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0, help="for every row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="these rows")
    chosen = options.parse(parser, seconds=2.0)
    model = tiny_model(chosen.runs)
    folder = chosen.runs / "damage"
    folder.mkdir(exist_ok=True)
    rows = {}
    for name, (suffix, damage, read) in rows_of(model, folder).items():
        if not chosen.only or name in chosen.only:
            rows[name] = row(name, suffix, damage, read, folder, chosen.seconds, chosen.seed)
            print(name, rows[name], flush=True)
    result = {"hardware": describe_hardware(), "seconds": chosen.seconds, "seed": chosen.seed, "rows": rows}
    (chosen.results / "damage.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "damage.md").write_text(table(result))
    print(table(result))
    if any(one["wrong"] for one in rows.values()):
        sys.exit(1)


def rows_of(model: Path, folder: Path) -> dict[str, tuple[str, Damage, Read]]:
    """Name of a row: the file's suffix, what damages it and what reads it. Files that stay whole are made in folder."""
    checkpoint, beads = model.with_name("model.ckpt"), _bead_files(model, folder)
    recipe = (ALANINE / "recipe.yaml").read_text()
    rows: dict[str, tuple[str, Damage, Read]] = {
        "model.pt, bytes": (".pt", of_bytes(model.read_bytes()), _read_model),
        "model.pt, fpforce.json": (".pt", _of_metadata(model), _read_model),
        "model.ckpt, bytes": (".ckpt", of_bytes(checkpoint.read_bytes()), _read_checkpoint),
        "model.ckpt, values": (".ckpt", _of_checkpoint(checkpoint), _read_checkpoint),
        "recipe, text": (".yaml", of_bytes(recipe.encode()), _read_recipe),
        "recipe, values": (".yaml", _of_recipe(recipe), _read_recipe),
        "record of a simulation": (".xtc.json", _of_json(folder / "whole.xtc.json"), _reads_simulation(model)),
        "fit.json": (".json", _of_json(folder / "fit.json"), _read_journal),
    }
    for name in ("whole.xtc", "whole.dcd", "whole.h5", "whole.npz", "whole.npy", "whole.trr", "whole.pdb", "whole.gro"):
        suffix = Path(name).suffix
        rows[f"trajectory, {suffix}"] = (suffix, of_bytes((folder / name).read_bytes()), _reads_frames(beads))
    return rows


def row(name: str, suffix: str, damage: Damage, read: Read, folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Counts of a row; a child that ends before its time has crashed, and another goes on after the case."""
    total: Counter[str] = Counter()
    examples, largest_mb, slowest_s, first = [], 0.0, 0.0, 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        here, there = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(
            target=_feed, args=(there, suffix, damage, read, folder, seed, first, until)
        )
        child.start()
        there.close()
        number = first
        while True:
            try:
                number, verdict, text, took_s, grown_mb = here.recv()
            except EOFError:
                break
            total[verdict] += 1
            largest_mb, slowest_s = max(largest_mb, grown_mb), max(slowest_s, took_s)
            if verdict == "other error":
                examples.append(f"{name}, case {number}: {text}")
            number += 1
        child.join()
        first = number
        if child.exitcode:
            total["crash"] += 1
            examples.append(f"{name}, case {number}: the reader ended with status {child.exitcode}")
            first += 1
    wrong = total["other error"] + total["crash"] + total["too long"] + int(largest_mb > LARGEST_MB)
    for example in dict.fromkeys(examples[:20]):
        print(example, flush=True)
    return dict(total) | {
        "inputs": sum(total.values()),
        "slowest_s": round(slowest_s, 2),
        "largest_mb": round(largest_mb),
        "wrong": wrong,
        "examples": examples[:5],
    }


def _feed(
    pipe: Any, suffix: str, damage: Damage, read: Read, folder: Path, seed: int, number: int, until: float
) -> None:
    """Damage and read one file after the other, and send the verdict on each."""
    import logging

    from openmm import OpenMMException

    from fpforce.foundation.errors import InputError

    logging.disable(logging.CRITICAL)

    def ring(*_: object) -> None:
        raise TookTooLong

    signal.signal(signal.SIGALRM, ring)
    path = folder / f"damaged{suffix}"
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    while time.monotonic() < until:
        path.write_bytes(damage(random.Random(f"{seed} {number}")))
        began, verdict, text = time.monotonic(), "read", ""
        signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
        try:
            read(path)
        except (InputError, OpenMMException):
            verdict = "refused"
        except TookTooLong:
            verdict = "too long"
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            verdict, text = (
                "other error",
                f"{type(error).__name__}: {error!s:.150} ({Path(last.filename).name}:{last.lineno})",
            )
        signal.setitimer(signal.ITIMER_REAL, 0)
        if verdict in ("other error", "too long"):
            path.rename(folder / f"case_{number}{suffix}")
        grown_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0 - before_mb
        pipe.send((number, verdict, text, time.monotonic() - began, grown_mb))
        number += 1


def of_bytes(whole: bytes) -> Damage:
    return lambda chance: damaged_bytes(whole, chance)


def _of_json(path: Path) -> Damage:
    content = json.loads(path.read_text())

    def damage(chance: random.Random) -> bytes:
        if chance.random() < 0.2:
            return damaged_bytes(path.read_bytes(), chance)
        return json.dumps(damaged_values(content, chance)).encode()

    return damage


def _of_metadata(model: Path) -> Damage:
    """model.pt whose fpforce.json is damaged, in an archive that is whole."""
    with zipfile.ZipFile(model) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    (name,) = (entry for entry in entries if entry.endswith("extra/fpforce.json"))
    content = json.loads(entries[name])

    def damage(chance: random.Random) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for entry, data in entries.items():
                archive.writestr(entry, json.dumps(damaged_values(content, chance)) if entry == name else data)
        return buffer.getvalue()

    return damage


def _of_checkpoint(checkpoint: Path) -> Damage:
    import torch

    content = torch.load(checkpoint, weights_only=True)
    kept = {name: content[name] for name in ("fpforce", "state_dict")}

    def damage(chance: random.Random) -> bytes:
        buffer = io.BytesIO()
        torch.save(damaged_values(kept, chance), buffer)
        return buffer.getvalue()

    return damage


def _of_recipe(text: str) -> Damage:
    import yaml

    content = yaml.safe_load(text)
    return lambda chance: yaml.safe_dump(damaged_values(content, chance)).encode()


def _read_model(path: Path) -> None:
    import fpforce
    from fpforce.system.backends import native

    force_field = fpforce.load(path)
    _ = force_field.bonds_nm, force_field.masses_da, force_field.wall, force_field.topology
    native.unavailable(force_field)


def _read_checkpoint(path: Path) -> None:
    from fpforce.training.checkpoint.checkpoint import of_one_molecule, read_checkpoint

    checkpoint = of_one_molecule(read_checkpoint(path), None)
    checkpoint.covering(checkpoint.recipe.diffusion.evaluated_at)
    checkpoint.model()


def _read_recipe(path: Path) -> None:
    from fpforce.training.recipe.read import load_recipe

    load_recipe(path)


def _read_journal(path: Path) -> None:
    from fpforce.fitting.journal import Journal

    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    (folder / "fit.json").write_bytes(path.read_bytes())
    Journal.go_on(folder, {"recipe": {"output": "here"}})


def _reads_simulation(model: Path) -> Read:
    import fpforce

    beads = fpforce.load(model).beads

    def read(path: Path) -> None:
        from fpforce.simulation.read import read_simulation

        trajectory = path.with_suffix("")
        if not trajectory.exists():
            trajectory.write_bytes(path.with_name("whole.xtc").read_bytes())
        read_simulation(trajectory, beads)

    return read


def _reads_frames(topology: Path) -> Read:
    def read(path: Path) -> None:
        from fpforce.trajectories.bead_frames import read_bead_frames

        array = path.suffix in (".npz", ".npy")
        read_bead_frames(path, topology, beads="all", length_unit="nm" if array else None)

    return read


def _bead_files(model: Path, folder: Path) -> Path:
    """Small whole files of every kind in folder; returns the topology."""
    import mdtraj
    import numpy as np

    import fpforce
    from fpforce.simulation.simulate import SimulationSettings, simulate

    force_field = fpforce.load(model)
    settings = SimulationSettings(steps=200, replicas=2, report_interval_ps=0.02, overwrite=True, platform="Reference")
    simulate(force_field, folder / "whole.xtc", settings)
    topology = folder / "topology.pdb"
    topology.write_bytes((folder / "whole.xtc.pdb").read_bytes())
    frames = mdtraj.load(str(folder / "whole.xtc"), top=str(topology))
    for suffix in (".dcd", ".h5", ".trr", ".pdb", ".gro"):
        frames.save(str(folder / f"whole{suffix}"))
    np.save(folder / "whole.npy", frames.xyz)
    np.savez_compressed(folder / "whole.npz", positions=frames.xyz)
    journal = {
        "version": 1,
        "begun_with": {"recipe": {"output": "here"}},
        "data": None,
        "rounds": [{"plan": {}, "stages": {"train": {"done": True, "seconds": 1.0}}, "verdict": None}],
        "seconds": 1.0,
        "best": None,
        "sentence": None,
    }
    (folder / "fit.json").write_text(json.dumps(journal))
    return topology


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['seconds']:g} s a row, one process; {result['hardware']}. Refused: an InputError or OpenMMException. "
        "Memory: the reader's largest over its start.",
        "",
        "| file | inputs | refused | read | other errors | crashes | over 10 s | slowest, s | memory, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in result["rows"].items():
        counts = " | ".join(
            f"{one.get(key, 0):,}" for key in ("inputs", "refused", "read", "other error", "crash", "too long")
        )
        lines.append(f"| {name} | {counts} | {one['slowest_s']:g} | {one['largest_mb']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
