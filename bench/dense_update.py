"""An update of one layer as published code does it: on dense weights, masks and score matrices."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from sparsecore.storage import Topology

__all__ = ["DenseLayer", "dense_bytes", "dense_regrowth"]


def dense_regrowth(topology: Topology, n: int, seed: int) -> np.ndarray[Any, Any]:
    """Draw `n` missing links as published code does: dense CH2-L3n scores, exponential keys on all of them.

    ``torch.multinomial`` is the published call; above 2**24 categories it refuses, so keys of the same law are used.
    """
    chosen: np.ndarray[Any, Any] = _regrow(torch.from_numpy(topology.to_dense()).float(), n, seed).numpy()
    return chosen


def _regrow(adjacency: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    d_out, d_in = adjacency.sum(1), adjacency.sum(0)
    uu, vv = adjacency @ adjacency.T, adjacency.T @ adjacency
    left = torch.where(uu > 0, (uu + 1) / (d_out[None, :] - uu).clamp(min=1), 0.0)
    right = torch.where(vv > 0, (vv + 1) / (d_in[:, None] - vv).clamp(min=1), 0.0)
    scores = (left @ adjacency + adjacency @ right) * (1 - adjacency)
    return _draw(scores, n, seed)


def _draw(weights: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """Draw `n` positions of a dense matrix by successive sampling in proportion to `weights`."""
    noise = torch.empty_like(weights).exponential_(generator=torch.Generator().manual_seed(seed))
    return (noise / weights.clamp(min=1e-30)).ravel().topk(n, largest=False).indices


class DenseLayer:
    """Weight, mask and two moments of one layer under a mask.

    Parameters
    ----------
    topology : Topology
        The links of the mask.
    """

    def __init__(self, topology: Topology) -> None:
        self.mask = torch.from_numpy(topology.to_dense()).float()
        self.weight = torch.randn(topology.shape, generator=torch.Generator().manual_seed(0)) * self.mask
        self.moments = [torch.ones_like(self.weight) for _ in range(2)]

    def update(self, zeta: float, seed: int) -> dict[str, float]:
        """Replace a fraction of the links; returns seconds per stage and leaves the new mask."""
        n_links = int(self.mask.sum())
        n_keep = n_links - int(zeta * n_links)
        times = [time.perf_counter()]
        kept = torch.zeros_like(self.mask).view(-1)
        kept[_draw(self.weight.abs(), n_keep, seed)] = 1.0
        kept = kept.view_as(self.mask)
        times.append(time.perf_counter())
        active = (kept.sum(1, keepdim=True) > 0) & (kept.sum(0, keepdim=True) > 0)
        kept = kept * active
        times.append(time.perf_counter())
        grown = _regrow(kept, n_links - int(kept.sum()), seed + 1)
        times.append(time.perf_counter())
        mask = kept.clone().view(-1)
        mask[grown] = 1.0
        mask = mask.view_as(kept)
        survives = mask * self.mask
        self.weight *= survives
        for moment in self.moments:
            moment *= survives
        self.mask = mask
        times.append(time.perf_counter())
        spans = [after - before for before, after in zip(times[:-1], times[1:], strict=True)]
        return dict(zip(("removal", "percolation", "regrowth", "apply"), spans, strict=True))


def dense_bytes(shape: tuple[int, int]) -> int:
    """Return what the dense regrowth allocates: two products of each side, scores, noise, keys."""
    return 4 * (2 * shape[0] ** 2 + 2 * shape[1] ** 2 + 3 * shape[0] * shape[1])
