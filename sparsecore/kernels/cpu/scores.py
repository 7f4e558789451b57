"""Exact scores over three-step paths u - z1 - z2 - v: of chosen pairs, and of all missing links of a range of outputs.

A score is made of weights of inner nodes. An inner node of degree d that shares c of its neighbours with the far end of
the path has ``free = d - c``: one more than its external links. Node-based scores (L3n) add the weights of all inner
nodes; path-based ones (L3p) add, over paths, the product of two weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.paths import overlaps

__all__ = ["CH2", "CH3", "CH31", "CN", "RA", "score_pairs", "score_rows_by_nodes", "score_rows_by_paths"]

#: Names of the rules, as the kernels take them.
CN, RA, CH2, CH3, CH31 = 0, 1, 2, 3, 31

#: Scores of one row are looked through in blocks of 2**SHIFT; blocks that no path reaches are not looked at.
SHIFT = 6

#: From this many inputs on, a row lists its blocks instead of asking all of them: it costs what its paths cost.
MANY = 2**16


class Blocks(NamedTuple):
    """The blocks that paths reach, of one row of scores or, with another axis in front, of all rows of a tile.

    Attributes
    ----------
    reached : array, uint8, (n_blocks,)
        1 for those that are.
    listed : array, int32, (n_blocks,)
        The same in the order in which paths came to them; empty where a row has fewer than `MANY` inputs.
    count : array, int64, (1,)
        How many are listed.
    """

    reached: Any
    listed: Any
    count: Any


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _weight(rule: int, common: int, degree: int) -> float:
    """Return the weight of an inner node in a node-based score."""
    free = float(degree - common)
    if rule == CH3:
        return 1.0 / free
    if rule == CH31:
        return (common + 1.0) / free ** (1.0 + (free - 1.0) / free)
    return (common + 1.0) / free


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _half(rule: int, common: int, degree: int) -> float:
    """Return the weight of an inner node in a path-based score: two of them make a path."""
    if rule == CN:
        return 1.0
    if rule == RA:
        return 1.0 / np.sqrt(degree)
    return np.sqrt(_weight(rule, common, degree))


@njit(cache=True, nogil=True)  # type: ignore[misc]
def score_pairs(outs: Any, rule: int, by_paths: bool, us: Any, vs: Any, linked: Any, scores: Any) -> None:
    """Write the score of every pair (u, v) into ``scores``, float64, (n,).

    The score of an existing link (``linked``) is the one it would have without itself.
    """
    n_out, n_in = outs.ptr.size - 1, outs.far_ptr.size - 1
    of_u, of_v = np.zeros(n_in, np.uint8), np.zeros(n_out, np.uint8)
    weights = np.zeros(n_out)
    for k in range(us.size):
        u, v, self_link = us[k], vs[k], np.int64(linked[k])
        near_u = outs.near[outs.ptr[u] : outs.ptr[u + 1]]
        near_v = outs.far[outs.far_ptr[v] : outs.far_ptr[v + 1]]
        for z1 in near_u:
            of_u[z1] = 1
        for z2 in near_v:
            of_v[z2] = 1
        total = 0.0
        for z2 in near_v:
            common = -self_link
            for p in range(outs.ptr[z2], outs.ptr[z2 + 1]):
                common += of_u[outs.near[p]]
            degree = outs.ptr[z2 + 1] - outs.ptr[z2]
            if z2 != u and common > 0:
                weights[z2] = _half(rule, common, degree) if by_paths else _weight(rule, common, degree)
                total += weights[z2]
        total = 0.0 if by_paths else total
        for z1 in near_u:
            common, through = -self_link, 0.0
            for p in range(outs.far_ptr[z1], outs.far_ptr[z1 + 1]):
                common += of_v[outs.far[p]]
                through += weights[outs.far[p]]
            degree = outs.far_ptr[z1 + 1] - outs.far_ptr[z1]
            if z1 != v and common > 0:
                total += _half(rule, common, degree) * through if by_paths else _weight(rule, common, degree)
        scores[k] = total
        for z1 in near_u:
            of_u[z1] = 0
        for z2 in near_v:
            of_v[z2] = 0
            weights[z2] = 0.0


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _inputs_of(outs: Any, low: int, high: int, seen: Any, listed: Any) -> int:
    """List the inputs linked to outputs ``low .. high - 1``, each once; return their number. ``seen`` stays zero."""
    m = 0
    for p in range(outs.ptr[low], outs.ptr[high]):
        z1 = outs.near[p]
        if seen[z1] == 0:
            seen[z1] = 1
            listed[m] = z1
            m += 1
    for k in range(m):
        seen[listed[k]] = 0
    return m


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _weights_for_end(side: Any, end: int, rule: int, halves: bool, counts: Any, touched: Any, weights: Any) -> int:
    """List the inner nodes that add to missing links of `end`, and their weights; return their number.

    ``counts`` stays zero.
    """
    m = 0
    for k in range(overlaps(side, end, counts, touched)):
        inner = touched[k]
        common = counts[inner]
        counts[inner] = 0
        degree = side.ptr[inner + 1] - side.ptr[inner]
        # An end that has all neighbours of the inner node is linked to them: no missing link is concerned.
        if inner != end and common < degree:
            touched[m] = inner
            weights[m] = _half(rule, common, degree) if halves else _weight(rule, common, degree)
            m += 1
    return m


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _weights_of_inner(
    side: Any, inner: int, rule: int, halves: bool, counts: Any, touched: Any, weights: Any, by_common: Any
) -> int:
    """List the ends to whose missing links `inner` adds, and its weights; return their number."""
    degree = side.ptr[inner + 1] - side.ptr[inner]
    for common in range(1, degree):
        by_common[common] = _half(rule, common, degree) if halves else _weight(rule, common, degree)
    m = 0
    for k in range(overlaps(side, inner, counts, touched)):
        end = touched[k]
        common = counts[end]
        counts[end] = 0
        if common < degree:
            touched[m] = end
            weights[m] = by_common[common]
            m += 1
    return m


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _first_at_least(values: Any, low: int, high: int, bound: int) -> int:
    """Return the first position in sorted ``values[low:high]`` whose value is at least `bound`."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < bound:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _blocks(height: int, n_in: int) -> Blocks:
    """Return the blocks of a tile, none of them reached."""
    n = (n_in + (1 << SHIFT) - 1) >> SHIFT
    listed = np.empty((height, n if n_in >= MANY else 0), np.int32)
    return Blocks(np.zeros((height, n), np.uint8), listed, np.zeros((height, 1), np.int64))


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _of_row(blocks: Blocks, i: int) -> Blocks:
    """Return the blocks of row `i` of a tile."""
    return Blocks(blocks.reached[i], blocks.listed[i], blocks.count[i])


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _reach(blocks: Blocks, inputs: Any) -> None:
    """Note that a node which adds to the scores of a row is linked to `inputs`: to them its paths lead."""
    if blocks.listed.size == 0:
        for v in inputs:
            blocks.reached[v >> SHIFT] = 1
        return
    for v in inputs:
        block = v >> SHIFT
        if blocks.reached[block] == 0:
            blocks.reached[block] = 1
            blocks.listed[blocks.count[0]] = block
            blocks.count[0] += 1


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _emit(outs: Any, u: int, tile: Any, blocks: Blocks, ids: Any, scores: Any, count: int) -> int:
    """Append the positive scores of output `u` in order, its links left out; clear its row of the tile."""
    n_in = tile.size
    for p in range(outs.ptr[u], outs.ptr[u + 1]):
        tile[outs.near[p]] = 0.0
    if blocks.listed.size:
        listed = blocks.listed[: blocks.count[0]]
        listed.sort()
        blocks.count[0] = 0
        for block in listed:
            blocks.reached[block] = 0
            count = _take(u, tile, block << SHIFT, min(n_in, (block + 1) << SHIFT), ids, scores, count)
        return count
    for block in range(blocks.reached.size):
        if blocks.reached[block]:
            blocks.reached[block] = 0
            count = _take(u, tile, block << SHIFT, min(n_in, (block + 1) << SHIFT), ids, scores, count)
    return count


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _take(u: int, tile: Any, low: int, high: int, ids: Any, scores: Any, count: int) -> int:
    """Append the positive scores of ``tile[low:high]`` and clear them."""
    for v in range(low, high):
        if tile[v] > 0.0:
            ids[count] = np.int64(u) * tile.size + v
            scores[count] = tile[v]
            count += 1
            tile[v] = 0.0
    return count


