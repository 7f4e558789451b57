"""Scores made row by row: what node-based and path-based predictors have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.predictors.protocol import ScoreBlock, checked_pairs
from sparsecore.storage import Topology

__all__ = ["RowScorer"]

#: Scores held at a time by a stream.
_BLOCK = 1 << 20


class RowScorer:
    """Exact scores of the missing links of one output at a time, with O(n_out + n_in) scratch.

    Parameters
    ----------
    kernel : callable
        ``kernel(row_ptr, row_cols, col_ptr, rows, u, rule, scores, out_common, in_common)``.
    topology : Topology
        The links.
    rule : int
        Which formula the kernel applies.
    *more
        Further arguments of the kernel.
    """

    def __init__(self, kernel: Callable[..., None], topology: Topology, rule: int, *more: Any) -> None:
        self._kernel, self._topology, self._rule, self._more = kernel, topology, rule, more
        self._scores = np.zeros(topology.n_in)
        self._scratch = np.zeros(topology.n_out, np.int64), np.zeros(topology.n_in, np.int64)

    def row(self, u: int) -> Float64Array:
        """Return the scores of output `u`, float64, (n_in,), 0 at existing links; valid until the next call."""
        t = self._topology
        lists = t.row_ptr, t.row_cols, t.col_ptr, t.rows
        self._kernel(*lists, u, self._rule, self._scores, *self._scratch, *self._more)
        self._scores[t.row_cols[t.row_ptr[u] : t.row_ptr[u + 1]]] = 0.0
        return self._scores

    def pairs(self, rows: ArrayLike, cols: ArrayLike) -> Float64Array:
        """Return the scores of chosen missing links, float64, (n,)."""
        row, col = checked_pairs(self._topology, rows, cols)
        out = np.empty(row.size)
        order = np.argsort(row, kind="stable")
        edges = np.flatnonzero(np.diff(row[order], prepend=-1))
        for group in np.split(order, edges[1:]) if row.size else []:
            out[group] = self.row(int(row[group[0]]))[col[group]]
        return out

    def blocks(self) -> Iterator[ScoreBlock]:
        """Yield all positive scores in order of link id, about a million at a time."""
        ids: list[Int64Array] = []
        scores: list[Any] = []
        held = 0
        for u in np.flatnonzero(self._topology.out_degrees > 0):
            row = self.row(int(u))
            hit = np.flatnonzero(row > 0.0)
            if hit.size:
                ids.append(hit + int(u) * self._topology.n_in)
                scores.append(row[hit])
                held += hit.size
            if held >= _BLOCK:
                yield ScoreBlock(np.concatenate(ids), np.concatenate(scores))
                ids, scores, held = [], [], 0
        if held:
            yield ScoreBlock(np.concatenate(ids), np.concatenate(scores))
