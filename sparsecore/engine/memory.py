"""Peak memory of a stretch of a program, net of what was there before it."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from pathlib import Path

__all__ = ["PeakMemory"]

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Rise of resident memory above the moment this object was made, in bytes.

    Memory that the allocator kept from earlier work is handed back first, so that it is not reused unseen.
    Where the kernel lets a process reset its high-water mark (Linux), `rise_bytes` is exact to the page; elsewhere
    it is the growth of the mark over the whole life of the process, and 0 when an earlier peak was higher.

    Examples
    --------
    >>> memory = PeakMemory()
    >>> block = bytearray(2**24)
    >>> memory.rise_bytes() >= 0
    True
    """

    def __init__(self) -> None:
        gc.collect()
        _trim()
        self.exact = _reset_peak()
        self._start = _resident_bytes() if self.exact else _peak_bytes()

    def rise_bytes(self) -> int:
        """Return the highest resident memory since the start, less the resident memory at the start."""
        return max(_peak_bytes() - self._start, 0)


def _trim() -> None:
    """Give free heap pages back to the system (glibc only)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _reset_peak() -> bool:
    try:
        _CLEAR.write_text("5")  # the value that resets VmHWM, see proc(5)
    except OSError:
        return False
    return True


def _status_bytes(key: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), None)


def _resident_bytes() -> int:
    return _status_bytes("VmRSS:") or _peak_bytes()


def _peak_bytes() -> int:
    known = _status_bytes("VmHWM:")
    if known is not None:
        return known
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