@njit(cache=True, nogil=True)  # type: ignore[misc]
def score_rows_by_nodes(outs: Any, ins: Any, rule: int, low: int, high: int, height: int, ids: Any, scores: Any) -> int:
    """Write the positive L3n scores of outputs ``low .. high - 1``, by link id; return their number.

    Existing links are left out. Works on tiles of ``height`` rows: the overlaps of an input are counted once per tile.
    Scratch: the tile and O(n_out + n_in).
    """
    n_out, n_in = outs.ptr.size - 1, ins.ptr.size - 1
    tile = np.zeros((height, n_in))
    blocks = _blocks(height, n_in)
    counts, touched = np.zeros(max(n_out, n_in), np.int64), np.empty(max(n_out, n_in), np.int32)
    weights, by_common = np.empty(max(n_out, n_in)), np.empty(n_out)
    listed, seen = np.empty(n_in, np.int32), np.zeros(n_in, np.uint8)
    count = 0
    for top in range(low, high, height):
        end = min(top + height, high)
        for u in range(top, end):
            row, reached = tile[u - top], _of_row(blocks, u - top)
            for k in range(_weights_for_end(outs, u, rule, False, counts, touched, weights)):
                z2 = touched[k]
                for p in range(outs.ptr[z2], outs.ptr[z2 + 1]):
                    row[outs.near[p]] += weights[k]
                _reach(reached, outs.near[outs.ptr[z2] : outs.ptr[z2 + 1]])
        for at in range(_inputs_of(outs, top, end, seen, listed)):
            z1 = listed[at]
            m = _weights_of_inner(ins, z1, rule, False, counts, touched, weights, by_common)
            first = _first_at_least(ins.near, ins.ptr[z1], ins.ptr[z1 + 1], top)
            for q in range(first, ins.ptr[z1 + 1]):
                u = ins.near[q]
                if u >= end:
                    break
                row = tile[u - top]
                for k in range(m):
                    row[touched[k]] += weights[k]
        for u in range(top, end):
            count = _emit(outs, u, tile[u - top], _of_row(blocks, u - top), ids, scores, count)
    return count


