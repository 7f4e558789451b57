"""The highest memory that something needed, as the operating system saw it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Peak", "peak_above", "resident_bytes", "settle"]

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Peak:
    """High-water mark of resident memory inside a block, above where it began."""

    base_bytes: int
    bytes: int = 0


def resident_bytes() -> int:
    """Return the memory resident right now; the high-water mark where the system does not say."""
    return _status("VmRSS")


def settle() -> None:
    """Collect garbage and hand freed pages back, so that they are counted again when they are needed again."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def peak_above(base_bytes: int | None = None) -> Iterator[Peak]:
    """Measure the peak inside a block above `base_bytes`, or above what is resident when the block begins."""
    settle()
    # Without this reset (other systems) the mark of the whole process counts, which is an upper bound.
    with contextlib.suppress(OSError):
        _RESET.write_text("5")
    peak = Peak(resident_bytes() if base_bytes is None else base_bytes)
    yield peak
    peak.bytes = max(0, _status("VmHWM") - peak.base_bytes)


def _status(name: str) -> int:
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
