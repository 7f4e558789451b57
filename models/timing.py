"""Time of many steps, when something else interrupts some of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

__all__ = ["typical_total"]


def typical_total(times: Sequence[float], window: int) -> float:
    """Return the sum of `times` with every one of a window at the median of that window.

    A cost that changes over the run shows, a busy moment does not.

    Parameters
    ----------
    times : sequence of float
        Of successive steps.
    window : int
        Steps in a window; the last one may have fewer.

    Examples
    --------
    >>> typical_total([4.0, 4.0, 90.0, 2.0, 2.0], window=3)
    16.0
    """
    windows = (times[at : at + window] for at in range(0, len(times), window))
    return sum(len(part) * median(part) for part in windows)
