"""The machine that a run was trained on, as its folder remembers it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

__all__ = ["machine", "processor"]


def machine() -> dict[str, str | int]:
    """Return processor, cores, vector instructions, GPU, system and Python of this machine, as plain values."""
    found: dict[str, str | int] = {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
