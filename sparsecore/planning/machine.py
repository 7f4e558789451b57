"""How much memory this machine can give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Machine", "this_machine"]

_MEMINFO = Path("/proc/meminfo")
_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


@dataclass(frozen=True)
class Machine:
    """Memory that is free right now.

    Attributes
    ----------
    ram_bytes : int, optional
        That a new process can get without swapping, limits of containers counted in; ``None`` where nobody says.
    gpu_bytes : int, optional
        Of the current CUDA device; ``None`` without one.
    """

    ram_bytes: int | None
    gpu_bytes: int | None


def this_machine() -> Machine:
    """Return the free memory of this machine."""
    known = [free for free in (_available(), *map(_below_limit, _LIMITS)) if free is not None]
    gpu = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    return Machine(min(known) if known else None, gpu)


def _available() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _below_limit(files: tuple[Path, Path]) -> int | None:
    try:
        limit, used = (file.read_text().strip() for file in files)
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no such control group, or "max"
        return None
