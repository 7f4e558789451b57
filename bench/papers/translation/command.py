"""``python -m sparsecore.bench.papers translation``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from sparsecore.bench.papers.process import Stop, StoppedError, claim, say
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.translation.cells import TranslationCell, beside_dense, cells
from sparsecore.bench.papers.translation.memory import peak_bytes
from sparsecore.bench.papers.translation.page import write_page
from sparsecore.bench.papers.translation.speed import measure_speed
from sparsecore.bench.papers.translation.training import train
from sparsecore.errors import ConfigError
from sparsecore.models.translation import TranslationTask, load_multi30k, prepare

__all__ = ["TranslationJob", "add_command", "work"]

_RESULTS = Path("bench/results/translation")


@dataclass(frozen=True)
class TranslationJob:
    """What a process needs to take part.

    Attributes
    ----------
    cells : sequence of TranslationCell
        In order.
    results, scratch : Path
        Folders of the JSON files, and of claims and checkpoints.
    task : callable
        Returns the sentences with a vocabulary of so many tokens.
    """

    cells: Sequence[TranslationCell]
    results: Path
    scratch: Path
    task: Callable[[int], TranslationTask]


def work(job: TranslationJob, *, stop: Callable[[], bool]) -> int:
    """Run the cells that no other process has claimed, one after the other; returns how many failed.

    Parameters
    ----------
    job : TranslationJob
        What to run.
    stop : callable
        Asked before every cell and after every step.
    """
    results, n_failed = Results(job.results), 0
    job.scratch.mkdir(parents=True, exist_ok=True)
    for cell in job.cells:
        if stop():
            break
        with claim(job.scratch / f"{cell.key}.lock") as mine:
            if mine and not cell.is_done(results):
                n_failed += not _run(cell, job, results, stop)
    return n_failed


def _run(cell: TranslationCell, job: TranslationJob, results: Results, stop: Callable[[], bool]) -> bool:
    """Run one claimed cell; false if it failed."""
    checkpoint = job.scratch / f"{cell.key}.safetensors"
    say(f"{cell.key} begins")
    try:
        result = train(cell, job.task(cell.run.n_tokens), checkpoint, stop)
    except StoppedError:
        say(f"{cell.key} stops, to be resumed")
        return True
    except Exception:  # one cell must not end the others
        say(f"{cell.key} failed\n{traceback.format_exc()}")
        return False
    results.write(cell.key, result)
    checkpoint.unlink(missing_ok=True)
    done = result["summary"]
    say(f"{cell.key} BLEU {done['test_bleu']:.2f}, {done['steps_per_s']:.2f} steps per second")
    return True


def add_command(commands: Any) -> None:
    """Add the command to the sub-parsers of ``python -m sparsecore.bench.papers``."""
    command = commands.add_parser("translation", help="run the translation experiments that have no result yet")
    folder = Path(os.environ["SPARSECORE_DATA"]) if "SPARSECORE_DATA" in os.environ else None
    command.add_argument("--data-dir", type=Path, default=folder, help="folder that holds multi30k; SPARSECORE_DATA")
    command.add_argument("--threads", type=int, default=1, help="threads of a run")
    command.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="cells like *-chts-10pc-*; repeatable"
    )
    command.add_argument("--budget", type=float, metavar="MINUTES", help="stop after this long; runs can be resumed")
    command.add_argument("--list", action="store_true", help="show which cells are done, begun or missing, and end")
    command.add_argument("--memory", action="store_true", help="measure the peak memory of finished runs anew, and end")
    command.add_argument("--speed", action="store_true", help="time steps of all methods at 10%% beside dense, and end")
    command.add_argument("--page", type=Path, metavar="FILE", help="write the page of all results, and end")
    command.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "sparsecore-translation")
    command.add_argument("--results", type=Path, default=_RESULTS, help="folder of the JSON files")
    command.set_defaults(run=_main)


def _main(options: argparse.Namespace) -> int:
    if options.page is not None:
        write_page(options.results, options.page)
        return 0
    chosen = [
        cell
        for cell in cells(options.threads)
        if not options.only or any(fnmatchcase(cell.key, pattern) for pattern in options.only)
    ]
    if not chosen:
        raise ConfigError(f"Expected a pattern that matches a cell. Got {options.only}. --list shows all.")
    if options.list:
        sys.stdout.write(_listing(chosen, Results(options.results), options.scratch))
        return 0
    if options.data_dir is None:
        raise ConfigError("Expected the folder of the data. Got none. Give it as --data-dir, or set SPARSECORE_DATA.")
    stop = Stop(None if options.budget is None else time.time() + 60 * options.budget)
    stop.listen()
    task = cache(lambda n_tokens: prepare(load_multi30k(options.data_dir), n_tokens))
    if options.memory:
        _measure_memory(chosen, Results(options.results), task)
        return 0
    if options.speed:
        beside = beside_dense(options.threads)
        measure_speed(beside, task(beside[0].run.n_tokens), Results(options.results))
        return 0
    return min(1, work(TranslationJob(chosen, options.results, options.scratch, task), stop=stop))


def _measure_memory(
    chosen: Sequence[TranslationCell], results: Results, task: Callable[[int], TranslationTask]
) -> None:
    for cell in chosen:
        found = results.read(cell.key)
        if found is not None and cell.is_done(results):
            found["summary"]["peak_memory_bytes"] = peak_bytes(cell.run, task(cell.run.n_tokens))
            results.write(cell.key, found)
            say(f"{cell.key} {found['summary']['peak_memory_bytes'] / 2**20:.0f} MiB")


def _listing(chosen: Sequence[TranslationCell], results: Results, scratch: Path) -> str:
    states = [
        "done" if cell.is_done(results) else "begun" if (scratch / f"{cell.key}.safetensors").exists() else "missing"
        for cell in chosen
    ]
    return "".join(f"{state:8}{cell.key}\n" for cell, state in zip(chosen, states, strict=True))
