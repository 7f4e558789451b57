"""Stages that move numbers in and out of tiles and bring values and sums into order."""

from __future__ import annotations

from functools import cache

from sparsecore.kernels.cpu.memory import entry, load_index, load_scalar, store_scalar
from sparsecore.kernels.cpu.simd import GROUP, add, load, store, total, transpose, where_positive, zero
from sparsecore.kernels.cpu.stages import stage

__all__ = ["LANES", "RUNS", "gather_stage", "pack_stage", "reduce_stage", "unpack_stage"]

#: Tile widths that exist; a batch is cut into tiles of one of them.
LANES = (4, 8, 16, 32, 64)

#: Equal runs that a list is cut into, so that lists of any lengths are shared among threads alike.
RUNS = 4096


@cache
def pack_stage(lanes: int, nbytes: int) -> int:
    """Return the stage that cuts a strided ``(batch, features)`` array into tiles, zeros in the unused lanes.

    Units are tiles; where there is a single one, its features. Arguments: ``single, batch, features, tile_pitch,
    part_pitch, n_tiles, n_parts, sums_pitch, source, sample_stride, feature_stride, tiles, gate, sums, more_sums``.
    Strides count elements, pitches bytes: tile t of part p lies at ``tiles + t * tile_pitch + p * part_pitch``. With
    `gate` (address of all tiles, or 0) elements are zeroed where the gate is not positive. With `sums` (address of
    ``(features,)``, or 0) part 0 writes the sum over its samples there, part p to ``more_sums + (p - 1) * sums_pitch``.
    """
    step = lanes * nbytes

    def pack(args: int, part: int, low_unit: int, high_unit: int) -> None:
        single, batch, features = entry(args, 0), entry(args, 1), entry(args, 2)
        first = part * entry(args, 5) // entry(args, 6)
        source, sample_stride, feature_stride = entry(args, 8), entry(args, 9), entry(args, 10)
        tiles, gate, sums = entry(args, 11) + part * entry(args, 4), entry(args, 12), entry(args, 13)
        tile_low, tile_high, begin, end = low_unit, high_unit, 0, features
        if single != 0:
            tile_low, tile_high, begin, end = 0, 1, low_unit, high_unit
        elif sums != 0 and part > 0:
            sums = entry(args, 14) + (part - 1) * entry(args, 7)
        for tile in range(tile_low, tile_high):
            live = min(lanes, batch - tile * lanes)
            base = source + tile * lanes * sample_stride * nbytes
            out = tiles + tile * entry(args, 3)
            for low in range(begin, end, GROUP):
                high = min(low + GROUP, end)
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
                        share = total(load(out + at, lanes, nbytes))
                        where = sums + feature * nbytes
                        store_scalar(where, share if tile == first else share + load_scalar(where, nbytes))

    return stage(pack, lanes, nbytes)


@cache
def unpack_stage(lanes: int, nbytes: int) -> int:
    """Return the stage that writes tiles as row-major ``(batch, features)``.

    Units and places of tiles are those of `pack_stage`. Arguments: ``single, batch, features, tile_pitch, part_pitch,
    tiles, out``.
    """
    step = lanes * nbytes

    def unpack(args: int, part: int, low_unit: int, high_unit: int) -> None:
        batch, features, out = entry(args, 1), entry(args, 2), entry(args, 6)
        tiles = entry(args, 5) + part * entry(args, 4)
        tile_low, tile_high, begin, end = low_unit, high_unit, 0, features
        if entry(args, 0) != 0:
            tile_low, tile_high, begin, end = 0, 1, low_unit, high_unit
        for tile in range(tile_low, tile_high):
            live = min(lanes, batch - tile * lanes)
            base = tiles + tile * entry(args, 3)
            for low in range(begin, end, GROUP):
                lane = 0
                if lanes >= GROUP and low + GROUP <= end:
                    while lane + GROUP <= live:
                        at = out + ((tile * lanes + lane) * features + low) * nbytes
                        transpose(base + low * step + lane * nbytes, step, at, features * nbytes, nbytes)
                        lane += GROUP
                while lane < live:
                    row = out + (tile * lanes + lane) * features * nbytes
                    for feature in range(low, min(low + GROUP, end)):
                        store_scalar(row + feature * nbytes, load_scalar(base + feature * step + lane * nbytes, nbytes))
                    lane += 1

    return stage(unpack, lanes, nbytes)


@cache
def gather_stage(nbytes: int, order_bytes: int) -> int:
    """Return the stage that brings lists of floats into another order; its units are the `RUNS` of every list.

    Arguments: the number of lists, then ``source, order, target, n`` of each: ``target[k] = source[order[k]]``.
    """

    def gather(args: int, part: int, low: int, high: int) -> None:
        for index in range(entry(args, 0)):
            source, order = entry(args, 1 + 4 * index), entry(args, 2 + 4 * index)
            target, n = entry(args, 3 + 4 * index), entry(args, 4 + 4 * index)
            for k in range(n * low // RUNS, n * high // RUNS):
                at = load_index(order + order_bytes * k, order_bytes)
                store_scalar(target + nbytes * k, load_scalar(source + nbytes * at, nbytes))

    return stage(gather, nbytes, order_bytes)


@cache
def reduce_stage(nbytes: int) -> int:
    """Return the stage that adds the sums of all parts; its units are `RUNS`.

    Arguments: ``n, n_more, sums, more_sums``: `n` floats at ``sums`` receive those of ``n_more`` lists of
    the same length behind ``more_sums``, in this order.
    """

    def reduce(args: int, part: int, low: int, high: int) -> None:
        n, n_more, sums, more = entry(args, 0), entry(args, 1), entry(args, 2), entry(args, 3)
        start, end = n * low // RUNS, n * high // RUNS
        for k in range(start, end - (end - start) % GROUP, GROUP):
            at = sums + nbytes * k
            out = load(at, GROUP, nbytes)
            for index in range(n_more):
                out = add(out, load(more + nbytes * (index * n + k), GROUP, nbytes))
            store(at, out)
        for k in range(end - (end - start) % GROUP, end):
            total_ = load_scalar(sums + nbytes * k, nbytes)
            for index in range(n_more):
                total_ += load_scalar(more + nbytes * (index * n + k), nbytes)
            store_scalar(sums + nbytes * k, total_)

    return stage(reduce, nbytes)
