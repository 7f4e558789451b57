"""The memory that training a Transformer needs, without what the allocator of the system leaves unused."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from sparsecore.engine import PeakMemory
from sparsecore.models.translation import EncodedPairs, Sizes, TranslationRun, TranslationTask, build

__all__ = ["peak_bytes", "warm_up"]

#: Steps that are taken, the second and the fourth with an update.
_STEPS = 4

#: Option of glibc's mallopt: allocations from this size on have pages of their own and give them back at once.
_MMAP_THRESHOLD = -3


def warm_up(run: TranslationRun, task: TranslationTask) -> None:
    """Take some steps with a tiny network, so that compiling counts neither as time nor as memory of the run."""
    few = EncodedPairs(task.encoded["train"].source[:200], task.encoded["train"].target[:200])
    sizes = Sizes(width=64, hidden=64, heads=2, layers=1)
    tiny = build(
        dataclasses.replace(run, sizes=sizes, density=0.1, steps=4, every=1, rewarm=1),
        dataclasses.replace(task, encoded={"train": few}),
    )
    for _ in range(3):
        tiny.advance()


def peak_bytes(run: TranslationRun, task: TranslationTask) -> int:
    """Return the rise of resident memory over building the network of `run` and its first four steps.

    Notes
    -----
    It is measured in a process of its own, as the heap of this one may be full of holes that earlier runs have left.
    Sentences have any length, so that tensors of a thousand sizes come and go, and the heap of glibc grows to a
    multiple of what is in use. Where there is glibc, tensors therefore get pages of their own while this is measured.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_here, run, task).result()


def _peak_here(run: TranslationRun, task: TranslationTask) -> int:
    warm_up(run, task)
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
