"""How long one core takes to see what another has written: the speed mode of the machine."""

from __future__ import annotations

import os
import threading
import time
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["ping_pong_ns"]

#: A partner that is not seen for this many looks (some ten milliseconds) has lost its core.
_SPIN_LIMIT = 10_000_000


@intrinsic  # type: ignore[untyped-decorator]
def _load(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], context.get_value_type(types.int64).as_pointer())
        return builder.load_atomic(pointer, ordering="acquire", align=8)

    return types.int64(types.uintp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _store(typing_context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], context.get_value_type(types.int64).as_pointer())
        builder.store_atomic(arguments[1], pointer, ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(types.uintp, types.int64), generate


@cache
def _player() -> Any:
    @njit("int64(uintp, uintp, int64, int64)", nogil=True)  # type: ignore[untyped-decorator]
    def play(mine: int, theirs: int, rounds: int, serve: int) -> int:
        """Write each number of rounds and wait for the other side to write it too; returns the rounds that ended."""
        for token in range(1, rounds + 1):
            if serve:
                _store(mine, token)
            spins = 0
            while _load(theirs) < token:
                spins += 1
                if spins > _SPIN_LIMIT:
                    return token - 1
            if not serve:
                _store(mine, token)
        return rounds

    return play


def ping_pong_ns(rounds: int = 4000, repeats: int = 5) -> float | None:
    """Return the median time for a word to go from one core to another, in nanoseconds.

    It tells which speed mode the machine is in while a row is measured. ``None`` on a single core, or when another
    process keeps one of the cores.
    """
    if len(os.sched_getaffinity(0)) < 2:
        return None
    play = _player()
    times = []
    for _ in range(repeats):
        words = np.zeros(64, np.int64)
        first, second = words.ctypes.data, words.ctypes.data + 256
        other = threading.Thread(target=play, args=(second, first, rounds, 0), daemon=True)
        other.start()
        play(first, second, 1, 1)
        started = time.perf_counter_ns()
        ended = play(first, second, rounds, 1)
        elapsed = time.perf_counter_ns() - started
        other.join()
        if ended == rounds:
            times.append(elapsed / (2 * rounds))
    return float(np.median(times)) if times else None
