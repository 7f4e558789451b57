"""Which links stay, on the device: ranks and random keys; nothing but counts comes back."""

from __future__ import annotations

import numpy as np
import torch

from sparsecore.kernels.gpu.lists import DeviceLists
from sparsecore.kernels.gpu.runtime import Runtime

__all__ = ["Smallest", "list_bits", "list_sums", "smallest", "soft_keys", "spread", "to_forty_bits"]

#: Threads of a block, and most blocks, of kernels that loop over their items.
THREADS, MOST_BLOCKS = 256, 4096


def spread(n: int) -> tuple[tuple[int, int], int]:
    """Return grid and threads of a kernel that loops over `n` items."""
    return (min(-(-n // THREADS), MOST_BLOCKS), 1), THREADS


def soft_keys(
    runtime: Runtime, ids: torch.Tensor, weights: torch.Tensor, temperature: float, seed: int
) -> torch.Tensor:
    """Return ``log E - T·log weight`` with E ~ Exp(1) a function of seed and id, float64, (n,).

    Parameters
    ----------
    runtime : Runtime
        Launches kernels.
    ids : Tensor, int64, (n,)
        What the random numbers belong to.
    weights : Tensor, float64, (n,)
        Non-negative; keys of 0 lie above all others.
    temperature : float
        T.
    seed : int
        In [0, 2**64).
    """
    keys = torch.empty_like(weights)
    n = ids.numel()
    runtime.launch("select", "soft_keys", *spread(n), n, ids, weights, float(temperature), np.uint64(seed), keys)
    return keys


def smallest(keys: torch.Tensor, n: int) -> torch.Tensor:
    """Return the positions of the `n` smallest keys, increasing, int64, (n,); ties go to the first."""
    order = torch.sort(keys, stable=True).indices[:n]
    return torch.sort(order).values


def to_forty_bits(values: torch.Tensor) -> torch.Tensor:
    """Return float64 `values` to 40 significant bits, as `sparsecore.selection.subrank.to_forty_bits`."""
    return ((values.view(torch.int64) + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float64)


def list_sums(runtime: Runtime, lists: DeviceLists, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of the `values`, float64, (n_links,), of every output and of every input, in order of position.

    Returns
    -------
    tuple of Tensor, float64, (n_out,) and (n_in,)
        The same bits as a sequential sum on the host.
    """
    sums = []
    for ptr, order in ((lists.row_ptr, lists.row_order), (lists.col_ptr, None)):
        n = ptr.numel() - 1
        out = torch.empty(n, dtype=torch.float64, device=values.device)
        runtime.launch("select", "list_sums", *spread(n), n, ptr, order, values, out)
        sums.append(out)
    return sums[0], sums[1]


def list_bits(runtime: Runtime, ptr: torch.Tensor, near: torch.Tensor, n_far: int, first: int, n: int) -> torch.Tensor:
    """Return the lists of nodes ``first .. first + n - 1`` as bitsets, int64, (n, ceil(n_far / 64))."""
    words = (n_far + 63) // 64
    bits = torch.empty((n, words), dtype=torch.int64, device=near.device)
    runtime.launch("select", "list_bits", *spread(n * words), first, n, ptr, near, words, bits)
    return bits


class Smallest:
    """Collects the `n` smallest keys of a stream; ties go to the smaller id. O(n + block) memory.

    Parameters
    ----------
    n : int
        How many to keep.
    device : device
        Of ids and keys.
    """

    def __init__(self, n: int, device: torch.device) -> None:
        self._n = n
        self._ids = torch.empty(0, dtype=torch.int64, device=device)
        self._keys = torch.empty(0, dtype=torch.float64, device=device)

    def add(self, ids: torch.Tensor, keys: torch.Tensor) -> None:
        """Offer some ids, int64, with their keys, float64."""
        self._ids, self._keys = torch.cat([self._ids, ids]), torch.cat([self._keys, keys])
        if self._ids.numel() > 2 * self._n + 1024:
            self._shrink()

    def ids(self) -> torch.Tensor:
        """Return the ids of the smallest keys, smallest first, int64, (min(n, offered),)."""
        self._shrink()
        return self._ids

    def _shrink(self) -> None:
        by_id = torch.sort(self._ids).indices
        order = by_id[torch.sort(self._keys[by_id], stable=True).indices][: self._n]
        self._ids, self._keys = self._ids[order], self._keys[order]
