"""Numbers as they are written on the page."""

from __future__ import annotations

import math

__all__ = ["count", "in_bytes", "percent", "seconds", "short"]


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction as per cent, or a dash.

    Examples
    --------
    >>> percent(0.98765), percent(None)
    ('98.77%', '–')
    """
    return "–" if fraction is None else f"{100 * fraction:.{digits}f}%"


def count(n: int | None) -> str:
    """Return a whole number with separators, or a dash."""
    return "–" if n is None else f"{n:,}"


def short(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits, or a dash.

    Examples
    --------
    >>> short(0.123456), short(12345.6), short(-math.inf)
    ('0.1235', '12,350', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 10 ** (digits - 1):
        return f"{float(f'{value:.{digits}g}'):,.0f}"
    return f"{value:.{digits}g}"


def seconds(value: float | None) -> str:
    """Return a time with a fitting unit, or a dash.

    Examples
    --------
    >>> seconds(0.0123), seconds(75.4), seconds(7300)
    ('12.3 ms', '1 min 15 s', '2 h 2 min')
    """
    if value is None:
        return "–"
    if value < 1:
        return f"{1000 * value:.3g} ms"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def in_bytes(n: int | None) -> str:
    """Return a number of bytes with a unit of powers of 1024, or a dash.

    Examples
    --------
    >>> in_bytes(512), in_bytes(3 * 2**20), in_bytes(None)
    ('512 B', '3.0 MiB', '–')
    """
    if n is None:
        return "–"
    size, unit = float(n), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024:
            break
        size, unit = size / 1024, larger
    return f"{n} B" if unit == "B" else f"{size:.1f} {unit}"
