"""Axes: from values to places on a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Axis", "axis_for"]

_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis between two places.

    Attributes
    ----------
    low, high : float
        Values at its ends.
    start, end : float
        Places of its ends.
    log : bool
        Whether it is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the place of a value."""
        low, high, value = (math.log10(part) if self.log else part for part in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values along the axis, increasing.

        Examples
        --------
        >>> Axis(0.0, 1.0, 0.0, 100.0).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        >>> Axis(1.0, 2000.0, 0.0, 100.0, log=True).ticks()
        [1.0, 10.0, 100.0, 1000.0]
        """
        return self._decades(most) if self.log else self._even(most)

    def _even(self, most: int) -> list[float]:
        rough = (self.high - self.low) / most
        scale = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * scale for factor in _STEPS if factor * scale >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{index * step:.12g}") for index in range(first, last + 1)]

    def _decades(self, most: int) -> list[float]:
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if last - first >= 2:
            return [10.0**power for power in range(first, last + 1, -(-(last - first + 1) // most))]
        fine = (digit * 10.0**power for power in range(first - 1, last + 1) for digit in (1, 2, 5))
        return [float(f"{value:.12g}") for value in fine if self.low <= value * (1 + 1e-9) and value <= self.high]


def axis_for(
    values: Iterable[float], start: float, end: float, *, log: bool = False, within: tuple[float, float] | None = None
) -> Axis:
    """Return an axis that holds all values with a little room, but none beyond `within`.

    Parameters
    ----------
    values : iterable of float
        What is drawn; a logarithmic axis leaves out what is not positive.
    start, end : float
        Places of its ends.
    log : bool
        Whether it is logarithmic.
    within : (float, float), optional
        Values that cannot be exceeded, as 0 and 1 of a fraction.
    """
    known = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = (min(known), max(known)) if known else (1.0, 1.0)
    if log:
        room = max((high / low) ** 0.04, 1.05)
        return Axis(low / room, high * room, start, end, log=True)
    room = 0.05 * (high - low) or 0.05 * max(abs(high), 1e-3)
    low, high = low - room, high + room
    if within is not None:
        low, high = max(low, within[0]), min(high, within[1])
        if high <= low:
            low, high = _apart(within, known)
    return Axis(low, high, start, end)


def _apart(within: tuple[float, float], known: Sequence[float]) -> tuple[float, float]:
    """Return two ends where all values lie at one end of what is possible."""
    span = 0.05 * (within[1] - within[0]) if math.isfinite(within[1]) else 1.0
    return (within[0], within[0] + span) if known and known[0] <= within[0] else (within[1] - span, within[1])
