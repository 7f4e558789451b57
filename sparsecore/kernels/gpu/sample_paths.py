"""Draws of missing links in proportion to scores over three-step paths, on the device."""

from __future__ import annotations

import numpy as np
import torch

from sparsecore.kernels.gpu.lists import DeviceLists
from sparsecore.kernels.gpu.runtime import Runtime
from sparsecore.kernels.gpu.sample import node_bits, successive
from sparsecore.kernels.gpu.select import spread

__all__ = ["sample_around_links", "sample_by_paths"]

#: Sum of the integer weights of links: numbers below it are drawn from the 53 bits of a float64.
_MASS = 2.0**52

#: Counters of overlaps in shared memory at a time.
_COUNTERS = 2**13


def sample_by_paths(
    runtime: Runtime, lists: DeviceLists, n: int, seed: int, *, overlaps: bool, budget: int
) -> torch.Tensor:
    """Return up to `n` missing links by successive sampling in proportion to CH2-L3p, or CH3-L3p without `overlaps`.

    The law is that of `sparsecore.predictors.CH2L3p.sample`; links are drawn from cumulative sums.

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
        Whether inner nodes weigh more for the neighbours that they share with the ends (CH2).
    budget : int
        Most proposals.

    Returns
    -------
    Tensor, int64, (m,)
        Link ids in order of draw.
    """
    if n == 0 or budget == 0 or not lists.n_links:
        return torch.empty(0, dtype=torch.int64, device=lists.device)
    degrees = lists.out_degrees, lists.in_degrees
    nodes, bits = (_out_nodes(lists), lists.cols), node_bits(runtime, lists)
    bounds = _bounds(runtime, lists, dense=bits[0] is not None) if overlaps else [None, None]
    walks = []
    for own, far, degree, bound in zip(nodes, (lists.row_cols, lists.rows), degrees[::-1], bounds, strict=True):
        weights = degree.index_select(0, far)
        weights = torch.where(weights > 1, weights, 0)
        walks.append(torch.cumsum(weights if bound is None else weights * (1 + bound.index_select(0, own)), 0))
    mass = [int(total) for total in torch.stack([walk[-1] for walk in walks]).tolist()]
    if sum(mass) == 0:
        return torch.empty(0, dtype=torch.int64, device=lists.device)
    share = mass[0] / sum(mass)

    def propose(start: int, found: torch.Tensor) -> None:
        runtime.launch(
            "walks", "propose_by_paths", *spread(found.numel()),
            *lists.shape, lists.n_links, lists.row_ptr, lists.row_cols, lists.col_ptr, lists.rows, *bits,
            *walks, *nodes, *bounds, share, np.uint64(seed), start, found.numel(), found,
        )  # fmt: skip

    return successive(propose, n, budget, lists.device)


def sample_around_links(
    runtime: Runtime, lists: DeviceLists, n: int, seed: int, *, by_degree: bool, budget: int
) -> torch.Tensor:
    """Return up to `n` missing links by successive sampling in proportion to CN-L3, or RA-L3 with `by_degree`.

    The law is that of `sparsecore.predictors.RAL3.sample`; square roots are rounded to integers whose sum has at most
    52 bits, so that it does not depend on the order of additions. Parameters are those of `sample_by_paths`.
    """
    nothing = torch.empty(0, dtype=torch.int64, device=lists.device)
    if n == 0 or budget == 0 or not lists.n_links:
        return nothing
    nodes = _out_nodes(lists)
    out_degree = lists.out_degrees.index_select(0, nodes)
    in_degree = lists.in_degrees.index_select(0, lists.row_cols)
    weights = torch.where((out_degree > 1) & (in_degree > 1), out_degree * in_degree, 0)
    if by_degree:
        roots = weights.to(torch.float64).sqrt()
        # Any common factor will do; a maximum does not depend on the order in which it is found.
        weights = (roots * (_MASS / max(1.0, float(roots.max()) * lists.n_links))).round_().to(torch.int64)
    walks = torch.cumsum(weights, 0)
    if int(walks[-1]) == 0:
        return nothing

    def propose(start: int, found: torch.Tensor) -> None:
        runtime.launch(
            "walks", "propose_around_links", *spread(found.numel()),
            lists.shape[1], lists.n_links, lists.row_ptr, lists.row_cols, lists.col_ptr, lists.rows,
            walks, nodes, np.uint64(seed), start, found.numel(), found,
        )  # fmt: skip

    return successive(propose, n, budget, lists.device)


def _out_nodes(lists: DeviceLists) -> torch.Tensor:
    """Return the output of every output-major link, int32, (n_links,)."""
    degrees = lists.out_degrees
    outs = torch.arange(degrees.numel(), dtype=torch.int32, device=lists.device)
    return outs.repeat_interleave(degrees, output_size=lists.n_links)


def _bounds(runtime: Runtime, lists: DeviceLists, *, dense: bool) -> list[torch.Tensor]:
    """Return the most neighbours that every node of either side can share with another, int64.

    In dense layers that comes near the degree, and would take all two-paths to count.
    """
    if dense:
        return [(degree - 1).clamp_(min=0) for degree in (lists.out_degrees, lists.in_degrees)]
    found = []
    for n, near, far in (
        (lists.shape[0], (lists.row_ptr, lists.row_cols), (lists.col_ptr, lists.rows)),
        (lists.shape[1], (lists.col_ptr, lists.rows), (lists.row_ptr, lists.row_cols)),
    ):
        largest, height = torch.empty(n, dtype=torch.int64, device=lists.device), min(n, _COUNTERS)
        runtime.launch("walks", "largest_overlaps", (n, 1), 256, n, *near, *far, height, largest, shared=4 * height)
        found.append(largest)
    return found
