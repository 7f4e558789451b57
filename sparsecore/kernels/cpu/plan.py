"""How a batch runs through a chain: tiles, threads, and where in memory every activation and gradient lies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch

from sparsecore._typing import Int64Array
from sparsecore.kernels.cpu.tiles import LANES

__all__ = ["Block", "Plan", "plan_batch"]

#: Bytes of a cache line; every activation starts on one.
_ALIGNMENT = 64

#: Most bytes of an activation in tiles of so many samples. A link reads a piece of it from anywhere, so that it has to
#: stay in a second-level cache (2 MiB where this was measured); narrower tiles cost more per link. Not asked of the
#: machine, so that the same run gives the same bits on another one.
_TILE_BYTES = {64: 2**20, 32: 3 * 2**19}


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
        Runs of neighbouring tiles that threads share.
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
    def single(self) -> bool:
        """Whether the batch is one tile, which threads share by neurons."""
        return self.n_tiles == 1

    @cached_property
    def nbytes(self) -> int:
        """Bytes of a float."""
        return self.dtype.itemsize

    @cached_property
    def whole(self) -> bool:
        """Whether the batch is one full tile."""
        return self.single and self.lanes == self.batch

    def tile_bytes(self, index: int) -> int:
        """Bytes of one tile of activation `index`."""
        return self.widths[index] * self.lanes * self.nbytes

    def tiles(self, index: int, *, again: bool = False) -> torch.Tensor:
        """Return room for activation `index` of all samples, (n_tiles, width, lanes).

        With `again`, one tile per part, (n_parts, width, lanes), which takes up all tiles of the part in turn.
        """
        n = self.n_parts if again else self.n_tiles
        return torch.empty((n, self.widths[index], self.lanes), dtype=self.dtype)

    def pitches(self, index: int, *, again: bool = False) -> tuple[int, int]:
        """Return the bytes from tile to tile and from part to part of what `tiles` returns."""
        return (0, self.tile_bytes(index)) if again else (self.tile_bytes(index), 0)

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


@lru_cache(maxsize=1024)
def plan_batch(batch: int, widths: tuple[int, ...], max_parts: int, dtype: torch.dtype) -> Plan:
    """Return the cut of a batch into tiles of a supported width and at most `max_parts` runs of them."""
    lanes = next((lanes for lanes in LANES if lanes >= batch), None)
    if lanes is None:
        lanes = _lanes_of_many(max(widths), dtype.itemsize)
    n_tiles = -(-batch // lanes)
    return Plan(batch, widths, lanes, max(1, min(max_parts, n_tiles)), dtype)


def _lanes_of_many(width: int, nbytes: int) -> int:
    """Return the samples of a tile of a batch that one tile cannot hold, by the neurons of the widest activation."""
    return next((lanes for lanes, most in _TILE_BYTES.items() if width * lanes * nbytes <= most), 16)
