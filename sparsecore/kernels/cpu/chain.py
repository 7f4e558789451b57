"""Numba kernels of the training step: a chain of link lists, run tile by tile.

A *tile* holds `lanes` samples feature-major, ``(features, lanes)``; a batch is a row of tiles. A thread takes whole
tiles through every layer, so threads never meet inside a pass. All addresses come in a table with one row per layer
(columns below). Tile ``t`` of an activation starts ``t`` times its pitch (bytes) after its base; a pitch of 0 means
that one tile's room is used again and again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.simd import (
    GROUP,
    add,
    fma,
    fold,
    load,
    load_i32,
    load_i64,
    load_scalar,
    mul,
    relu,
    splat,
    store,
    store_scalar,
    total,
    totals,
    transpose,
    where_positive,
    zero,
)

__all__ = ["LANES", "backward_kernel", "forward_kernel", "pack_kernel", "unpack_kernel"]

#: Tile widths that exist; a batch is cut into tiles of one of them.
LANES = (4, 8, 16, 32, 64)


# Columns of the forward table, one row per layer.
F_N_OUT, F_ROW_PTR, F_ROW_COLS, F_ROW_ORDER, F_VALUES, F_BIAS, F_RELU, F_X, F_X_PITCH, F_Y, F_Y_PITCH = range(11)
FORWARD_COLUMNS = 11

# Columns of the backward table. DX is 0 where no input gradient is wanted; GATE is 1 behind a relu.
B_N_IN, B_COL_PTR, B_ROWS, B_VALUES, B_X, B_X_PITCH, B_DY, B_DY_PITCH, B_DX, B_DX_PITCH = range(10)
B_DVALUES, B_DBIAS_IN, B_GATE = range(10, 13)
BACKWARD_COLUMNS = 13


# Each kernel is one function whose closure holds integers alone: numba's cache on disk can tell such functions apart.


@cache
def forward_kernel(lanes: int, nbytes: int, order_bytes: int) -> Any:
    """Return ``kernel(table, tile_low, tile_high)``: the forward pass of a chain over some tiles.

    Parameters
    ----------
    lanes : int
        Tile width, one of `LANES`.
    nbytes : int
        Bytes of a float: 4 or 8.
    order_bytes : int
        Bytes of an entry of ``Topology.row_order`` (4 or 8), or 0 when the values come in output-major order.
    """
    step = lanes * nbytes

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def forward(table: Any, tile_low: int, tile_high: int) -> None:
        for tile in range(tile_low, tile_high):
            for index in range(table.shape[0]):
                layer = table[index]
                row_ptr, row_cols, row_order = layer[F_ROW_PTR], layer[F_ROW_COLS], layer[F_ROW_ORDER]
                values, bias = layer[F_VALUES], layer[F_BIAS]
                x = layer[F_X] + tile * layer[F_X_PITCH]
                y = layer[F_Y] + tile * layer[F_Y_PITCH]
                for row in range(layer[F_N_OUT]):
                    out = zero(lanes, nbytes)
                    if bias != 0:
                        out = splat(load_scalar(bias + row * nbytes, nbytes), lanes, nbytes)
                    for k in range(load_i64(row_ptr + 8 * row), load_i64(row_ptr + 8 * row + 8)):
                        if order_bytes == 4:
                            at = load_i32(row_order + 4 * k)
                        elif order_bytes == 8:
                            at = load_i64(row_order + 8 * k)
                        else:
                            at = k
                        value = splat(load_scalar(values + at * nbytes, nbytes), lanes, nbytes)
                        out = fma(value, load(x + load_i32(row_cols + 4 * k) * step, lanes, nbytes), out)
                    if layer[F_RELU] != 0:
                        out = relu(out)
                    store(y + row * step, out)

    return forward


@cache
def backward_kernel(lanes: int, nbytes: int) -> Any:
    """Return ``kernel(table, tile_low, tile_high)``: the backward pass of a chain over some tiles.

    One sweep over the links yields the gradient of values, of inputs and of the biases one layer down. Value and bias
    gradients are written by the first tile of the call and added to by the others.

    Parameters
    ----------
    lanes : int
        Tile width, one of `LANES`.
    nbytes : int
        Bytes of a float: 4 or 8.
    """
    step, group_bytes, grouped = lanes * nbytes, GROUP * nbytes, lanes >= GROUP

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def backward(table: Any, tile_low: int, tile_high: int) -> None:
        scratch = np.empty(GROUP * group_bytes + 64, np.uint8)
        products = (scratch.ctypes.data + 63) // 64 * 64
        for tile in range(tile_low, tile_high):
            first = tile == tile_low
            for index in range(table.shape[0] - 1, -1, -1):
                layer = table[index]
                col_ptr, rows, values, dvalues = layer[B_COL_PTR], layer[B_ROWS], layer[B_VALUES], layer[B_DVALUES]
                x = layer[B_X] + tile * layer[B_X_PITCH]
                dy = layer[B_DY] + tile * layer[B_DY_PITCH]
                dx = layer[B_DX] + tile * layer[B_DX_PITCH]
                dbias_in = layer[B_DBIAS_IN]
                for col in range(layer[B_N_IN]):
                    inputs = load(x + col * step, lanes, nbytes)
                    grad = zero(lanes, nbytes)
                    for k in range(load_i64(col_ptr + 8 * col), load_i64(col_ptr + 8 * col + 8)):
                        above = load(dy + load_i32(rows + 4 * k) * step, lanes, nbytes)
                        grad = fma(splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes), above, grad)
                        if grouped:
                            store(products + k % GROUP * group_bytes, fold(inputs, above))
                            if k % GROUP == GROUP - 1:
                                at = dvalues + (k - (GROUP - 1)) * nbytes
                                sums = totals(products, nbytes)
                                store(at, sums if first else add(sums, load(at, GROUP, nbytes)))
                        else:
                            at = dvalues + k * nbytes
                            part = total(mul(inputs, above))
                            store_scalar(at, part if first else part + load_scalar(at, nbytes))
                    if layer[B_DX] != 0:
                        if layer[B_GATE] != 0:
                            grad = where_positive(inputs, grad)
                        store(dx + col * step, grad)
                        if dbias_in != 0:
                            part = total(grad)
                            at = dbias_in + col * nbytes
                            store_scalar(at, part if first else part + load_scalar(at, nbytes))
                if grouped:
                    n_links = load_i64(col_ptr + 8 * layer[B_N_IN])
                    for k in range(n_links - n_links % GROUP, n_links):
                        at = dvalues + k * nbytes
                        part = total(load(products + k % GROUP * group_bytes, GROUP, nbytes))
                        store_scalar(at, part if first else part + load_scalar(at, nbytes))

    return backward


@cache
def pack_kernel(lanes: int, nbytes: int) -> Any:
    """Return the kernel that cuts a strided ``(batch, features)`` array into tiles, zeros in the unused lanes.

    ``kernel(source, sample_stride, feature_stride, batch, features, tiles, gate, sums, tile_low, tile_high)``: strides
    count elements. With `gate` (address of tiles, or 0) elements are zeroed where the gate is not positive; with `sums`
    (address of ``(features,)``, or 0) the sum over the samples of these tiles is written.
    """
    step = lanes * nbytes

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def pack(
        source: int, sample_stride: int, feature_stride: int, batch: int, features: int,
        tiles: int, gate: int, sums: int, tile_low: int, tile_high: int,
    ) -> None:  # fmt: skip
        for tile in range(tile_low, tile_high):
            live = min(lanes, batch - tile * lanes)
            base = source + tile * lanes * sample_stride * nbytes
            out = tiles + tile * features * step
            for low in range(0, features, GROUP):
                high = min(low + GROUP, features)
                if live < lanes:
                    for feature in range(low, high):
                        store(out + feature * step, zero(lanes, nbytes))
                lane = 0
                if lanes >= GROUP and feature_stride == 1 and high - low == GROUP:
                    while lane + GROUP <= live:
                        at = base + (lane * sample_stride + low) * nbytes
                        transpose(at, sample_stride * nbytes, out + low * step + lane * nbytes, step, nbytes)
                        lane += GROUP
                while lane < live:
                    at = base + (lane * sample_stride + low * feature_stride) * nbytes
                    for feature in range(high - low):
                        value = load_scalar(at + feature * feature_stride * nbytes, nbytes)
                        store_scalar(out + (low + feature) * step + lane * nbytes, value)
                    lane += 1
                for feature in range(low, high):
                    at = feature * step
                    if gate != 0:
                        open_ = load(gate + tile * features * step + at, lanes, nbytes)
                        store(out + at, where_positive(open_, load(out + at, lanes, nbytes)))
                    if sums != 0:
                        part = total(load(out + at, lanes, nbytes))
                        where = sums + feature * nbytes
                        store_scalar(where, part if tile == tile_low else part + load_scalar(where, nbytes))

    return pack


@cache
def unpack_kernel(lanes: int, nbytes: int) -> Any:
    """Return ``kernel(tiles, batch, features, out, tile_low, tile_high)``: tiles to row-major ``(batch, features)``."""
    step = lanes * nbytes

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def unpack(tiles: int, batch: int, features: int, out: int, tile_low: int, tile_high: int) -> None:
        for tile in range(tile_low, tile_high):
            live = min(lanes, batch - tile * lanes)
            base = tiles + tile * features * step
            for low in range(0, features, GROUP):
                lane = 0
                if lanes >= GROUP and low + GROUP <= features:
                    while lane + GROUP <= live:
                        at = out + ((tile * lanes + lane) * features + low) * nbytes
                        transpose(base + low * step + lane * nbytes, step, at, features * nbytes, nbytes)
                        lane += GROUP
                while lane < live:
                    row = out + (tile * lanes + lane) * features * nbytes
                    for feature in range(low, min(low + GROUP, features)):
                        store_scalar(row + feature * nbytes, load_scalar(base + feature * step + lane * nbytes, nbytes))
                    lane += 1

    return unpack
