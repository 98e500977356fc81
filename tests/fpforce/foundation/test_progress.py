"""What a running simulation says of the time that is left."""

from types import SimpleNamespace

import pytest

from fpforce.foundation import progress
from fpforce.foundation.progress import SimulationProgress


@pytest.mark.parametrize(
    ("total", "seconds", "said"),
    [
        (1000, float("inf"), "step 100 of 1000, 10 steps/s, 173 ns/day over 100 replicas, 1.5 min left"),
        (1000, 40.0, "step 100, 10 steps/s, 173 ns/day over 100 replicas, 0.5 min left"),
        (1000, 5.0, "step 100, 10 steps/s, 173 ns/day over 100 replicas, 0.0 min left"),
    ],
)
def test_what_ends_a_run_first_says_how_long_it_takes(total, seconds, said, monkeypatch, capsys):
    clock = iter([0.0, 10.0])
    # Not the clock of the whole process, which threads that earlier tests left behind look at, too.
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", 1.0)
    shown = SimulationProgress(total, 0, 100, 2.0, True, seconds)
    shown._on_terminal = False
    shown.update(100, 0)
    assert capsys.readouterr().err.strip() == said
