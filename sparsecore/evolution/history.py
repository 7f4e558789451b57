"""Links that once existed: for ITOP, and for giving a returning link its old value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.storage import Topology, TopologyEdit

__all__ = ["History"]


@dataclass(frozen=True, eq=False)
class History:
    """Every link of one layer that was ever retired; O(links ever retired) memory.

    Attributes
    ----------
    ids : array, int64, (n,)
        Link ids, sorted; a link that came back stays in the list.
    values : array, float32, (n,)
        Value of each link when it was last retired.
    """

    ids: Int64Array
    values: FloatArray

    @classmethod
    def empty(cls) -> History:
        """Return the history of a layer that never changed."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.float32))

    def after(self, edit: TopologyEdit, values: FloatArray) -> History:
        """Return the history after `edit`, where `values`, (old.n_links,), were held before it."""
        gone = edit.retired
        if gone.size == 0:
            return self
        ids = np.concatenate([edit.old.link_ids[gone], self.ids])
        held = np.concatenate([values[gone].astype(np.float32), self.values])
        ids, first = np.unique(ids, return_index=True)
        return History(ids, held[first])

    def values_of(self, ids: Int64Array) -> FloatArray:
        """Return the value each link last held, float32, (n,); 0 for a link that never existed."""
        at = np.searchsorted(self.ids, ids)
        hit = at < self.ids.size
        hit[hit] = self.ids[at[hit]] == ids[hit]
        out = np.zeros(ids.size, np.float32)
        out[hit] = self.values[at[hit]]
        return out

    def explored(self, topology: Topology) -> int:
        """Return how many distinct links have existed, those of `topology` included."""
        returned = int(np.count_nonzero(topology.find(self.ids) >= 0))
        return topology.n_links + self.ids.size - returned
