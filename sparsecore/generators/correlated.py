"""CSTI: neurons are linked where the features they stand for are correlated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecore._typing import Float64Array, Int64Array, Shape
from sparsecore.errors import ConfigError, SignalError
from sparsecore.generators.calibration import Batches, correlation_tiles
from sparsecore.generators.protocol import check_request, register
from sparsecore.generators.sampling import missing, shares
from sparsecore.storage import Topology

__all__ = ["CSTI"]

#: Pairs kept per link asked for, so that wider layers of the same network need no second pass over the data.
_SLACK = 4


@dataclass(frozen=True, eq=False)
class _Ranking:
    """The most correlated ordered pairs of features: id ``p * n_features + q``, by falling correlation, then by id."""

    n_features: int
    score: Float64Array
    pair: Int64Array
    complete: bool


@register(
    "csti",
    paper="CHT, Zhang et al. 2024",
    equation="the n_links largest |Pearson correlation| between input features",
)
@dataclass(frozen=True, eq=False)
class CSTI:
    """Correlated sparse topological initialisation: links where the input features are most correlated.

    Neuron `k`, on either side, stands for feature ``k mod n_features``, so that a layer twice as wide as the input
    repeats the pattern; both sides must have at least `n_features` neurons. Links between neurons of the same feature
    and of features that never vary are left out. The links with the largest absolute correlation are taken, equal
    ones in order of link id: the seed plays no part. Only if there are fewer such links than asked for, the rest is
    drawn uniformly from the missing ones.

    Correlations are exact for integer features of one byte (images as stored) and rounded to 12 decimals for all, so
    that equal ones compare equal whatever the number of threads. They are computed tile by tile: the memory is that of
    a tile (at most 2 million pairs, at least 16 rows of pairs) and four pairs per link. The ranking is kept for the
    next layer of the same network.

    Parameters
    ----------
    features : array, real, (samples, n_features), or Batches
        The calibration set; `from_loader` makes the second form.

    Examples
    --------
    >>> samples = np.random.default_rng(0).normal(size=(100, 8))
    >>> CSTI(samples)((16, 8), n_links=20, seed=0)
    Topology(16 x 8, 20 links, density 0.1562)
    """

    features: NDArray[Any] | Batches | None = None
    _ranking: list[_Ranking] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse features that cannot work."""
        if self.features is not None and not isinstance(self.features, Batches):
            object.__setattr__(self, "features", np.asarray(self.features))
            if self.features.ndim != 2 or self.features.dtype.kind not in "biuf":
                raise ConfigError(
                    "Expected features as a real array of shape (samples, n_features). Got "
                    f"{self.features.ndim}-D {self.features.dtype}. Flatten every sample to one row."
                )

    @classmethod
    def from_loader(cls, loader: Iterable[Any], max_samples: int | None = None) -> CSTI:
        """Return a generator that reads its calibration set from a data loader, never holding the whole of it.

        Parameters
        ----------
        loader : iterable
            Gives batches of inputs, ``(B, ...)``, or tuples that start with them, as arrays or CPU tensors. It is
            iterated once to size up the features and once per tile; it must give the same samples every time, in any
            order.
        max_samples : int, optional
            Read no further than this; the loader must then keep its order.

        Raises
        ------
        ConfigError
            If `loader` can be iterated only once.
        """
        return cls(Batches(loader, max_samples))

    def __call__(self, shape: Shape, n_links: int, seed: int) -> Topology:
        """Build a topology of exactly `n_links` links; see `Generator`.

        Raises
        ------
        SignalError
            If there is no calibration set, or it changes between passes.
        ConfigError
            If a side has fewer neurons than there are features.
        DataError
            If the calibration set is empty or not finite.
        """
        n_out, n_in, n_links = check_request(shape, n_links, seed)
        if self.features is None:
            raise SignalError(
                "Expected a calibration set for CSTI. Got none. Pass CSTI(features=array of shape (samples, "
                "n_features)) or CSTI.from_loader(loader)."
            )
        ranking = self._rank(self.features, n_links, lambda n_features: _check_fits(n_out, n_in, n_features))
        ids = _links(ranking, n_out, n_in, n_links)
        lacking = n_links - ids.size
        if lacking:
            ids.sort()
            filler = missing(np.random.default_rng(seed), ids, n_out * n_in, lacking)
            ids = np.concatenate([ids, filler])
        return Topology.from_ids(ids, (n_out, n_in))

    def _rank(self, features: NDArray[Any] | Batches, n_links: int, check: Callable[[int], None]) -> _Ranking:
        if self._ranking:
            ranking = self._ranking[0]
            check(ranking.n_features)
            if ranking.complete or ranking.pair.size >= n_links:
                return ranking
        n_features, tiles = correlation_tiles(features)
        check(n_features)
        self._ranking[:] = [_best(n_features, tiles, _SLACK * n_links)]
        return self._ranking[0]


