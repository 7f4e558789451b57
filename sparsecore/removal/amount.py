"""Amounts: how many links one update removes from every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from sparsecore._typing import FloatArray
from sparsecore.errors import check_fraction, check_positive
from sparsecore.registry import Registry

__all__ = [
    "Amount",
    "Candidates",
    "Fraction",
    "Outranked",
    "Threshold",
    "Unimportant",
    "amounts",
]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Links of one layer that may go, and retired ones that may return.

    Attributes
    ----------
    importance : array, float64, (n_links,)
        Of every link.
    retired : array, float64, (n_retired,)
        Size that every missing link had when it was last retired.
    """

    importance: FloatArray
    retired: FloatArray


@runtime_checkable
class Amount(Protocol):
    """Says how many links stay.

    Attributes
    ----------
    needs : frozenset of str
        ``{"history"}`` for an amount that reads retired links.
    start : float
        Memory before the first update.
    """

    needs: ClassVar[frozenset[str]]

    @property
    def start(self) -> float:
        """Return the memory before the first update."""
        ...

    def n_keep(self, layers: Sequence[Candidates], zeta: float, memory: float) -> tuple[list[int], float]:
        """Return the number of links that stay in every layer, and the memory for the next update."""
        ...


amounts: Registry[Amount] = Registry("amount")


@dataclass(frozen=True)
class _Forgetful:
    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def start(self) -> float:
        """Return 0: nothing is remembered."""
        return 0.0


@amounts.register("fraction", paper="Mocanu et al. (2018) and most others", equation="n - floor(ζ n) stay")
@dataclass(frozen=True)
class Fraction(_Forgetful):
    """The fraction ζ of every layer goes."""

    def n_keep(self, layers: Sequence[Candidates], zeta: float, memory: float) -> tuple[list[int], float]:
        """Return ``n - floor(ζ n)`` for every layer."""
        sizes = [layer.importance.size for layer in layers]
        return [size - math.floor(zeta * size) for size in sizes], memory


@amounts.register("unimportant", paper="Bellec et al., DeepR (ICLR 2018)", equation="links of importance 0 go")
@dataclass(frozen=True)
class Unimportant(_Forgetful):
    """Every link whose importance is 0 goes; ζ is not read."""

    def n_keep(self, layers: Sequence[Candidates], zeta: float, memory: float) -> tuple[list[int], float]:
        """Return the number of links of positive importance."""
        return [int(np.count_nonzero(layer.importance > 0)) for layer in layers], memory


@amounts.register(
    "outranked",
    paper="Zhu and Gupta (2017), with weights kept when pruned",
    equation="the n largest of links and retired links stay or return",
)
@dataclass(frozen=True)
class Outranked(_Forgetful):
    """As many links go as there are retired ones that were larger when they went; ζ is not read."""

    needs: ClassVar[frozenset[str]] = frozenset({"history"})

    def n_keep(self, layers: Sequence[Candidates], zeta: float, memory: float) -> tuple[list[int], float]:
        """Return how many links are among the n largest of links and retired links; equal ones stay."""
        return [self._stay(layer) for layer in layers], memory

    @staticmethod
    def _stay(layer: Candidates) -> int:
        mine = np.sort(layer.importance)
        most = min(mine.size, layer.retired.size)
        rivals = -np.sort(-layer.retired)[:most]
        # Rivals fall while my links rise: the k-th swap pays as long as the k-th rival is above my k-th smallest.
        return int(mine.size - np.count_nonzero(rivals > mine[:most]))


@amounts.register(
    "threshold",
    paper="Mostafa and Wang, DSR (ICML 2019)",
    equation="importance < H goes; H doubles below (1-δ)·ζ·N removals, halves above (1+δ)·ζ·N",
)
@dataclass(frozen=True)
class Threshold:
    """Links below one threshold for all layers go; it adapts until about ζ of all links go.

    Attributes
    ----------
    first : float
        H before the first update.
    tolerance : float
        δ: how far the number of removed links may lie from ζ N before H changes.
    """

    first: float = 1e-3
    tolerance: float = 0.1
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Check ranges."""
        check_positive("first", self.first, "the threshold before the first update")
        check_fraction("tolerance", self.tolerance, "how far the number of removed links may lie from the wanted one")

    @property
    def start(self) -> float:
        """Return H before the first update."""
        return self.first

    def n_keep(self, layers: Sequence[Candidates], zeta: float, memory: float) -> tuple[list[int], float]:
        """Return the number of links at or above H in every layer, and the adapted H."""
        stay = [int(np.count_nonzero(layer.importance >= memory)) for layer in layers]
        n_links = sum(layer.importance.size for layer in layers)
        gone, wanted = n_links - sum(stay), zeta * n_links
        if gone < (1.0 - self.tolerance) * wanted:
            memory *= 2.0
        elif gone > (1.0 + self.tolerance) * wanted:
            memory /= 2.0
        return stay, memory
