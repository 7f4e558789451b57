"""Numba kernels of the training step: a chain of linear layers, run tile by tile.

A *tile* holds `lanes` samples feature-major, ``(features, lanes)``; a batch is a row of tiles. Where there are several,
a chunk of a pass is some of them, taken through every layer. Where there is one, it is some neurons of one layer:
outputs on the way forward, inputs on the way back.

What a pass works on comes in two arrays. The *table* has one row per layer (columns below) and stays the same as long
as links and batch size do. The *slots* are addresses that change from call to call; the table names them by number. An
activation lies at an offset (bytes) from its slot; tile ``t`` starts ``t`` times its pitch (bytes) further on, and a
pitch of 0 means that one tile's room is used again and again. A layer without link lists (their address is 0) is dense,
with a row-major weight.

Passes are stages of jobs (see `stages`). Arguments: whether there is a single tile; the address of the tables, one
after the other for every part; the number of layers; the slots. The number passed is that of the part, or with a single
tile that of the layer.
"""

from __future__ import annotations

from functools import cache

from sparsecore.kernels.cpu.memory import entry, load_i64, load_index, load_scalar, stack, store_scalar
from sparsecore.kernels.cpu.simd import (
    GROUP,
    add,
    fma,
    fold,
    load,
    mul,
    relu,
    splat,
    store,
    total,
    totals,
    where_positive,
    zero,
)
from sparsecore.kernels.cpu.stages import stage

__all__ = ["PUSH_LANES", "backward_stage", "forward_stage"]

#: Bytes of products that wait for their sums: a small part of a first-level cache, which holds activations besides.
WAITING_BYTES = 2**13

#: Tiles up to this width are pushed along the links of each input; wider ones are pulled along those of each output.
PUSH_LANES = 8

# Columns of the forward table. VALUES, BIAS, X and Y are slots (an address of 0 in BIAS: none), the AT offsets.
F_N_OUT, F_N_IN, F_PTR, F_ENDS, F_ORDER, F_RELU, F_VALUES, F_BIAS = range(8)
F_X, F_X_AT, F_X_PITCH, F_Y, F_Y_AT, F_Y_PITCH = range(8, 14)
FORWARD_COLUMNS = 14

# Columns of the backward table. An address of 0 in DX: no input gradient is wanted; GATE is 1 behind a rectifier. SUMS
# is the slot of all sums over samples; the offset of the bias one layer down is -1 where there is none. FIRST_TILE is
# the first tile of the part: it writes the sums that later ones add to.
B_N_OUT, B_N_IN, B_COL_PTR, B_ROWS, B_GATE, B_VALUES = range(6)
B_X, B_X_AT, B_X_PITCH, B_DY, B_DY_AT, B_DY_PITCH, B_DX, B_DX_AT, B_DX_PITCH = range(6, 15)
B_SUMS, B_DVALUES_AT, B_DBIAS_AT, B_FIRST_TILE = range(15, 19)
BACKWARD_COLUMNS = 19

# Each stage is one function whose closure holds integers alone: numba's cache on disk can tell such functions apart.


