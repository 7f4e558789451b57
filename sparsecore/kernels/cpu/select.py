"""Random keys for sampling without replacement, and sets of ids drawn so far."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from sparsecore.kernels.cpu.rng import mix64, next_state, stream, uniform

__all__ = ["collect", "collect_by_bit", "soft_keys"]

_HALF_STEP = 2.0**-54

#: Keys of weights that are exactly 0 lie above all others, and keep an order among themselves.
_ZERO_KEY, _ZERO_STEP = np.finfo(np.float64).max / 2, 1e300


@njit(cache=True, nogil=True)  # type: ignore[misc]
def soft_keys(
    seed: Any, ids: Any, weights: Any, temperature: float, limit: float, kept: Any, keys: Any
) -> int:  # fmt: skip
    """Write the ids whose key is at most `limit`, and these keys; return their number.

    The key of an id is ``log E - temperature · log weight`` with E ~ Exp(1), a function of seed, id and weight: the n
    smallest keys are a successive sample without replacement with probabilities in proportion to weight ** temperature.
    """
    # E >= u where E = -log(1 - u): most ids above the limit are told without a logarithm.
    ceiling = np.exp(limit) if temperature == 1.0 and limit < 700.0 else np.inf
    count = 0
    for k in range(ids.size):
        u = uniform(next_state(stream(seed, ids[k])))
        if u > ceiling * weights[k] and weights[k] > 0.0:
            continue
        # 1 - u is exact, so this is as precise as log1p and faster; u = 0 stands for all below its half step.
        noise = np.log(-np.log(1.0 - u) if u > 0.0 else _HALF_STEP)
        key = noise - temperature * np.log(weights[k]) if weights[k] > 0.0 else _ZERO_KEY + (noise + 64.0) * _ZERO_STEP
        if key <= limit:
            kept[count] = ids[k]
            keys[count] = key
            count += 1
    return count


@njit(cache=True, nogil=True)  # type: ignore[misc]
def collect(found: Any, drawn: Any, count: int, table: Any) -> int:
    """Append the ids of ``found`` that are new to ``drawn[:count]``, in order, until it is full; return the new count.

    ``found`` holds -1 for rejected proposals. ``table`` is an open-addressing hash set of 2**k slots, -1 where free.
    """
    last = table.size - 1
    for k in range(found.size):
        link = found[k]
        if link < 0:
            continue
        if count == drawn.size:
            break
        at = np.int64(mix64(np.uint64(link)) >> np.uint64(1)) & last
        while table[at] >= 0 and table[at] != link:
            at = (at + 1) & last
        if table[at] < 0:
            table[at] = link
            drawn[count] = link
            count += 1
    return count


@njit(cache=True, nogil=True)  # type: ignore[misc]
def collect_by_bit(found: Any, drawn: Any, count: int, bits: Any) -> int:
    """As `collect`, with one bit per possible link, uint64, (ceil(n_possible / 64),)."""
    for k in range(found.size):
        link = found[k]
        if link < 0:
            continue
        if count == drawn.size:
            break
        bit = np.uint64(1) << np.uint64(link & 63)
        if bits[link >> 6] & bit == np.uint64(0):
            bits[link >> 6] |= bit
            drawn[count] = link
            count += 1
    return count
