"""The predictor that knows nothing: every missing link is equally likely."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.kernels.cpu.propose import propose_uniformly
from sparsecore.predictors.draws import budget_of, sides, successive
from sparsecore.predictors.protocol import ScoreBlock, Signals, checked_draw, checked_pairs, register
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
        linked = _linked(topology)
        for low in range(0, topology.n_possible, _BLOCK):
            high = min(low + _BLOCK, topology.n_possible)
            free = np.ones(high - low, np.bool_)
            first, last = np.searchsorted(linked, (low, high))
            free[linked[first:last] - low] = False
            ids = np.flatnonzero(free) + low
            if ids.size:
                yield ScoreBlock(ids, np.ones(ids.size))

    def sample(self, topology: Topology, n: int, seed: int) -> Int64Array:
        """Return ``min(n, missing)`` distinct missing links, uniformly, int64 ids in order of draw; O(links + n).

        Pairs are drawn and rejected if linked or drawn before; where more than half of them would be, the ranks of
        missing links are permuted instead.
        """
        checked_draw(n, seed)
        n_missing = topology.n_possible - topology.n_links
        n = min(n, n_missing)
        if n == 0:
            return np.zeros(0, np.int64)
        if 2 * (topology.n_links + n) <= topology.n_possible:
            outs, _ = sides(topology, bits=True)

            def propose(start: int, found: Int64Array) -> None:
                propose_uniformly(outs, np.uint64(seed), start, found)

            # At least half of all proposals are accepted: it would take a miracle to reach the budget.
            return successive(propose, topology.n_possible, n, budget_of(16, n))
        ranks = np.random.Generator(np.random.Philox(seed)).permutation(n_missing)[:n]
        # The k-th missing link lies behind as many links as have at most k missing links before them.
        linked = _linked(topology)
        missing_before = linked - np.arange(linked.size)
        return ranks + np.searchsorted(missing_before, ranks, side="right")


def _linked(topology: Topology) -> Int64Array:
    """Return all link ids, int64, increasing."""
    rows = np.repeat(np.arange(topology.n_out, dtype=np.int64), topology.out_degrees)
    return rows * topology.n_in + topology.row_cols
