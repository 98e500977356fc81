"""Makes the trajectories of all sequences: python examples/disordered/generate.py runs/disordered [NAME ...]
    [--train-frames 1000] [--unseen-frames 5000] [--discard-ps 5000]

OUTPUT/train gets NAME.pdb and NAME.xtc of every sequence that is trained on, OUTPUT/unseen those of the others, and
beside each NAME_forces.npz with exact energies and forces. A call goes on where an earlier one stopped; calls with
different NAMEs may run side by side. A sequence that is never seen is simulated longer, and twice, so that its floor is
known: NAME.xtc and NAME_again.xtc.
"""

import argparse
import json
import shutil
from pathlib import Path

from fpforce.reference.bead_make import BeadSettings, make_bead_reference
from fpforce.reference.models import build_model

FRAMES = {"train": 1000, "unseen": 5000}
RUNS = {"train": 1, "unseen": 2}
INTERVAL_PS = 20.0
DISCARD_PS = 5000.0


def generate(output, names=(), frames=FRAMES, discard_ps=DISCARD_PS):
    """Make what is missing of the sequences `names`, or of all: so many frames, after discard_ps."""
    sequences = json.loads(Path(__file__).with_name("sequences.json").read_text())
    for group, members in sequences.items():
        for number, (name, sequence) in enumerate(members.items(), start=1):
            if (not names or name in names) and not (Path(output) / group / f"{name}.xtc").exists():
                _make(Path(output), group, name, sequence, number, frames[group], discard_ps)


def _make(output, group, name, sequence, number, frames, discard_ps):
    work = output / "work" / name
    settings = BeadSettings(
        ns=1e-3 * frames * INTERVAL_PS,
        interval_ps=INTERVAL_PS,
        discard_ps=discard_ps,
        runs=RUNS[group],
        seed=number,
        resume=True,
    )
    record = make_bead_reference(build_model("disordered", sequence), work, settings, show_progress=False)
    folder = output / group
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(work / "data.json", folder / f"{name}.json")
    shutil.copy(work / f"{name}.pdb", folder / f"{name}.pdb")
    for source, target in (("reference", f"{name}_again"), ("train", name)):
        if (work / f"{source}.xtc").exists():
            shutil.copy(work / f"{source}_forces.npz", folder / f"{target}_forces.npz")
            shutil.copy(work / f"{source}.xtc", folder / f"{target}.xtc")
    shutil.rmtree(work)
    size = record["runs"]["train.xtc"]["radius_of_gyration_nm"]["mean"]
    print(f"{group}/{name}: {len(sequence)} residues, radius of gyration {size:.3f} nm", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("names", nargs="*")
    for group, frames in FRAMES.items():
        parser.add_argument(f"--{group}-frames", type=int, default=frames, help="of every sequence of that part")
    parser.add_argument("--discard-ps", type=float, default=DISCARD_PS, help="left out at the start of every run")
    arguments = parser.parse_args()
    frames = {"train": arguments.train_frames, "unseen": arguments.unseen_frames}
    generate(arguments.output, arguments.names, frames, arguments.discard_ps)
