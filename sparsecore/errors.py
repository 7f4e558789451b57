"""Typed errors: every one says what was expected, what came, and what to do."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any

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
    "check_not_negative",
    "check_positive",
    "check_types",
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


def check_not_negative(name: str, value: float, meaning: str) -> float:
    """Return `value` as a finite float of at least 0, or raise `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigError(f"Expected {name} >= 0 and finite. Got {value!r}. {name} is {meaning}.")
    return float(value)


def check_count(name: str, value: int, meaning: str, *, low: int = 0, high: int | None = None) -> int:
    """Return `value` as an int in [low, high], or raise `ConfigError`."""
    is_int = not isinstance(value, bool) and hasattr(value, "__index__")
    if not is_int or value < low or (high is not None and value > high):
        bound = f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]"
        raise ConfigError(f"Expected {name} to be {bound}. Got {value!r}. {name} is {meaning}.")
    return int(value)


def check_types(config: Any) -> None:
    """Raise `ConfigError` unless every field of a dataclass holds what its annotation says.

    Annotations are plain types, unions of them, ``tuple[int, ...]`` and ``dict[str, Any]``; an integer is a float too.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Part:
    ...     share: float | None = None
    >>> check_types(Part(1))
    >>> check_types(Part("much"))
    Traceback (most recent call last):
        ...
    sparsecore.errors.ConfigError: Expected share to be float | None. Got 'much'.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if not _fits(value, hint):
            name = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else hint
            raise ConfigError(f"Expected {field.name} to be {name}. Got {value!r}.")


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inner)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(item, inner[0]) for item in value)
    if typing.get_origin(hint) is dict:
        return isinstance(value, dict) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
