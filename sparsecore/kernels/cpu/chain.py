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

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def spmm(layer: Any, tile: int) -> None:
        step = lanes * nbytes
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
                value = load_scalar(values + at * nbytes, nbytes)
                column = load(x + load_i32(row_cols + 4 * k) * step, lanes, nbytes)
                out = fma(splat(value, lanes, nbytes), column, out)
            if layer[F_RELU] != 0:
                out = relu(out)
            store(y + row * step, out)

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def chain(table: Any, tile_low: int, tile_high: int) -> None:
        for tile in range(tile_low, tile_high):
            for index in range(table.shape[0]):
                spmm(table[index], tile)

    return chain


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
    group_bytes = GROUP * nbytes
    grouped = lanes >= GROUP

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def put(address: int, scalar: Any, first: bool) -> None:
        store_scalar(address, scalar if first else scalar + load_scalar(address, nbytes))

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def flush(dvalues: int, products: int, low: int, high: int, first: bool) -> None:
        if high - low == GROUP:
            sums = totals(products, nbytes)
            at = dvalues + low * nbytes
            store(at, sums if first else add(sums, load(at, GROUP, nbytes)))
        else:
            for k in range(low, high):
                put(dvalues + k * nbytes, total(load(products + (k - low) * group_bytes, GROUP, nbytes)), first)

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def spmm_t_sddmm(layer: Any, tile: int, products: int, first: bool) -> None:
        step = lanes * nbytes
        col_ptr, rows, values, dvalues = layer[B_COL_PTR], layer[B_ROWS], layer[B_VALUES], layer[B_DVALUES]
        x = layer[B_X] + tile * layer[B_X_PITCH]
        dy = layer[B_DY] + tile * layer[B_DY_PITCH]
        dx = layer[B_DX] + tile * layer[B_DX_PITCH]
        n_links = load_i64(col_ptr + 8 * layer[B_N_IN])
        for col in range(layer[B_N_IN]):
            inputs = load(x + col * step, lanes, nbytes)
            grad = zero(lanes, nbytes)
            for k in range(load_i64(col_ptr + 8 * col), load_i64(col_ptr + 8 * col + 8)):
                above = load(dy + load_i32(rows + 4 * k) * step, lanes, nbytes)
                grad = fma(splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes), above, grad)
                if grouped:
                    store(products + k % GROUP * group_bytes, fold(inputs, above))
                    if k % GROUP == GROUP - 1:
                        flush(dvalues, products, k - (GROUP - 1), k + 1, first)
                else:
                    put(dvalues + k * nbytes, total(mul(inputs, above)), first)
            if layer[B_DX] != 0:
                if layer[B_GATE] != 0:
                    grad = where_positive(inputs, grad)
                store(dx + col * step, grad)
                if layer[B_DBIAS_IN] != 0:
                    put(layer[B_DBIAS_IN] + col * nbytes, total(grad), first)
        if grouped and n_links % GROUP != 0:
            flush(dvalues, products, n_links - n_links % GROUP, n_links, first)

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def chain(table: Any, tile_low: int, tile_high: int) -> None:
        scratch = np.empty(GROUP * group_bytes + 64, np.uint8)
        products = (scratch.ctypes.data + 63) // 64 * 64
        for tile in range(tile_low, tile_high):
            for index in range(table.shape[0] - 1, -1, -1):
                spmm_t_sddmm(table[index], tile, products, tile == tile_low)

    return chain


@cache
def pack_kernel(lanes: int, nbytes: int) -> Any:
    """Return the kernel that cuts a strided ``(batch, features)`` array into tiles, zeros in the unused lanes.

    ``kernel(source, sample_stride, feature_stride, batch, features, tiles, gate, sums, tile_low, tile_high)``: strides
    count elements. With `gate` (address of tiles, or 0) elements are zeroed where the gate is not positive; with `sums`
    (address of ``(features,)``, or 0) the sum over the samples of these tiles is written.
    """

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def fill(source: int, sample_stride: int, feature_stride: int, low: int, high: int, live: int, out: int) -> None:
        lane = 0
        if lanes >= GROUP and feature_stride == 1 and high - low == GROUP:
            while lane + GROUP <= live:
                at = source + (lane * sample_stride + low) * nbytes
                transpose(at, sample_stride * nbytes, out + (low * lanes + lane) * nbytes, lanes * nbytes, nbytes)
                lane += GROUP
        while lane < live:
            at = source + (lane * sample_stride + low * feature_stride) * nbytes
            for feature in range(high - low):
                value = load_scalar(at + feature * feature_stride * nbytes, nbytes)
                store_scalar(out + ((low + feature) * lanes + lane) * nbytes, value)
            lane += 1

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def pack(
        source: int, sample_stride: int, feature_stride: int, batch: int, features: int,
        tiles: int, gate: int, sums: int, tile_low: int, tile_high: int,
    ) -> None:  # fmt: skip
        step = lanes * nbytes
        for tile in range(tile_low, tile_high):
            live = min(lanes, batch - tile * lanes)
            base = source + tile * lanes * sample_stride * nbytes
            out = tiles + tile * features * step
            for low in range(0, features, GROUP):
                high = min(low + GROUP, features)
                if live < lanes:
                    for feature in range(low, high):
                        store(out + feature * step, zero(lanes, nbytes))
                fill(base, sample_stride, feature_stride, low, high, live, out)
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

    @njit(nogil=True, cache=True)  # type: ignore[misc]
    def unpack(tiles: int, batch: int, features: int, out: int, tile_low: int, tile_high: int) -> None:
        for tile in range(tile_low, tile_high):
            live = min(lanes, batch - tile * lanes)
            base = tiles + tile * features * lanes * nbytes
            for low in range(0, features, GROUP):
                lane = 0
                if lanes >= GROUP and low + GROUP <= features:
                    while lane + GROUP <= live:
                        at = out + ((tile * lanes + lane) * features + low) * nbytes
                        transpose(base + (low * lanes + lane) * nbytes, lanes * nbytes, at, features * nbytes, nbytes)
                        lane += GROUP
                while lane < live:
                    row = out + (tile * lanes + lane) * features * nbytes
                    for feature in range(low, min(low + GROUP, features)):
                        value = load_scalar(base + (feature * lanes + lane) * nbytes, nbytes)
                        store_scalar(row + feature * nbytes, value)
                    lane += 1

    return unpack
