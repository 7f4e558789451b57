"""Draws of missing links in proportion to Cannistraci-Hebb scores that nobody computes, on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from sparsecore.kernels.gpu.lists import DeviceLists
from sparsecore.kernels.gpu.remap import merged_keys
from sparsecore.kernels.gpu.runtime import Runtime
from sparsecore.kernels.gpu.select import list_bits, smallest, soft_keys, spread

__all__ = ["fill_uniformly", "node_bits", "sample_by_nodes", "sample_uniformly", "successive"]

#: Most proposals made at a time: 32 MiB of link ids.
ROUND = 2**22

#: ``propose(start, found)`` writes proposals ``start .. start + n - 1``: link ids, -1 where rejected.
Propose = Callable[[int, torch.Tensor], None]


class _Side(NamedTuple):
    """One side of a topology: ordered pairs of neighbours of the far nodes, and this side's nodes with links."""

    walks: torch.Tensor
    active: torch.Tensor
    n_walks: int


def successive(propose: Propose, n: int, budget: int, device: torch.device) -> torch.Tensor:
    """Return up to `n` distinct ids in order of draw: accepted proposals that were not drawn before.

    A function of the numbered proposals alone, as `sparsecore.predictors.draws.successive`.

    Parameters
    ----------
    propose : callable
        ``propose(start, found)``.
    n : int
        Wanted number of ids.
    budget : int
        Most proposals; fewer than `n` ids come back when it ends.
    device : device
        Where they are made.

    Returns
    -------
    Tensor, int64, (m,)
        ``m <= n``.
    """
    drawn = torch.empty(0, dtype=torch.int64, device=device)
    start = 0
    while drawn.numel() < n and start < budget:
        rate = max(drawn.numel() / start, 0.02) if start else 0.8
        size = min(budget - start, ROUND, int((n - drawn.numel()) / rate * 1.05) + 64)
        found = torch.empty(size, dtype=torch.int64, device=device)
        propose(start, found)
        drawn = torch.cat([drawn, found[_is_new(found, drawn)]])[:n]
        start += size
    return drawn


