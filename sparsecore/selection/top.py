"""The rigid selection: the best ones, ties by position or link id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsecore._typing import Float64Array, FloatArray, Int64Array
from sparsecore.kernels.cpu.rng import salted
from sparsecore.predictors import Predictor, Signals
from sparsecore.selection.best import Smallest
from sparsecore.selection.protocol import checked_growth, checked_importance, fill_uniformly, register
from sparsecore.storage import Topology

__all__ = ["Top"]


@register("top", paper="the field's hard rule", equation="the n of largest score, ties to the smaller id")
@dataclass(frozen=True)
class Top:
    """Keeps the most important links and grows those of highest score."""

    def keep(self, importance: FloatArray, n_keep: int, seed: int) -> Int64Array:
        """Return the positions of the `n_keep` most important links, increasing, int64; ties to the first.

        Raises
        ------
        ConfigError
            If an importance is negative or not finite, or `n_keep` exceeds their number.
        """
        values = checked_importance(importance, n_keep, seed)
        best = Smallest(n_keep)
        best.add(np.arange(values.size), -values)
        return np.sort(best.ids())

    def grow(
        self, predictor: Predictor, topology: Topology, n: int, seed: int, *, signals: Signals | None = None
    ) -> Int64Array:
        """Return the `n` missing links of highest score, best first, int64; then uniform ones where scores run out.

        Scores are compared to 40 significant bits (12 digits), so that rounding does not decide between equal ones.

        A predictor that cannot tell missing links apart would always give the first ones: with constant scores, as
        those of `Random`, use `Soft`.
        """
        n = checked_growth(topology, n, seed)
        best = Smallest(n)
        for block in predictor.stream(topology, signals=signals):
            best.add(block.ids, -_rounded(block.scores))
        return fill_uniformly(topology, best.ids(), n, salted(seed, 2))


def _rounded(scores: Float64Array) -> Float64Array:
    """Return `scores` to 40 significant bits: sums of the same numbers in another order tie, as they do on paper."""
    bits = scores.view(np.int64)
    rounded: Float64Array = ((bits + (1 << 12)) & ~np.int64((1 << 13) - 1)).view(np.float64)
    return rounded
