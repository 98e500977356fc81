"""The main job on alanine dipeptide: train, export, simulate from both basins, evaluate. Everything lands in runs/demo.

Each step is the command a user would type, printed before it runs. The two simulations run side by side, one thread
each: every replica of the one starts from a single phi < 0 frame, of the other from a single phi > 0 frame.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMANDS = Path(sys.executable).parent


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", type=Path, default=Path("runs/demo"))
    options.add_argument("--train-minutes", type=float, default=7.5)
    options.add_argument("--simulate-minutes", type=float, default=4.5)
    options.add_argument("--replicas", type=int, default=128, help="for each of the two simulations")
    chosen = options.parse_args()
    began, out = time.monotonic(), chosen.output
    if out.exists():
        print(f"replacing the earlier demo in {out}")
        shutil.rmtree(out)
    _run("fpforce-train", HERE / "recipe.yaml", f"output={out}", f"run.max_minutes={chosen.train_minutes}")
    _run("fpforce-export", out / "model.ckpt", out / "model.pt")
    _run_together(
        *(
            [
                "fpforce-simulate",
                out / "model.pt",
                "--output",
                out / f"from_{basin}.xtc",
                "--start",
                HERE / f"start_{basin}.pdb",
                "--replicas",
                chosen.replicas,
                "--timestep-fs",
                4,
                "--steps",
                10_000_000,
                "--max-minutes",
                chosen.simulate_minutes,
                "--seed",
                seed,
            ]
            for seed, basin in enumerate(("negative", "positive"))
        )
    )
    _run(
        "fpforce-evaluate",
        out / "model.pt",
        "--topology",
        HERE / "alanine_dipeptide.pdb",
        "--reference",
        HERE / "reference.xtc",
        "--training",
        HERE / "train.xtc",
        "--simulation",
        out / "from_negative.xtc",
        "--simulation",
        out / "from_positive.xtc",
        "--output",
        out,
    )
    figures = json.loads((out / "report.json").read_text())["simulation"]
    print(
        f"\ndone in {(time.monotonic() - began) / 60:.1f} min; look at {out / 'report.html'}, figures in "
        f"{out / 'report.json'}"
    )
    print(
        f"JS {figures['js']:.4f} (floor {figures['js_floor']:.4f}), PMF error {figures['pmf_error']:.3f} "
        f"(floor {figures['pmf_error_floor']:.3f}), {'converged' if figures['converged'] else 'not converged'}"
    )
    return 0


def _line(words) -> list[str]:
    words = [str(word) for word in words]
    print("\n$ " + shlex.join(words), flush=True)
    return [str(COMMANDS / words[0]), *words[1:]]


def _run(*words) -> None:
    status = subprocess.run(_line(words), check=False).returncode
    if status:
        sys.exit(status)


def _run_together(*commands) -> None:
    running = [subprocess.Popen(_line(words)) for words in commands]
    statuses = [process.wait() for process in running]
    # Status 3 says that replicas failed; the evaluation counts and reports them.
    if any(status not in (0, 3) for status in statuses):
        sys.exit(max(statuses))


if __name__ == "__main__":
    sys.exit(main())
