"""What a selection is: which stored links stay, and which missing links are grown."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from sparsecore._typing import Float64Array, FloatArray, Int64Array
from sparsecore.errors import ConfigError, ShapeError, check_count
from sparsecore.predictors import Predictor, Random, Signals
from sparsecore.registry import Registry
from sparsecore.storage import Topology

__all__ = [
    "Selection",
    "checked_growth",
    "checked_importance",
    "fill_uniformly",
    "get",
    "names",
    "register",
    "registry",
]


@runtime_checkable
class Selection(Protocol):
    """Chooses links by importance or by score."""

    def keep(self, importance: FloatArray, n_keep: int, seed: int) -> Int64Array:
        """Return the positions of the `n_keep` links that stay, increasing, int64."""
        ...

    def grow(
        self, predictor: Predictor, topology: Topology, n: int, seed: int, *, signals: Signals | None = None
    ) -> Int64Array:
        """Return the ids of ``min(n, missing)`` distinct missing links, int64."""
        ...


def checked_seed(seed: int) -> None:
    """Raise `ConfigError` if `seed` is not a 64-bit number."""
    check_count("seed", seed, "the number that all random streams start from", high=2**64 - 1)


def checked_growth(topology: Topology, n: int, seed: int) -> int:
    """Return how many links can be grown of `n` wanted, or raise `ConfigError`."""
    check_count("n", n, "the number of links to grow")
    checked_seed(seed)
    return min(n, topology.n_possible - topology.n_links)


def checked_importance(importance: FloatArray, n_keep: int, seed: int) -> Float64Array:
    """Return `importance` as float64, or raise if it is not a finite non-negative vector of at least `n_keep`."""
    values = np.asarray(importance, np.float64)
    if values.ndim != 1:
        raise ShapeError(f"Expected importance of shape (n_links,). Got {values.shape}.")
    check_count("n_keep", n_keep, "the number of links that stay", high=values.size)
    checked_seed(seed)
    if not np.isfinite(values).all() or (values.size and values.min() < 0):
        bad = int(np.flatnonzero(~np.isfinite(values) | (values < 0))[0])
        raise ConfigError(
            f"Expected finite importance >= 0 of every link. Got {values[bad]} at position {bad}. "
            "Values or gradients of this layer have overflowed; lower the learning rate or clip gradients."
        )
    return values


def fill_uniformly(topology: Topology, chosen: Int64Array, n: int, seed: int) -> Int64Array:
    """Return `chosen` and, if fewer than `n`, uniformly drawn other missing links, int64, (min(n, missing),)."""
    if chosen.size >= n:
        return chosen
    taken = Topology.from_ids(np.concatenate([topology.link_ids, chosen]), topology.shape)
    return np.concatenate([chosen, Random().sample(taken, n - chosen.size, seed)])


registry: Registry[Selection] = Registry("selection")
register = registry.register
names = registry.names


def get(name: str, **options: Any) -> Selection:
    """Build the selection called `name`; raises `UnknownNameError` with the nearest match."""
    return registry.get(name, **options)
