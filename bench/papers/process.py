"""What a process that works through cells needs: signals, claims, clocks, a line on the terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Clock", "Stop", "StoppedError", "claim", "say"]


class StoppedError(Exception):
    """The run has been told to stop; what it has done is in its checkpoint."""


@dataclass
class Stop:
    """Asked after every epoch; set by signals and by the clock.

    Attributes
    ----------
    until : float, optional
        ``time.time()`` at which to stop.
    signalled : bool
        Whether a signal has come.
    """

    until: float | None
    signalled: bool = field(default=False)

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self.signalled or (self.until is not None and time.time() >= self.until)

    def listen(self) -> None:
        """Stop at the next epoch instead of dying when the process is asked to end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: object) -> None:
        self.signalled = True


class Clock:
    """Wall and processor time of a run over all its sessions.

    Parameters
    ----------
    before : mapping
        What `read` gave at the end of the last session; empty for the first.
    """

    def __init__(self, before: Mapping[str, Any]) -> None:
        self._before, self._wall, self._cpu = before, time.monotonic(), time.process_time()

    def read(self) -> dict[str, Any]:
        """Return the seconds so far and the number of sessions."""
        return {
            "wall_s": self._before.get("wall_s", 0.0) + time.monotonic() - self._wall,
            "cpu_s": self._before.get("cpu_s", 0.0) + time.process_time() - self._cpu,
            "sessions": self._before.get("sessions", 0) + 1,
        }


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold a lock that ends with the process, however it ends; false if another process holds it."""
    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def say(text: str) -> None:
    """Write a line with time and process to the terminal."""
    sys.stderr.write(f"{time.strftime('%m-%d %H:%M:%S')} [{os.getpid()}] {text}\n")
    sys.stderr.flush()
