"""The machine that figures come from, named by its hardware."""

import os
import platform
from pathlib import Path


def describe_hardware() -> str:
    """Such as "AMD EPYC, 2 cores"."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores"