@cache
def forward_stage(lanes: int, nbytes: int, index_bytes: int, order_bytes: int) -> int:
    """Return the stage of a chain's forward pass.

    Tiles of at most `PUSH_LANES` samples go along the links of each input and need its lists alone; wider ones along
    those of each output.

    Parameters
    ----------
    lanes : int
        Tile width, one of `LANES`.
    nbytes : int
        Bytes of a float: 4 or 8.
    index_bytes : int
        Bytes of an entry of the neuron lists: 2 or 4.
    order_bytes : int
        Bytes of an entry of the list of positions (2 or 4), or 0 when the values come in the order of the lists.
    """
    step, pushed = lanes * nbytes, lanes <= PUSH_LANES

    def forward(args: int, number: int, low: int, high: int) -> None:
        single, table, n_layers, slots = entry(args, 0) != 0, entry(args, 1), entry(args, 2), args + 24
        tile_low, tile_high, first_layer, last_layer = low, high, 0, n_layers
        if single:
            tile_low, tile_high, first_layer, last_layer = 0, 1, number, number + 1
        else:
            table += number * n_layers * (8 * FORWARD_COLUMNS)
        for tile in range(tile_low, tile_high):
            for index in range(first_layer, last_layer):
                layer = table + index * (8 * FORWARD_COLUMNS)
                ptr, ends, order = entry(layer, F_PTR), entry(layer, F_ENDS), entry(layer, F_ORDER)
                n_out, n_in, rectified = entry(layer, F_N_OUT), entry(layer, F_N_IN), entry(layer, F_RELU) != 0
                values, bias = entry(slots, entry(layer, F_VALUES)), entry(slots, entry(layer, F_BIAS))
                x = entry(slots, entry(layer, F_X)) + entry(layer, F_X_AT) + tile * entry(layer, F_X_PITCH)
                y = entry(slots, entry(layer, F_Y)) + entry(layer, F_Y_AT) + tile * entry(layer, F_Y_PITCH)
                begin, end = (low, high) if single else (0, n_out)
                if ptr == 0 or pushed:
                    for row in range(begin, end):
                        out = zero(lanes, nbytes)
                        if bias != 0:
                            out = splat(load_scalar(bias + row * nbytes, nbytes), lanes, nbytes)
                        store(y + row * step, out)
                if ptr == 0:
                    # Four outputs at a time share the loads of the inputs.
                    for row in range(begin, end - (end - begin) % 4, 4):
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
                    for row in range(end - (end - begin) % 4, end):
                        weight, a = values + row * n_in * nbytes, load(y + row * step, lanes, nbytes)
                        for col in range(n_in):
                            value = splat(load_scalar(weight + col * nbytes, nbytes), lanes, nbytes)
                            a = fma(value, load(x + col * step, lanes, nbytes), a)
                        store(y + row * step, a)
                elif pushed:
                    for col in range(n_in):
                        above = load(x + col * step, lanes, nbytes)
                        for k in range(load_i64(ptr + 8 * col), load_i64(ptr + 8 * col + 8)):
                            value = splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes)
                            at = y + load_index(ends + index_bytes * k, index_bytes) * step
                            store(at, fma(value, above, load(at, lanes, nbytes)))
                else:
                    for row in range(begin, end):
                        k, stop = load_i64(ptr + 8 * row), load_i64(ptr + 8 * row + 8)
                        a, b = zero(lanes, nbytes), zero(lanes, nbytes)
                        if bias != 0:
                            a = splat(load_scalar(bias + row * nbytes, nbytes), lanes, nbytes)
                        # Two sums take turns, because each has to wait for its last addition.
                        while k + 1 < stop:
                            at = load_index(order + order_bytes * k, order_bytes) if order_bytes > 0 else k
                            value = splat(load_scalar(values + at * nbytes, nbytes), lanes, nbytes)
                            col = load_index(ends + index_bytes * k, index_bytes)
                            a = fma(value, load(x + col * step, lanes, nbytes), a)
                            k += 1
                            at = load_index(order + order_bytes * k, order_bytes) if order_bytes > 0 else k
                            value = splat(load_scalar(values + at * nbytes, nbytes), lanes, nbytes)
                            col = load_index(ends + index_bytes * k, index_bytes)
                            b = fma(value, load(x + col * step, lanes, nbytes), b)
                            k += 1
                        if k < stop:
                            at = load_index(order + order_bytes * k, order_bytes) if order_bytes > 0 else k
                            value = splat(load_scalar(values + at * nbytes, nbytes), lanes, nbytes)
                            col = load_index(ends + index_bytes * k, index_bytes)
                            a = fma(value, load(x + col * step, lanes, nbytes), a)
                        out = add(a, b)
                        store(y + row * step, relu(out) if rectified else out)
                if rectified and (ptr == 0 or pushed):
                    for row in range(begin, end):
                        store(y + row * step, relu(load(y + row * step, lanes, nbytes)))

    return stage(forward, lanes, nbytes, index_bytes, order_bytes)


