"""A simulation in a process of its own, which ends with the process that started it.

In: `python -m fpforce.fitting.child`, with the model, the output, SimulationSettings and whether to show progress as
JSON on standard input. Out: the simulation's files; exit status 0, 2 for what a user can mend (one line on stderr
says what), 130 where it was stopped. Simulations from several states run side by side in such processes. Where their
parent is killed they stop as on Ctrl-C, with a checkpoint, and a resumed fit finds their files free.
"""

import json
import logging
import sys

from fpforce.distributed.child import end_with


def main() -> int:
    asked = json.loads(sys.stdin.read())
    end_with(asked["parent"])
    from fpforce.foundation.errors import InputError
    from fpforce.simulation.simulate import SimulationSettings, simulate

    if asked["show_progress"]:
        logger = logging.getLogger("fpforce")
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)
    settings = SimulationSettings(**asked["settings"])
    try:
        simulate(asked["model"], asked["output"], settings, show_progress=asked["show_progress"])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
