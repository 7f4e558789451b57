"""One number of threads for every runtime in the process: torch's, and the OpenMP copies that peers bring along."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import torch

__all__ = ["cores", "set_threads", "thread_counts"]

_RUNTIMES = ("libgomp", "libomp", "libiomp")


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def thread_counts() -> tuple[int, ...]:
    """Return the numbers of threads that contenders are tried with: 1, 2, 4, ... and all processors."""
    counts = {1 << power for power in range(cores().bit_length()) if 1 << power <= cores()}
    return tuple(sorted(counts | {cores()}))


def set_threads(n: int) -> None:
    """Give torch, our kernels (which follow torch) and every loaded OpenMP runtime `n` threads."""
    torch.set_num_threads(n)
    for path in _loaded_runtimes():
        _runtime(path).omp_set_num_threads(n)


def _loaded_runtimes() -> set[str]:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return set()
    files = {line.split()[-1] for line in maps.read_text().splitlines() if len(line.split()) >= 6}
    return {path for path in files if os.path.basename(path).startswith(_RUNTIMES)}


@cache
def _runtime(path: str) -> ctypes.CDLL:
    return ctypes.CDLL(path)
