"""The soft selection: successive sampling in proportion to importance or score, at any temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsecore._typing import BoolArray, Float64Array, FloatArray, Int64Array
from sparsecore.errors import check_positive
from sparsecore.kernels.cpu import run_split
from sparsecore.kernels.cpu.rng import salted
from sparsecore.kernels.cpu.select import soft_keys
from sparsecore.predictors import Predictor, Sampler, Signals
from sparsecore.selection.best import Smallest, smallest
from sparsecore.selection.protocol import checked_growth, checked_importance, fill_uniformly, register
from sparsecore.storage import Topology

__all__ = ["Soft"]

#: Keys that a thread computes at least.
SHARE = 4096


@register("soft", paper="CHTs: Zhang et al. (2025)", equation="successive sampling, P ∝ score^T")
@dataclass(frozen=True)
class Soft:
    """Draws links one after the other without replacement, with weights ``score ** temperature``.

    Attributes
    ----------
    temperature : float
        T > 0; higher follows the scores more strictly, towards `Top`.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check the temperature."""
        check_positive("temperature", self.temperature, "the exponent of the scores")

    def keep(self, importance: FloatArray, n_keep: int, seed: int) -> Int64Array:
        """Return the positions of `n_keep` links drawn by importance, increasing, int64.

        Keys are ``log E - T·log importance`` with E ~ Exp(1), and the smallest stay: the law of
        ``torch.multinomial(importance ** T, n_keep, replacement=False)`` without its underflow. Links of importance 0
        come last.

        Raises
        ------
        ConfigError
            If an importance is negative or not finite, or `n_keep` exceeds their number.
        """
        values = checked_importance(importance, n_keep, seed)
        _, keys = self._keys(np.arange(values.size), values, seed, np.inf)
        return smallest(keys, n_keep)

    def grow(
        self, predictor: Predictor, topology: Topology, n: int, seed: int, *, signals: Signals | None = None
    ) -> Int64Array:
        """Return ``min(n, missing)`` missing links drawn by score, int64.

        At temperature 1 the predictor's own sampler draws, and no score is computed. What it leaves open is drawn by
        exponential keys over the streamed scores, which continues the same law; missing links of score 0 follow
        uniformly when the others run out.
        """
        n = checked_growth(topology, n, seed)
        chosen = np.zeros(0, np.int64)
        if self.temperature == 1.0 and isinstance(predictor, Sampler):
            chosen = predictor.sample(topology, n, salted(seed, 0))
        if chosen.size < n:
            best = Smallest(n - chosen.size)
            taken = np.sort(chosen)
            for block in predictor.stream(topology, signals=signals):
                open_ = ~_in_sorted(taken, block.ids)
                best.add(*self._keys(block.ids[open_], block.scores[open_], salted(seed, 1), best.limit))
            chosen = np.concatenate([chosen, best.ids()])
        return fill_uniformly(topology, chosen, n, salted(seed, 2))

    def _keys(self, ids: Int64Array, weights: Float64Array, seed: int, limit: float) -> tuple[Int64Array, Float64Array]:
        """Return the ids whose random keys are at most `limit`, in order, and these keys."""
        kept, keys, counts = np.empty(ids.size, np.int64), np.empty(ids.size), {0: 0}

        def work(low: int, high: int) -> None:
            part = slice(low, high)
            counts[low] = soft_keys(
                np.uint64(seed), ids[part], weights[part], float(self.temperature), limit, kept[part], keys[part]
            )

        run_split(work, ids.size, SHARE)
        if sum(counts.values()) == ids.size:
            return kept, keys
        parts = [slice(low, low + count) for low, count in sorted(counts.items())]
        return np.concatenate([kept[part] for part in parts]), np.concatenate([keys[part] for part in parts])


def _in_sorted(values: Int64Array, ids: Int64Array) -> BoolArray:
    at = np.searchsorted(values, ids)
    hit = at < values.size
    hit[hit] = values[at[hit]] == ids[hit]
    return np.asarray(hit, np.bool_)
