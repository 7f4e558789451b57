"""Sub-ranking of missing links with equal scores: how alike the two neurons see the network."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.stats import rankdata

from sparsecore._typing import Float64Array, Int64Array
from sparsecore.errors import ConfigError
from sparsecore.predictors import Predictor
from sparsecore.storage import Topology

__all__ = ["ScoresExisting", "ShortestPathCorrelation", "to_forty_bits"]

#: Most distances held at a time for each side, unless a single neuron has more: 16 MiB.
_TILE = 1 << 21


@runtime_checkable
class ScoresExisting(Protocol):
    """A predictor that can score stored links as if they were missing."""

    def score_existing(self, topology: Topology) -> Float64Array:
        """Return one score per stored link, float64, (n_links,)."""
        ...


def require_scores_of_links(predictor: Predictor) -> ScoresExisting:
    """Return `predictor` if it scores stored links.

    Raises
    ------
    ConfigError
        If it does not.
    """
    if not isinstance(predictor, ScoresExisting):
        raise ConfigError(
            f"Expected a predictor that scores stored links, for paths weighted by them. Got {predictor!r}. "
            "Use one that counts paths, as ch3_l3p, or break ties by id."
        )
    return predictor


def to_forty_bits(values: Float64Array) -> Float64Array:
    """Return `values` to 40 significant bits: sums of the same numbers in another order tie, as they do on paper."""
    bits = values.view(np.int64)
    rounded: Float64Array = ((bits + (1 << 12)) & ~np.int64((1 << 13) - 1)).view(np.float64)
    return rounded


class ShortestPathCorrelation:
    """Spearman correlation of the shortest paths of two neurons to all neurons (SPcorr).

    Every link is as long as ``1 / (1 + its own score)``. Distances come from Dijkstra's algorithm, started at the
    neurons that are asked for alone, tile by tile: memory is O(links + n_out + n_in) and two tiles. Neurons out of
    reach share the last rank.

    Parameters
    ----------
    topology : Topology
        The links.
    predictor : Predictor
        Scores them.

    Raises
    ------
    ConfigError
        If the predictor does not score stored links.

    Notes
    -----
    Source: Muscoloni et al., Adaptive network automata modelling of complex networks (2022), sub-ranking strategy.
    """

    def __init__(self, topology: Topology, predictor: Predictor) -> None:
        scores = require_scores_of_links(predictor)
        n_out, n_in = topology.shape
        self._n_out, self._n = n_out, n_out + n_in
        lengths = 1.0 / (1.0 + scores.score_existing(topology))
        ends = topology.rows.astype(np.int64), topology.cols.astype(np.int64) + n_out
        self._graph = csr_array((lengths, ends), shape=(self._n, self._n))

    def of(self, rows: Int64Array, cols: Int64Array) -> Float64Array:
        """Return the correlation of every pair (row, col), float64 in [-1, 1] to 12 decimals, (n,)."""
        out = np.zeros(rows.size)
        outputs, at_row = np.unique(rows, return_inverse=True)
        height = max(1, _TILE // self._n)
        for low in range(0, outputs.size, height):
            above = self._ranks(outputs[low : low + height])
            here = np.flatnonzero((at_row >= low) & (at_row < low + height))
            inputs, at_col = np.unique(cols[here], return_inverse=True)
            for left in range(0, inputs.size, height):
                below = self._ranks(inputs[left : left + height] + self._n_out)
                chosen = np.flatnonzero((at_col >= left) & (at_col < left + height))
                for first in range(0, chosen.size, height):
                    part = chosen[first : first + height]
                    pairs = above[at_row[here[part]] - low], below[at_col[part] - left]
                    out[here[part]] = np.einsum("ij,ij->i", *pairs)
        return np.round(out, 12)

    def _ranks(self, neurons: Int64Array) -> Any:
        """Return the ranks of all distances from `neurons`, centred and of length 1, float64, (n, n_out + n_in)."""
        distances = dijkstra(self._graph, directed=False, indices=neurons)
        ranks = rankdata(to_forty_bits(distances), axis=1)
        ranks -= (self._n + 1) / 2
        lengths = np.sqrt(np.einsum("ij,ij->i", ranks, ranks))
        return ranks / np.where(lengths > 0, lengths, 1.0)[:, None]
