"""The memory that training a Transformer needs, without what the allocator of the system leaves unused."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sparsecore.engine import PeakMemory
from sparsecore.models.translation import TranslationRun, TranslationTask, build

__all__ = ["peak_bytes"]

#: Steps that are taken, the second and the fourth with an update.
_STEPS = 4

#: Option of glibc's mallopt: allocations from this size on have pages of their own and give them back at once.
_MMAP_THRESHOLD = -3


def peak_bytes(run: TranslationRun, task: TranslationTask) -> int:
    """Return the rise of resident memory over building the network of `run` and its first four steps.

    Notes
    -----
    Sentences have any length, so that tensors of a thousand sizes come and go, and the heap of glibc grows to a
    multiple of what is in use. Where there is glibc, tensors therefore get pages of their own while this is measured.
    """
    with _own_pages():
        memory = PeakMemory()
        trainer = build(dataclasses.replace(run, every=2, rewarm=1), task)
        for _ in range(_STEPS):
            trainer.advance()
        return memory.rise_bytes()


@contextmanager
def _own_pages() -> Iterator[None]:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**18)
    try:
        yield
    finally:
        if mallopt is not None:
            mallopt(_MMAP_THRESHOLD, 2**25)
