"""Counter-based random numbers: draw number `counter` of seed `seed` is a pure function of both.

Each counter owns a splitmix64 stream, so results do not depend on who computes them or in what order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["below", "mix64", "next_state", "salted", "stream", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT = 1.0 / 9007199254740992.0


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def mix64(x: Any) -> Any:
    """Return a bijective hash of 64 bits (the finaliser of splitmix64, Steele et al., OOPSLA 2014)."""
    x = (x ^ (x >> _S30)) * _FIRST
    x = (x ^ (x >> _S27)) * _SECOND
    return x ^ (x >> _S31)


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def stream(seed: Any, counter: Any) -> Any:
    """Return the state at the head of stream `counter`; advance it with `next_state` before each number."""
    return mix64(np.uint64(seed) ^ mix64(np.uint64(counter) * _GOLDEN + _FIRST))


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def next_state(state: Any) -> Any:
    """Return the following state."""
    return state + _GOLDEN


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def uniform(state: Any) -> float:
    """Return the number of a state, uniform on [0, 1) with 53 bits."""
    return float(mix64(state) >> _S11) * _UNIT


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def below(state: Any, n: int) -> int:
    """Return the number of a state, uniform on 0 .. n - 1 (bias below n / 2**53)."""
    return int(uniform(state) * n)


def salted(seed: int, purpose: int) -> int:
    """Return another 64-bit seed, for one purpose: streams of different purposes have nothing in common.

    Two consumers that number their streams differently (proposals from 0, links by id) must not share a seed: stream t
    of one would be stream t of the other.
    """
    return int(stream(np.uint64(seed), np.uint64(2**64 - 1 - purpose)))
