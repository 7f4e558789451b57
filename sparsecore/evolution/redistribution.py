"""Redistribution: which layers get the links that an update has freed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from sparsecore._typing import Float64Array, FloatArray
from sparsecore.errors import SignalError
from sparsecore.registry import Registry

__all__ = ["MomentumShare", "Redistribution", "Surviving", "SurvivorShare", "get", "names", "register", "share"]


@dataclass(frozen=True, eq=False)
class Surviving:
    """What is left of one layer after removal.

    Attributes
    ----------
    n_possible : int
        Links it could hold.
    n_kept : int
        Links that stay.
    momentum : array, float, (n_links,), optional
        The optimizer's momentum of every link before removal.
    """

    n_possible: int
    n_kept: int
    momentum: FloatArray | None = None


@runtime_checkable
class Redistribution(Protocol):
    """Weighs layers against each other; new links are shared in proportion.

    Attributes
    ----------
    needs : frozenset of str
        ``{"momentum"}`` for one that reads the optimizer's momentum.
    """

    needs: ClassVar[frozenset[str]]

    def weights(self, layers: Sequence[Surviving]) -> Float64Array:
        """Return a non-negative weight per layer, float64, (n_layers,)."""
        ...


registry: Registry[Redistribution] = Registry("redistribution")
register, names = registry.register, registry.names


def get(name: str, **options: Any) -> Redistribution:
    """Build the redistribution called `name`; raises `UnknownNameError` with the nearest match."""
    return registry.get(name, **options)


@register("survivors", paper="Mostafa and Wang, DSR (ICML 2019)", equation="G_l ∝ links of layer l that survived")
@dataclass(frozen=True)
class SurvivorShare:
    """Layers that lost few links get more (DSR)."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def weights(self, layers: Sequence[Surviving]) -> Float64Array:
        """Return the number of links that stay, float64, (n_layers,)."""
        return np.array([layer.n_kept for layer in layers], np.float64)


@register("momentum", paper="Dettmers and Zettlemoyer, SNFS (2019)", equation="G_l ∝ mean |momentum| of the links of l")
@dataclass(frozen=True)
class MomentumShare:
    """Layers whose links have a large mean momentum get more (SNFS)."""

    needs: ClassVar[frozenset[str]] = frozenset({"momentum"})

    def weights(self, layers: Sequence[Surviving]) -> Float64Array:
        """Return the mean size of the momentum, float64, (n_layers,).

        Raises
        ------
        SignalError
            Without momentum.
        """
        means = []
        for layer in layers:
            if layer.momentum is None:
                raise SignalError("Expected the optimizer's momentum of every link. Got none. Use one with momentum.")
            means.append(float(np.abs(layer.momentum.astype(np.float64)).mean()) if layer.momentum.size else 0.0)
        return np.array(means)


def share(weights: Float64Array, freed: Sequence[int], room: Sequence[int]) -> list[int]:
    """Share the freed links of all layers in proportion to `weights`, none getting more than it has room for.

    Parameters
    ----------
    weights : array, float64, (n_layers,)
        Non-negative. Where they are all 0, every layer gets back what it lost.
    freed : sequence of int
        Links each layer has lost.
    room : sequence of int
        Links each layer could grow, at least what it has lost.

    Returns
    -------
    list of int
        Together exactly ``sum(freed)``: largest remainders first, earlier layers first.

    Examples
    --------
    >>> share(np.array([1.0, 3.0, 1.0]), freed=[4, 4, 2], room=[20, 3, 20])
    [4, 3, 3]
    """
    total, limits = sum(freed), np.asarray(room, np.float64)
    if not weights.any():
        return list(freed)
    weights = weights / weights.max()
    weights = np.where(weights < 1e-100, 0.0, weights)
    ideal = np.zeros(len(room))
    # Weightless layers come last: they take what overflows from all others.
    for among in (weights > 0, weights == 0):
        ideal += _filled(np.where(among, np.where(weights > 0, weights, 1.0), 0.0), limits, total - ideal.sum())
    counts = [min(int(part), most) for part, most in zip(ideal + 1e-9, room, strict=True)]
    order = sorted(range(len(room)), key=lambda at: (counts[at] - ideal[at], at))
    while lacking := total - sum(counts):
        for at in [at for at in order if counts[at] < room[at]][:lacking]:
            counts[at] += 1
    return counts


def _filled(weights: Float64Array, limits: Float64Array, total: float) -> Float64Array:
    """Return parts in proportion to `weights`, cut at `limits`, what is cut going to the others."""
    part = np.zeros(weights.size)
    open_ = weights > 0
    while open_.any() and total - part.sum() > 0.5:
        spare = total - part[~open_].sum()
        ideal = np.where(open_, weights * (spare / weights[open_].sum()), part)
        over = open_ & (ideal >= limits)
        part = np.where(over, limits, np.where(open_, 0.0, part))
        if not over.any():
            return ideal
        open_ &= ~over
    return part
