"""Numba kernels of the training step: a chain of linear layers, run tile by tile.

A *tile* holds `lanes` samples feature-major, ``(features, lanes)``; a batch is a row of tiles. A thread takes whole
tiles through every layer, so threads never meet inside a pass.

What a kernel works on comes in two arrays. The *table* has one row per layer (columns below) and stays the same as long
as links and batch size do. The *slots* are addresses that change from call to call; the table names them by number. An
activation lies at an offset (bytes) from its slot; tile ``t`` starts ``t`` times its pitch (bytes) further on, and a
pitch of 0 means that one tile's room is used again and again. A layer without link lists (their address is 0) is dense,
with a row-major weight.
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
    load_i64,
    load_index,
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

__all__ = ["LANES", "backward_kernel", "forward_kernel", "pack_kernel", "reorder", "unpack_kernel"]

#: Tile widths that exist; a batch is cut into tiles of one of them.
LANES = (4, 8, 16, 32, 64)

#: Bytes of products that wait for their sums: half of a first-level cache.
WAITING_BYTES = 2**14

# Columns of the forward table. VALUES, BIAS, X and Y are slots (an address of 0 in BIAS: none), the AT offsets.
F_N_OUT, F_N_IN, F_ROW_PTR, F_ROW_COLS, F_ROW_ORDER, F_RELU, F_VALUES, F_BIAS = range(8)
F_X, F_X_AT, F_X_PITCH, F_Y, F_Y_AT, F_Y_PITCH = range(8, 14)
FORWARD_COLUMNS = 14

# Columns of the backward table. An address of 0 in DX: no input gradient is wanted; GATE is 1 behind a rectifier. SUMS
# is the slot of all sums over samples; the offset of the bias one layer down is -1 where there is none.
B_N_OUT, B_N_IN, B_COL_PTR, B_ROWS, B_GATE, B_VALUES = range(6)
B_X, B_X_AT, B_X_PITCH, B_DY, B_DY_AT, B_DY_PITCH, B_DX, B_DX_AT, B_DX_PITCH = range(6, 15)
B_SUMS, B_DVALUES_AT, B_DBIAS_AT = range(15, 18)
BACKWARD_COLUMNS = 18


# Each kernel is one function whose closure holds integers alone: numba's cache on disk can tell such functions apart.


def specialised(function: Any, *numbers: int) -> Any:
    """Return `function`, whose closure holds `numbers`, compiled under a name of its own.

    Numba names machine code by the name of the function and a count of what its process has compiled. Two variants that
    different processes have put into the cache can agree in both, and whoever loads both would run one for the other.
    """
    function.__name__ = function.__qualname__ = "_".join([function.__name__, *map(str, numbers)])
    return njit(nogil=True, cache=True)(function)


@cache
def forward_kernel(lanes: int, nbytes: int, index_bytes: int, order_bytes: int) -> Any:
    """Return ``kernel(table, slots, tile_low, tile_high)``: the forward pass of a chain over some tiles.

    Parameters
    ----------
    lanes : int
        Tile width, one of `LANES`.
    nbytes : int
        Bytes of a float: 4 or 8.
    index_bytes : int
        Bytes of an entry of the neuron lists: 2 or 4.
    order_bytes : int
        Bytes of an entry of the list of positions (2 or 4), or 0 when the values come in output-major order.
    """
    step = lanes * nbytes

    def forward(table: Any, slots: Any, tile_low: int, tile_high: int) -> None:
        for tile in range(tile_low, tile_high):
            for index in range(table.shape[0]):
                layer = table[index]
                row_ptr, row_cols, row_order = layer[F_ROW_PTR], layer[F_ROW_COLS], layer[F_ROW_ORDER]
                n_out, n_in, rectified = layer[F_N_OUT], layer[F_N_IN], layer[F_RELU] != 0
                values, bias = slots[layer[F_VALUES]], slots[layer[F_BIAS]]
                x = slots[layer[F_X]] + layer[F_X_AT] + tile * layer[F_X_PITCH]
                y = slots[layer[F_Y]] + layer[F_Y_AT] + tile * layer[F_Y_PITCH]
                if row_ptr == 0:
                    for row in range(n_out):
                        out = zero(lanes, nbytes)
                        if bias != 0:
                            out = splat(load_scalar(bias + row * nbytes, nbytes), lanes, nbytes)
                        store(y + row * step, out)
                    # Four outputs at a time share the loads of the inputs.
                    for row in range(0, n_out - n_out % 4, 4):
                        weight, out = values + row * n_in * nbytes, y + row * step
                        a, b = load(out, lanes, nbytes), load(out + step, lanes, nbytes)
                        c, d = load(out + 2 * step, lanes, nbytes), load(out + 3 * step, lanes, nbytes)
                        for col in range(n_in):
                            above = load(x + col * step, lanes, nbytes)
                            at = weight + col * nbytes
                            a = fma(splat(load_scalar(at, nbytes), lanes, nbytes), above, a)
                            at += n_in * nbytes
                            b = fma(splat(load_scalar(at, nbytes), lanes, nbytes), above, b)
                            at += n_in * nbytes
                            c = fma(splat(load_scalar(at, nbytes), lanes, nbytes), above, c)
                            at += n_in * nbytes
                            d = fma(splat(load_scalar(at, nbytes), lanes, nbytes), above, d)
                        store(out, a)
                        store(out + step, b)
                        store(out + 2 * step, c)
                        store(out + 3 * step, d)
                    for row in range(n_out - n_out % 4, n_out):
                        weight, a = values + row * n_in * nbytes, load(y + row * step, lanes, nbytes)
                        for col in range(n_in):
                            value = splat(load_scalar(weight + col * nbytes, nbytes), lanes, nbytes)
                            a = fma(value, load(x + col * step, lanes, nbytes), a)
                        store(y + row * step, a)
                    if rectified:
                        for row in range(n_out):
                            store(y + row * step, relu(load(y + row * step, lanes, nbytes)))
                    continue
                for row in range(n_out):
                    out = zero(lanes, nbytes)
                    if bias != 0:
                        out = splat(load_scalar(bias + row * nbytes, nbytes), lanes, nbytes)
                    for k in range(load_i64(row_ptr + 8 * row), load_i64(row_ptr + 8 * row + 8)):
                        at = load_index(row_order + order_bytes * k, order_bytes) if order_bytes > 0 else k
                        value = splat(load_scalar(values + at * nbytes, nbytes), lanes, nbytes)
                        col = load_index(row_cols + index_bytes * k, index_bytes)
                        out = fma(value, load(x + col * step, lanes, nbytes), out)
                    if rectified:
                        out = relu(out)
                    store(y + row * step, out)

    return specialised(forward, lanes, nbytes, index_bytes, order_bytes)


@cache
def backward_kernel(lanes: int, nbytes: int, index_bytes: int) -> Any:
    """Return ``kernel(table, slots, tile_low, tile_high)``: the backward pass of a chain over some tiles.

    One sweep over the links yields the gradient of values, of inputs and of the biases one layer down. Value and bias
    gradients are written by the first tile of the call and added to by the others. The gradient of an activation may
    take its place: an input is read for the last time before its gradient is written.

    Parameters
    ----------
    lanes : int
        Tile width, one of `LANES`.
    nbytes : int
        Bytes of a float: 4 or 8.
    index_bytes : int
        Bytes of an entry of the neuron lists: 2 or 4.
    """
    step, group_bytes, grouped = lanes * nbytes, GROUP * nbytes, lanes >= GROUP
    waiting = WAITING_BYTES // group_bytes

    def backward(table: Any, slots: Any, tile_low: int, tile_high: int) -> None:
        scratch = np.empty(waiting * group_bytes + 64, np.uint8)
        products = (scratch.ctypes.data + 63) // 64 * 64
        for tile in range(tile_low, tile_high):
            first = tile == tile_low
            for index in range(table.shape[0] - 1, -1, -1):
                layer = table[index]
                col_ptr, rows, values = layer[B_COL_PTR], layer[B_ROWS], slots[layer[B_VALUES]]
                n_out, n_in, gate = layer[B_N_OUT], layer[B_N_IN], layer[B_GATE] != 0
                x = slots[layer[B_X]] + layer[B_X_AT] + tile * layer[B_X_PITCH]
                dy = slots[layer[B_DY]] + layer[B_DY_AT] + tile * layer[B_DY_PITCH]
                wanted = slots[layer[B_DX]] != 0
                dx = slots[layer[B_DX]] + layer[B_DX_AT] + tile * layer[B_DX_PITCH]
                dvalues = slots[layer[B_SUMS]] + layer[B_DVALUES_AT]
                dbias = slots[layer[B_SUMS]] + layer[B_DBIAS_AT] if layer[B_DBIAS_AT] >= 0 else 0
                if col_ptr == 0:
                    for low in range(0, n_in, GROUP):
                        high = min(low + GROUP, n_in)
                        for row in range(n_out):
                            above = load(dy + row * step, lanes, nbytes)
                            at = dvalues + (row * n_in + low) * nbytes
                            if grouped and high - low == GROUP:
                                for k in range(GROUP):
                                    inputs = load(x + (low + k) * step, lanes, nbytes)
                                    store(products + k * group_bytes, fold(inputs, above))
                                sums = totals(products, nbytes)
                                store(at, sums if first else add(sums, load(at, GROUP, nbytes)))
                            else:
                                for k in range(high - low):
                                    part = total(mul(load(x + (low + k) * step, lanes, nbytes), above))
                                    part = part if first else part + load_scalar(at + k * nbytes, nbytes)
                                    store_scalar(at + k * nbytes, part)
                else:
                    # Links before `summed` have their gradients; the products of the later ones wait.
                    summed = 0
                    n_links = load_i64(col_ptr + 8 * n_in)
                for col in range(n_in):
                    inputs = load(x + col * step, lanes, nbytes)
                    grad = zero(lanes, nbytes)
                    if col_ptr == 0:
                        if wanted:
                            for row in range(n_out):
                                value = load_scalar(values + (row * n_in + col) * nbytes, nbytes)
                                above = load(dy + row * step, lanes, nbytes)
                                grad = fma(splat(value, lanes, nbytes), above, grad)
                    else:
                        k, end = load_i64(col_ptr + 8 * col), load_i64(col_ptr + 8 * col + 8)
                        while k < end:
                            stop = min(end, summed + waiting)
                            while k < stop:
                                above = load(dy + load_index(rows + index_bytes * k, index_bytes) * step, lanes, nbytes)
                                grad = fma(splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes), above, grad)
                                if grouped:
                                    store(products + (k - summed) * group_bytes, fold(inputs, above))
                                else:
                                    at = dvalues + k * nbytes
                                    part = total(mul(inputs, above))
                                    store_scalar(at, part if first else part + load_scalar(at, nbytes))
                                k += 1
                            if k == summed + waiting:
                                if grouped:
                                    for group in range(0, waiting, GROUP):
                                        at = dvalues + (summed + group) * nbytes
                                        sums = totals(products + group * group_bytes, nbytes)
                                        store(at, sums if first else add(sums, load(at, GROUP, nbytes)))
                                summed = k
                    if wanted:
                        if gate:
                            grad = where_positive(inputs, grad)
                        store(dx + col * step, grad)
                        if dbias != 0:
                            part = total(grad)
                            at = dbias + col * nbytes
                            store_scalar(at, part if first else part + load_scalar(at, nbytes))
                if grouped and col_ptr != 0:
                    left = n_links - summed
                    for group in range(0, left - left % GROUP, GROUP):
                        at = dvalues + (summed + group) * nbytes
                        sums = totals(products + group * group_bytes, nbytes)
                        store(at, sums if first else add(sums, load(at, GROUP, nbytes)))
                    for k in range(left - left % GROUP, left):
                        at = dvalues + (summed + k) * nbytes
                        part = total(load(products + k * group_bytes, GROUP, nbytes))
                        store_scalar(at, part if first else part + load_scalar(at, nbytes))
        # Numba frees an array after its last use, and does not see that its address is one: this is the last use.
        scratch[0] = 0

    return specialised(backward, lanes, nbytes, index_bytes)


@cache
def pack_kernel(lanes: int, nbytes: int) -> Any:
    """Return the kernel that cuts a strided ``(batch, features)`` array into tiles, zeros in the unused lanes.

    ``kernel(source, sample_stride, feature_stride, batch, features, tiles, gate, sums, tile_low, tile_high)``: strides
    count elements. With `gate` (address of tiles, or 0) elements are zeroed where the gate is not positive; with `sums`
    (address of ``(features,)``, or 0) the sum over the samples of these tiles is written.
    """
    step = lanes * nbytes

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

    return specialised(pack, lanes, nbytes)


@cache
def unpack_kernel(lanes: int, nbytes: int) -> Any:
    """Return ``kernel(tiles, batch, features, out, tile_low, tile_high)``: tiles to row-major ``(batch, features)``."""
    step = lanes * nbytes

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

    return specialised(unpack, lanes, nbytes)


@njit(nogil=True, cache=True)  # type: ignore[misc]
def reorder(col_ptr: Any, rows: Any, row_ptr: Any, values: Any, row_low: int, row_high: int, out: Any) -> None:
    """Write the values of outputs ``row_low .. row_high - 1`` into ``out``, (n_links,), in output-major order.

    Values are read in the order they lie in, and written to as many growing lists as there are outputs.
    """
    place = row_ptr[row_low:row_high].copy()
    for col in range(col_ptr.size - 1):
        k, end = col_ptr[col], col_ptr[col + 1]
        if row_low > 0:
            k += np.searchsorted(rows[k:end], row_low)
        while k < end and rows[k] < row_high:
            row = rows[k] - row_low
            out[place[row]] = values[k]
            place[row] += 1
            k += 1
