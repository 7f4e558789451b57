"""The lists of a topology on a device, as the kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from sparsecore._typing import Shape
from sparsecore.storage import Topology

__all__ = ["DeviceLists", "lists_of", "topology_of"]


@dataclass(frozen=True, eq=False)
class DeviceLists:
    """Links of one layer in both reading orders; the output-major one is made on first use.

    Attributes
    ----------
    shape : tuple of int
        ``(n_out, n_in)``.
    col_ptr : Tensor, int64, (n_in + 1,)
        Links of input ``i`` sit at positions ``col_ptr[i]:col_ptr[i + 1]``.
    rows : Tensor, int32, (n_links,)
        Output neuron of every link, increasing within one input.
    """

    shape: Shape
    col_ptr: torch.Tensor
    rows: torch.Tensor

    @property
    def n_links(self) -> int:
        """Number of links."""
        return self.rows.numel()

    @property
    def device(self) -> torch.device:
        """Where the lists are."""
        return self.rows.device

    @cached_property
    def cols(self) -> torch.Tensor:
        """Input neuron of every link, int32, (n_links,)."""
        nodes = torch.arange(self.shape[1], dtype=torch.int32, device=self.device)
        return nodes.repeat_interleave(self.col_ptr.diff(), output_size=self.n_links)

    @cached_property
    def keys(self) -> torch.Tensor:
        """Sort keys ``col * n_out + row``, int64, (n_links,), increasing."""
        return self.cols.to(torch.int64) * self.shape[0] + self.rows

    @cached_property
    def row_order(self) -> torch.Tensor:
        """Position among the values of every output-major link, int64, (n_links,)."""
        return torch.sort(self.rows, stable=True).indices

    @cached_property
    def row_cols(self) -> torch.Tensor:
        """Input neuron of every link in output-major order, int32, (n_links,)."""
        return self.cols.index_select(0, self.row_order)

    @cached_property
    def out_degrees(self) -> torch.Tensor:
        """Links of every output neuron, int64, (n_out,)."""
        return self.row_ptr.diff()

    @cached_property
    def row_ptr(self) -> torch.Tensor:
        """Output-major pointers, int64, (n_out + 1,)."""
        bounds = torch.arange(self.shape[0] + 1, dtype=torch.int32, device=self.device)
        return torch.searchsorted(self.rows.index_select(0, self.row_order), bounds)

    @property
    def in_degrees(self) -> torch.Tensor:
        """Links of every input neuron, int64, (n_in,)."""
        return self.col_ptr.diff()

    @classmethod
    def from_keys(cls, keys: torch.Tensor, shape: Shape) -> DeviceLists:
        """Build from sorted distinct keys ``col * n_out + row``."""
        height = max(shape[0], 1)
        bounds = torch.arange(shape[1] + 1, dtype=torch.int64, device=keys.device) * height
        return cls(shape, torch.searchsorted(keys, bounds), (keys % height).to(torch.int32))

    def subset(self, positions: torch.Tensor) -> DeviceLists:
        """Return some of the links; increasing positions, int64, (n,)."""
        return DeviceLists(
            self.shape, torch.searchsorted(positions, self.col_ptr), self.rows.index_select(0, positions)
        )


def lists_of(topology: Topology, device: torch.device) -> DeviceLists:
    """Return the lists of `topology` on `device`; they are sent once, and live as long as the topology."""
    found: DeviceLists | None = topology.mirrors.get(device)
    if found is None:
        ptr, rows = (torch.tensor(part, device=device) for part in (topology.col_ptr, topology.rows))
        found = topology.mirrors[device] = DeviceLists(topology.shape, ptr, rows)
    return found


def topology_of(lists: DeviceLists) -> Topology:
    """Return a topology that stays on the device until the host asks for its lists."""
    topology = Topology.held_elsewhere(
        lists.shape, lists.n_links, lambda: (lists.col_ptr.cpu().numpy(), lists.rows.cpu().numpy())
    )
    topology.mirrors[lists.device] = lists
    return topology
