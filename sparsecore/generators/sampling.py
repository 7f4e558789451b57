"""Exact draws that several generators share; nothing here is larger than the links or the neurons."""

from __future__ import annotations

import numpy as np

from sparsecore._typing import Int64Array

__all__ = ["centres", "distinct", "missing", "nearest_inputs", "shares", "spread"]


def distinct(rng: np.random.Generator, population: int, n: int) -> Int64Array:
    """Draw `n` distinct integers below `population`, every subset being equally likely.

    Duplicates among independent draws are thrown away and drawn again, which is exact. Above half of the population
    the integers left out are drawn instead, so that a draw is new with probability at least 1/2.

    Parameters
    ----------
    rng : numpy Generator
        Source of randomness; advanced.
    population : int
        At most ``2**62``.
    n : int
        At most `population`.

    Returns
    -------
    array, int64, (n,)
        Sorted.
    """
    if 2 * n > population:
        return np.delete(np.arange(population), distinct(rng, population, population - n))
    chosen = np.empty(0, np.int64)
    while chosen.size < n:
        drawn = np.concatenate([chosen, rng.integers(population, size=n - chosen.size)])
        # numpy's unique goes through a hash table, which is many times slower than its sort.
        drawn.sort()
        chosen = drawn[np.diff(drawn, prepend=-1) > 0]
    return chosen


def missing(rng: np.random.Generator, taken: Int64Array, population: int, n: int) -> Int64Array:
    """Draw `n` distinct integers below `population` that are not in `taken`, every subset being equally likely.

    Parameters
    ----------
    rng : numpy Generator
        Source of randomness; advanced.
    taken : array, int64, (n_taken,)
        Sorted and unique.
    population : int
        At most ``2**62``.
    n : int
        At most ``population - n_taken``.

    Returns
    -------
    array, int64, (n,)
        Sorted.
    """
    rank = distinct(rng, population - taken.size, n)
    # taken[j] - j free integers lie below taken[j], so the rank-th free one has as many taken ones below it as there
    # are j for which that number is at most the rank.
    return rank + np.searchsorted(taken - np.arange(taken.size), rank, side="right")


def spread(n: int, total: int) -> Int64Array:
    """Return `n` numbers that differ by at most one, add up to `total`, and are mixed as evenly as can be.

    Examples
    --------
    >>> spread(5, 7).tolist()
    [1, 1, 2, 1, 2]
    """
    base, rest = divmod(total, max(n, 1))
    steps = np.arange(n + 1) * rest // max(n, 1)
    return base + np.diff(steps)


def shares(degrees: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return, for every link of a list grouped by neuron, its neuron and its rank within the neuron.

    Parameters
    ----------
    degrees : array, int64, (n,)
        Links of every neuron.

    Returns
    -------
    neuron, rank : array, int64, (n_links,)

    Examples
    --------
    >>> [a.tolist() for a in shares(np.array([2, 0, 3]))]
    [[0, 0, 2, 2, 2], [0, 1, 0, 1, 2]]
    """
    neuron = np.repeat(np.arange(degrees.size), degrees)
    start = np.cumsum(degrees) - degrees
    return neuron, np.arange(neuron.size) - start[neuron]


def centres(n_out: int, n_in: int) -> Int64Array:
    """Return the input opposite each output when both sides are laid on one ring: ``floor(i n_in / n_out)``."""
    return np.arange(n_out) * n_in // max(n_out, 1)


def nearest_inputs(degrees: Int64Array, n_in: int) -> tuple[Int64Array, Int64Array]:
    """Connect every output to the inputs nearest to its centre on the ring.

    Of two inputs at the same distance the next higher one comes first (0, +1, -1, +2, …).

    Parameters
    ----------
    degrees : array, int64, (n_out,)
        Links of every output, each at most `n_in`.
    n_in : int
        Number of inputs.

    Returns
    -------
    rows, cols : array, int64, (n_links,)
        Grouped by output.
    """
    rows, rank = shares(degrees)
    first = centres(degrees.size, n_in) - (degrees - 1) // 2
    return rows, (first[rows] + rank) % max(n_in, 1)
