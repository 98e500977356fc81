"""What a diagnosis consists of: a cause by name, the figures for it, a remedy, and a command."""

from dataclasses import dataclass

WRONG_TEMPERATURE = "wrong temperature"
LEFT_THE_DATA = "left the data"
NOT_SAMPLED = "not sampled"
ONE_BASIN = "starts in one basin"
BONDS = "bonds off"
INCONSISTENT = "inconsistent"
TOO_FEW_DATA = "too few data"
UNDERTRAINED = "trained too short"
SAMPLES_UNKNOWN = "samples unknown"
REFERENCE_TOO_SHORT = "reference too short"


@dataclass(frozen=True)
class Finding:
    """One cause: its name, what the figures say, what to do, and the command that does it.

    needs_data: whether nothing mends it but other frames of the data or the reference, and so no training.
    """

    cause: str
    text: str
    remedy: str
    command: str
    needs_data: bool = False
