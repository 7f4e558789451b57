"""Options of a run: declared as fields of a dataclass, given on the command line, taken by a method."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from sparsecore.errors import CheckpointError, ConfigError
from sparsecore.evolution import Parts, methods

__all__ = [
    "DENSE",
    "accepted",
    "add_options",
    "check_density_falls",
    "check_resumed",
    "from_options",
    "from_plain",
    "option",
]

#: The method of a network without missing links.
DENSE = "dense"

T = TypeVar("T")

_KINDS: dict[str, Any] = {"int": int, "float": float, "str": str}


def option(default: Any, about: str) -> Any:
    """Return the field of a dataclass with a default and a line of help."""
    return dataclasses.field(default=default, metadata={"help": about})


def accepted(method: str) -> set[str]:
    """Return the names of the options of a method, parts of its rule included; none for the dense network."""
    if method == DENSE:
        return set()
    options = inspect.signature(methods.entry(method).factory).parameters
    takes_parts = any(option.kind is inspect.Parameter.VAR_KEYWORD for option in options.values())
    return set(options) | (set(Parts.__annotations__) if takes_parts else set())


def check_density_falls(method: str, density: float, density_start: float) -> None:
    """Refuse a density above the one from which a method brings it down; nothing to refuse under the others.

    Raises
    ------
    ConfigError
        If the links would have to become more.
    """
    if "density" in accepted(method) and density > density_start:
        raise ConfigError(
            f"Expected density at most density_start, {density_start}, under {method!r}, which brings it down. "
            f"Got {density}. Lower --density (density), or raise --density-start (density_start)."
        )


def add_options(parser: argparse.ArgumentParser, kind: type[Any]) -> None:
    """Add an option for every field of a dataclass; its help is ``metadata["help"]``, a boolean is a switch."""
    for field in dataclasses.fields(kind):
        name, about = "--" + field.name.replace("_", "-"), field.metadata["help"]
        if field.type == "bool":
            parser.add_argument(name, action="store_true", default=None, help=about)
            continue
        shown = "" if field.default is None else f" ({field.default})"
        parser.add_argument(name, type=_KINDS[str(field.type).split(" ")[0]], metavar="", help=about + shown)


def check_resumed(kind: type[Any], options: argparse.Namespace) -> None:
    """Refuse parsed options of a dataclass beside ``--resume``, other than ``--data-dir``.

    Raises
    ------
    ConfigError
        If there are some; the message names them.
    """
    names = [name for name in _names(kind) if name != "data_dir" and getattr(options, name) is not None]
    if names:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise ConfigError(
            f"Expected no option but --data-dir with --resume. Got {given}. A run goes on as it began: leave them out."
        )


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
