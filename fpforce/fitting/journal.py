"""fit.json: what a fit has done, so that it can go on after an end of any kind.

In: rounds and their stages as they begin and end. Out: a JSON file that is replaced in one step at each of them. A
stage that had begun and not ended is done again, or resumed where its own files allow.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import read_json

JOURNAL_NAME = "fit.json"
VERSION = 1
_KINDS = {"begun_with": dict, "rounds": list, "seconds": float}  # of entries that a fit goes on with


class Journal:
    """`content`: version, `begun_with` (recipe and settings that may not change), `data` (what is judged by, states,
    time step), `rounds` (each with plan, stages and verdict), `seconds` spent, `best` round and `sentence`.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self._path, self.content = path, content

    @staticmethod
    def begin(folder: Path, begun_with: dict[str, Any]) -> "Journal":
        """That of a new fit, written at once."""
        content = {
            "version": VERSION,
            "begun_with": begun_with,
            "data": None,
            "rounds": [],
            "seconds": 0.0,
            "best": None,
            "sentence": None,
        }
        journal = Journal(folder / JOURNAL_NAME, content)
        journal.write()
        return journal

    @staticmethod
    def go_on(folder: Path, begun_with: dict[str, Any]) -> "Journal":
        """That of an earlier fit in this folder; InputError where there is none, or another one."""
        path = folder / JOURNAL_NAME
        if not path.is_file():
            raise InputError(f"nothing to resume: {path} does not exist; start without --resume")
        try:
            content = read_json(path)
            if content.get("version") == VERSION:
                if not all(isinstance(content.get(name), kind) for name, kind in _KINDS.items()):
                    raise ValueError(f"it lacks one of {', '.join(_KINDS)}")
                if not all(isinstance(content["begun_with"].get(section), dict) for section in begun_with):
                    raise ValueError(f"begun_with lacks one of {', '.join(begun_with)}")
        except ValueError as error:
            raise InputError(f"{path} cannot be read ({error}); start anew with --overwrite") from None
        if content.get("version") != VERSION:
            raise InputError(f"{path} has version {content.get('version')}, not {VERSION}; start anew with --overwrite")
        earlier = content["begun_with"]
        for section, values in begun_with.items():
            for name, value in values.items():
                had = earlier[section].get(name)
                if had != value:
                    raise InputError(
                        f"--resume with another {section}: {name} was {had!r}, is {value!r}; "
                        "undo the change, or start anew with --overwrite"
                    )
        return Journal(path, content)

    def write(self) -> None:
        with replacing(self._path) as unfinished:
            unfinished.write_text(json.dumps(self.content, indent=1), encoding="utf-8")

    @property
    def rounds(self) -> list[dict[str, Any]]:
        return self.content["rounds"]

    @property
    def minutes(self) -> float:
        """Spent by all stages that have ended."""
        return self.content["seconds"] / 60.0

    def is_done(self, number: int, stage: str) -> bool:
        return self.rounds[number]["stages"].get(stage, {}).get("done", False)

    @contextmanager
    def stage(self, number: int, stage: str) -> Iterator[bool]:
        """The block of a stage of a round, whose time counts; gives whether it had begun before."""
        stages = self.rounds[number]["stages"]
        had_begun = stage in stages
        stages[stage] = {"done": False}
        self.write()
        began = time.monotonic()
        try:
            yield had_begun
        except BaseException:
            self.content["seconds"] += time.monotonic() - began
            self.write()
            raise
        seconds = time.monotonic() - began
        self.content["seconds"] += seconds
        stages[stage] = {"done": True, "seconds": seconds}
        self.write()
