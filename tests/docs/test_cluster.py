"""The recipe of docs/how-to/cluster.md for this machine runs as it stands, but for the number of steps."""

import re
import subprocess
import sys
from pathlib import Path

import fpforce

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md"


def test_script_for_this_machine_makes_one_simulation_of_all_shards(small_model, tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = tmp_path / "script.py"
    script.write_text(block.replace("steps=500_000, replicas=64", "steps=500, replicas=4"))
    assert script.read_text() != block
    (tmp_path / "model.pt").symlink_to(small_model)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    frames = fpforce.read_simulation(tmp_path / "simulated.xtc", fpforce.load(small_model).beads)
    assert frames.positions_nm.shape == (2, 4, 5, 3) and frames.valid.all()