@cache
def backward_stage(lanes: int, nbytes: int, index_bytes: int) -> int:
    """Return the stage of a chain's backward pass.

    One sweep over the links yields the gradient of values, of inputs and of the biases one layer down. Value and bias
    gradients are written by the first tile of a part and added to by the others. The gradient of an activation may
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

    def backward(args: int, number: int, low: int, high: int) -> None:
        single, table, n_layers, slots = entry(args, 0) != 0, entry(args, 1), entry(args, 2), args + 24
        tile_low, tile_high, first_layer, last_layer = low, high, 0, n_layers
        if single:
            tile_low, tile_high, first_layer, last_layer = 0, 1, number, number + 1
        else:
            table += number * n_layers * (8 * BACKWARD_COLUMNS)
        products = stack(WAITING_BYTES)
        for tile in range(tile_low, tile_high):
            first = tile == entry(table, B_FIRST_TILE)
            for index in range(last_layer - 1, first_layer - 1, -1):
                layer = table + index * (8 * BACKWARD_COLUMNS)
                col_ptr, rows = entry(layer, B_COL_PTR), entry(layer, B_ROWS)
                values = entry(slots, entry(layer, B_VALUES))
                n_out, n_in, gate = entry(layer, B_N_OUT), entry(layer, B_N_IN), entry(layer, B_GATE) != 0
                x = entry(slots, entry(layer, B_X)) + entry(layer, B_X_AT) + tile * entry(layer, B_X_PITCH)
                dy = entry(slots, entry(layer, B_DY)) + entry(layer, B_DY_AT) + tile * entry(layer, B_DY_PITCH)
                wanted = entry(slots, entry(layer, B_DX)) != 0
                dx = entry(slots, entry(layer, B_DX)) + entry(layer, B_DX_AT) + tile * entry(layer, B_DX_PITCH)
                sums_at = entry(slots, entry(layer, B_SUMS))
                dvalues = sums_at + entry(layer, B_DVALUES_AT)
                dbias = sums_at + entry(layer, B_DBIAS_AT) if entry(layer, B_DBIAS_AT) >= 0 else 0
                begin, end = (low, high) if single else (0, n_in)
                if col_ptr == 0:
                    for group in range(begin, end, GROUP):
                        n_cols = min(GROUP, end - group)
                        for row in range(n_out):
                            above = load(dy + row * step, lanes, nbytes)
                            at = dvalues + (row * n_in + group) * nbytes
                            if grouped and n_cols == GROUP:
                                for k in range(GROUP):
                                    inputs = load(x + (group + k) * step, lanes, nbytes)
                                    store(products + k * group_bytes, fold(inputs, above))
                                sums = totals(products, nbytes)
                                store(at, sums if first else add(sums, load(at, GROUP, nbytes)))
                            else:
                                for k in range(n_cols):
                                    share = total(mul(load(x + (group + k) * step, lanes, nbytes), above))
                                    share = share if first else share + load_scalar(at + k * nbytes, nbytes)
                                    store_scalar(at + k * nbytes, share)
                else:
                    # Links before `summed` have their gradients; the products of the later ones wait.
                    summed = load_i64(col_ptr + 8 * begin)
                for col in range(begin, end):
                    inputs = load(x + col * step, lanes, nbytes)
                    grad, other = zero(lanes, nbytes), zero(lanes, nbytes)
                    if col_ptr == 0:
                        if wanted:
                            for row in range(n_out):
                                value = load_scalar(values + (row * n_in + col) * nbytes, nbytes)
                                above = load(dy + row * step, lanes, nbytes)
                                grad = fma(splat(value, lanes, nbytes), above, grad)
                    else:
                        k, last = load_i64(col_ptr + 8 * col), load_i64(col_ptr + 8 * col + 8)
                        while k < last:
                            stop = min(last, summed + waiting)
                            # Two sums take turns, because each has to wait for its last addition.
                            at = products + (k - summed) * group_bytes
                            while grouped and k + 1 < stop:
                                above = load(dy + load_index(rows + index_bytes * k, index_bytes) * step, lanes, nbytes)
                                grad = fma(splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes), above, grad)
                                store(at, fold(inputs, above))
                                k += 1
                                above = load(dy + load_index(rows + index_bytes * k, index_bytes) * step, lanes, nbytes)
                                other = fma(
                                    splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes), above, other
                                )
                                store(at + group_bytes, fold(inputs, above))
                                k += 1
                                at += 2 * group_bytes
                            while k < stop:
                                above = load(dy + load_index(rows + index_bytes * k, index_bytes) * step, lanes, nbytes)
                                grad = fma(splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes), above, grad)
                                if grouped:
                                    store(at, fold(inputs, above))
                                else:
                                    at = dvalues + k * nbytes
                                    share = total(mul(inputs, above))
                                    store_scalar(at, share if first else share + load_scalar(at, nbytes))
                                k += 1
                            if k == summed + waiting:
                                if grouped:
                                    for group in range(0, waiting, GROUP):
                                        at = dvalues + (summed + group) * nbytes
                                        sums = totals(products + group * group_bytes, nbytes)
                                        store(at, sums if first else add(sums, load(at, GROUP, nbytes)))
                                summed = k
                    if wanted:
                        grad = add(grad, other)
                        if gate:
                            grad = where_positive(inputs, grad)
                        store(dx + col * step, grad)
                        if dbias != 0:
                            share = total(grad)
                            at = dbias + col * nbytes
                            store_scalar(at, share if first else share + load_scalar(at, nbytes))
                if grouped and col_ptr != 0:
                    left = load_i64(col_ptr + 8 * end) - summed
                    for group in range(0, left - left % GROUP, GROUP):
                        at = dvalues + (summed + group) * nbytes
                        sums = totals(products + group * group_bytes, nbytes)
                        store(at, sums if first else add(sums, load(at, GROUP, nbytes)))
                    for k in range(left - left % GROUP, left):
                        at = dvalues + (summed + k) * nbytes
                        share = total(load(products + k * group_bytes, GROUP, nbytes))
                        store_scalar(at, share if first else share + load_scalar(at, nbytes))

    return stage(backward, lanes, nbytes, index_bytes)
