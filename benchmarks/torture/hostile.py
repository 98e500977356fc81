"""Files that were made to do harm: nothing in them is executed, and none takes the memory or the files of its reader.

python benchmarks/torture/hostile.py [--quick]. Every case of CASES writes files with a payload, which would make the
file `executed` in the same folder or harm `victim`, and gives them to the reader of their kind in a fork of this
process. A case is held where `executed` is not there, `victim` is as it was, the reader ended with status 2 and one
line or read the file, within 10 s of the processor and 1 GB. Status 1 where one is not. Writes
docs/results/hostile.json and .md; tests/test_hostile_files.py runs the same cases.
Longer than other files for its list of cases.
"""

import argparse
import io
import json
import os
import pickle
import resource
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
import numpy as np
from workbench import options
from workbench.forked import run_forked
from workbench.hardware import describe_hardware
from workbench.places import ALANINE
from workbench.tiny import tiny_model

LONGEST_S, LARGEST_MB = 10.0, 1000
BOMB_BYTES = 256 << 20
Case = Callable[[Path, Path], None]  # of a folder and a whole model.pt with its model.ckpt beside it


class Payload:
    """What makes `executed` when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.command = f"touch {folder / 'executed'}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def pickle_as_checkpoint(folder: Path, model: Path) -> None:
    (folder / "model.ckpt").write_bytes(pickle.dumps(Payload(folder)))
    _read_checkpoint(folder)


def torch_pickle_as_checkpoint(folder: Path, model: Path) -> None:
    import torch

    content = torch.load(model.with_name("model.ckpt"), weights_only=True)
    torch.save(content | {"callbacks": Payload(folder)}, folder / "model.ckpt")
    _read_checkpoint(folder)


def torch_pickle_as_model(folder: Path, model: Path) -> None:
    import torch

    import fpforce

    torch.save(Payload(folder), folder / "model.pt")
    fpforce.load(folder / "model.pt")


def pickle_in_the_program_of_a_model(folder: Path, model: Path) -> None:
    """Of TorchScript's own pickles, with the torch backend, which reads them."""
    _rewrite(
        model,
        folder / "model.pt",
        lambda name, data: pickle.dumps(Payload(folder)) if name.endswith("data.pkl") else data,
    )
    _one_step(folder / "model.pt", "python")


def program_that_writes_a_file(folder: Path, model: Path) -> None:
    """A TorchScript program that makes `executed` when it is called; the native plugin calls none."""
    _rewrite(model, folder / "model.pt", None, _writing_program(folder / "executed"))
    _one_step(folder / "model.pt", "native")


def yaml_tag_in_a_recipe(folder: Path, model: Path) -> None:
    text = (ALANINE / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(f"{text}\nx: !!python/object/apply:os.system ['touch {folder / 'executed'}']\n")
    _read_recipe(folder)


def yaml_tag_in_an_override(folder: Path, model: Path) -> None:
    from fpforce.training.recipe.read import load_recipe

    load_recipe(ALANINE / "recipe.yaml", [f"output=!!python/object/apply:os.system ['touch {folder / 'executed'}']"])


def yaml_bomb_in_a_recipe(folder: Path, model: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 12)]
    (folder / "recipe.yaml").write_text("\n".join(lines))
    _read_recipe(folder)


def yaml_that_holds_itself(folder: Path, model: Path) -> None:
    (folder / "recipe.yaml").write_text("data: &a {trajectories: [x], b: *a}\n")
    _read_recipe(folder)


def pickle_in_an_npz(folder: Path, model: Path) -> None:
    np.savez(folder / "frames.npz", positions=np.array([Payload(folder)], dtype=object))
    _read_frames(folder / "frames.npz")


def pickle_in_an_npy(folder: Path, model: Path) -> None:
    np.save(folder / "frames.npy", np.array([Payload(folder)], dtype=object), allow_pickle=True)
    _read_frames(folder / "frames.npy")


def pickle_in_an_attribute_of_hdf5(folder: Path, model: Path) -> None:
    import mdtraj
    import tables

    path = folder / "frames.h5"
    mdtraj.load(str(ALANINE / "alanine_dipeptide.pdb")).save_hdf5(str(path))
    with tables.open_file(str(path), "a") as file:
        file.root._v_attrs._g__setattr("conventions", np.bytes_(pickle.dumps(Payload(folder), 0)))
    _read_frames(path)


