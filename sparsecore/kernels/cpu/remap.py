"""Edits of topologies in one sweep over old and grown links."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from sparsecore.storage import Topology, TopologyEdit

__all__ = ["plan_edit"]


def plan_edit(old: Topology, kept: ArrayLike, grown: ArrayLike) -> TopologyEdit:
    """Return what `TopologyEdit.plan` returns, in linear time but for the sorting of the grown links.

    Parameters
    ----------
    old : Topology
        The links before.
    kept : array, int64, (n_kept,)
        Increasing positions among ``old``'s links that stay.
    grown : array, int64, (n_grown,)
        Distinct ids of links to add; none of them may be kept, a removed one may come back.

    Raises
    ------
    TopologyError
        If positions do not increase, or a grown link is kept, repeated or out of range.
    """
    stay, ids = np.ascontiguousarray(kept, np.int64), np.asarray(grown, np.int64)
    out_of_range = ids.size and (ids.min() < 0 or ids.max() >= old.n_possible)
    keys = ids % max(old.n_in, 1) * old.n_out + ids // max(old.n_in, 1)
    keys.sort()
    n = stay.size + ids.size
    rows, source, ptr = np.empty(n, np.int32), np.empty(n, np.int64), np.zeros(old.n_in + 1, np.int64)
    if out_of_range or not _merge(old.col_ptr, old.rows, old.n_out, stay, keys, ptr, rows, source):
        # The slow way finds out what is wrong, or sorts what was not in order.
        return TopologyEdit.plan(old, stay, ids)
    return TopologyEdit(old, Topology(old.shape, ptr, rows, trust=True), source)


@njit(nogil=True, cache=True)  # type: ignore[misc]
def _merge(
    col_ptr: Any, old_rows: Any, n_out: int, stay: Any, keys: Any, ptr: Any, rows: Any, source: Any
) -> bool:  # fmt: skip
    """Write the links after the edit and where they were; tell whether the edit is a proper one."""
    count = s = g = 0
    for col in range(col_ptr.size - 1):
        p, end, bound = col_ptr[col], col_ptr[col + 1], (col + 1) * n_out
        while p < end or (g < keys.size and keys[g] < bound):
            new_row = keys[g] - col * n_out if g < keys.size and keys[g] < bound else n_out
            old_row = old_rows[p] if p < end else n_out
            is_kept = p < end and s < stay.size and stay[s] == p
            if g > 0 and new_row < n_out and keys[g] == keys[g - 1]:
                return False
            if new_row < old_row:
                rows[count], source[count] = new_row, -1
                count += 1
                g += 1
            elif new_row == old_row:
                if is_kept:
                    return False
                rows[count], source[count] = new_row, p
                count += 1
                g += 1
                p += 1
            else:
                if is_kept:
                    rows[count], source[count] = old_row, p
                    count += 1
                    s += 1
                p += 1
        ptr[col + 1] = count
    return s == stay.size and g == keys.size
