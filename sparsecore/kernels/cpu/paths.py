"""Walks over two- and three-step paths of a bipartite graph: exact node-based scores, and samples without scores.

Both sides of a topology are given as index lists: side 0 is output-major (``row_ptr, row_cols``: inputs of every
output), side 1 input-major (``col_ptr, rows``: outputs of every input). A *near* list maps a node to its neighbours on
the other side; the *far* list maps these back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.rng import below, next_state, stream, uniform

__all__ = [
    "alias_table",
    "has_sorted",
    "input_weights",
    "sample_node_based",
    "score_row_node_based",
    "score_row_path_based",
]

#: Random tries for a neighbour of j that i lacks before all of them are listed.
TRIES = 12


@njit(cache=True, nogil=True)  # type: ignore[misc]
def has_sorted(values: Any, low: int, high: int, wanted: int) -> bool:
    """Tell whether ``values[low:high]``, which is sorted, holds `wanted`."""
    end = high
    while low < high:
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low < end and values[low] == wanted


@njit(cache=True, nogil=True)  # type: ignore[misc]
def alias_table(weights: Any) -> Any:
    """Return thresholds (float64) and aliases (int32) that draw an index in proportion to `weights` in O(1).

    Source: Vose, IEEE Transactions on Software Engineering 17 (1991).
    """
    n = weights.size
    thresholds = np.empty(n)
    aliases = np.arange(n).astype(np.int32)
    scale = n / weights.sum()
    queue = np.empty(n, np.int64)
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
    return thresholds, aliases


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _first_common(ptr: Any, near: Any, i: int, j: int) -> int:
    """Return the smallest neighbour that i and j share, or -1."""
    a, a_end, b, b_end = ptr[i], ptr[i + 1], ptr[j], ptr[j + 1]
    while a < a_end and b < b_end:
        if near[a] == near[b]:
            return int(near[a])
        if near[a] < near[b]:
            a += 1
        else:
            b += 1
    return -1


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _missing_neighbour(ptr: Any, near: Any, i: int, j: int, state: Any) -> Any:
    """Return a uniform neighbour of j that i lacks (-1 if there is none), and the random state."""
    low, high = ptr[j], ptr[j + 1]
    for _ in range(TRIES):
        state = next_state(state)
        a = near[low + below(state, high - low)]
        if not has_sorted(near, ptr[i], ptr[i + 1], a):
            return int(a), state
    free = 0
    for k in range(low, high):
        free += not has_sorted(near, ptr[i], ptr[i + 1], near[k])
    if free == 0:
        return -1, state
    state = next_state(state)
    pick = below(state, free)
    for k in range(low, high):
        if not has_sorted(near, ptr[i], ptr[i + 1], near[k]):
            if pick == 0:
                return int(near[k]), state
            pick -= 1
    return -1, state


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _propose(
    ptr: Any, near: Any, far_ptr: Any, far: Any, thresholds: Any, aliases: Any, weighted: bool, state: Any
) -> Any:
    """Return nodes (i, a) of one side and the other, or (-1, -1) for a rejected proposal.

    A uniform 2-path i - v - j is drawn; with `weighted` it is taken at once half of the time (mass: the number of
    common neighbours of i and j), else only if v is the first common neighbour (mass: 1 per connected pair).
    """
    state = next_state(state)
    v = below(state, thresholds.size)
    state = next_state(state)
    if uniform(state) >= thresholds[v]:
        v = aliases[v]
    degree = far_ptr[v + 1] - far_ptr[v]
    state = next_state(state)
    first = below(state, degree)
    state = next_state(state)
    second = below(state, degree - 1)
    second += second >= first
    i, j = far[far_ptr[v] + first], far[far_ptr[v] + second]
    state = next_state(state)
    if (not weighted or uniform(state) < 0.5) and _first_common(ptr, near, i, j) != v:
        return -1, -1
    a, state = _missing_neighbour(ptr, near, i, j, state)
    if a < 0:
        return -1, -1
    return int(i), int(a)


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _insert(table: Any, key: int) -> bool:
    """Add `key` to an open-addressing set; tell whether it was new. ``table`` has a power of two of slots, -1 empty."""
    slots = table.size - 1
    at = int((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & slots
    while table[at] != -1:
        if table[at] == key:
            return False
        at = (at + 1) & slots
    table[at] = key
    return True


@njit(cache=True, nogil=True)  # type: ignore[misc]
def sample_node_based(
    row_ptr: Any, row_cols: Any, col_ptr: Any, rows: Any, row_alias: Any, col_alias: Any, output_share: float,
    weighted: bool, n: int, seed: Any, budget: int, drawn: Any, table: Any,
) -> int:  # fmt: skip
    """Draw up to `n` distinct missing links in proportion to their L3n score; return how many were drawn.

    Proposal number t uses random stream t alone, and proposals are taken in order, so the outcome is a function of the
    seed. `output_share` is the share of the 2-paths that join two outputs; `row_alias` draws the input in their middle,
    `col_alias` the output in the middle of two inputs. Ids go to ``drawn``; ``table`` is an empty hash set.
    """
    n_in = col_ptr.size - 1
    count = 0
    for t in range(budget):
        if count == n:
            break
        state = next_state(stream(seed, t))
        if uniform(state) < output_share:
            row, col = _propose(row_ptr, row_cols, col_ptr, rows, row_alias[0], row_alias[1], weighted, state)
        else:
            col, row = _propose(col_ptr, rows, row_ptr, row_cols, col_alias[0], col_alias[1], weighted, state)
        if row < 0:
            continue
        link = np.int64(row) * n_in + col
        if _insert(table, link):
            drawn[count] = link
            count += 1
    return count


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def _penalty(e: float) -> float:
    """Return the denominator of CH3.1, ``(1 + e) ** (1 + e / (1 + e))``."""
    return (1.0 + e) ** (1.0 + e / (1.0 + e))


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def _node_weight(rule: int, common: int, degree: int) -> float:
    """Return what one node adds: CH2 (rule 2), CH3 (rule 3), CH3.1 (rule 31)."""
    free = float(degree - common)
    if rule == 3:
        return 1.0 / free
    if rule == 31:
        return (common + 1.0) / _penalty(free - 1.0)
    return (common + 1.0) / free


@njit(cache=True, nogil=True)  # type: ignore[misc]
def input_weights(row_ptr: Any, row_cols: Any, col_ptr: Any, rows: Any, active: Any, rule: int) -> Any:
    """Return what input ``active[a]`` adds to the score of a missing link of ``active[b]``, float64, (active, active).

    The table is the same for all outputs, so a layer with few active inputs pays for it once.
    """
    place = np.full(col_ptr.size - 1, -1, np.int64)
    for a in range(active.size):
        place[active[a]] = a
    table = np.zeros((active.size, active.size))
    for a in range(active.size):
        z = active[a]
        degree = col_ptr[z + 1] - col_ptr[z]
        for q in range(col_ptr[z], col_ptr[z + 1]):
            for r in range(row_ptr[rows[q]], row_ptr[rows[q] + 1]):
                table[a, place[row_cols[r]]] += 1.0
        for b in range(active.size):
            common = int(table[a, b])
            table[a, b] = _node_weight(rule, common, degree) if common > 0 and b != a and degree > common else 0.0
    return table


@njit(cache=True, nogil=True)  # type: ignore[misc]
def score_row_node_based(
    row_ptr: Any, row_cols: Any, col_ptr: Any, rows: Any, u: int, rule: int, scores: Any, out_common: Any,
    in_common: Any, active: Any, table: Any,
) -> None:  # fmt: skip
    """Write the L3n score of every missing link of output `u` into ``scores``, (n_in,); other entries mean nothing.

    ``out_common``, (n_out,), and ``in_common``, (n_in,), are zero before and after. ``table`` is that of
    `input_weights` for the inputs ``active``, or empty where it would be too large.
    """
    scores[:] = 0.0
    for p in range(row_ptr[u], row_ptr[u + 1]):
        v = row_cols[p]
        for q in range(col_ptr[v], col_ptr[v + 1]):
            out_common[rows[q]] += 1
    for z in range(out_common.size):
        degree = row_ptr[z + 1] - row_ptr[z]
        if out_common[z] > 0 and z != u and degree > out_common[z]:
            weight = _node_weight(rule, out_common[z], degree)
            for p in range(row_ptr[z], row_ptr[z + 1]):
                scores[row_cols[p]] += weight
        out_common[z] = 0
    if table.size > 0:
        a = 0
        for p in range(row_ptr[u], row_ptr[u + 1]):
            while active[a] < row_cols[p]:
                a += 1
            for b in range(active.size):
                scores[active[b]] += table[a, b]
        return
    for p in range(row_ptr[u], row_ptr[u + 1]):
        z = row_cols[p]
        degree = col_ptr[z + 1] - col_ptr[z]
        for q in range(col_ptr[z], col_ptr[z + 1]):
            for r in range(row_ptr[rows[q]], row_ptr[rows[q] + 1]):
                in_common[row_cols[r]] += 1
        for q in range(col_ptr[z], col_ptr[z + 1]):
            for r in range(row_ptr[rows[q]], row_ptr[rows[q] + 1]):
                v = row_cols[r]
                if in_common[v] > 0:
                    if v != z and degree > in_common[v]:
                        scores[v] += _node_weight(rule, in_common[v], degree)
                    in_common[v] = 0


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def _path_weight(rule: int, in_common: int, in_degree: int, out_common: int, out_degree: int) -> float:
    """Return what one path adds: CN (0), RA (1), CH2 (2), CH3 (3), CH3.1 (31)."""
    if rule == 0:
        return 1.0
    if rule == 1:
        return 1.0 / np.sqrt(float(in_degree) * float(out_degree))
    in_free, out_free = float(in_degree - in_common), float(out_degree - out_common)
    if rule == 3:
        return 1.0 / np.sqrt(in_free * out_free)
    shared = (1.0 + in_common) * (1.0 + out_common)
    if rule == 31:
        return np.sqrt(shared / (_penalty(in_free - 1.0) * _penalty(out_free - 1.0)))
    return np.sqrt(shared / (in_free * out_free))


@njit(cache=True, nogil=True)  # type: ignore[misc]
def score_row_path_based(
    row_ptr: Any,
    row_cols: Any,
    col_ptr: Any,
    rows: Any,
    u: int,
    rule: int,
    scores: Any,
    out_common: Any,
    in_common: Any,
) -> None:
    """Write the L3p score of every missing link of output `u` into ``scores``; arguments as the node-based one."""
    scores[:] = 0.0
    for p in range(row_ptr[u], row_ptr[u + 1]):
        v = row_cols[p]
        for q in range(col_ptr[v], col_ptr[v + 1]):
            out_common[rows[q]] += 1
    for p in range(row_ptr[u], row_ptr[u + 1]):
        z1 = row_cols[p]
        in_degree = col_ptr[z1 + 1] - col_ptr[z1]
        for q in range(col_ptr[z1], col_ptr[z1 + 1]):
            for r in range(row_ptr[rows[q]], row_ptr[rows[q] + 1]):
                in_common[row_cols[r]] += 1
        for q in range(col_ptr[z1], col_ptr[z1 + 1]):
            z2 = rows[q]
            out_degree = row_ptr[z2 + 1] - row_ptr[z2]
            if z2 == u or (rule > 1 and out_degree == out_common[z2]):
                continue
            for r in range(row_ptr[z2], row_ptr[z2 + 1]):
                v = row_cols[r]
                if v != z1 and (rule <= 1 or in_degree > in_common[v]):
                    scores[v] += _path_weight(rule, in_common[v], in_degree, out_common[z2], out_degree)
        for q in range(col_ptr[z1], col_ptr[z1 + 1]):
            for r in range(row_ptr[rows[q]], row_ptr[rows[q] + 1]):
                in_common[row_cols[r]] = 0
    for p in range(row_ptr[u], row_ptr[u + 1]):
        v = row_cols[p]
        for q in range(col_ptr[v], col_ptr[v + 1]):
            out_common[rows[q]] = 0
