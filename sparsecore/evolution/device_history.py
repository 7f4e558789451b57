"""Links that once existed, kept where the layer is."""

from __future__ import annotations

import torch

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.evolution.history import History
from sparsecore.kernels.gpu.lists import lists_of
from sparsecore.kernels.gpu.remap import DeviceEdit
from sparsecore.storage import Topology, TopologyEdit

__all__ = ["DeviceHistory"]


class DeviceHistory(History):
    """As `History`, on a device; the host gets a copy only when it asks for ids or values.

    Parameters
    ----------
    ids : Tensor, int64, (n,)
        Link ids, sorted.
    values : Tensor, float32, (n,)
        Value of each link when it was last retired.
    """

    def __init__(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._own = ids, values

    @classmethod
    def of(cls, history: History, device: torch.device) -> DeviceHistory:
        """Return `history` on `device`; itself if it is there."""
        if isinstance(history, cls) and history._own[0].device == device:
            return history
        return cls(torch.tensor(history.ids, device=device), torch.tensor(history.values, device=device))

    @property
    def ids(self) -> Int64Array:
        """Ids of all links ever retired, sorted, int64, (n,)."""
        ids: Int64Array = self._own[0].cpu().numpy()
        return ids

    @property
    def values(self) -> FloatArray:
        """Value of each link when it was last retired, float32, (n,)."""
        values: FloatArray = self._own[1].cpu().numpy()
        return values

    def after(self, edit: TopologyEdit, values: FloatArray) -> History:
        """Return the history after an `edit` that the host planned."""
        return History(self.ids, self.values).after(edit, values)

    def after_on_device(self, edit: DeviceEdit, values: torch.Tensor) -> DeviceHistory:
        """Return the history after `edit`, where `values`, (old.n_links,), were held before it."""
        gone = edit.retired
        ids = torch.cat([edit.ids_of(gone, new=False), self._own[0]])
        held = torch.cat([values[gone].float(), self._own[1]])
        # Links retired now come first, so of two entries the newer is met first.
        ids, order = torch.sort(ids, stable=True)
        first = torch.ones_like(ids, dtype=torch.bool)
        first[1:] = ids[1:] != ids[:-1]
        return DeviceHistory(ids[first], held[order[first]])

    def held_by(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the value each link last held, float32, (n,); 0 for a link that never existed."""
        known, values = self._own
        if not known.numel():
            return torch.zeros(ids.numel(), device=ids.device)
        at = torch.searchsorted(known, ids).clamp_(max=known.numel() - 1)
        return torch.where(known[at] == ids, values[at], 0.0)

    def explored(self, topology: Topology) -> int:
        """Return how many distinct links have existed, those of `topology` included."""
        known, (n_out, n_in) = self._own[0], topology.shape
        have = lists_of(topology, known.device).keys
        if not have.numel():
            return known.numel()
        keys = known % max(n_in, 1) * n_out + known // max(n_in, 1)
        at = torch.searchsorted(have, keys).clamp_(max=have.numel() - 1)
        return topology.n_links + known.numel() - int(torch.count_nonzero(have[at] == keys))