def bomb_in_an_npz(folder: Path, model: Path) -> None:
    with (
        zipfile.ZipFile(folder / "frames.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("positions.npy", "w", force_zip64=True) as entry,
    ):
        np.lib.format.write_array_header_1_0(
            entry, {"descr": "<f4", "fortran_order": False, "shape": (BOMB_BYTES // 264, 22, 3)}
        )
        _zeros(entry)
    _read_frames(folder / "frames.npz")


def header_of_a_petabyte(folder: Path, model: Path) -> None:
    with open(folder / "frames.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 45, 22, 3)})
    _read_frames(folder / "frames.npy")


def bomb_in_a_model(folder: Path, model: Path) -> None:
    with zipfile.ZipFile(folder / "model.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/extra/fpforce.json", "w", force_zip64=True) as entry:
            _zeros(entry)
    import fpforce

    fpforce.load(folder / "model.pt")


def bomb_in_a_checkpoint(folder: Path, model: Path) -> None:
    with (
        zipfile.ZipFile(model.with_name("model.ckpt")) as whole,
        zipfile.ZipFile(folder / "model.ckpt", "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in whole.namelist():
            archive.writestr(name, whole.read(name))
        with archive.open("archive/data/bomb", "w", force_zip64=True) as entry:
            _zeros(entry)
    _read_checkpoint(folder)


def nested_json_in_a_model(folder: Path, model: Path) -> None:
    _rewrite(model, folder / "model.pt", lambda name, data: b"[" * 10**6 if name.endswith("fpforce.json") else data)
    import fpforce

    fpforce.load(folder / "model.pt")


def entries_that_climb_out_of_a_model(folder: Path, model: Path) -> None:
    """Nothing is unpacked, so that names of entries lead nowhere."""
    import fpforce

    with zipfile.ZipFile(folder / "model.pt", "w") as archive, zipfile.ZipFile(model) as whole:
        for name in whole.namelist():
            archive.writestr(name, whole.read(name))
        archive.writestr("../victim", "overwritten")
        archive.writestr(str(folder / "victim"), "overwritten")
    fpforce.load(folder / "model.pt")


def record_that_names_other_files(folder: Path, model: Path) -> None:
    """A simulation's record whose trajectories are elsewhere; --overwrite removes those of the earlier simulation."""
    from fpforce.simulation.simulate import SimulationSettings, simulate

    (folder / "s.xtc.json").write_text(json.dumps({"trajectories": [str(folder / "victim"), "../victim"]}))
    (folder / "sub").mkdir()
    (folder / "sub" / "s.xtc.json").write_text(json.dumps({"trajectories": ["../victim", str(folder / "victim")]}))
    settings = SimulationSettings(steps=2, report_interval_ps=0.002, overwrite=True, platform="Reference")
    simulate(model, folder / "sub" / "s.xtc", settings)


def links_where_files_are_made(folder: Path, model: Path) -> None:
    """Links to `victim` under the names of unfinished files and locks, as in a folder that all may write to."""
    from fpforce.foundation.atomic_files import replacing

    for name in ("out.part", "out.part.lock"):
        (folder / name).symlink_to(folder / "victim")
        with replacing(folder / "out") as unfinished:
            unfinished.write_bytes(b"new")


def script_in_a_force_field(folder: Path, model: Path) -> None:
    (folder / "inside.xml").write_text(
        f"<ForceField><Script>import os; os.system('touch {folder / 'executed'}')</Script></ForceField>"
    )
    (folder / "evil.xml").write_text('<ForceField><Include file="inside.xml"/></ForceField>')
    _read_force_field(folder)


def entities_in_a_force_field(folder: Path, model: Path) -> None:
    entities = "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 12))
    (folder / "evil.xml").write_text(
        f'<!DOCTYPE x [<!ENTITY a0 "{"x" * 1000}">{entities}]><ForceField>&a11;</ForceField>'
    )
    _read_force_field(folder)


def entity_of_another_file(folder: Path, model: Path) -> None:
    (folder / "evil.xml").write_text(
        f'<!DOCTYPE x [<!ENTITY a SYSTEM "file://{folder}/victim">]><ForceField>&a;</ForceField>'
    )
    _read_force_field(folder)


CASES: tuple[Case, ...] = (
    pickle_as_checkpoint,
    torch_pickle_as_checkpoint,
    torch_pickle_as_model,
    pickle_in_the_program_of_a_model,
    program_that_writes_a_file,
    yaml_tag_in_a_recipe,
    yaml_tag_in_an_override,
    yaml_bomb_in_a_recipe,
    yaml_that_holds_itself,
    pickle_in_an_npz,
    pickle_in_an_npy,
    pickle_in_an_attribute_of_hdf5,
    bomb_in_an_npz,
    header_of_a_petabyte,
    bomb_in_a_model,
    bomb_in_a_checkpoint,
    nested_json_in_a_model,
    entries_that_climb_out_of_a_model,
    record_that_names_other_files,
    links_where_files_are_made,
    script_in_a_force_field,
    entities_in_a_force_field,
    entity_of_another_file,
)


def main() -> None:
    chosen = options.parse(argparse.ArgumentParser(description=__doc__))
    model = tiny_model(chosen.runs)
    rows = {}
    for case in CASES:
        folder = chosen.runs / "hostile" / case.__name__
        folder.mkdir(parents=True, exist_ok=True)
        rows[case.__name__.replace("_", " ")] = held(case, folder, model)
    result = {"hardware": describe_hardware(), "rows": rows}
    (chosen.results / "hostile.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "hostile.md").write_text(table(result))
    print(table(result))
    if not all(row["held"] for row in rows.values()):
        sys.exit(1)


def held(case: Case, folder: Path, model: Path) -> dict[str, Any]:
    """Run a case in an empty folder, and what came of it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / "victim").write_text("whole")
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    ended = run_forked(lambda: case(folder, model), longest_s=120.0)
    grown_mb = round(max(0.0, ended.largest_mb - before_mb))
    executed, harmed = (folder / "executed").exists(), (folder / "victim").read_text() != "whole"
    one_line = ended.status == 0 or (ended.status == 2 and ended.said.count("\n") == 1)
    fine = not executed and not harmed and one_line and ended.processor_seconds < LONGEST_S and grown_mb < LARGEST_MB
    return {
        "held": fine,
        "executed": executed,
        "harmed": harmed,
        "status": ended.status,
        "said": ended.said.replace(f"{folder}{os.sep}", "")[-300:],
        "seconds": round(ended.processor_seconds, 2),
        "grown_mb": grown_mb,
    }


def _read_checkpoint(folder: Path) -> None:
    from fpforce.training.checkpoint.checkpoint import read_checkpoint

    read_checkpoint(folder / "model.ckpt")


def _read_recipe(folder: Path) -> None:
    from fpforce.training.recipe.read import load_recipe

    load_recipe(folder / "recipe.yaml")


def _read_frames(path: Path) -> None:
    from fpforce.trajectories.bead_frames import read_bead_frames

    unit = "nm" if path.suffix in (".npz", ".npy") else None
    read_bead_frames(path, ALANINE / "alanine_dipeptide.pdb", beads="all", length_unit=unit)


def _read_force_field(folder: Path) -> None:
    from fpforce.reference.protocol import load_force_field

    load_force_field([str(folder / "evil.xml")])


def _one_step(model: Path, backend: str) -> None:
    import openmm

    import fpforce

    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field, backend=backend)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(force_field.positions_nm)
    context.getState(energy=True, forces=True)


def _rewrite(model: Path, path: Path, change: Callable[[str, bytes], bytes] | None, program: bytes = b"") -> None:
    """A copy of a model.pt with its entries changed, or with its extra entries beside another program."""
    with zipfile.ZipFile(model) as whole:
        entries = {name: whole.read(name) for name in whole.namelist()}
    if change is None:
        extra = {name: data for name, data in entries.items() if "/extra/" in name}
        with zipfile.ZipFile(io.BytesIO(program)) as other:
            entries = {name: other.read(name) for name in other.namelist()} | extra
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data if change is None else change(name, data))


def _writing_program(path: Path) -> bytes:
    import torch

    class Writing(torch.nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, positions: torch.Tensor) -> torch.Tensor:
            written = torch.from_file(self.name, True, 16, dtype=torch.uint8)
            written.fill_(65)
            return positions.sum() + 0.0 * written.sum()  # used, or it would be optimised away

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Writing(str(path))), buffer)
    with zipfile.ZipFile(buffer) as archive:  # its entries lie in a folder of another name than those of a model.pt
        entries = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    renamed = io.BytesIO()
    with zipfile.ZipFile(renamed, "w") as archive:
        for name, data in entries.items():
            archive.writestr(f"archive/{name}", data)
    return renamed.getvalue()


def _zeros(entry: Any) -> None:
    piece = bytes(64 << 20)
    for _ in range(BOMB_BYTES // len(piece)):
        entry.write(piece)


def table(result: dict[str, Any]) -> str:
    lines = [
        f"Each file is read in a process of its own; {result['hardware']}.",
        "",
        "| file | executed | other files harmed | status | processor, s | memory, MB | held |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        flags = " | ".join("yes" if row[key] else "no" for key in ("executed", "harmed"))
        figures = " | ".join(str(row[key]) for key in ("status", "seconds", "grown_mb"))
        lines.append(f"| {name} | {flags} | {figures} | {'yes' if row['held'] else 'no'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
