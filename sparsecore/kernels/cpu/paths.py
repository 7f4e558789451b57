"""Neighbour lists of a bipartite graph: membership, common neighbours, weighted choice.

A topology is seen from one of its sides at a time. A *near* list maps a node of this side to its neighbours on the
other side; the *far* list maps these back. From the outputs, near is ``row_ptr, row_cols`` and far ``col_ptr, rows``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.memory import load_i32, load_i64, load_scalar
from sparsecore.kernels.cpu.rng import below, next_state, uniform

__all__ = [
    "Side",
    "adjacency_bits",
    "alias_table",
    "begin",
    "common_below",
    "count_common",
    "draw_alias",
    "has_link",
    "largest_overlaps",
    "lists_of",
    "missing_neighbour",
    "node_at",
    "overlaps",
    "table_of",
]

#: Random tries for a neighbour of j that i lacks before all of them are listed.
TRIES = 12

#: A list this many times shorter than another is looked up in it; lists of similar length are merged.
SKEW = 16


class Side(NamedTuple):
    """A topology seen from one of its sides.

    Attributes
    ----------
    ptr, near : array, int64 (n + 1,) and int32 (n_links,)
        Neighbours of every node of this side, sorted.
    far_ptr, far : array, int64 (m + 1,) and int32 (n_links,)
        Neighbours of every node of the other side, sorted.
    bits : array, uint64, (n * words,)
        Near lists as bitsets, ``words = ceil(m / 64)``; empty where the lists are shorter than their bitsets.
    """

    ptr: Any
    near: Any
    far_ptr: Any
    far: Any
    bits: Any


class Lists(NamedTuple):
    """A `Side` as plain addresses and sizes: what kernels hand to each other without counting references.

    The arrays of the side must outlive it. ``bits`` is 0 where there are none; ``n`` nodes face ``m``.
    """

    ptr: Any
    near: Any
    far_ptr: Any
    far: Any
    bits: Any
    n: Any
    m: Any


@njit(cache=True, nogil=True)  # type: ignore[misc]
def lists_of(side: Any) -> Any:
    """Return the addresses of a side."""
    return Lists(
        np.int64(side.ptr.ctypes.data),
        np.int64(side.near.ctypes.data),
        np.int64(side.far_ptr.ctypes.data),
        np.int64(side.far.ctypes.data),
        np.int64(side.bits.ctypes.data) if side.bits.size > 0 else np.int64(0),
        np.int64(side.ptr.size - 1),
        np.int64(side.far_ptr.size - 1),
    )


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def begin(ptr: int, i: int) -> int:
    """Return where the list of node `i` begins; it ends at ``begin(ptr, i + 1)``."""
    return load_i64(ptr + 8 * i)


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def node_at(near: int, p: int) -> int:
    """Return the node at position `p` of the lists at address `near`."""
    return load_i32(near + 4 * p)


@njit(cache=True, nogil=True)  # type: ignore[misc]
def adjacency_bits(ptr: Any, near: Any, n_far: int) -> Any:
    """Return the near lists as bitsets, uint64, (n * ceil(n_far / 64),)."""
    words = (n_far + 63) >> 6
    bits = np.zeros((ptr.size - 1) * words, np.uint64)
    for i in range(ptr.size - 1):
        for p in range(ptr[i], ptr[i + 1]):
            bits[i * words + (near[p] >> 6)] |= np.uint64(1) << np.uint64(near[p] & 63)
    return bits


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _in_list(near: int, low: int, high: int, wanted: int) -> bool:
    """Tell whether the sorted list at positions ``low .. high - 1`` holds `wanted`."""
    length = high - low
    while length > 1:
        half = length >> 1
        low = low + half if node_at(near, low + half) <= wanted else low
        length -= half
    return length == 1 and node_at(near, low) == wanted


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def _word(side: Any, i: int, w: int) -> Any:
    """Return word `w` of the bitset of node `i`."""
    return np.uint64(load_i64(side.bits + 8 * (i * ((side.m + 63) >> 6) + w)))


@njit(cache=True, nogil=True)  # type: ignore[misc]
def has_link(side: Any, i: int, a: int) -> bool:
    """Tell whether node `i` of this side is linked to node `a` of the other; `side` is made by `lists_of`."""
    if side.bits != 0:
        return (_word(side, i, a >> 6) >> np.uint64(a & 63)) & np.uint64(1) != np.uint64(0)
    return bool(_in_list(side.near, begin(side.ptr, i), begin(side.ptr, i + 1), a))


@njit(cache=True, nogil=True)  # type: ignore[misc]
def common_below(side: Any, i: int, j: int, bound: int) -> bool:
    """Tell whether nodes i and j of this side share a neighbour smaller than `bound`."""
    near = side.near
    if side.bits != 0:
        full = bound >> 6
        for w in range(full):
            if _word(side, i, w) & _word(side, j, w) != np.uint64(0):
                return True
        if bound & 63 == 0:
            return False
        under = (np.uint64(1) << np.uint64(bound & 63)) - np.uint64(1)
        return _word(side, i, full) & _word(side, j, full) & under != np.uint64(0)
    a, a_end, b, b_end = begin(side.ptr, i), begin(side.ptr, i + 1), begin(side.ptr, j), begin(side.ptr, j + 1)
    if a_end - a > b_end - b:
        a, a_end, b, b_end = b, b_end, a, a_end
    if (a_end - a) * SKEW < b_end - b:
        for p in range(a, a_end):
            x = node_at(near, p)
            if x >= bound:
                return False
            if _in_list(near, b, b_end, x):
                return True
        return False
    while a < a_end and b < b_end:
        x, y = node_at(near, a), node_at(near, b)
        if x == y:
            return x < bound
        a += x < y
        b += y < x
    return False


@njit(cache=True, nogil=True)  # type: ignore[misc]
def count_common(side: Any, i: int, j: int) -> int:
    """Return how many neighbours nodes i and j of this side share."""
    near = side.near
    common = 0
    if side.bits != 0:
        for w in range((side.m + 63) >> 6):
            common += _ones(_word(side, i, w) & _word(side, j, w))
        return common
    a, a_end, b, b_end = begin(side.ptr, i), begin(side.ptr, i + 1), begin(side.ptr, j), begin(side.ptr, j + 1)
    if a_end - a > b_end - b:
        a, a_end, b, b_end = b, b_end, a, a_end
    if (a_end - a) * SKEW < b_end - b:
        for p in range(a, a_end):
            common += _in_list(near, b, b_end, node_at(near, p))
        return common
    while a < a_end and b < b_end:
        x, y = node_at(near, a), node_at(near, b)
        common += x == y
        a += x <= y
        b += y <= x
    return common


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def _ones(word: Any) -> Any:
    """Return the number of set bits of a uint64 (Warren, Hacker's Delight, section 5-1)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    quads = np.uint64(0x3333333333333333)
    word = (word & quads) + ((word >> np.uint64(2)) & quads)
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)  # type: ignore[misc]
def missing_neighbour(side: Any, i: int, j: int, state: Any) -> Any:
    """Return a uniform neighbour of j that i lacks (-1 if there is none), and the random state."""
    low, high = begin(side.ptr, j), begin(side.ptr, j + 1)
    for _ in range(TRIES):
        state = next_state(state)
        a = node_at(side.near, low + below(state, high - low))
        if not has_link(side, i, a):
            return a, state
    free = 0
    for p in range(low, high):
        free += not has_link(side, i, node_at(side.near, p))
    if free == 0:
        return -1, state
    state = next_state(state)
    pick = below(state, free)
    for p in range(low, high):
        a = node_at(side.near, p)
        if not has_link(side, i, a):
            if pick == 0:
                return a, state
            pick -= 1
    return -1, state


