"""How a batch is cut into tiles and threads, and where every activation of a chain lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise

import torch

from sparsecore.kernels.cpu.chain import LANES
from sparsecore.kernels.cpu.threads import run_parts

__all__ = ["Place", "Plan", "plan_batch"]

#: Where part p of a chain finds an activation: address of its first tile, and bytes from tile to tile.
Place = tuple[int, int]

#: Bytes of a cache line; every activation starts on one.
_ALIGNMENT = 64


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
    def tile_bytes(self) -> list[int]:
        """Bytes of one tile of every activation."""
        return [width * self.lanes * self.nbytes for width in self.widths]

    @cached_property
    def ranges(self) -> list[tuple[int, int]]:
        """First and last (exclusive) tile of every part."""
        edges = [part * self.n_tiles // self.n_parts for part in range(self.n_parts + 1)]
        return list(pairwise(edges))

    def tiles(self, index: int) -> torch.Tensor:
        """Return room for activation `index` of all samples: (n_tiles, width, lanes)."""
        return torch.empty((self.n_tiles, self.widths[index], self.lanes), dtype=self.dtype)

    def place(self, index: int, address: int) -> list[Place]:
        """Return the places, one per part, of activation `index` that lies whole at `address`."""
        return [(address, self.tile_bytes[index])] * self.n_parts

    def room(self, indices: range, *, whole: bool) -> tuple[torch.Tensor, list[list[Place]]]:
        """Return one block for several activations, and the places of each.

        Parameters
        ----------
        indices : range
            Which activations.
        whole : bool
            Room for all tiles; otherwise for one tile per part, used again and again.
        """
        block = torch.empty(sum(self._padded(indices, whole=whole)) // self.nbytes, dtype=self.dtype)
        return block, self.places(block, indices, whole=whole)

    def places(self, block: torch.Tensor, indices: range, *, whole: bool) -> list[list[Place]]:
        """Return the places of every activation in a block that `room` gave for the same arguments."""
        places: list[list[Place]] = []
        sizes = self._padded(indices, whole=whole)
        for index, first in zip(indices, accumulate(sizes, initial=block.data_ptr()), strict=False):
            tile = self.tile_bytes[index]
            places.append(
                [(first, tile)] * self.n_parts if whole else [(first + p * tile, 0) for p in range(self.n_parts)]
            )
        return places

    def _padded(self, indices: range, *, whole: bool) -> list[int]:
        """Return the bytes of each activation, rounded up so that the next one is aligned."""
        copies = self.n_tiles if whole else self.n_parts
        return [-(-self.tile_bytes[index] * copies // _ALIGNMENT) * _ALIGNMENT for index in indices]

    def partial(self, n: int) -> torch.Tensor:
        """Return room for one sum over samples per part: (n,) for one part, else (n_parts, n)."""
        return torch.empty(n if self.n_parts == 1 else (self.n_parts, n), dtype=self.dtype)

    def rows(self, tensor: torch.Tensor | None, n: int) -> list[int]:
        """Return the address of each part's row of what `partial` gave; zeros for ``None``."""
        if tensor is None:
            return [0] * self.n_parts
        address = tensor.data_ptr()
        return [address + part * n * self.nbytes for part in range(self.n_parts)]

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
    lanes = next((width for width in LANES if width >= batch), LANES[-1])
    n_tiles = -(-batch // lanes)
    return Plan(batch, widths, lanes, max(1, min(max_parts, n_tiles)), dtype)
