"""Links that once existed: for ITOP, and for giving a returning link its old value."""

from __future__ import annotations

import numpy as np
import torch

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.errors import CheckpointError
from sparsecore.storage import Topology, TopologyEdit

__all__ = ["History"]

#: Fewest links that are merged for no other reason than that they wait.
_MERGE = 2**16


class History:
    """Every link of one layer that was ever retired; O(links ever retired) memory.

    Parameters
    ----------
    ids : array, int64, (n,)
        Link ids, sorted; a link that came back stays in the list.
    values : array, float32, (n,)
        Value of each link when it was last retired.
    """

    def __init__(self, ids: Int64Array, values: FloatArray) -> None:
        self._ids, self._values = ids, values
        # Links retired since, newest first: merged when somebody asks, or when they are as many as the others.
        self._recent: tuple[tuple[Int64Array, FloatArray], ...] = ()

    @classmethod
    def empty(cls) -> History:
        """Return the history of a layer that never changed."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.float32))

    @classmethod
    def restored(cls, ids: torch.Tensor, values: torch.Tensor, topology: Topology) -> History:
        """Return the history that a checkpoint holds of a layer with the shape of `topology`.

        Raises
        ------
        CheckpointError
            If ids are not sorted or not those of such a layer, or do not fit the values.
        """
        known, held = ids.numpy().astype(np.int64), values.numpy().astype(np.float32)
        inside = known.ndim == 1 and (known.size == 0 or (known[0] >= 0 and known[-1] < topology.n_possible))
        if not inside or known.shape != held.shape or bool((np.diff(known) <= 0).any()):
            raise CheckpointError(
                f"Expected sorted ids below {topology.n_possible} with one value each as a layer's history. Got others."
            )
        return cls(known, held)

    @property
    def ids(self) -> Int64Array:
        """Ids of all links ever retired, sorted, int64, (n,)."""
        self._merge()
        return self._ids

    @property
    def values(self) -> FloatArray:
        """Value of each link when it was last retired, float32, (n,)."""
        self._merge()
        return self._values

    def after(self, edit: TopologyEdit, values: FloatArray) -> History:
        """Return the history after `edit`, where `values`, (old.n_links,), were held before it."""
        gone = edit.retired
        if gone.size == 0:
            return self
        later = History(self._ids, self._values)
        later._recent = ((edit.old.link_ids[gone], values[gone].astype(np.float32)), *self._recent)
        if sum(ids.size for ids, _ in later._recent) > max(_MERGE, self._ids.size):
            later._merge()
        return later

    def _merge(self) -> None:
        if self._recent:
            ids = np.concatenate([*(ids for ids, _ in self._recent), self._ids])
            values = np.concatenate([*(values for _, values in self._recent), self._values])
            self._ids, first = np.unique(ids, return_index=True)
            self._values, self._recent = values[first], ()

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
        # One sort goes through memory in order; looking up one list in the other would jump through it.
        both = np.concatenate([topology.link_ids, self.ids])
        both.sort()
        return both.size - int(np.count_nonzero(both[1:] == both[:-1]))
