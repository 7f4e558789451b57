"""Proposals of missing links: draws in proportion to a score that nobody computes, some of them rejected.

Proposal number t of a seed uses random stream t alone, so any thread may make it. Every kernel writes link ids, or -1
for a rejected proposal, for proposals ``start .. start + found.size - 1``. Accepted ones are independent and follow the
score; docs/papers.md has the proofs.

Proposals are made in batches, step by step: all middles, then all pairs, then all ends. What one proposal loads depends
on what it loaded before, so alone it would wait for memory at every step; those of a batch wait together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.memory import load_i64
from sparsecore.kernels.cpu.paths import (
    begin,
    common_below,
    count_common,
    draw_alias,
    has_link,
    lists_of,
    missing_neighbour,
    node_at,
    table_of,
)
from sparsecore.kernels.cpu.rng import below, next_state, stream, uniform

__all__ = ["propose_around_links", "propose_by_pairs", "propose_by_paths", "propose_uniformly"]

#: Proposals made step by step together: their scratch stays in the first-level cache.
BATCH = 256


class Batch(NamedTuple):
    """Scratch of a batch of proposals, arrays of `BATCH` entries.

    Attributes
    ----------
    slots : array, int64
        Place of every proposal in the output.
    states : array, uint64
        Random state of every proposal.
    middles, firsts, seconds, ends : array, int64
        Nodes m, i, j and a of paths i - m - j - a; an end of -1 marks a rejected proposal.
    """

    slots: Any
    states: Any
    middles: Any
    firsts: Any
    seconds: Any
    ends: Any


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _new_batch() -> Any:
    return Batch(
        np.empty(BATCH, np.int64),
        np.empty(BATCH, np.uint64),
        np.empty(BATCH, np.int64),
        np.empty(BATCH, np.int64),
        np.empty(BATCH, np.int64),
        np.empty(BATCH, np.int64),
    )


@njit(cache=True, nogil=True)  # type: ignore[misc]
def propose_uniformly(outs: Any, seed: Any, start: int, found: Any) -> None:
    """Propose every missing link alike; `outs` is the topology seen from the outputs."""
    links = lists_of(outs)
    for k in range(found.size):
        state = next_state(stream(seed, start + k))
        u = below(state, links.n)
        v = below(next_state(state), links.m)
        found[k] = -1 if has_link(links, u, v) else u * links.m + v


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _draw_two_paths(side: Any, table: Any, n: int, batch: Any) -> None:
    """Draw n uniform 2-paths i - m - j of one side."""
    for k in range(n):
        batch.middles[k], batch.states[k] = draw_alias(table, batch.states[k])
    for k in range(n):
        low = begin(side.far_ptr, batch.middles[k])
        degree = begin(side.far_ptr, batch.middles[k] + 1) - low
        state = next_state(batch.states[k])
        first = below(state, degree)
        state = next_state(state)
        second = below(state, degree - 1)
        second += second >= first
        batch.firsts[k], batch.seconds[k] = node_at(side.far, low + first), node_at(side.far, low + second)
        batch.states[k] = state


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _draw_active_pairs(side: Any, active: int, n_active: int, n: int, batch: Any) -> None:
    """Draw n uniform pairs i, j of active nodes; their middle is beyond all nodes."""
    for k in range(n):
        state = next_state(batch.states[k])
        first = below(state, n_active)
        state = next_state(state)
        second = below(state, n_active - 1)
        second += second >= first
        batch.firsts[k], batch.seconds[k] = node_at(active, first), node_at(active, second)
        batch.middles[k], batch.states[k] = side.m, state


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _draw_ends(side: Any, n: int, batch: Any) -> None:
    """Draw for every pair i, j a uniform neighbour of j that i lacks; -1 where there is none."""
    for k in range(n):
        j = batch.seconds[k]
        low = begin(side.ptr, j)
        state = next_state(batch.states[k])
        batch.ends[k] = node_at(side.near, low + below(state, begin(side.ptr, j + 1) - low))
        batch.states[k] = state
    for k in range(n):
        if has_link(side, batch.firsts[k], batch.ends[k]):
            batch.ends[k], state = missing_neighbour(side, batch.firsts[k], batch.seconds[k], batch.states[k])
            batch.states[k] = state


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _pairs_then_ends(side: Any, table: Any, active: int, n_active: int, once: bool, n: int, batch: Any) -> int:
    """Make n proposals (i, a) of one kind, compact them, and return how many are left.

    A pair i, j comes with mass UU as a uniform 2-path. With `once` it comes with mass 1 if it is connected at all: as a
    uniform pair of active nodes if these are listed, else as a uniform 2-path through the smallest common neighbour.
    """
    if once and n_active > 0:
        _draw_active_pairs(side, active, n_active, n, batch)
    else:
        _draw_two_paths(side, table, n, batch)
    if once:
        listed = n_active > 0
        left = 0
        for k in range(n):
            # Of an active pair any common neighbour will do; of a 2-path there must be none before its middle.
            if common_below(side, batch.firsts[k], batch.seconds[k], batch.middles[k]) == listed:
                batch.slots[left], batch.states[left] = batch.slots[k], batch.states[k]
                batch.firsts[left], batch.seconds[left] = batch.firsts[k], batch.seconds[k]
                left += 1
        n = left
    _draw_ends(side, n, batch)
    return n


@njit(cache=True, nogil=True)  # type: ignore[misc]
def propose_by_pairs(
    outs: Any, ins: Any, aliases: Any, actives: Any, limits: Any, seed: Any, start: int, found: Any
) -> None:
    """Propose missing links in proportion to CH2-L3n or CH3-L3n.

    ``limits``, float64 (3,), divides [0, 1) among the four kinds of pair: outputs by mass UU, outputs once, inputs by
    mass VV, inputs once. ``aliases`` and ``actives`` hold, per side, the alias table of 2-paths and the list of active
    nodes (empty where 2-paths are fewer than pairs).
    """
    of_outs, of_ins = lists_of(outs), lists_of(ins)
    out_table, in_table = table_of(aliases[0][0], aliases[0][1]), table_of(aliases[1][0], aliases[1][1])
    out_active, in_active = np.int64(actives[0].ctypes.data), np.int64(actives[1].ctypes.data)
    n_in, batch, kinds = of_outs.m, _new_batch(), np.empty(BATCH, np.uint8)
    found[:] = -1
    for top in range(0, found.size, BATCH):
        size = min(BATCH, found.size - top)
        for k in range(size):
            share = uniform(next_state(stream(seed, start + top + k)))
            kinds[k] = (share >= limits[0]) + (share >= limits[1]) + (share >= limits[2])
        for kind in range(4):
            n = 0
            for k in range(size):
                batch.slots[n] = top + k
                n += kinds[k] == kind
            for k in range(n):
                batch.states[k] = next_state(stream(seed, start + batch.slots[k]))
            if kind < 2:
                n = _pairs_then_ends(of_outs, out_table, out_active, actives[0].size, kind == 1, n, batch)
                for k in range(n):
                    if batch.ends[k] >= 0:
                        found[batch.slots[k]] = batch.firsts[k] * n_in + batch.ends[k]
            else:
                n = _pairs_then_ends(of_ins, in_table, in_active, actives[1].size, kind == 3, n, batch)
                for k in range(n):
                    if batch.ends[k] >= 0:
                        found[batch.slots[k]] = batch.ends[k] * n_in + batch.firsts[k]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _far_node(side: Any, v: int, state: Any) -> int:
    """Return a uniform neighbour of node `v` of the other side."""
    low = begin(side.far_ptr, v)
    return node_at(side.far, low + below(state, begin(side.far_ptr, v + 1) - low))


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _path(side: Any, other: Any, table: Any, nodes: int, bounds: int, state: Any) -> Any:
    """Return nodes (i, a) joined by a path i - m - j - a, or (-1, -1).

    A link (j, m) is drawn, then i uniformly at m and a uniformly among what j has and i lacks: paths come with density
    x, the weight of j alone. They stay with probability 2·sqrt(x·y) / (x + y), y being the weight of m, so that both
    sides together give density sqrt(x·y). The weight of j is 1/free, or (1 + common)/free where ``bounds`` are given.
    """
    link, state = draw_alias(table, state)
    j, m = node_at(nodes, link), node_at(side.near, link)
    state = next_state(state)
    i = _far_node(side, m, state)
    if i == j:
        return -1, -1
    common = count_common(side, i, j)
    free = begin(side.ptr, j + 1) - begin(side.ptr, j) - common
    if free == 0:
        return -1, -1
    x = 1.0 / free
    if bounds != 0:
        state = next_state(state)
        if uniform(state) * (1.0 + load_i64(bounds + 8 * j)) >= 1.0 + common:
            return -1, -1
        x *= 1.0 + common
    a, state = missing_neighbour(side, i, j, state)
    common = count_common(other, a, m)
    y = 1.0 / (begin(other.ptr, m + 1) - begin(other.ptr, m) - common)
    if bounds != 0:
        y *= 1.0 + common
    state = next_state(state)
    if uniform(state) * (x + y) >= 2.0 * np.sqrt(x * y):
        return -1, -1
    return i, a


@njit(cache=True, nogil=True)  # type: ignore[misc]
def propose_by_paths(
    outs: Any, ins: Any, aliases: Any, bounds: Any, output_share: float, seed: Any, start: int, found: Any
) -> None:
    """Propose missing links in proportion to CH3-L3p, or to CH2-L3p where ``bounds`` of the overlaps are given.

    ``aliases`` holds, per side, the alias table of links and the node of this side of every link. `output_share` is the
    share of the mass that paths drawn from the outputs have.
    """
    of_outs, of_ins = lists_of(outs), lists_of(ins)
    out_table, in_table = table_of(aliases[0][0], aliases[0][1]), table_of(aliases[1][0], aliases[1][1])
    out_nodes, in_nodes = np.int64(aliases[0][2].ctypes.data), np.int64(aliases[1][2].ctypes.data)
    out_bounds = np.int64(bounds[0].ctypes.data) if bounds[0].size > 0 else np.int64(0)
    in_bounds = np.int64(bounds[1].ctypes.data) if bounds[1].size > 0 else np.int64(0)
    for k in range(found.size):
        state = next_state(stream(seed, start + k))
        if uniform(state) < output_share:
            u, v = _path(of_outs, of_ins, out_table, out_nodes, out_bounds, state)
        else:
            v, u = _path(of_ins, of_outs, in_table, in_nodes, in_bounds, state)
        found[k] = u * of_outs.m + v if u >= 0 else -1


@njit(cache=True, nogil=True)  # type: ignore[misc]
def propose_around_links(outs: Any, alias: Any, seed: Any, start: int, found: Any) -> None:
    """Propose missing links in proportion to the weight of the links in the middle of their paths (CN-L3, RA-L3).

    ``alias`` draws a link z2 - z1 of weight w·d_z1·d_z2 and names its output; u and v are uniform at its ends.
    """
    links, table, nodes = lists_of(outs), table_of(alias[0], alias[1]), np.int64(alias[2].ctypes.data)
    for k in range(found.size):
        link, state = draw_alias(table, stream(seed, start + k))
        z2, z1 = node_at(nodes, link), node_at(links.near, link)
        state = next_state(state)
        u = _far_node(links, z1, state)
        state = next_state(state)
        low = begin(links.ptr, z2)
        v = node_at(links.near, low + below(state, begin(links.ptr, z2 + 1) - low))
        free = u != z2 and v != z1 and not has_link(links, u, v)
        found[k] = u * links.m + v if free else -1
