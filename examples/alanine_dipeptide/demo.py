"""The main job on alanine dipeptide, by one command: a recipe in, a force field that was judged out, in runs/demo.

fpforce-fit trains, exports, draws samples, simulates from the most distant states of the data (here phi < 0 and
phi > 0) and evaluates against a held-out run; the command is printed before it runs.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMANDS = Path(sys.executable).parent


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", type=Path, default=Path("runs/demo"))
    options.add_argument("--max-minutes", type=float, default=13.0)
    options.add_argument("--replicas", type=int, default=128, help="for each of the simulations")
    options.add_argument("--resume", action="store_true", help="go on with an interrupted demo")
    chosen = options.parse_args()
    words = ["fpforce-fit", HERE / "recipe.yaml", f"output={chosen.output}", "--reference", HERE / "reference.xtc"]
    words += ["--max-minutes", chosen.max_minutes, "--replicas", chosen.replicas]
    words.append("--resume" if chosen.resume else "--overwrite")
    words = [str(word) for word in words]
    print("$ " + shlex.join(words), flush=True)
    return subprocess.run([str(COMMANDS / words[0]), *words[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
