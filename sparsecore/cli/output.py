"""What every command can do with its result: show it, be quiet, or print it as JSON."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sparsecore.cli.screen import console

__all__ = ["NO", "command", "warned"]

#: Exit status of a command that ran and whose answer is no.
NO = 1

_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object, and nothing else.")]
_MODES = {"quiet": _Quiet, "as_json": _Json}


def command(app: typer.Typer, function: Callable[..., dict[str, Any] | None]) -> None:
    """Add a command with the options ``--quiet`` and ``--json``; its result is what the function returns.

    A result with ``"ok": false`` ends in exit status `NO`.
    """
    own = inspect.signature(function, eval_str=True)
    modes = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in _MODES.items()
    ]

    @functools.wraps(function)
    def run(*args: Any, quiet: bool = False, as_json: bool = False, **options: Any) -> None:
        with _silenced(quiet or as_json):
            result = function(*args, **options)
        if as_json:
            sys.stdout.write(json.dumps(_plain(result or {}), indent=2, allow_nan=False) + "\n")
        if result is not None and result.get("ok") is False:
            raise typer.Exit(NO)

    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *modes])  # type: ignore[attr-defined]
    run.__annotations__ = {name: p.annotation for name, p in own.parameters.items()} | _MODES
    app.command()(run)


@contextmanager
def _silenced(silent: bool) -> Iterator[None]:
    before = console.quiet
    console.quiet = silent
    try:
        yield
    finally:
        console.quiet = before


class _Shown(logging.Handler):
    """Shows what the library logs as a warning of the command line, and keeps it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        self.show(record.getMessage())

    def show(self, text: str) -> None:
        """Show a warning of the command line's own."""
        self.texts.append(text)
        console.print(f"warning: {text}", markup=False, style="yellow", soft_wrap=True)


@contextmanager
def warned() -> Iterator[_Shown]:
    """Show warnings of the library on the console, in place of its log, and collect them."""
    log, shown = logging.getLogger("sparsecore"), _Shown()
    propagates, log.propagate = log.propagate, False
    log.addHandler(shown)
    try:
        yield shown
    finally:
        log.removeHandler(shown)
        log.propagate = propagates


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: paths as text, numbers that are not finite as null."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value
