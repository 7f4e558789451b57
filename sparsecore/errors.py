"""Typed errors: every one says what was expected, what came, and what to do."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DtypeError",
    "ExportError",
    "NonFiniteError",
    "ShapeError",
    "SignalError",
    "SparseCoreError",
    "TopologyError",
    "UnknownNameError",
    "check_count",
    "check_fraction",
    "check_positive",
]


class SparseCoreError(Exception):
    """Base of every error raised on purpose by sparsecore."""


class ConfigError(SparseCoreError, ValueError):
    """An option has a value that cannot work."""


class TopologyError(SparseCoreError, ValueError):
    """Index lists do not form a valid topology."""


class ShapeError(SparseCoreError, ValueError):
    """An array or tensor has the wrong shape."""


class DtypeError(SparseCoreError, TypeError):
    """An array or tensor has the wrong data type."""


class SignalError(SparseCoreError, RuntimeError):
    """A rule needs something (a gradient, a calibration set) that is not there."""


class NonFiniteError(SparseCoreError, ArithmeticError):
    """A loss, gradient or value is NaN or infinite."""


class CheckpointError(SparseCoreError, OSError):
    """A checkpoint file is missing, damaged or foreign."""


class ExportError(SparseCoreError, ValueError):
    """A model cannot be written in the wanted format, or a written one cannot be run."""


class DataError(SparseCoreError, ValueError):
    """A data set is missing or damaged."""


class UnknownNameError(SparseCoreError, LookupError):
    """A name is not registered.

    Parameters
    ----------
    kind : str
        What was looked up, e.g. ``"predictor"``.
    name : str
        The name that was asked for.
    known : iterable of str
        The names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"Expected a {kind} out of {', '.join(names)}. Got {name!r}.{hint}")


def check_fraction(name: str, value: float, meaning: str, *, open_low: bool = False) -> float:
    """Return `value` as a float in [0, 1], or raise.

    Parameters
    ----------
    name : str
        Name of the option, used in the message.
    value : float
        What the user gave.
    meaning : str
        One clause that says what the option is, e.g. ``"the fraction of links replaced per update"``.
    open_low : bool
        Whether 0 itself is refused.

    Raises
    ------
    ConfigError
        If `value` is not a finite number in the interval.
    """
    low = "(" if open_low else "["
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not 0.0 <= value <= 1.0
        or (open_low and value == 0.0)
    ):
        raise ConfigError(f"Expected {name} in {low}0, 1]. Got {value!r}. {name} is {meaning}.")
    return float(value)


def check_positive(name: str, value: float, meaning: str) -> float:
    """Return `value` as a float above 0, or raise `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0 or not math.isfinite(value):
        raise ConfigError(f"Expected {name} > 0. Got {value!r}. {name} is {meaning}.")
    return float(value)


def check_count(name: str, value: int, meaning: str, *, low: int = 0, high: int | None = None) -> int:
    """Return `value` as an int in [low, high], or raise `ConfigError`."""
    is_int = not isinstance(value, bool) and hasattr(value, "__index__")
    if not is_int or value < low or (high is not None and value > high):
        bound = f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]"
        raise ConfigError(f"Expected {name} to be {bound}. Got {value!r}. {name} is {meaning}.")
    return int(value)
