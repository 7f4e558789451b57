"""Edits of topologies on the device: kept and grown links are merged where they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from sparsecore.errors import ShapeError, TopologyError
from sparsecore.kernels.gpu.lists import DeviceLists, lists_of, topology_of
from sparsecore.storage import Topology

__all__ = ["DeviceEdit", "merged_keys"]


def merged_keys(
    lists: DeviceLists, kept: torch.Tensor | None, grown: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sorted keys ``col * n_out + row`` of kept and grown links, and where each was before.

    Parameters
    ----------
    lists : DeviceLists
        The links before.
    kept : Tensor, int64, (n_kept,), optional
        Increasing positions of links that stay; all when missing.
    grown : Tensor, int64, (n_grown,)
        Ids of links to add.

    Returns
    -------
    keys, source : Tensor, int64, (n_kept + n_grown,)
        ``source`` is -1 for a link that did not exist.
    """
    n_out, n_in = max(lists.shape[0], 1), max(lists.shape[1], 1)
    have = lists.keys
    stay = torch.arange(lists.n_links, device=lists.device) if kept is None else kept
    keys = have if kept is None else have[kept]
    extra = torch.sort(grown % n_in * n_out + grown // n_in).values
    own = torch.arange(keys.numel(), device=keys.device) + torch.searchsorted(extra, keys)
    new = torch.arange(extra.numel(), device=keys.device) + torch.searchsorted(keys, extra, right=True)
    merged = torch.empty(keys.numel() + extra.numel(), dtype=torch.int64, device=keys.device)
    source = torch.empty_like(merged)
    merged[own], merged[new] = keys, extra
    source[own] = stay
    if have.numel():
        at = torch.searchsorted(have, extra).clamp_(max=have.numel() - 1)
        source[new] = torch.where(have[at] == extra, at, -1)
    else:
        source[new] = -1
    return merged, source


@dataclass(frozen=True, eq=False)
class DeviceEdit:
    """A planned change of one layer's links, as `sparsecore.storage.TopologyEdit`, that never leaves the device.

    Attributes
    ----------
    old, new : Topology
        Before and after.
    source : Tensor, int64, (new.n_links,)
        Position in the old values of every new link, or -1.
    """

    old: Topology
    new: Topology
    source: torch.Tensor

    @classmethod
    def plan(cls, old: Topology, kept: torch.Tensor, grown: torch.Tensor) -> DeviceEdit:
        """Plan the change that keeps the links at increasing positions `kept` and adds those of ids `grown`.

        Raises
        ------
        TopologyError
            If a grown link is kept or comes twice.
        """
        lists = lists_of(old, kept.device)
        keys, source = merged_keys(lists, kept, grown)
        if bool((keys[1:] == keys[:-1]).any()):
            raise TopologyError("Expected grown links that are not kept, each once. Got one that is there twice.")
        return cls(old, topology_of(DeviceLists.from_keys(keys, old.shape)), source)

    @cached_property
    def fresh(self) -> torch.Tensor:
        """Positions in the new values of links that did not exist before, int64."""
        return torch.nonzero(self.source < 0)[:, 0]

    @cached_property
    def retired(self) -> torch.Tensor:
        """Positions in the old values of links that are gone, int64."""
        gone = torch.ones(self.old.n_links + 1, dtype=torch.bool, device=self.source.device)
        gone[self.source] = False  # -1 is the last
        return torch.nonzero(gone[:-1])[:, 0]

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.old.n_links == self.new.n_links and self.fresh.numel() == 0

    def remap(self, values: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
        """Return per-link `values`, (old.n_links,), in the new order, (new.n_links,); new links get `fill`.

        Raises
        ------
        ShapeError
            If `values` does not have one entry per old link.
        """
        if tuple(values.shape) != (self.old.n_links,):
            raise ShapeError(f"Expected values of shape ({self.old.n_links},). Got {tuple(values.shape)}.")
        if not self.old.n_links:
            return values.new_full((self.new.n_links,), fill)
        moved = values.detach().index_select(0, self.source.clamp(min=0))
        return moved.masked_fill_(self.source < 0, fill)

    def ids_of(self, positions: torch.Tensor, *, new: bool) -> torch.Tensor:
        """Return the link ids ``row * n_in + col`` at some positions of the new or old links, int64."""
        lists = lists_of(self.new if new else self.old, positions.device)
        return lists.rows[positions].to(torch.int64) * lists.shape[1] + lists.cols[positions]
