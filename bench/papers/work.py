"""What every grid does alike: choose cells by pattern, tell how far they are, and run one."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from sparsecore.bench.papers.process import StoppedError, say
from sparsecore.bench.papers.results import Results
from sparsecore.errors import ConfigError

__all__ = ["Keyed", "Outcome", "add_options", "data_of", "end_of", "listing", "matching", "run_cell"]

#: How a run ended: with a result, told to stop, or by an error.
Outcome = Literal["done", "stopped", "failed"]


class Keyed(Protocol):
    """A cell of a grid."""

    @property
    def key(self) -> str:
        """Name of the cell and of its files."""
        ...


_Cell = TypeVar("_Cell", bound=Keyed)


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
    command.add_argument(
        "--scratch", type=Path, default=Path(tempfile.gettempdir()) / scratch, help="of unfinished runs"
    )
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


def matching(cells: Sequence[_Cell], patterns: Sequence[str]) -> list[_Cell]:
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
    states = {key: "done" if known else "begun" if _begun(scratch / key) else "missing" for key, known in done.items()}
    counts = Counter(states.values())
    totals = ", ".join(f"{counts[state]} {state}" for state in ("done", "begun", "missing"))
    return "\n".join([*(f"{state:8}{key}" for key, state in states.items()), totals]) + "\n"


def _begun(path: Path) -> bool:
    return path.exists() or path.with_name(f"{path.name}.safetensors").exists()


def run_cell(
    key: str, results: Results, make: Callable[[], Mapping[str, Any]], told: Callable[[Mapping[str, Any]], str]
) -> Outcome:
    """Run one cell and write its result; the terminal says how it begins and ends, whichever way.

    Parameters
    ----------
    key : str
        Name of the cell.
    results : Results
        Where its result goes.
    make : callable
        Does the work and returns the result; raises `StoppedError` when it is told to stop.
    told : callable
        Returns, from the summary of the result, what the terminal says of it.
    """
    say(f"{key} begins")
    try:
        result = make()
    except StoppedError:
        say(f"{key} stops, to be resumed")
        return "stopped"
    except Exception:  # one cell must not end the others
        say(f"{key} failed\n{traceback.format_exc()}")
        return "failed"
    results.write(key, result)
    say(f"{key} {told(result['summary'])}")
    return "done"