def _is_new(found: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Tell which of the ids found are accepted, the first of their kind and not among `drawn`."""
    ids, order = torch.sort(found, stable=True)
    first = ids >= 0
    first[1:] &= ids[1:] != ids[:-1]
    if drawn.numel():
        first &= ~_is_in(torch.sort(drawn).values, ids)
    return torch.empty_like(first).scatter_(0, order, first)


def _is_in(ordered: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    at = torch.searchsorted(ordered, ids).clamp_(max=ordered.numel() - 1)
    return ordered[at] == ids


def sample_by_nodes(
    runtime: Runtime, lists: DeviceLists, n: int, seed: int, *, overlaps: bool, budget: int
) -> torch.Tensor:
    """Return up to `n` missing links by successive sampling in proportion to CH2-L3n, or CH3-L3n without `overlaps`.

    The law is that of `sparsecore.predictors.CH2L3n.sample`; two-paths are drawn from cumulative sums.

    Parameters
    ----------
    runtime : Runtime
        Launches kernels.
    lists : DeviceLists
        The links.
    n : int
        Wanted number of missing links.
    seed : int
        In [0, 2**64).
    overlaps : bool
        Whether a pair of nodes counts as often as it has common neighbours, and once more (CH2), or once (CH3).
    budget : int
        Most proposals.

    Returns
    -------
    Tensor, int64, (m,)
        Link ids in order of draw.
    """
    outs, ins = _sides(lists)
    mass = []
    for side in (outs, ins):
        n_active = side.active.numel()
        mass += [float(side.n_walks) if overlaps else 0.0, n_active * (n_active - 1.0) if n_active else side.n_walks]
    if n == 0 or budget == 0 or sum(mass) == 0.0:
        return torch.empty(0, dtype=torch.int64, device=lists.device)
    limits = (np.cumsum(mass) / np.sum(mass)).tolist()
    (n_out, n_in), bits = lists.shape, node_bits(runtime, lists)

    def propose(start: int, found: torch.Tensor) -> None:
        runtime.launch(
            "walks", "propose_by_pairs", *spread(found.numel()),
            n_out, n_in, lists.row_ptr, lists.row_cols, lists.col_ptr, lists.rows, *bits, outs.walks, ins.walks,
            outs.active, outs.active.numel(), ins.active, ins.active.numel(),
            *limits[:3], np.uint64(seed), start, found.numel(), found,
        )  # fmt: skip

    return successive(propose, n, budget, lists.device)


def _sides(lists: DeviceLists) -> tuple[_Side, _Side]:
    """Return what both sides draw from; four counts come back to the host."""
    degrees = lists.out_degrees, lists.in_degrees
    walks = [torch.cumsum(degree * (degree - 1), 0) for degree in degrees]
    counts = torch.stack([*(walk[-1] for walk in walks), *(torch.count_nonzero(degree) for degree in degrees)])
    through_out, through_in, *n_active = (int(count) for count in counts.tolist())
    sides = []
    # Pairs of outputs have an input between them, and the other way round.
    for degree, walk, total, n in zip(degrees, walks[::-1], (through_in, through_out), n_active, strict=True):
        listed = n * (n - 1) < total
        active = torch.nonzero(degree)[:, 0] if listed else degree[:0]
        sides.append(_Side(walk, active.to(torch.int32), total))
    return sides[0], sides[1]


def node_bits(runtime: Runtime, lists: DeviceLists) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the lists of both sides as bitsets, where these take no more memory than the lists."""
    n_out, n_in = lists.shape
    found = []
    for n, n_far, ptr, near in (
        (n_out, n_in, lists.row_ptr, lists.row_cols),
        (n_in, n_out, lists.col_ptr, lists.rows),
    ):
        small = 8 * n * ((n_far + 63) // 64) <= 4 * lists.n_links
        found.append(list_bits(runtime, ptr, near, n_far, 0, n) if small else None)
    return found[0], found[1]


def sample_uniformly(runtime: Runtime, lists: DeviceLists, n: int, seed: int) -> torch.Tensor:
    """Return ``min(n, missing)`` distinct missing links, uniformly, int64; O(links + n).

    Pairs are drawn and rejected if linked or drawn before; where more than half of them would be, the missing links
    are numbered, and those of smallest random key taken.
    """
    n_possible = lists.shape[0] * lists.shape[1]
    n_missing = n_possible - lists.n_links
    n = min(n, n_missing)
    if 2 * (lists.n_links + n) > n_possible:
        ranks = torch.arange(n_missing, device=lists.device)
        ranks = smallest(soft_keys(runtime, ranks, torch.ones_like(ranks, dtype=torch.float64), 1.0, seed), n)
        # The k-th missing key lies behind as many links as have at most k missing ones before them.
        before = lists.keys - torch.arange(lists.n_links, device=lists.device)
        keys = ranks + torch.searchsorted(before, ranks, right=True)
        return keys % lists.shape[0] * lists.shape[1] + keys // lists.shape[0]

    def propose(start: int, found: torch.Tensor) -> None:
        runtime.launch(
            "walks", "propose_uniformly", *spread(found.numel()),
            *lists.shape, lists.row_ptr, lists.row_cols, np.uint64(seed), start, found.numel(), found,
        )  # fmt: skip

    return successive(propose, n, 16 * n + 1024, lists.device)


def fill_uniformly(runtime: Runtime, lists: DeviceLists, chosen: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """Return `chosen` and, if fewer than `n`, uniformly drawn other missing links, int64, (min(n, missing),)."""
    if chosen.numel() >= n:
        return chosen
    keys, _ = merged_keys(lists, None, chosen)
    taken = DeviceLists.from_keys(keys, lists.shape)
    return torch.cat([chosen, sample_uniformly(runtime, taken, n - chosen.numel(), seed)])
