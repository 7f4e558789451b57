"""The predictor that remembers: retired links are as likely as they were large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import Float64Array
from sparsecore.predictors.protocol import ScoreBlock, Signals, checked_pairs, register
from sparsecore.storage import Topology

__all__ = ["Retired"]


@register(
    "retired",
    paper="Zhu and Gupta, To prune, or not to prune (2017): pruned weights are kept and may return",
    equation="S(u,v) = |w_uv when (u,v) was last retired|",
)
@dataclass(frozen=True)
class Retired:
    """Size of a link when it was last retired; 0 for a link that never existed. Reads a list, never a dense weight."""

    needs: ClassVar[frozenset[str]] = frozenset({"history"})

    def score_links(
        self, topology: Topology, rows: ArrayLike, cols: ArrayLike, *, signals: Signals | None = None
    ) -> Float64Array:
        """Return the last size of chosen missing links, float64, (n,)."""
        row, col = checked_pairs(topology, rows, cols)
        out = np.zeros(row.size)
        if signals is not None and signals.retired_ids.size:
            ids = row * topology.n_in + col
            at = np.minimum(np.searchsorted(signals.retired_ids, ids), signals.retired_ids.size - 1)
            known = signals.retired_ids[at] == ids
            out[known] = np.abs(signals.retired_values[at[known]])
        return out

    def stream(self, topology: Topology, *, signals: Signals | None = None) -> Iterator[ScoreBlock]:
        """Yield all retired and missing links that were not 0, in order of link id."""
        if signals is not None:
            ids, values = signals.missing_retired(topology)
            hit = values != 0
            if hit.any():
                yield ScoreBlock(ids[hit], np.abs(values[hit].astype(np.float64)))
