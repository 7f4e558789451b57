"""The two consoles of the command line, and how numbers are written on them."""

from __future__ import annotations

import os

from rich.console import Console

__all__ = ["console", "errors", "in_bytes", "percent"]

_PLAIN_WIDTH = 132

console = Console(highlight=False)
if not console.is_terminal and "COLUMNS" not in os.environ:  # a file or a pipe: wide enough for every table
    console.width = _PLAIN_WIDTH
errors = Console(stderr=True, highlight=False)


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction as per cent, or a dash.

    Examples
    --------
    >>> percent(0.98765), percent(None)
    ('98.77%', '-')
    """
    return "-" if fraction is None else f"{100 * fraction:.{digits}f}%"


def in_bytes(n: int | None) -> str:
    """Return a number of bytes with a unit of powers of 1024, or a dash.

    Examples
    --------
    >>> in_bytes(512), in_bytes(3 * 2**20), in_bytes(None)
    ('512 B', '3.0 MiB', '-')
    """
    if n is None:
        return "-"
    size, unit = float(n), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{n} B" if unit == "B" else f"{size:.1f} {unit}"
