"""The n smallest keys of a stream, in memory that does not grow with the stream."""

from __future__ import annotations

import numpy as np

from sparsecore._typing import Float64Array, Int64Array

__all__ = ["Smallest", "smallest"]


class Smallest:
    """Collects the `n` smallest keys; ties go to the smaller id.

    Parameters
    ----------
    n : int
        How many to keep. O(n + block) memory.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._ids = np.zeros(0, np.int64)
        self._keys = np.zeros(0)
        #: Keys above it are of no interest.
        self.limit = float(np.inf) if n else float(-np.inf)

    def add(self, ids: Int64Array, keys: Float64Array) -> None:
        """Offer some ids with their keys."""
        hopeful = keys <= self.limit
        self._ids = np.concatenate([self._ids, ids[hopeful]])
        self._keys = np.concatenate([self._keys, keys[hopeful]])
        if self._ids.size > 2 * self._n + 1024:
            self._shrink()

    def ids(self) -> Int64Array:
        """Return the ids of the smallest keys, smallest first, int64, (min(n, offered),)."""
        self._shrink()
        return self._ids

    def keys(self) -> Float64Array:
        """Return these keys, float64, (min(n, offered),)."""
        self._shrink()
        return self._keys

    def _shrink(self) -> None:
        n = self._n
        if self._keys.size > n:
            limit = np.partition(self._keys, n - 1)[n - 1] if n else -np.inf
            stay = self._keys <= limit
            self._ids, self._keys, self.limit = self._ids[stay], self._keys[stay], float(limit)
        order = np.lexsort((self._ids, self._keys))[:n]
        self._ids, self._keys = self._ids[order], self._keys[order]


def smallest(keys: Float64Array, n: int) -> Int64Array:
    """Return the positions of the `n` smallest keys, increasing, int64, (n,); ties go to the first."""
    if n in (0, keys.size):
        return np.arange(n, dtype=np.int64)
    limit = np.partition(keys, n - 1)[n - 1]
    stay = keys < limit
    stay[np.flatnonzero(keys == limit)[: n - np.count_nonzero(stay)]] = True
    return np.flatnonzero(stay)
