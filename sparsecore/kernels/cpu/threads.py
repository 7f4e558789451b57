"""A small pool of Python threads for kernels that release the GIL.

For work that is put together in Python, and for jobs (see `stages`) where torch's own team cannot be used: forked
children start a fresh pool, and concurrent callers queue up.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue

import torch

from sparsecore.errors import check_count

__all__ = [
    "deterministic",
    "get_num_threads",
    "is_deterministic",
    "most_parts",
    "run_parts",
    "run_split",
    "set_deterministic",
    "set_num_threads",
]

Part = Callable[[], None]

#: Parts of a batch in the deterministic mode: as many threads have work, and each part but one has sums of its own.
FIXED_PARTS = 8


class _Pool:
    """Daemon threads fed from one queue; belongs to the process that made it."""

    def __init__(self, size: int) -> None:
        self.size, self.pid = size, os.getpid()
        self._jobs: SimpleQueue[tuple[Part, SimpleQueue[BaseException | None]]] = SimpleQueue()
        for index in range(size):
            threading.Thread(target=self._work, name=f"sparsecore-{index}", daemon=True).start()

    def _work(self) -> None:
        while True:
            part, done = self._jobs.get()
            try:
                part()
            except BaseException as error:
                done.put(error)
            else:
                done.put(None)

    def run(self, parts: list[Part]) -> None:
        done: SimpleQueue[BaseException | None] = SimpleQueue()
        for part in parts[1:]:
            self._jobs.put((part, done))
        errors: list[BaseException | None] = []
        try:
            parts[0]()
        finally:
            errors = [done.get() for _ in parts[1:]]
        for error in errors:
            if error is not None:
                raise error


_lock = threading.Lock()
_pool: _Pool | None = None
_wanted: int | None = None
_fixed = False


def get_num_threads() -> int:
    """Return how many threads the link kernels may use; torch's number unless set here."""
    return _wanted if _wanted is not None else torch.get_num_threads()


def set_num_threads(n: int | None) -> None:
    """Set the number of threads of the link kernels; ``None`` follows ``torch.get_num_threads()`` again."""
    global _wanted
    _wanted = None if n is None else check_count("n", n, "the number of kernel threads", low=1)


def set_deterministic(on: bool) -> None:
    """Compute the same bits on any number of threads from now on, or stop doing so; for all threads of this process.

    The order in which floats are added up depends on how a batch is cut into parts. As a rule there is one part for
    every thread; in this mode their number follows from the batch and the links alone, at most `FIXED_PARTS`. More
    threads than that have no work. Batches of up to 64 samples are never cut: their bits are the same in either mode.

    Parameters
    ----------
    on : bool
        Whether the mode is on.
    """
    global _fixed
    _fixed = bool(on)


def is_deterministic() -> bool:
    """Tell whether the same bits are computed on any number of threads."""
    return _fixed


@contextlib.contextmanager
def deterministic(on: bool = True) -> Iterator[None]:
    """Compute the same bits on any number of threads inside a ``with`` block, see `set_deterministic`.

    Examples
    --------
    >>> with deterministic():
    ...     is_deterministic()
    True
    >>> is_deterministic()
    False
    """
    before = _fixed
    set_deterministic(on)
    try:
        yield
    finally:
        set_deterministic(before)


def most_parts() -> int:
    """Return the most parts that a batch may be cut into."""
    return FIXED_PARTS if _fixed else get_num_threads()


def run_parts(parts: list[Part]) -> None:
    """Run all `parts`, the first on the calling thread, and return when the last is done.

    An exception of any part is raised here after all have ended.
    """
    global _pool
    if len(parts) == 1:
        parts[0]()
        return
    with _lock:
        if _pool is None or _pool.pid != os.getpid() or _pool.size < len(parts) - 1:
            _pool = _Pool(max(len(parts) - 1, get_num_threads() - 1))
        pool = _pool
    pool.run(parts)


def run_split(work: Callable[[int, int], None], n: int, share: int) -> None:
    """Call ``work(low, high)`` on parts of ``range(n)`` of at least `share`, on as many threads as there may be."""
    n_parts = max(1, min(get_num_threads(), n // share))
    edges = [n * part // n_parts for part in range(n_parts + 1)]
    run_parts([partial(work, low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)])
