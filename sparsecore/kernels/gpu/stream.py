"""Exact scores of all missing links, tile by tile, on the device; for the rigid rule and for temperatures."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from sparsecore.kernels.gpu.lists import DeviceLists
from sparsecore.kernels.gpu.runtime import Runtime
from sparsecore.kernels.gpu.select import list_bits, spread

__all__ = ["score_tiles"]

#: Most scores, and most weights of inner nodes on one side, that exist at a time: 32 MiB each.
TILE = 2**22


def score_tiles(
    runtime: Runtime, lists: DeviceLists, rule: int, *, by_paths: bool, tile: int = TILE
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield ids, int64, and scores, float64, of all missing links of positive score, a tile at a time.

    Parameters
    ----------
    runtime : Runtime
        Launches kernels.
    lists : DeviceLists
        The links.
    rule : int
        Weight of inner nodes, as in `sparsecore.kernels.cpu.scores`.
    by_paths : bool
        Whether weights are multiplied along paths, or added over nodes.
    tile : int
        Most entries of a buffer, unless a single output or input needs more.

    Notes
    -----
    Memory is O(links) and three tiles. Work on a tile of h outputs and w inputs is O((h + w) · links) for weights and
    O(links · (h / n_in + w / n_out)) for sums, times the degree for paths.
    """
    n_out, n_in = lists.shape
    if not lists.n_links:
        return
    height = max(1, min(n_out, tile // max(n_out, n_in)))
    width = max(1, min(n_in, tile // max(n_in, height)))
    for top in range(0, n_out, height):
        n_u = min(height, n_out - top)
        to_u, linked = _weights(runtime, lists.row_ptr, lists.row_cols, lists.shape, top, n_u, rule, by_paths)
        for left in range(0, n_in, width):
            n_v = min(width, n_in - left)
            to_v, _ = _weights(runtime, lists.col_ptr, lists.rows, (n_in, n_out), left, n_v, rule, by_paths)
            scores = torch.empty((n_u, n_v), dtype=torch.float64, device=lists.device)
            runtime.launch(
                "scores", "score_tile", *spread(n_u * n_v), top, n_u, left, n_v, n_out, n_in, lists.row_ptr,
                lists.row_cols, lists.col_ptr, lists.rows, linked, linked.shape[1], to_u, to_v, int(by_paths), scores,
            )  # fmt: skip
            rows, cols = torch.nonzero(scores, as_tuple=True)
            if rows.numel():
                yield (rows + top) * n_in + cols + left, scores[rows, cols]


def _weights(
    runtime: Runtime,
    ptr: torch.Tensor,
    near: torch.Tensor,
    shape: tuple[int, int],
    first: int,
    n_ends: int,
    rule: int,
    by_paths: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what every node of a side weighs towards some ends of that side, and the ends' lists as bitsets."""
    n, n_far = shape
    bits = list_bits(runtime, ptr, near, n_far, first, n_ends)
    weights = torch.empty((n_ends, n), dtype=torch.float64, device=near.device)
    runtime.launch(
        "scores", "end_weights", *spread(n_ends * n), first, n_ends, n, ptr, near, bits, bits.shape[1], rule,
        int(by_paths), weights,
    )  # fmt: skip
    return weights, bits
