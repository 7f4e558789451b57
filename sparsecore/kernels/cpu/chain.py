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
from typing import Any

from numba import njit

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

# What a stage does to one layer of one tile is in functions of their own, which numba copies into it. They take the
# widths (`lanes`, `nbytes`, `index_bytes`, `order_bytes`) from the closure of the stage: there they are constants.


@njit(inline="always")  # type: ignore[misc]
def _slot(layer: int, slots: int, column: int) -> int:
    """Return the address that the slot in `column` holds."""
    return entry(slots, entry(layer, column))


@njit(inline="always")  # type: ignore[misc]
def _place(layer: int, slots: int, tile: int, column: int) -> int:
    """Return where `tile` of an activation lies, whose slot, offset and pitch are in `column` and the next two."""
    return entry(slots, entry(layer, column)) + entry(layer, column + 1) + tile * entry(layer, column + 2)


# Forward ------------------------------------------------------------------------------------------------------------


@njit(inline="always")  # type: ignore[misc]
def _begin(layer: int, slots: int, tile: int, begin: int, end: int, lanes: int, nbytes: int) -> None:
    """Set outputs to their biases, or to zero where there are none."""
    bias, y = _slot(layer, slots, F_BIAS), _place(layer, slots, tile, F_Y)
    for row in range(begin, end):
        out = zero(lanes, nbytes)
        if bias != 0:
            out = splat(load_scalar(bias + row * nbytes, nbytes), lanes, nbytes)
        store(y + row * lanes * nbytes, out)


@njit(inline="always")  # type: ignore[misc]
def _rectify(layer: int, slots: int, tile: int, begin: int, end: int, lanes: int, nbytes: int) -> None:
    """Set negative outputs to zero."""
    y = _place(layer, slots, tile, F_Y)
    for row in range(begin, end):
        at = y + row * lanes * nbytes
        store(at, relu(load(at, lanes, nbytes)))


@njit(inline="always")  # type: ignore[misc]
def _multiply(layer: int, slots: int, tile: int, begin: int, end: int, lanes: int, nbytes: int) -> None:
    """Add the products of a dense layer to its outputs; four outputs at a time share the loads of the inputs."""
    weight, n_in, step = _slot(layer, slots, F_VALUES), entry(layer, F_N_IN), lanes * nbytes
    x, y = _place(layer, slots, tile, F_X), _place(layer, slots, tile, F_Y)
    pitch, together = n_in * nbytes, end - (end - begin) % 4
    for row in range(begin, together, 4):
        at, out = weight + row * pitch, y + row * step
        a, b = load(out, lanes, nbytes), load(out + step, lanes, nbytes)
        c, d = load(out + 2 * step, lanes, nbytes), load(out + 3 * step, lanes, nbytes)
        for col in range(n_in):
            above = load(x + col * step, lanes, nbytes)
            a = fma(splat(load_scalar(at, nbytes), lanes, nbytes), above, a)
            b = fma(splat(load_scalar(at + pitch, nbytes), lanes, nbytes), above, b)
            c = fma(splat(load_scalar(at + 2 * pitch, nbytes), lanes, nbytes), above, c)
            d = fma(splat(load_scalar(at + 3 * pitch, nbytes), lanes, nbytes), above, d)
            at += nbytes
        store(out, a)
        store(out + step, b)
        store(out + 2 * step, c)
        store(out + 3 * step, d)
    for row in range(together, end):
        at, a = weight + row * pitch, load(y + row * step, lanes, nbytes)
        for col in range(n_in):
            value = splat(load_scalar(at + col * nbytes, nbytes), lanes, nbytes)
            a = fma(value, load(x + col * step, lanes, nbytes), a)
        store(y + row * step, a)


@njit(inline="always")  # type: ignore[misc]
def _push(layer: int, slots: int, tile: int, lanes: int, nbytes: int, index_bytes: int) -> None:
    """Add to the outputs what every input sends along its links."""
    ptr, rows, values = entry(layer, F_PTR), entry(layer, F_ENDS), _slot(layer, slots, F_VALUES)
    x, y = _place(layer, slots, tile, F_X), _place(layer, slots, tile, F_Y)
    for col in range(entry(layer, F_N_IN)):
        above = load(x + col * lanes * nbytes, lanes, nbytes)
        for k in range(load_i64(ptr + 8 * col), load_i64(ptr + 8 * col + 8)):
            value = splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes)
            at = y + load_index(rows + index_bytes * k, index_bytes) * lanes * nbytes
            store(at, fma(value, above, load(at, lanes, nbytes)))


@njit(inline="always")  # type: ignore[misc]
def _plus_link(
    sums: Any, k: int, x: int, values: int, cols: int, order: int,
    lanes: int, nbytes: int, index_bytes: int, order_bytes: int,
) -> Any:  # fmt: skip
    """Return `sums` and what link `k`, in the order of the outputs, brings from its input."""
    at = load_index(order + order_bytes * k, order_bytes) if order_bytes > 0 else k
    value = splat(load_scalar(values + at * nbytes, nbytes), lanes, nbytes)
    col = load_index(cols + index_bytes * k, index_bytes)
    return fma(value, load(x + col * lanes * nbytes, lanes, nbytes), sums)


