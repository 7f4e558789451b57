"""Command-line options made from the fields of a dataclass, so that a run is declared in one place."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from sparsecore.errors import CheckpointError

__all__ = ["add_options", "from_options", "from_plain"]

T = TypeVar("T")

_KINDS: dict[str, Any] = {"int": int, "float": float, "str": str}


def add_options(parser: argparse.ArgumentParser, kind: type[Any]) -> None:
    """Add an option for every field of a dataclass; its help is ``metadata["help"]``, a boolean is a switch."""
    for field in dataclasses.fields(kind):
        name, about = "--" + field.name.replace("_", "-"), field.metadata["help"]
        if field.type == "bool":
            parser.add_argument(name, action="store_true", default=None, help=about)
            continue
        shown = "" if field.default is None else f" ({field.default})"
        parser.add_argument(name, type=_KINDS[str(field.type).split(" ")[0]], metavar="", help=about + shown)


def from_options(kind: type[T], options: argparse.Namespace) -> T:
    """Return the dataclass that parsed options describe; what was not given has its default."""
    given = {name: getattr(options, name) for name in _names(kind)}
    return kind(**{name: value for name, value in given.items() if value is not None})


def from_plain(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return the dataclass that `dataclasses.asdict` gave.

    Raises
    ------
    CheckpointError
        If there are other fields in it.
    """
    unknown = sorted(set(values) - set(_names(kind)))
    if unknown:
        raise CheckpointError(f"Expected options of {kind.__name__}. Got {', '.join(unknown)}. Start the run anew.")
    return kind(**values)


def _names(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]