@njit(cache=True, nogil=True)  # type: ignore[misc]
def overlaps(side: Any, i: int, counts: Any, touched: Any) -> int:
    """Count the neighbours that `i` shares with every node of its side, in the order of 2-paths.

    ``touched[:m]`` receives the nodes that share any (`i` among them), ``counts`` at these their number; returns m.
    ``counts``, (n,), must be zero before, and is left for the caller to clear.
    """
    m = 0
    for p in range(side.ptr[i], side.ptr[i + 1]):
        v = side.near[p]
        for q in range(side.far_ptr[v], side.far_ptr[v + 1]):
            j = side.far[q]
            if counts[j] == 0:
                touched[m] = j
                m += 1
            counts[j] += 1
    return m


@njit(cache=True, nogil=True)  # type: ignore[misc]
def largest_overlaps(side: Any) -> Any:
    """Return for every node the most neighbours it shares with another node that lacks one of its own, int64, (n,).

    Takes as many steps as there are 2-paths.
    """
    n = side.ptr.size - 1
    counts, touched = np.zeros(n, np.int64), np.empty(n, np.int32)
    largest = np.zeros(n, np.int64)
    for j in range(n):
        degree = side.ptr[j + 1] - side.ptr[j]
        for k in range(overlaps(side, j, counts, touched)):
            i = touched[k]
            if degree > counts[i] > largest[j]:
                largest[j] = counts[i]
            counts[i] = 0
    return largest


@njit(cache=True, nogil=True)  # type: ignore[misc]
def alias_table(weights: Any, aliases: Any) -> Any:
    """Return thresholds, float64 (n,), that with ``aliases`` draw an index in proportion to `weights` in O(1).

    ``aliases``, int64 (n,), holds 0 .. n - 1 and is rewritten.
    Source: Vose, IEEE Transactions on Software Engineering 17 (1991).
    """
    n = weights.size
    thresholds, queue = np.empty(n), np.empty_like(aliases)
    scale = n / weights.sum()
    n_small, n_large = 0, n
    for k in range(n):
        thresholds[k] = weights[k] * scale
        if thresholds[k] < 1.0:
            queue[n_small] = k
            n_small += 1
        else:
            n_large -= 1
            queue[n_large] = k
    while n_small > 0 and n_large < n:
        small, large = queue[n_small - 1], queue[n_large]
        n_small -= 1
        aliases[small] = large
        thresholds[large] -= 1.0 - thresholds[small]
        if thresholds[large] < 1.0:
            n_large += 1
            queue[n_small] = large
            n_small += 1
    for k in range(n_small):
        thresholds[queue[k]] = 1.0
    for k in range(n_large, n):
        thresholds[queue[k]] = 1.0
    return thresholds


class Table(NamedTuple):
    """An alias table of `n` indices as plain addresses: ``thresholds``, float64, and ``aliases``, int64."""

    thresholds: Any
    aliases: Any
    n: Any


@njit(cache=True, nogil=True)  # type: ignore[misc]
def table_of(thresholds: Any, aliases: Any) -> Any:
    """Return the addresses of an alias table; its arrays must outlive them."""
    return Table(np.int64(thresholds.ctypes.data), np.int64(aliases.ctypes.data), np.int64(thresholds.size))


@njit(cache=True, nogil=True)  # type: ignore[misc]
def draw_alias(table: Any, state: Any) -> Any:
    """Return an index drawn by an alias table, made by `table_of`, and the random state."""
    state = next_state(state)
    k = below(state, table.n)
    state = next_state(state)
    # Both are loaded, so that nothing has to be guessed: the outcome is random.
    alias = load_i64(table.aliases + 8 * k)
    k = alias if uniform(state) >= load_scalar(table.thresholds + 8 * k, 8) else k
    return k, state
