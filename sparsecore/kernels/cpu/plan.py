"""How a batch runs through a chain: tiles, threads, and where in memory every activation and gradient lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
import torch

from sparsecore._typing import Int64Array
from sparsecore.kernels.cpu.chain import LANES
from sparsecore.kernels.cpu.threads import run_parts

__all__ = ["Block", "Plan", "plan_batch"]

#: Bytes of a cache line; every activation starts on one.
_ALIGNMENT = 64

#: Narrowest tile that threads are given: below it the vector registers are half empty.
_THREAD_LANES = 16


@dataclass(frozen=True)
class Block:
    """Layout of several activations in one piece of memory.

    Attributes
    ----------
    n : int
        Floats in all.
    first : array, int64, (n_parts, n_activations)
        Byte offset of the first tile that a part sees.
    pitch : array, int64, (n_activations,)
        Bytes from tile to tile; 0 where one tile per part is used again and again.
    """

    n: int
    first: Int64Array
    pitch: Int64Array


@dataclass(frozen=True)
class Plan:
    """The cut of one batch through one chain.

    Attributes
    ----------
    batch : int
        Samples.
    widths : tuple of int
        Neurons: inputs of the first layer, then outputs of every layer.
    lanes : int
        Samples of a tile.
    n_parts : int
        Threads; each takes a run of neighbouring tiles.
    dtype : torch.dtype
        Of all activations.
    """

    batch: int
    widths: tuple[int, ...]
    lanes: int
    n_parts: int
    dtype: torch.dtype

    @cached_property
    def n_tiles(self) -> int:
        """Tiles that hold the batch."""
        return -(-self.batch // self.lanes)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of a float."""
        return self.dtype.itemsize

    @cached_property
    def whole(self) -> bool:
        """Whether the batch is one full tile."""
        return self.n_tiles == 1 and self.lanes == self.batch

    @cached_property
    def reuses_values(self) -> bool:
        """Whether some part has several tiles, so that values are read more than once."""
        return self.n_tiles > self.n_parts

    @cached_property
    def ranges(self) -> list[tuple[int, int]]:
        """First and last (exclusive) tile of every part."""
        edges = [part * self.n_tiles // self.n_parts for part in range(self.n_parts + 1)]
        return list(pairwise(edges))

    def tile_bytes(self, index: int) -> int:
        """Bytes of one tile of activation `index`."""
        return self.widths[index] * self.lanes * self.nbytes

    def tiles(self, index: int) -> torch.Tensor:
        """Return room for activation `index` of all samples: (n_tiles, width, lanes)."""
        return torch.empty((self.n_tiles, self.widths[index], self.lanes), dtype=self.dtype)

    @cached_property
    def kept(self) -> Block:
        """Layout of all activations but the outputs, of all samples."""
        sizes = self._bytes(range(len(self.widths) - 1))
        padded = -(-sizes * self.n_tiles // _ALIGNMENT) * _ALIGNMENT
        starts = np.tile(np.cumsum(padded) - padded, (self.n_parts, 1))
        return Block(int(padded.sum()) // self.nbytes, starts, sizes)

    @cached_property
    def scratch(self) -> Block:
        """Layout of the activations inside the chain, one tile per part, of which neighbours exist at the same time.

        They take turns between two places. The inputs and outputs of the chain lie elsewhere.
        """
        sizes = self._bytes(range(1, len(self.widths) - 1))
        places = [int(-(-sizes[place::2].max(initial=0) // _ALIGNMENT) * _ALIGNMENT) for place in (0, 1)]
        starts = np.resize([0, places[0]], sizes.size)
        own = np.arange(self.n_parts)[:, None] * sum(places)
        return Block(self.n_parts * sum(places) // self.nbytes, starts + own, np.zeros_like(sizes))

    def _bytes(self, indices: range) -> Int64Array:
        return np.array([self.tile_bytes(index) for index in indices], np.int64)

    def run(self, launch: Callable[[int, int, int], None]) -> None:
        """Call ``launch(part, tile_low, tile_high)`` for every part, on as many threads."""
        if self.n_parts == 1:
            launch(0, 0, self.n_tiles)
            return

        def bind(part: int) -> Callable[[], None]:
            return lambda: launch(part, *self.ranges[part])

        run_parts([bind(part) for part in range(self.n_parts)])


@lru_cache(maxsize=1024)
def plan_batch(batch: int, widths: tuple[int, ...], max_parts: int, dtype: torch.dtype) -> Plan:
    """Return the cut of a batch into tiles of a supported width and at most `max_parts` threads."""
    wanted = batch if max_parts == 1 else max(_THREAD_LANES, -(-batch // max_parts))
    lanes = next((width for width in LANES if width >= min(wanted, batch)), LANES[-1])
    n_tiles = -(-batch // lanes)
    return Plan(batch, widths, lanes, max(1, min(max_parts, n_tiles)), dtype)
