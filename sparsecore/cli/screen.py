"""The two consoles of the command line, and how numbers are written on them."""

from __future__ import annotations

import os

from rich.console import Console

from sparsecore.report.numbers import in_bytes, percent

__all__ = ["console", "errors", "in_bytes", "percent"]

_PLAIN_WIDTH = 132

console = Console(highlight=False)
if not console.is_terminal and "COLUMNS" not in os.environ:  # a file or a pipe: wide enough for every table
    console.width = _PLAIN_WIDTH
errors = Console(stderr=True, highlight=False)
