"""Adjacency as shades: link counts in tiles, at any layer size, and the small PNG file that shows them."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from sparsecore._typing import Int64Array
from sparsecore.storage import Topology

__all__ = ["picture", "tile_counts"]

_INK = (24, 24, 32)


def tile_counts(topology: Topology, tiles: int = 128) -> Int64Array:
    """Return how many links fall into each tile of the adjacency matrix, int64, (<= tiles, <= tiles).

    Examples
    --------
    >>> tile_counts(Topology.from_coo([0, 3, 2], [0, 3, 3], shape=(4, 4)), tiles=2).tolist()
    [[1, 0], [0, 2]]
    """
    n_rows, n_cols = min(tiles, topology.n_out), min(tiles, topology.n_in)
    rows = topology.rows.astype(np.int64) * n_rows // topology.n_out
    cols = topology.cols.astype(np.int64) * n_cols // topology.n_in
    return np.bincount(rows * n_cols + cols, minlength=n_rows * n_cols).reshape(n_rows, n_cols)


def picture(shades: NDArray[np.uint8]) -> str:
    """Return shades as the address of a PNG picture inside the page: dark ink, as opaque as the shade.

    Parameters
    ----------
    shades : array, uint8, (n_rows, n_cols)
        0 is clear, 255 opaque.

    Notes
    -----
    Format: Portable Network Graphics, third edition (W3C 2025), colour type 3 with a transparency chunk: one byte per
    tile, and the page shows through. A dark page inverts the ink.
    """
    height, width = shades.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), shades], axis=1)  # each row begins with its filter: none
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes(_INK) * 256),
        (b"tRNS", bytes(range(256))),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
