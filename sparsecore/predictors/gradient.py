"""Predictors that score a missing link by the gradient it would have, block of rows by block of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import Float64Array
from sparsecore.errors import ShapeError
from sparsecore.predictors.protocol import ScoreBlock, Signals, checked_pairs, register
from sparsecore.storage import Topology

__all__ = ["Gradient"]

_BLOCK = 1 << 20


@register(
    "gradient",
    paper="Evci et al., Rigging the lottery (ICML 2020)",
    equation="S(u,v) = |Σ_b ∂L/∂y_bu · x_bv|",
)
@dataclass(frozen=True)
class Gradient:
    """Size of the gradient of missing links (RigL); the whole gradient never exists."""

    needs: ClassVar[frozenset[str]] = frozenset({"signals"})

    def score_links(
        self, topology: Topology, rows: ArrayLike, cols: ArrayLike, *, signals: Signals | None = None
    ) -> Float64Array:
        """Return the size of the gradient at chosen missing links, float64, (n,).

        Raises
        ------
        SignalError
            Without signals.
        """
        heard = _fitting(topology, signals)
        row, col = checked_pairs(topology, rows, cols)
        out = np.empty(row.size)
        step = max(1, _BLOCK // max(1, len(heard.inputs)))
        for low in range(0, row.size, step):
            part = slice(low, low + step)
            products = heard.grad_outputs[:, row[part]].astype(np.float64) * heard.inputs[:, col[part]]
            out[part] = np.abs(products.sum(0))
        return out

    def stream(self, topology: Topology, *, signals: Signals | None = None) -> Iterator[ScoreBlock]:
        """Yield all missing links of non-zero gradient, about a million at a time, in order of link id."""
        heard = _fitting(topology, signals)
        height = max(1, _BLOCK // max(1, topology.n_in))
        for low in range(0, topology.n_out, height):
            high = min(low + height, topology.n_out)
            block = np.abs(heard.grad_outputs[:, low:high].T.astype(np.float64) @ heard.inputs.astype(np.float64))
            first, last = topology.row_ptr[low], topology.row_ptr[high]
            rows = np.repeat(np.arange(high - low), np.diff(topology.row_ptr[low : high + 1]))
            block[rows, topology.row_cols[first:last]] = 0.0
            hit = np.flatnonzero(block)
            if hit.size:
                yield ScoreBlock(hit + low * topology.n_in, block.ravel()[hit])


def _fitting(topology: Topology, signals: Signals | None) -> Signals:
    heard = Signals.require(signals)
    got = heard.grad_outputs.shape[1], heard.inputs.shape[1]
    if got != topology.shape:
        raise ShapeError(f"Expected signals of a layer of shape {topology.shape}. Got {got}.")
    return heard
