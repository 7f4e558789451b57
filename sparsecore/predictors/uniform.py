"""The predictor that knows nothing: every missing link is equally likely."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.predictors.protocol import ScoreBlock, Signals, checked_pairs, register
from sparsecore.storage import Topology

__all__ = ["Random"]

_BLOCK = 1 << 20


@register("random", paper="Mocanu et al., Nature Communications 9 (2018)", equation="S(u,v) = 1")
@dataclass(frozen=True)
class Random:
    """Uniform over missing links."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def score_links(
        self, topology: Topology, rows: ArrayLike, cols: ArrayLike, *, signals: Signals | None = None
    ) -> Float64Array:
        """Return ones, float64, (n,)."""
        return np.ones(checked_pairs(topology, rows, cols)[0].size)

    def stream(self, topology: Topology, *, signals: Signals | None = None) -> Iterator[ScoreBlock]:
        """Yield every missing link with score 1, in order of link id."""
        linked = np.sort(topology.link_ids)
        for low in range(0, topology.n_possible, _BLOCK):
            high = min(low + _BLOCK, topology.n_possible)
            free = np.ones(high - low, np.bool_)
            first, last = np.searchsorted(linked, (low, high))
            free[linked[first:last] - low] = False
            ids = np.flatnonzero(free) + low
            if ids.size:
                yield ScoreBlock(ids, np.ones(ids.size))

    def sample(self, topology: Topology, n: int, seed: int) -> Int64Array:
        """Return ``min(n, missing)`` distinct missing links, uniformly, int64 ids in order of draw; O(links + n)."""
        draw = np.random.Generator(np.random.Philox(seed))
        n_missing = topology.n_possible - topology.n_links
        n = min(n, n_missing)
        if n == 0:
            return np.zeros(0, np.int64)
        ranks = draw.permutation(n_missing)[:n] if 2 * n > n_missing else _distinct(draw, n_missing, n)
        # The k-th missing link lies behind as many links as have at most k missing links before them.
        linked = np.sort(topology.link_ids)
        missing_before = linked - np.arange(linked.size)
        return ranks + np.searchsorted(missing_before, ranks, side="right")


def _distinct(draw: np.random.Generator, bound: int, n: int) -> Int64Array:
    """Return `n` distinct uniform integers below `bound` (at least ``2 n``): repeated draws are thrown away."""
    kept = np.zeros(0, np.int64)
    while kept.size < n:
        tried = np.concatenate([kept, draw.integers(0, bound, n - kept.size + 16)])
        _, first = np.unique(tried, return_index=True)
        kept = tried[np.sort(first)][:n]
    return kept
