"""kill -9 at random moments of every verb, then --resume: no torn file, nothing lost but the last interval.

python benchmarks/torture/kills.py [--quick] [--kills 100] [--minutes 20] [--only VERB ...]. Each verb of
benchmarks/workbench/verbs.py runs once undisturbed; then forks of it are killed, each at a random moment of the time
that this took, and gone on with, until one ends by itself; then it begins anew. After every kill all files under final
names are read to their end and the progress in the files is compared with that before; results are compared with the
undisturbed one. A verb ends after so many kills, or with its share of the minutes. Status 1 where anything is wrong.
Writes docs/results/kills.json and .md.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options
from workbench.forked import run_forked
from workbench.hardware import describe_hardware
from workbench.tiny import tiny_model
from workbench.verbs import Verb, prepare, verbs
from workbench.whole_files import torn_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of every verb")
    parser.add_argument("--minutes", type=float, default=20.0, help="of all verbs together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="these verbs")
    chosen = options.parse(parser, kills=3, minutes=0.7)
    model = tiny_model(chosen.runs)
    prepare(model)
    folder, rows = chosen.runs / "kills", {}
    selected = {name: verb for name, verb in verbs(model).items() if not chosen.only or name in chosen.only}
    for verb in selected.values():
        rows[verb.name] = row(verb, folder, chosen.kills, 60.0 * chosen.minutes / len(selected), chosen.seed)
        print(verb.name, rows[verb.name], flush=True)
    result = {"hardware": describe_hardware(), "seed": chosen.seed, "rows": rows}
    (chosen.results / "kills.json").write_text(json.dumps(result, indent=1))
    (chosen.results / "kills.md").write_text(table(result))
    print(table(result))
    if any(one["wrong"] for one in rows.values()):
        sys.exit(1)


def row(verb: Verb, folder: Path, kills: int, seconds: float, seed: int) -> dict[str, Any]:
    chance = random.Random(f"{seed} {verb.name}")
    undisturbed = folder / "undisturbed" / verb.name
    shutil.rmtree(undisturbed, ignore_errors=True)
    undisturbed.mkdir(parents=True)
    began = time.monotonic()
    alone = run_forked(lambda: verb.go_on(undisturbed))
    if alone.status:
        return {
            "wrong": [f"undisturbed, status {alone.status}: {alone.said[-300:]}"],
            "kills": 0,
            "seconds": alone.seconds,
        }
    wanted, wrong, killed, ended, same = verb.result(undisturbed), [], 0, 0, 0
    while killed < kills and (time.monotonic() - began < seconds or not killed):
        shutil.rmtree(folder / "killed", ignore_errors=True)
        place, came = folder / "killed" / verb.name, 0.0
        place.mkdir(parents=True)
        for attempt in range(1000):
            out_of_time = killed >= kills or time.monotonic() - began > seconds
            at = [] if out_of_time or attempt > 8 else [(chance.uniform(0.0, alone.seconds), signal.SIGKILL)]
            end = run_forked(lambda place=place: verb.go_on(place), at)
            wrong += torn_files(place)
            if end.status == 0:
                ended += 1
                break
            if end.status != -signal.SIGKILL:
                wrong.append(f"status {end.status}: {end.said[-300:]}")
                break
            killed += 1
            before, came = came, verb.came(place)
            if came < before:
                wrong.append(f"went back from {before:g} to {came:g}")
        same += end.status == 0 and verb.result(place) == wanted
    if same < ended:
        wrong.append(f"{ended - same} of {ended} results differ from the undisturbed one")
    return {"kills": killed, "runs": ended, "same": same, "seconds": round(alone.seconds, 2), "wrong": wrong[:10]}


def table(result: dict[str, Any]) -> str:
    lines = [
        "Killed at a random moment of the time that the verb takes undisturbed, gone on with, killed again; "
        f"{result['hardware']}.",
        "",
        "| verb | takes, s | kills | runs that came to their end | results as undisturbed | faults |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in result["rows"].items():
        counts = " | ".join(str(one.get(key, 0)) for key in ("seconds", "kills", "runs", "same"))
        lines.append(f"| {name} | {counts} | {len(one['wrong'])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
