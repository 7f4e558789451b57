"""Numba kernels of the generators: draws without replacement row by row, and preferential attachment.

All of them run on one thread and take their randomness from the numpy Generator that is passed in (and advanced), so
their results depend on the seed alone. Arguments are not checked here.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sparsecore._typing import Float64Array, Int64Array

__all__ = ["preferential_edges", "ring_rows", "uniform_rows"]


@njit(nogil=True, cache=True)
def uniform_rows(rng: np.random.Generator, degrees: Int64Array, n_in: int) -> Int64Array:
    """Draw distinct inputs for every output, each set being equally likely (Floyd's algorithm).

    Parameters
    ----------
    rng : numpy Generator
        Source of randomness; advanced.
    degrees : array, int64, (n_out,)
        Links of every output, each at most `n_in`.
    n_in : int
        Number of inputs; one int64 of scratch each.

    Returns
    -------
    array, int64, (n_links,)
        Inputs, grouped by output, in no particular order within one.
    """
    cols = np.empty(degrees.sum(), np.int64)
    owner = np.full(n_in, -1, np.int64)
    at = 0
    for row in range(degrees.size):
        for last in range(n_in - degrees[row], n_in):
            drawn = rng.integers(0, last + 1)
            cols[at] = last if owner[drawn] == row else drawn
            owner[cols[at]] = row
            at += 1
    return cols


@njit(nogil=True, cache=True)
def _ring_keys(
    rng: np.random.Generator, cols: Int64Array, centre: int, log_weight: Float64Array, keys: Float64Array
) -> None:
    """Fill `cols` by exponential keys over the whole ring: the smallest of ``E/w``, ``E ~ Exp(1)``, are the draw."""
    n_in, k = keys.size, cols.size
    for col in range(n_in):
        distance = abs(col - centre)
        distance = min(distance, n_in - distance)
        keys[col] = np.log(-np.log1p(-rng.random())) - log_weight[distance]
    threshold = np.partition(keys, k - 1)[k - 1]
    at = 0
    for strict in (True, False):
        for col in range(n_in):
            if at < k and (keys[col] < threshold if strict else keys[col] == threshold):
                cols[at] = col
                at += 1


@njit(nogil=True, cache=True)
def _ring_draws(
    rng: np.random.Generator, cols: Int64Array, row: int, centre: int, log_tail: Float64Array, owner: Int64Array
) -> None:
    """Fill `cols` by independent draws, dropping those drawn before.

    A distance is drawn by inverting the tail of its law. Distances all of whose inputs are taken, up to the first one
    that is free, are cut off the law: they could only be dropped. This leaves the law of what is kept as it is, and
    keeps steep weights, which put nearly all mass on inputs already taken, from stalling.
    """
    n_in, far = owner.size, log_tail.size - 1
    near = at = 0
    while at < cols.size:
        level = log_tail[near] + np.log1p(-rng.random())
        low, high = near, far
        while low < high:
            middle = (low + high + 1) // 2
            if log_tail[middle] >= level:
                low = middle
            else:
                high = middle - 1
        offset = low if rng.random() < 0.5 else -low
        col = (centre + offset) % n_in
        if owner[col] == row:
            continue
        owner[col] = row
        cols[at] = col
        at += 1
        while near < far and owner[(centre + near) % n_in] == row and owner[(centre - near) % n_in] == row:
            near += 1


@njit(nogil=True, cache=True)
def ring_rows(
    rng: np.random.Generator,
    degrees: Int64Array,
    centres: Int64Array,
    n_in: int,
    log_weight: Float64Array,
    log_tail: Float64Array,
) -> Int64Array:
    """Draw distinct inputs for every output one after the other, by weights that fall with ring distance.

    Parameters
    ----------
    rng : numpy Generator
        Source of randomness; advanced.
    degrees, centres : array, int64, (n_out,)
        Links of every output, each at most `n_in`, and the input opposite it.
    n_in : int
        Number of inputs; two 8-byte words of scratch each.
    log_weight : array, float64, (n_in // 2 + 1,)
        Logarithm of the weight of one input at each distance.
    log_tail : array, float64, (n_in // 2 + 1,)
        Logarithm of the total weight of the inputs at each distance or further.

    Returns
    -------
    array, int64, (n_links,)
        Inputs, grouped by output, in no particular order within one.
    """
    cols = np.empty(degrees.sum(), np.int64)
    owner = np.full(n_in, -1, np.int64)
    keys = np.empty(n_in, np.float64)
    at = 0
    for row in range(degrees.size):
        k = degrees[row]
        if k == 0:
            continue
        # From here on a key for every input is cheaper than ever rarer new draws, and still O(links).
        if 4 * k > n_in:
            _ring_keys(rng, cols[at : at + k], centres[row], log_weight, keys)
        else:
            _ring_draws(rng, cols[at : at + k], row, centres[row], log_tail, owner)
        at += k
    return cols


@njit(nogil=True, cache=True)
def preferential_edges(rng: np.random.Generator, counts: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Grow a graph in which every new node links to distinct earlier nodes in proportion to their degrees.

    Parameters
    ----------
    rng : numpy Generator
        Source of randomness; advanced.
    counts : array, int64, (n,)
        Links that each node brings; ``counts[t] <= t``, and once a node brings more than one, all earlier nodes must
        have a link or the node must bring `t` of them.

    Returns
    -------
    new, old : array, int64, (n_links,)
        Ends of every link; ``old < new``.
    """
    total = counts.sum()
    new, old = np.empty(total, np.int64), np.empty(total, np.int64)
    owner = np.full(counts.size, -1, np.int64)
    at = 0
    for node in range(counts.size):
        # The ends of all links so far, in two arrays, hold every node as many times as it has links.
        ends = at
        if counts[node] == node or ends == 0:
            first = rng.integers(0, node - counts[node] + 1) if counts[node] else 0
            for target in range(first, first + counts[node]):
                new[at], old[at] = node, target
                at += 1
            continue
        while at < ends + counts[node]:
            end = rng.integers(0, 2 * ends)
            picked = new[end] if end < ends else old[end - ends]
            if owner[picked] != node:
                owner[picked] = node
                new[at], old[at] = node, picked
                at += 1
    return new, old
