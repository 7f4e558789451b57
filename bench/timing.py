"""Measuring several contenders fairly on a machine whose speed drifts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sparsecore.bench.handover import ping_pong_ns

__all__ = ["Samples", "Timing", "interleaved", "median_ratio", "ping_pong_ns", "sampled", "summary"]

#: Microseconds of one call, one entry per round.
Samples = list[float]


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


def sampled(
    contenders: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    min_rounds: int = 5,
    min_slice_s: float = 0.005,
    prepare: Mapping[str, Callable[[], object]] | None = None,
    warm: bool = False,
) -> tuple[dict[str, Samples], dict[str, int]]:
    """Time contenders in turns, so that all of them see the same moods of the machine.

    Parameters
    ----------
    contenders : mapping of str to callable
        Each is called once before the first round unless `warm`.
    seconds : float
        Time to spend on each contender.
    min_rounds : int
        Rounds that are run whatever they cost. Where a single call takes longer than `seconds`, there are three, the
        one that tells how long calls take included.
    min_slice_s : float
        A slice repeats its contender for at least this long.
    prepare : mapping of str to callable, optional
        Called before each slice of that contender (to set threads, say), followed by one call that is not timed.
    warm : bool
        Whether all contenders ran before.

    Returns
    -------
    dict of str to list of float
        Microseconds per call, one entry per round.
    dict of str to int
        Calls in one slice.
    """
    before = prepare or {}
    first: dict[str, float] = {}
    for name, call in contenders.items():
        before.get(name, _nothing)()
        if not warm or name in before:
            call()
        first[name] = _seconds(call, 1)
    slice_s = min(min_slice_s, max(seconds, 1e-4))
    repeats = {name: max(1, int(slice_s / max(elapsed, 1e-7))) for name, elapsed in first.items()}
    long = max(first.values()) > seconds
    samples: dict[str, Samples] = {name: [first[name] * 1e6] if long else [] for name in contenders}
    rounds = min(min_rounds, 3) if long else min_rounds
    started = time.perf_counter()
    while len(next(iter(samples.values()))) < rounds or time.perf_counter() - started < seconds * len(contenders):
        for name, call in contenders.items():
            if name in before:
                before[name]()
                call()
            samples[name].append(_seconds(call, repeats[name]) * 1e6)
    return samples, repeats


def _seconds(call: Callable[[], object], repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 2.0,
    min_rounds: int = 5,
    min_slice_s: float = 0.01,
    prepare: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, Timing]:
    """Return the summary of `sampled`; the first contender is the base of all ratios."""
    samples, repeats = sampled(
        contenders, seconds=seconds, min_rounds=min_rounds, min_slice_s=min_slice_s, prepare=prepare
    )
    base = samples[next(iter(contenders))]
    return {name: summary(times, base, repeats[name]) for name, times in samples.items()}


def summary(times: Samples, base: Samples, repeats: int = 1) -> Timing:
    """Return median, quartiles and the ratio to `base` of the same rounds."""
    quartiles = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else [times[0]] * 3
    return Timing(statistics.median(times), quartiles[0], quartiles[2], repeats * len(times), median_ratio(times, base))


def median_ratio(times: Samples, base: Samples) -> float:
    """Return the median over rounds of ``times / base``."""
    return statistics.median(mine / other for mine, other in zip(times, base, strict=True))


def _nothing() -> None:
    pass
