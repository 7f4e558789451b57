"""What every grid does alike: choose cells by pattern, tell how far they are, and run them."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from sparsecore.bench.papers.process import StoppedError, claim, say
from sparsecore.bench.papers.results import Results
from sparsecore.errors import CheckpointError, ConfigError
from sparsecore.io import load

__all__ = [
    "Declared",
    "Keyed",
    "Outcome",
    "add_options",
    "checkpoint_of",
    "data_of",
    "end_of",
    "listing",
    "matching",
    "run_cell",
    "work_through",
]

#: How a run ended: with a result, told to stop, or by an error.
Outcome = Literal["done", "stopped", "failed"]


class Keyed(Protocol):
    """A cell of a grid."""

    @property
    def key(self) -> str:
        """Name of the cell and of its files."""
        ...


class Declared(Keyed, Protocol):
    """A cell that knows its result."""

    def is_done(self, results: Results) -> bool:
        """Tell whether there is a result of its setting."""
        ...


_Key = TypeVar("_Key", bound=Keyed)
_Cell = TypeVar("_Cell", bound=Declared)


def add_options(command: argparse.ArgumentParser, results: Path, scratch: str) -> None:
    """Give a command the options of every grid."""
    folder = Path(os.environ["SPARSECORE_DATA"]) if "SPARSECORE_DATA" in os.environ else None
    command.add_argument("--data-dir", type=Path, default=folder, help="folder of the data; SPARSECORE_DATA")
    command.add_argument("--threads", type=int, default=1, help="threads of a run")
    command.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="cells like *-chts-*; repeatable"
    )
    command.add_argument("--budget", type=float, metavar="MINUTES", help="stop after this long; runs can be resumed")
    command.add_argument("--list", action="store_true", help="show which cells are done, begun or missing, and end")
    unfinished = Path(tempfile.gettempdir()) / scratch
    command.add_argument("--scratch", type=Path, default=unfinished, help="folder of unfinished runs")
    command.add_argument("--results", type=Path, default=results, help="folder of the JSON files")


def data_of(options: argparse.Namespace) -> Path:
    """Return the folder of the data.

    Raises
    ------
    ConfigError
        If none was given.
    """
    if options.data_dir is None:
        raise ConfigError("Expected the folder of the data. Got none. Give it as --data-dir, or set SPARSECORE_DATA.")
    folder: Path = options.data_dir
    return folder


def end_of(options: argparse.Namespace) -> float | None:
    """Return ``time.time()`` at which the budget is spent."""
    return None if options.budget is None else time.time() + 60 * options.budget


def matching(cells: Sequence[_Key], patterns: Sequence[str]) -> list[_Key]:
    """Return the cells whose keys match one of some patterns; all without a pattern.

    Raises
    ------
    ConfigError
        If no cell matches.
    """
    chosen = [cell for cell in cells if not patterns or any(fnmatchcase(cell.key, pattern) for pattern in patterns)]
    if not chosen:
        raise ConfigError(f"Expected a pattern that matches a cell. Got {list(patterns)}. --list shows all.")
    return chosen


def listing(done: Mapping[str, bool], scratch: Path) -> str:
    """Return a line for every cell, done, begun or missing, and the totals.

    Parameters
    ----------
    done : mapping
        Whether a cell has a result, by its key.
    scratch : Path
        Folder of the checkpoints.
    """
    begun = {key: any(path.exists() for path in _checkpoints(scratch, key)) for key in done}
    states = {key: "done" if known else "begun" if begun[key] else "missing" for key, known in done.items()}
    counts = Counter(states.values())
    totals = ", ".join(f"{counts[state]} {state}" for state in ("done", "begun", "missing"))
    return "\n".join([*(f"{state:8}{key}" for key, state in states.items()), totals]) + "\n"


def _checkpoints(scratch: Path, key: str) -> tuple[Path, Path]:
    """Return where a run may keep what it has done, in a file or in a folder."""
    return scratch / f"{key}.safetensors", scratch / key


def checkpoint_of(path: Path, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an earlier part of a run has left; nothing if there is none, it is damaged or of another setting."""
    try:
        state = load(path) if path.is_file() else {}
    except CheckpointError:
        return {}
    return state if state.get("setting") == setting else {}


def work_through(
    cells: Sequence[_Cell],
    results: Results,
    scratch: Path,
    make: Callable[[_Cell], Mapping[str, Any]],
    told: Callable[[Mapping[str, Any]], str],
    *,
    stop: Callable[[], bool],
) -> int:
    """Run the cells that no other process has claimed, one after the other; returns how many failed.

    Parameters
    ----------
    cells : sequence
        In order.
    results : Results
        Where results go; a cell that has one is passed over.
    scratch : Path
        Folder of claims and of what unfinished runs leave.
    make, told
        As for `run_cell`.
    stop : callable
        Asked before every cell.
    """
    n_failed = 0
    scratch.mkdir(parents=True, exist_ok=True)
    for cell in cells:
        if stop():
            break
        with claim(scratch / f"{cell.key}.lock") as mine:
            if mine and not cell.is_done(results):
                n_failed += run_cell(cell, results, scratch, make, told) == "failed"
    return n_failed


def run_cell(
    cell: _Key,
    results: Results,
    scratch: Path,
    make: Callable[[_Key], Mapping[str, Any]],
    told: Callable[[Mapping[str, Any]], str],
) -> Outcome:
    """Run one cell and write its result; the terminal says how it begins and ends, whichever way.

    Parameters
    ----------
    cell : Keyed
        What to run.
    results : Results
        Where its result goes.
    scratch : Path
        Folder of checkpoints, files or folders named by the key; that of a cell that ends is removed.
    make : callable
        Does the work and returns the result; raises `StoppedError` when it is told to stop.
    told : callable
        Returns, from the summary of the result, what the terminal says of it.
    """
    say(f"{cell.key} begins")
    try:
        result = make(cell)
    except StoppedError:
        say(f"{cell.key} stops, to be resumed")
        return "stopped"
    except Exception:  # one cell must not end the others
        say(f"{cell.key} failed\n{traceback.format_exc()}")
        return "failed"
    results.write(cell.key, result)
    file, folder = _checkpoints(scratch, cell.key)
    file.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    say(f"{cell.key} {told(result['summary'])}")
    return "done"
