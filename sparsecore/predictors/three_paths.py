"""What all predictors share whose scores are sums over three-step paths: exact scores of pairs and streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import BoolArray, Float64Array, Int64Array
from sparsecore.kernels import get_num_threads
from sparsecore.kernels.cpu import run_parts, run_split
from sparsecore.kernels.cpu.scores import score_pairs, score_rows_by_nodes, score_rows_by_paths
from sparsecore.predictors.draws import sides
from sparsecore.predictors.protocol import ScoreBlock, Signals, checked_pairs
from sparsecore.storage import Topology

__all__ = ["ThreePaths"]

#: Most scores that one thread holds at a time, unless a single output has more: 8 MiB with their ids.
BLOCK = 2**19

#: Scores of a tile: 1 MiB, in the cache of a core; 8 MiB in layers so dense that overlaps are dear to count again.
TILE, DENSE_TILE, DENSE = 2**17, 2**20, 1 / 32


@dataclass(frozen=True)
class ThreePaths:
    """Exact scores, float64, of missing links, from paths u - z1 - z2 - v.

    Attributes
    ----------
    rule : int
        Weight of inner nodes, see `sparsecore.kernels.cpu.scores`.
    by_paths : bool
        Whether weights are multiplied along paths, or added over nodes.
    """

    rule: ClassVar[int]
    by_paths: ClassVar[bool]
    needs: ClassVar[frozenset[str]] = frozenset()

    def score_links(
        self, topology: Topology, rows: ArrayLike, cols: ArrayLike, *, signals: Signals | None = None
    ) -> Float64Array:
        """Return exact scores at chosen missing links, float64, (n,).

        Takes the squared degree per pair; no other score is computed.

        Raises
        ------
        TopologyError
            If a pair is out of range or an existing link.
        """
        row, col = checked_pairs(topology, rows, cols)
        return self._pairs(topology, row, col, np.zeros(row.size, np.bool_))

    def score_existing(self, topology: Topology) -> Float64Array:
        """Return for every stored link the score it would have if it were missing, float64, (n_links,)."""
        rows, cols = topology.rows.astype(np.int64), topology.cols.astype(np.int64)
        return self._pairs(topology, rows, cols, np.ones(rows.size, np.bool_))

    def _pairs(self, topology: Topology, rows: Int64Array, cols: Int64Array, linked: BoolArray) -> Float64Array:
        outs, _ = sides(topology, bits=False)
        scores = np.empty(rows.size)

        def work(low: int, high: int) -> None:
            part = slice(low, high)
            score_pairs(outs, self.rule, self.by_paths, rows[part], cols[part], linked[part], scores[part])

        run_split(work, rows.size, share=64)
        return scores

    def stream(self, topology: Topology, *, signals: Signals | None = None) -> Iterator[ScoreBlock]:
        """Yield all missing links of positive score, block of rows by block of rows, in order of link id.

        Every thread works on a range of outputs of its own, so blocks do not depend on the number of threads.
        """
        outs, ins = sides(topology, bits=False)
        kernel = score_rows_by_paths if self.by_paths else score_rows_by_nodes
        width = max(topology.shape) if self.by_paths else topology.n_in
        height = max(1, (DENSE_TILE if topology.density > DENSE else TILE) // max(1, width))
        reach = _most_scores(topology)
        ranges = _ranges(reach, BLOCK)
        team = get_num_threads()
        for at in range(0, len(ranges), team):
            blocks: list[ScoreBlock | None] = [None] * len(ranges[at : at + team])

            def work(slot: int, low: int, high: int, blocks: list[ScoreBlock | None] = blocks) -> None:
                ids, scores = np.empty(int(reach[low:high].sum()), np.int64), np.empty(int(reach[low:high].sum()))
                count = kernel(outs, ins, self.rule, low, high, min(height, high - low), ids, scores)
                blocks[slot] = ScoreBlock(ids[:count], scores[:count])

            run_parts([partial(work, slot, *part) for slot, part in enumerate(ranges[at : at + team])])
            yield from (block for block in blocks if block is not None and block.ids.size)


def _most_scores(topology: Topology) -> Int64Array:
    """Return for every output how many scores it can have at most: paths that start at it, or missing links."""
    ends = _sums(topology.out_degrees[topology.rows], topology.col_ptr)
    paths = _sums(ends[topology.row_cols], topology.row_ptr)
    return np.minimum(paths, topology.n_in - topology.out_degrees)


def _sums(values: Int64Array, ptr: Int64Array) -> Int64Array:
    """Return the sum of ``values[ptr[i]:ptr[i + 1]]`` for every i."""
    total: Any = np.zeros(values.size + 1, np.int64)
    np.cumsum(values, out=total[1:])
    sums: Int64Array = total[ptr[1:]] - total[ptr[:-1]]
    return sums


def _ranges(sizes: Int64Array, limit: int) -> list[tuple[int, int]]:
    """Cut ``range(sizes.size)`` into ranges whose sizes add up to at most `limit`, or that have one member."""
    before = np.concatenate([[0], np.cumsum(sizes)])
    ranges, low = [], 0
    while low < sizes.size and before[low] < before[-1]:
        high = max(low + 1, int(np.searchsorted(before, before[low] + limit, side="right")) - 1)
        ranges.append((low, high))
        low = high
    return ranges
