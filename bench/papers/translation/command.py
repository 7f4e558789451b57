"""``python -m sparsecore.bench.papers translation``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sparsecore.bench.papers.process import Stop, say
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.translation.cells import TranslationCell, beside_dense, cells
from sparsecore.bench.papers.translation.memory import peak_bytes
from sparsecore.bench.papers.translation.page import write_page
from sparsecore.bench.papers.translation.speed import measure_speed
from sparsecore.bench.papers.translation.training import train
from sparsecore.bench.papers.work import add_options, data_of, end_of, listing, matching, work_through
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

    def make(cell: TranslationCell) -> dict[str, Any]:
        return train(cell, job.task(cell.run.n_tokens), job.scratch / f"{cell.key}.safetensors", stop)

    return work_through(job.cells, Results(job.results), job.scratch, make, _told, stop=stop)


def _told(done: Mapping[str, Any]) -> str:
    return f"BLEU {done['test_bleu']:.2f}, {done['steps_per_s']:.2f} steps per second"


def add_command(commands: Any) -> None:
    """Add the command to the sub-parsers of ``python -m sparsecore.bench.papers``."""
    command = commands.add_parser("translation", help="run the translation experiments that have no result yet")
    add_options(command, _RESULTS, "sparsecore-translation")
    command.add_argument("--memory", action="store_true", help="measure the peak memory of finished runs anew, and end")
    command.add_argument("--speed", action="store_true", help="time steps of all methods at 10%% beside dense, and end")
    command.add_argument("--page", type=Path, metavar="FILE", help="write the page of all results, and end")
    command.set_defaults(run=_main)


def _main(options: argparse.Namespace) -> int:
    if options.page is not None:
        write_page(options.results, options.page)
        return 0
    chosen, results = matching(cells(options.threads), options.only), Results(options.results)
    if options.list:
        sys.stdout.write(listing({cell.key: cell.is_done(results) for cell in chosen}, options.scratch))
        return 0
    data_dir, stop = data_of(options), Stop(end_of(options))
    stop.listen()
    task = cache(lambda n_tokens: prepare(load_multi30k(data_dir), n_tokens))
    if options.memory:
        _measure_memory(chosen, results, task)
        return 0
    if options.speed:
        beside = beside_dense(options.threads)
        measure_speed(beside, task(beside[0].run.n_tokens), results)
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