def _check_fits(n_out: int, n_in: int, n_features: int) -> None:
    for side, n in (("n_out", n_out), ("n_in", n_in)):
        if n < n_features:
            raise ConfigError(
                f"Expected {side} to be at least the number of features, {n_features}. Got {n}. CSTI gives every "
                "feature a neuron on both sides: widen the layer, calibrate on fewer features, or use another "
                "generator (BRF, ER)."
            )


def _best(n_features: int, tiles: Iterable[tuple[Float64Array, Int64Array, Int64Array]], n_pairs: int) -> _Ranking:
    """Return the `n_pairs` ordered pairs of largest score, by falling score, then by id."""
    score, pair = np.empty(0), np.empty(0, np.int64)
    complete, floor = True, -np.inf
    for value, p, q in tiles:
        near = value >= floor
        value, p, q = value[near], p[near], q[near]
        score = np.concatenate([score, value, value])
        pair = np.concatenate([pair, p * n_features + q, q * n_features + p])
        if score.size > n_pairs:
            complete = False
            score, pair = _top(score, pair, n_pairs)
            floor = score.min(initial=np.inf)
    order = np.lexsort((pair, -score))
    return _Ranking(n_features, score[order], pair[order], complete)


def _top(score: Float64Array, pair: Int64Array, n: int) -> tuple[Float64Array, Int64Array]:
    """Return the `n` pairs of largest score in any order, equal scores by id; `n` is below their number."""
    if n == 0:
        return score[:0], pair[:0]
    threshold = np.partition(score, score.size - n)[score.size - n]
    above, level = np.flatnonzero(score > threshold), np.flatnonzero(score == threshold)
    rest = n - above.size
    level = level[np.argpartition(pair[level], rest - 1)[:rest]]
    chosen = np.concatenate([above, level])
    return score[chosen], pair[chosen]


def _links(ranking: _Ranking, n_out: int, n_in: int, n_links: int) -> Int64Array:
    """Return the ids of the first `n_links` links by falling score, then by id; fewer if there are not as many.

    An ordered pair stands for a block of links, one for each neuron of either feature. Keeping as many pairs as links
    is enough: of equally good links, the first one of a pair comes before all links of later pairs.
    """
    p, q = np.divmod(ranking.pair, ranking.n_features)
    reach = np.cumsum(_copies(p, n_out, ranking.n_features) * _copies(q, n_in, ranking.n_features))
    if not reach.size or reach[-1] <= n_links:
        return _expand(p, q, n_out, n_in, ranking.n_features)
    if n_links == 0:
        return np.empty(0, np.int64)
    threshold = ranking.score[np.searchsorted(reach, n_links)]
    above, level = ranking.score > threshold, ranking.score == threshold
    ids = _expand(p[above], q[above], n_out, n_in, ranking.n_features)
    rest = n_links - ids.size
    p, q = p[level], q[level]
    # Row by row until there are enough: expanding all blocks of equal score could make far more links than asked for.
    per_feature = np.bincount(p, _copies(q, n_in, ranking.n_features), ranking.n_features)
    per_row = per_feature[np.arange(n_out) % ranking.n_features]
    n_rows = int(np.searchsorted(np.cumsum(per_row), rest)) + 1
    ties = _expand(p, q, n_rows, n_in, ranking.n_features)
    return np.concatenate([ids, np.partition(ties, rest - 1)[:rest]])


def _copies(feature: Int64Array, n: int, n_features: int) -> Int64Array:
    """Return how many of `n` neurons stand for each feature."""
    copies: Int64Array = (n - feature + n_features - 1) // n_features
    return copies


def _expand(p: Int64Array, q: Int64Array, n_out: int, n_in: int, n_features: int) -> Int64Array:
    """Return the ids of all links between neurons of features `p` and `q`, pair by pair."""
    across = _copies(q, n_in, n_features)
    block, rank = shares(_copies(p, n_out, n_features) * across)
    down, right = np.divmod(rank, across[block])
    rows: Int64Array = p[block] + down * n_features
    cols: Int64Array = q[block] + right * n_features
    return rows * n_in + cols
