"""Successive sampling without replacement from independent proposals, on any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sparsecore._typing import Float64Array, Int32Array, Int64Array
from sparsecore.kernels.cpu import run_split
from sparsecore.kernels.cpu.paths import Side, adjacency_bits, alias_table
from sparsecore.kernels.cpu.select import collect, collect_by_bit
from sparsecore.storage import Topology

__all__ = ["Alias", "active_nodes", "alias_of", "budget_of", "sides", "successive"]

#: Proposals made at a time: 1 MiB of link ids.
ROUND = 2**17

#: Fewest items worth a thread of their own.
SHARE = 4096

#: Proposals beyond those counted per link, so that a few links are found too.
SPARE = 1024

#: ``propose(start, found)`` writes proposals ``start .. start + found.size - 1``: link ids, -1 where rejected.
Propose = Callable[[int, Int64Array], None]


_NO_BITS = np.zeros(0, np.uint64)


class Alias(NamedTuple):
    """Draws an index in proportion to a weight.

    Attributes
    ----------
    thresholds : array, float64, (n,)
        Probability of the index itself when its slot is drawn.
    aliases : array, int64, (n,)
        The index taken otherwise.
    """

    thresholds: Float64Array
    aliases: Int64Array


def alias_of(weights: Float64Array) -> Alias:
    """Return the alias table of non-negative `weights`; of one index that never counts where all are 0."""
    if not weights.any():
        return Alias(np.ones(1), np.zeros(1, np.int64))
    aliases = np.arange(weights.size, dtype=np.int64)
    return Alias(alias_table(weights, aliases), aliases)


def sides(topology: Topology, *, bits: bool) -> tuple[Side, Side]:
    """Return the topology seen from its outputs and from its inputs.

    With `bits`, the lists come as bitsets too wherever these take no more memory than the lists themselves: from a
    density of about 1/32 upwards. Nothing larger than O(links) is made at any density.
    """
    t = topology
    outs = Side(t.row_ptr, t.row_cols, t.col_ptr, t.rows, _NO_BITS)
    ins = Side(t.col_ptr, t.rows, t.row_ptr, t.row_cols, _NO_BITS)
    return (_with_bits(outs), _with_bits(ins)) if bits else (outs, ins)


def _with_bits(side: Side) -> Side:
    """Return `side` with bitsets if they take no more memory than its lists."""
    n, n_far = side.ptr.size - 1, side.far_ptr.size - 1
    small = 8 * n * ((n_far + 63) // 64) <= side.near.nbytes
    return side._replace(bits=adjacency_bits(side.ptr, side.near, n_far)) if small else side


def budget_of(per_link: int, n: int) -> int:
    """Return how many proposals may be made for `n` links at `per_link` each; none at 0 each."""
    return per_link * n + SPARE if per_link and n else 0


def successive(propose: Propose, n_possible: int, n: int, budget: int) -> Int64Array:
    """Return up to `n` distinct ids in order of draw: accepted proposals that were not drawn before.

    The outcome is a function of the numbered proposals alone: neither threads nor the size of rounds change it.

    Parameters
    ----------
    propose : callable
        ``propose(start, found)``.
    n_possible : int
        All ids are below it.
    n : int
        Wanted number of ids.
    budget : int
        Most proposals; fewer than `n` ids come back when it ends.

    Returns
    -------
    array, int64, (m,)
        ``m <= n`` ids. Memory: O(n) and a round of proposals.
    """
    drawn = np.empty(n, np.int64)
    slots = 1 << max(4, (2 * n - 1).bit_length())
    by_bit = n_possible <= 64 * slots
    seen: Any = np.zeros((n_possible + 63) // 64, np.uint64) if by_bit else np.full(slots, -1, np.int64)
    take = collect_by_bit if by_bit else collect
    found = np.empty(min(ROUND, budget), np.int64)
    count = start = 0
    while count < n and start < budget:
        # Enough for the rest at the rate so far, and a little more.
        rate = max(count / start, 0.02) if start else 0.8
        part = found[: min(budget - start, found.size, int((n - count) / rate * 1.05) + 64)]
        run_split(lambda low, high, start=start, part=part: propose(start + low, part[low:high]), part.size, SHARE)  # type: ignore[misc]
        count = take(part, drawn, count, seen)
        start += part.size
    return drawn[:count]


def active_nodes(degrees: Int64Array, two_paths: float) -> Int32Array:
    """Return the nodes that have links, int32, where pairs of them are fewer than 2-paths; else nothing."""
    active = np.flatnonzero(degrees > 0).astype(np.int32)
    return active if active.size * (active.size - 1.0) < two_paths else active[:0]