@njit(inline="always")  # type: ignore[misc]
def _pull(
    layer: int, slots: int, tile: int, begin: int, end: int, lanes: int, nbytes: int, index_bytes: int, order_bytes: int
) -> None:
    """Compute every output from the inputs of its links."""
    ptr, cols, order = entry(layer, F_PTR), entry(layer, F_ENDS), entry(layer, F_ORDER)
    values, bias, rectified = _slot(layer, slots, F_VALUES), _slot(layer, slots, F_BIAS), entry(layer, F_RELU) != 0
    x, y = _place(layer, slots, tile, F_X), _place(layer, slots, tile, F_Y)
    for row in range(begin, end):
        k, stop = load_i64(ptr + 8 * row), load_i64(ptr + 8 * row + 8)
        a, b = zero(lanes, nbytes), zero(lanes, nbytes)
        if bias != 0:
            a = splat(load_scalar(bias + row * nbytes, nbytes), lanes, nbytes)
        # Two sums take turns, because each has to wait for its last addition.
        while k + 1 < stop:
            a = _plus_link(a, k, x, values, cols, order, lanes, nbytes, index_bytes, order_bytes)
            b = _plus_link(b, k + 1, x, values, cols, order, lanes, nbytes, index_bytes, order_bytes)
            k += 2
        if k < stop:
            a = _plus_link(a, k, x, values, cols, order, lanes, nbytes, index_bytes, order_bytes)
        out = add(a, b)
        store(y + row * lanes * nbytes, relu(out) if rectified else out)


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
    pushed = lanes <= PUSH_LANES

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
                begin, end = (low, high) if single else (0, entry(layer, F_N_OUT))
                if entry(layer, F_PTR) != 0 and not pushed:
                    _pull(layer, slots, tile, begin, end, lanes, nbytes, index_bytes, order_bytes)
                else:
                    _begin(layer, slots, tile, begin, end, lanes, nbytes)
                    if entry(layer, F_PTR) == 0:
                        _multiply(layer, slots, tile, begin, end, lanes, nbytes)
                    else:
                        _push(layer, slots, tile, lanes, nbytes, index_bytes)
                    if entry(layer, F_RELU) != 0:
                        _rectify(layer, slots, tile, begin, end, lanes, nbytes)

    return stage(forward, lanes, nbytes, index_bytes, order_bytes)


# Backward -----------------------------------------------------------------------------------------------------------


@njit(inline="always")  # type: ignore[misc]
def _put(at: int, share: float, first: bool, nbytes: int) -> None:
    """Write a sum over the samples of the first tile, or add that of a later one."""
    store_scalar(at, share if first else share + load_scalar(at, nbytes))


@njit(inline="always")  # type: ignore[misc]
def _put_group(at: int, products: int, first: bool, nbytes: int) -> None:
    """Do so for the sums of `GROUP` vectors of products, which lie next to each other."""
    sums = totals(products, nbytes)
    store(at, sums if first else add(sums, load(at, GROUP, nbytes)))


@njit(inline="always")  # type: ignore[misc]
def _bias_below(layer: int, slots: int) -> int:
    """Return where the gradient of the biases one layer down belongs, or 0."""
    at = entry(layer, B_DBIAS_AT)
    return _slot(layer, slots, B_SUMS) + at if at >= 0 else 0


@njit(inline="always")  # type: ignore[misc]
def _put_input(
    dx: int, dbias: int, col: int, inputs: Any, grad: Any, gate: bool, first: bool, lanes: int, nbytes: int
) -> None:
    """Write the gradient of an input, and of the bias of its neuron one layer down if there is one."""
    if gate:
        grad = where_positive(inputs, grad)
    store(dx + col * lanes * nbytes, grad)
    if dbias != 0:
        _put(dbias + col * nbytes, total(grad), first, nbytes)