@njit(cache=True, nogil=True)  # type: ignore[misc]
def score_rows_by_paths(outs: Any, ins: Any, rule: int, low: int, high: int, height: int, ids: Any, scores: Any) -> int:
    """Write the positive L3p scores of outputs ``low .. high - 1``; as `score_rows_by_nodes`.

    Walks every path once. Scratch: two tiles of ``height`` rows and O(n_out + n_in).
    """
    n_out, n_in = outs.ptr.size - 1, ins.ptr.size - 1
    tile, of_z2 = np.zeros((height, n_in)), np.zeros((height, n_out))
    blocks = _blocks(height, n_in)
    counts, touched = np.zeros(max(n_out, n_in), np.int64), np.empty(max(n_out, n_in), np.int32)
    weights, by_common = np.empty(max(n_out, n_in)), np.empty(n_out)
    listed, seen = np.empty(n_in, np.int32), np.zeros(n_in, np.uint8)
    of_z1 = np.zeros(n_in)
    count = 0
    for top in range(low, high, height):
        end = min(top + height, high)
        for u in range(top, end):
            reached = _of_row(blocks, u - top)
            for k in range(_weights_for_end(outs, u, rule, True, counts, touched, weights)):
                of_z2[u - top, touched[k]] = weights[k]
                _reach(reached, outs.near[outs.ptr[touched[k]] : outs.ptr[touched[k] + 1]])
        for at in range(_inputs_of(outs, top, end, seen, listed)):
            z1 = listed[at]
            m = _weights_of_inner(ins, z1, rule, True, counts, touched, weights, by_common)
            for k in range(m):
                of_z1[touched[k]] = weights[k]
            first = _first_at_least(ins.near, ins.ptr[z1], ins.ptr[z1 + 1], top)
            for q in range(first, ins.ptr[z1 + 1]):
                u = ins.near[q]
                if u >= end:
                    break
                _add_paths(outs, ins, z1, of_z1, of_z2[u - top], tile[u - top])
            for k in range(m):
                of_z1[touched[k]] = 0.0
        for u in range(top, end):
            _clear(outs, u, of_z2[u - top])
            count = _emit(outs, u, tile[u - top], _of_row(blocks, u - top), ids, scores, count)
    return count


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _add_paths(outs: Any, ins: Any, z1: int, of_z1: Any, of_z2: Any, row: Any) -> None:
    """Add to a row of scores all paths of its output that go through `z1`."""
    for p in range(ins.ptr[z1], ins.ptr[z1 + 1]):
        z2 = ins.near[p]
        weight = of_z2[z2]
        if weight == 0.0:
            continue
        for r in range(outs.ptr[z2], outs.ptr[z2 + 1]):
            v = outs.near[r]
            row[v] += weight * of_z1[v]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _clear(side: Any, i: int, values: Any) -> None:
    """Set to zero what belongs to nodes that share a neighbour with `i`; cheaper than all where there are few."""
    for p in range(side.ptr[i], side.ptr[i + 1]):
        v = side.near[p]
        for q in range(side.far_ptr[v], side.far_ptr[v + 1]):
            values[side.far[q]] = 0.0
