"""How much memory this machine can give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Machine", "this_machine"]

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
#: Of both versions of control groups: limit, use, counters, and the counter of page cache that the kernel takes back.
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


@dataclass(frozen=True)
class Machine:
    """Memory that is free right now.

    Attributes
    ----------
    ram_bytes : int, optional
        That a new process can get without swapping, page cache that can be taken back and limits of containers counted
        in; ``None`` where nobody says.
    gpu_bytes : int, optional
        Of the current CUDA device; ``None`` without one.
    """

    ram_bytes: int | None
    gpu_bytes: int | None


def this_machine() -> Machine:
    """Return the free memory of this machine."""
    known = [free for free in (_available(), *(_below_limit(*names) for names in _LIMITS)) if free is not None]
    gpu = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    return Machine(min(known) if known else None, gpu)


def _available() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _below_limit(limit: str, used: str, counters: str, cache: str) -> int | None:
    try:
        at_most, in_use = (int((_CGROUP / name).read_text()) for name in (limit, used))
    except (OSError, ValueError):  # no such control group, or "max"
        return None
    return max(0, at_most - max(0, in_use - _counter(_CGROUP / counters, cache)))


def _counter(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