@njit(inline="always")  # type: ignore[misc]
def _back_dense(
    layer: int, slots: int, tile: int, first: bool, products: int, begin: int, end: int, lanes: int, nbytes: int
) -> None:
    """Compute the gradients of a dense layer: those of its weight in groups of inputs, then those of the inputs."""
    n_out, n_in, gate, step = entry(layer, B_N_OUT), entry(layer, B_N_IN), entry(layer, B_GATE) != 0, lanes * nbytes
    weight, dweight = _slot(layer, slots, B_VALUES), _slot(layer, slots, B_SUMS) + entry(layer, B_DVALUES_AT)
    x, dy = _place(layer, slots, tile, B_X), _place(layer, slots, tile, B_DY)
    dx, dbias = _place(layer, slots, tile, B_DX), _bias_below(layer, slots)
    for group in range(begin, end, GROUP):
        n_cols = min(GROUP, end - group)
        for row in range(n_out):
            above, at = load(dy + row * step, lanes, nbytes), dweight + (row * n_in + group) * nbytes
            if lanes >= GROUP and n_cols == GROUP:
                for k in range(GROUP):
                    store(products + k * GROUP * nbytes, fold(load(x + (group + k) * step, lanes, nbytes), above))
                _put_group(at, products, first, nbytes)
            else:
                for k in range(n_cols):
                    share = total(mul(load(x + (group + k) * step, lanes, nbytes), above))
                    _put(at + k * nbytes, share, first, nbytes)
    if _slot(layer, slots, B_DX) != 0:
        for col in range(begin, end):
            grad = zero(lanes, nbytes)
            for row in range(n_out):
                value = splat(load_scalar(weight + (row * n_in + col) * nbytes, nbytes), lanes, nbytes)
                grad = fma(value, load(dy + row * step, lanes, nbytes), grad)
            _put_input(dx, dbias, col, load(x + col * step, lanes, nbytes), grad, gate, first, lanes, nbytes)


@njit(inline="always")  # type: ignore[misc]
def _back_links(
    layer: int, slots: int, tile: int, first: bool, products: int, begin: int, end: int,
    lanes: int, nbytes: int, index_bytes: int,
) -> None:  # fmt: skip
    """Compute the gradients of values and inputs in one sweep over the links.

    The products of a link wait until those of `GROUP` links can be added up together, where tiles are wide enough for
    that. Links before `summed` have their gradients.
    """
    ptr, rows, gate = entry(layer, B_COL_PTR), entry(layer, B_ROWS), entry(layer, B_GATE) != 0
    values, dvalues = _slot(layer, slots, B_VALUES), _slot(layer, slots, B_SUMS) + entry(layer, B_DVALUES_AT)
    x, dy = _place(layer, slots, tile, B_X), _place(layer, slots, tile, B_DY)
    dx, dbias, wanted = _place(layer, slots, tile, B_DX), _bias_below(layer, slots), _slot(layer, slots, B_DX) != 0
    step, group_bytes = lanes * nbytes, GROUP * nbytes
    waiting = WAITING_BYTES // group_bytes
    summed = load_i64(ptr + 8 * begin)
    for col in range(begin, end):
        inputs = load(x + col * step, lanes, nbytes)
        grad, other = zero(lanes, nbytes), zero(lanes, nbytes)
        k, last = load_i64(ptr + 8 * col), load_i64(ptr + 8 * col + 8)
        while k < last:
            stop = min(last, summed + waiting)
            # Two sums take turns, because each has to wait for its last addition.
            at = products + (k - summed) * group_bytes
            while lanes >= GROUP and k + 1 < stop:
                above = load(dy + load_index(rows + index_bytes * k, index_bytes) * step, lanes, nbytes)
                grad = fma(splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes), above, grad)
                store(at, fold(inputs, above))
                k += 1
                above = load(dy + load_index(rows + index_bytes * k, index_bytes) * step, lanes, nbytes)
                other = fma(splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes), above, other)
                store(at + group_bytes, fold(inputs, above))
                k += 1
                at += 2 * group_bytes
            while k < stop:
                above = load(dy + load_index(rows + index_bytes * k, index_bytes) * step, lanes, nbytes)
                grad = fma(splat(load_scalar(values + k * nbytes, nbytes), lanes, nbytes), above, grad)
                if lanes >= GROUP:
                    store(at, fold(inputs, above))
                else:
                    _put(dvalues + k * nbytes, total(mul(inputs, above)), first, nbytes)
                k += 1
            if k == summed + waiting:
                if lanes >= GROUP:
                    for group in range(0, waiting, GROUP):
                        _put_group(dvalues + (summed + group) * nbytes, products + group * group_bytes, first, nbytes)
                summed = k
        if wanted:
            _put_input(dx, dbias, col, inputs, add(grad, other), gate, first, lanes, nbytes)
    if lanes >= GROUP:
        left = load_i64(ptr + 8 * end) - summed
        whole = left - left % GROUP
        for group in range(0, whole, GROUP):
            _put_group(dvalues + (summed + group) * nbytes, products + group * group_bytes, first, nbytes)
        for k in range(whole, left):
            share = total(load(products + k * group_bytes, GROUP, nbytes))
            _put(dvalues + (summed + k) * nbytes, share, first, nbytes)


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
                begin, end = (low, high) if single else (0, entry(layer, B_N_IN))
                if entry(layer, B_COL_PTR) == 0:
                    _back_dense(layer, slots, tile, first, products, begin, end, lanes, nbytes)
                else:
                    _back_links(layer, slots, tile, first, products, begin, end, lanes, nbytes, index_bytes)

    return stage(backward, lanes, nbytes, index_bytes)
