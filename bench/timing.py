"""Measuring several contenders fairly on a machine whose speed drifts."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue

__all__ = ["Timing", "interleaved", "ping_pong_ns"]


@dataclass(frozen=True)
class Timing:
    """Times of one contender.

    Attributes
    ----------
    median_us : float
        Median of one call, microseconds.
    low_us, high_us : float
        First and third quartile, microseconds.
    calls : int
        Calls measured.
    ratio : float
        Median over rounds of (this contender / the first contender of the same round).
    """

    median_us: float
    low_us: float
    high_us: float
    calls: int
    ratio: float


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 2.0,
    min_rounds: int = 5,
    min_slice_s: float = 0.01,
) -> dict[str, Timing]:
    """Time contenders in turns, so that all of them see the same moods of the machine.

    Parameters
    ----------
    contenders : mapping of str to callable
        The first one is the base of all ratios. Each is warmed up before the first round.
    seconds : float
        Time to spend on each contender.
    min_rounds : int
        Rounds that are run whatever they cost.
    min_slice_s : float
        A slice repeats its contender for at least this long.

    Returns
    -------
    dict of str to Timing
    """
    repeats: dict[str, int] = {}
    for name, call in contenders.items():
        call()
        started = time.perf_counter()
        call()
        repeats[name] = max(1, int(min_slice_s / max(time.perf_counter() - started, 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    spent = dict.fromkeys(contenders, 0.0)
    rounds = 0
    while rounds < min_rounds or min(spent.values()) < seconds:
        for name, call in contenders.items():
            started = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            elapsed = time.perf_counter() - started
            spent[name] += elapsed
            samples[name].append(elapsed / repeats[name] * 1e6)
        rounds += 1
        if rounds >= min_rounds and sum(spent.values()) > seconds * len(contenders):
            break
    base = samples[next(iter(contenders))]
    return {name: _timing(times, base, repeats[name]) for name, times in samples.items()}


def _timing(times: list[float], base: list[float], repeats: int) -> Timing:
    quartiles = statistics.quantiles(times, n=4) if len(times) > 1 else [times[0]] * 3
    ratio = statistics.median(mine / other for mine, other in zip(times, base, strict=True))
    return Timing(statistics.median(times), quartiles[0], quartiles[2], repeats * len(times), ratio)


def ping_pong_ns(rounds: int = 2000) -> float:
    """Return the median time of a hand-over between two threads and back, in nanoseconds.

    It tells which speed mode the machine is in while a row is measured.
    """
    there: SimpleQueue[int] = SimpleQueue()
    back: SimpleQueue[int] = SimpleQueue()

    def echo() -> None:
        while (token := there.get()) >= 0:
            back.put(token)

    worker = threading.Thread(target=echo, daemon=True)
    worker.start()
    times = []
    for token in range(rounds):
        started = time.perf_counter_ns()
        there.put(token)
        back.get()
        times.append(time.perf_counter_ns() - started)
    there.put(-1)
    worker.join()
    return statistics.median(times)
